"""Limits: what Pay-i says of them is remembered, told, and, where it is asked for, obeyed before the provider is called."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from delivery_fakes import wait_for
from openai_shapes import numbered
from provider_server import ProviderServer, Reply

import payi_otel
from payi_otel import LimitExceeded
from payi_otel import limits as limits_module
from payi_otel.context.scope import Scope
from payi_otel.errors import ConfigurationError, PayiOtelError
from payi_otel.limits import LimitBook
from payi_otel.payload import Payload
from payi_otel.testing import Answer, IngestServer

openai = pytest.importorskip("openai")
CALL: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi."}]}


class Account:
    """A Pay-i whose answers say what state the limits are in."""

    def __init__(self, ingest: IngestServer) -> None:
        self.states: dict[str, str] = {}
        ingest.decide(self._answer)

    def _answer(self, request: Any) -> Answer:
        states = {limit_id: {"state": state} for limit_id, state in self.states.items()}
        result = {
            "request_id": "r",
            "limits": states,
            "blocked_limit_ids": [one for one, state in self.states.items() if state == "blocked"],
        }
        return Answer(200, {"request_id": "r", "ingest_timestamp": "2026-01-01T00:00:00Z", "xproxy_result": result})


@pytest.fixture
def account() -> Iterator[tuple[IngestServer, Account]]:
    """It."""
    with IngestServer() as ingest:
        yield ingest, Account(ingest)
    payi_otel.shutdown(5)


@pytest.fixture
def ask() -> Iterator[Callable[..., Any]]:
    """A call of a real client; how often the provider was called stands in `provider.requests`."""
    provider = ProviderServer()
    provider.always("/chat/completions", numbered)
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as client:

        def call(**more: Any) -> Any:
            answer = client.chat.completions.create(**CALL, **more)
            assert payi_otel.flush(5)
            return answer

        call.provider = provider  # type: ignore[attr-defined]
        yield call
    provider.close()


def start(ingest: IngestServer, **config: Any) -> None:
    """With two limits for every call."""
    payi = payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url)
    payi_otel.payi_instrument(payi=payi, config={"limit_ids": ["team", "daily"], **config})


def wait_until_known(pay_i: Account) -> None:
    """An answer's limits are read after its packet has its fate, which is all that a flush waits for."""
    wait_for(lambda: pay_i.states.items() <= limits_module.limits.states().items())


def test_changes_are_told_once_each(account: tuple[IngestServer, Account], ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    """To the hook and in the log; a state that stays is no news, nor is `ok` at first."""
    ingest, pay_i = account
    told: list[tuple[str, str]] = []
    start(ingest, on_limit=lambda limit_id, state: told.append((limit_id, state)))
    for state in ("ok", "exceeded", "exceeded", "overrun", "blocked", "ok"):
        pay_i.states = {"team": state, "daily": "ok"}
        ask()
        wait_until_known(pay_i)
    wait_for(lambda: len(told) >= 4)
    assert told == [("team", state) for state in ("exceeded", "overrun", "blocked", "ok")]
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == [
        "the limit team is exceeded now, it was ok",
        "the limit team is overrun now, it was exceeded",
        "the limit team is blocked now, it was overrun",
    ]


def test_nothing_is_refused_unless_it_is_asked_for(account: tuple[IngestServer, Account], ask: Any) -> None:
    """A blocked limit is told, and the calls go on."""
    ingest, pay_i = account
    start(ingest)
    pay_i.states = {"team": "blocked"}
    for _ in range(3):
        ask()
    assert len(ask.provider.requests) == 3


def test_a_blocked_limit_refuses_calls_before_they_are_made(account: tuple[IngestServer, Account], ask: Any) -> None:
    """Those that it holds for, in its scope or by a call's header, sync, streamed and async; the provider hears of none."""
    ingest, pay_i = account
    start(ingest, enforce_limits=True)
    pay_i.states = {"team": "blocked", "daily": "exceeded"}
    ask()
    wait_until_known(pay_i)
    with pytest.raises(LimitExceeded, match=r"^blocked by Pay-i: team$") as caught:
        ask()
    assert isinstance(caught.value, PayiOtelError)
    assert caught.value.limit_ids == ("team",)
    with pytest.raises(LimitExceeded):
        ask(stream=True)
    with pytest.raises(LimitExceeded):
        asyncio.run(ask_async(ask.provider.url))
    ask(extra_headers={"xProxy-Limit-IDs": "daily"})
    with payi_otel.track_context(limit_ids=[]):
        ask()
    assert len(ask.provider.requests) == 3
    assert payi_otel.stats().created == 3


async def ask_async(url: str) -> None:
    """The async client."""
    async with openai.AsyncOpenAI(api_key="k", base_url=url + "/v1", max_retries=0) as client:
        await client.chat.completions.create(**CALL)


def test_a_blocked_limit_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute one call goes through, and by its answer the others do, too, or do not."""
    now_s = [1000.0]
    monkeypatch.setattr(limits_module.time, "monotonic", lambda: now_s[0])
    book = LimitBook()
    book.note({"blocked_limit_ids": ["team"]})
    with pytest.raises(LimitExceeded):
        book.refuse_blocked(["team"])
    now_s[0] += 61
    book.refuse_blocked(["team"])
    with pytest.raises(LimitExceeded):
        book.refuse_blocked(["other", "team"])
    book.note({"limits": {"team": {"state": "ok"}}})
    book.refuse_blocked(["team"])
    assert book.states() == {"team": "ok"}


@pytest.mark.parametrize(
    "result",
    [{}, {"limits": None}, {"limits": {"a": None, "b": {"state": 1}, 3: {"state": "ok"}}}, {"blocked_limit_ids": "abc"}, {"limits": []}],
    ids=repr,
)
def test_an_answer_that_says_nothing_of_limits_says_nothing(result: dict[str, Any]) -> None:
    """Whatever stands there."""
    book = LimitBook()
    book.note(result)
    assert book.states() == {}


def test_a_hook_that_fails_harms_nobody(account: tuple[IngestServer, Account], ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the application's own fault, and logged."""
    monkeypatch.setattr("payi_otel._guard.raise_faults", False)
    ingest, pay_i = account

    def fail(limit_id: str, state: str) -> None:
        raise RuntimeError(limit_id)

    start(ingest, on_limit=fail)
    pay_i.states = {"team": "exceeded"}
    ask()
    assert payi_otel.stats().delivered == 1


@pytest.mark.parametrize("given", [{"on_limit": "print"}, {"on_limit": 3}])
def test_a_hook_is_a_function(given: dict[str, Any]) -> None:
    """Said at the start."""
    with pytest.raises(ConfigurationError, match=r"on_limit: .* is not allowed, must be a function"):
        payi_otel.payi_instrument(config={"offline_instrumentation": {}, **given})


def test_looking_at_what_was_made_is_not_refused(account: tuple[IngestServer, Account], ask: Any) -> None:
    """A background response that was begun can be fetched."""
    ingest, pay_i = account
    start(ingest, enforce_limits=True)
    pay_i.states = {"team": "blocked"}
    ask()
    wait_until_known(pay_i)
    ask.provider.always("/responses/resp_1", Reply({"id": "resp_1", "object": "response", "status": "completed", "output": []}))
    with openai.OpenAI(api_key="k", base_url=ask.provider.url + "/v1", max_retries=0) as client:
        assert client.responses.retrieve("resp_1").id == "resp_1"
        with pytest.raises(LimitExceeded):
            client.responses.create(model="gpt-5", input="Hi.")


def test_an_exporter_asks_for_answers_that_tell_of_limits(account: tuple[IngestServer, Account]) -> None:
    """A bulk's does not: where limits are enforced, an exporter's queue sends packets one by one, too, however many there are."""
    ingest, _ = account
    exporter = payi_otel.PayiSpanExporter(api_key=ingest.api_key, base_url=ingest.url, enforce_limits=True)
    for _number in range(40):
        exporter.queue.submit(Payload(scope=Scope(), category="system.openai", module="openai/3", started_at_ns=1, model="gpt-4o-mini"))
    exporter.shutdown()
    assert {request["path"] for request in ingest.requests} == {"/api/v1/ingest"}
    assert len(ingest.requests) == 40


class TestExporters:
    """A pipeline of the application's, with our exporter and instrumentor in it and no `payi_instrument()`."""

    @pytest.fixture
    def pipeline(self, account: tuple[IngestServer, Account]) -> Iterator[tuple[list[tuple[str, str]], Any]]:
        """What `on_limit` was told, and the exporter."""
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor

        from payi_otel.context import defaults
        from payi_otel.instrumentors.openai import OpenAIInstrumentor

        defaults.remove()  # an exporter before it may have left its own
        told: list[tuple[str, str]] = []
        exporter = payi_otel.PayiSpanExporter(
            api_key=account[0].api_key,
            base_url=account[0].url,
            limit_ids=["team"],
            enforce_limits=True,
            on_limit=lambda *state: told.append(state),
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        instrumentor = OpenAIInstrumentor()
        instrumentor.instrument(tracer_provider=provider)
        yield told, exporter
        instrumentor.uninstrument()
        provider.shutdown()
        defaults.remove()
        limits_module.limits.end()

    def test_the_hook_is_told_and_calls_are_refused(self, account: tuple[IngestServer, Account], ask: Any, pipeline: Any) -> None:
        """By the exporter's own settings."""
        told, exporter = pipeline
        account[1].states = {"team": "blocked"}
        ask()
        assert exporter.force_flush()
        wait_for(lambda: told)
        assert told == [("team", "blocked")]
        with pytest.raises(LimitExceeded):
            ask()

    def test_the_applications_word_counts_more(self, account: tuple[IngestServer, Account], ask: Any, pipeline: Any) -> None:
        """Whichever comes first."""
        later: list[tuple[str, str]] = []
        payi_otel.payi_instrument(
            payi=payi_otel.Payi(api_key=account[0].api_key, base_url=account[0].url),
            config={"limit_ids": ["team"], "on_limit": lambda *state: later.append(state)},
        )
        payi_otel.PayiSpanExporter(api_key=account[0].api_key, base_url=account[0].url, enforce_limits=True).shutdown()
        account[1].states = {"team": "blocked"}
        for _ in range(2):
            ask()
            wait_until_known(account[1])
        wait_for(lambda: later)
        assert (pipeline[0], later) == ([], [("team", "blocked")])

    def test_what_an_exporter_began_ends_with_it(self, account: tuple[IngestServer, Account], ask: Any, pipeline: Any) -> None:
        """Nothing would be learnt of a blocked limit any more; another's word is left alone."""
        account[1].states = {"team": "blocked"}
        ask()
        wait_until_known(account[1])
        payi_otel.PayiSpanExporter(api_key=account[0].api_key, base_url=account[0].url).shutdown()
        with pytest.raises(LimitExceeded):
            ask()
        pipeline[1].shutdown()
        ask()

    def test_an_exporters_end_is_not_the_applications(self, account: tuple[IngestServer, Account], ask: Any, pipeline: Any) -> None:
        """Its word goes on."""
        start(account[0], enforce_limits=True)
        account[1].states = {"team": "blocked"}
        ask()
        wait_until_known(account[1])
        pipeline[1].shutdown()
        with pytest.raises(LimitExceeded):
            ask()


def test_a_hook_is_never_run_in_a_call() -> None:
    """What the proxy says is known within the call; a slow function does not hold it up."""
    book, gate, threads = LimitBook(), threading.Event(), []

    def on_limit(limit_id: str, state: str) -> None:
        threads.append(threading.current_thread())
        gate.wait(20)

    book.begin(on_limit)
    book.note({"limits": {"team": {"state": "blocked"}}}, in_call=True)
    assert book.states() == {"team": "blocked"}
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "payi-limit":
            thread.join(10)
    assert threads[0] is not threading.current_thread()
