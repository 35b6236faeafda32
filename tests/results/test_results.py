"""`response.xproxy_result`: on every response, waited for when it is read, and nowhere in what the response says of itself."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import json
import logging
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flavours import CHAT, COMPLETED, MESSAGE, MESSAGED, MODEL
from provider_server import ProviderServer, Reply

import anthropic
import openai
import payi_otel
from payi_otel import XproxyResult, get_context, track_context
from payi_otel.delivery._ticket import Ticket
from payi_otel.delivery.outcome import Fate, Outcome
from payi_otel.instrumentors import _results
from payi_otel.payload import registry
from payi_otel.testing import Answer, IngestServer

Instrument = Callable[..., None]
COST = 9 / 1_000_000
"""What the ingest server says 5 tokens in and 2 out cost."""
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
DOWN = Answer(status=503)


def chunk(content: str | None = None, *, finish: str | None = None, usage: dict[str, int] | None = None) -> dict[str, Any]:
    """One event of a chat's stream."""
    choices = [] if usage else [{"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}]
    made = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": choices}
    return {**made, "usage": usage} if usage else made


STREAMED = Reply(events=[chunk("Hi"), chunk("."), chunk(finish="stop"), chunk(usage=USAGE)])
CLAUDE_STREAMED = Reply(
    events=[
        {"type": "message_start", "message": {**MESSAGED.body, "stop_reason": None, "usage": {"input_tokens": 5, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ],
    done=False,
)


@pytest.fixture
def client(provider: ProviderServer) -> Iterator[openai.OpenAI]:
    """An OpenAI client towards the provider."""
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture
def claude(provider: ProviderServer) -> Iterator[anthropic.Anthropic]:
    """An Anthropic client towards the provider."""
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, provider: ProviderServer) -> Any:
    """One plain call."""
    provider.script(COMPLETED)
    return client.chat.completions.create(**CHAT)


class TestWhatIsRead:
    """The result's own form."""

    def test_a_plain_response_has_it(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer) -> None:
        """By attribute and by key, as the published SDK's and as the proxy's."""
        instrument()
        result = ask(client, provider).xproxy_result
        assert isinstance(result, XproxyResult)
        assert (result.cost.total.base, result["cost"]["total"]["base"]) == (COST, COST)
        assert (result.request_id, result.duplicate_request, result.code, result.limits) == ("request-1", False, None, None)
        assert result.cost.total.overrun_base is None
        assert result.get("nothing", 7) == 7
        assert "cost" in result

    def test_what_pay_i_says_is_what_is_read(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, ingest: IngestServer
    ) -> None:
        """All of it, names that nobody knows yet included."""
        said = {"request_id": "r", "limits": {"daily": {"state": "exceeded"}}, "warnings": ["w"], "news": {"of": 1}, "use_case_step": "s"}
        ingest.script(Answer(200, {"request_id": "r", "xproxy_result": said}))
        instrument()
        result = ask(client, provider).xproxy_result
        assert (result.limits["daily"].state, result.warnings, result.news, result.use_case_step) == ("exceeded", ["w"], {"of": 1}, "s")
        assert result.to_dict() == said
        with pytest.raises(AttributeError, match="'nonsense'"):
            _ = result.nonsense
        with pytest.raises(AttributeError):
            _ = result.limits.nonsense

    def test_it_is_true_and_named_without_being_waited_for(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, ingest: IngestServer
    ) -> None:
        """`if response.xproxy_result:` and a debugger cost nothing."""
        ingest.script(Answer(delay_s=5))
        instrument({"exit_timeout_s": 0.1})
        result = ask(client, provider).xproxy_result
        assert bool(result)
        assert "not read yet" in repr(result)
        assert json.dumps(result) == "{}"
        assert not ingest.packets

    def test_copies_of_it_are_plain(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer) -> None:
        """Whoever reads them need not have this package."""
        instrument()
        result = ask(client, provider).xproxy_result
        plain = result.to_dict()
        for made in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result), json.loads(json.dumps(result)), copy.copy(result)):
            assert (type(made), made) == (dict, plain)
            assert type(made["cost"]) is dict


class TestTheResponseItself:
    """It stays the provider's."""

    def test_its_dump_its_pickle_and_its_equality(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer) -> None:
        """With and without us they are the same, also after the result was read."""
        bare = ask(client, provider)
        instrument()
        recorded = ask(client, provider)
        assert recorded.xproxy_result.cost.total.base == COST
        assert recorded == bare
        assert (recorded.model_dump(), recorded.to_json(), vars(recorded)) == (bare.model_dump(), bare.to_json(), vars(bare))
        assert json.dumps(recorded.model_dump()) == json.dumps(bare.model_dump())
        assert pickle.dumps(recorded) == pickle.dumps(bare)
        assert (recorded.model_extra, recorded.model_fields_set) == (bare.model_extra, bare.model_fields_set)

    def test_a_response_that_was_not_recorded_has_none(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer
    ) -> None:
        """And says so in the SDK's own words."""
        bare = ask(client, provider)
        instrument()
        recorded = ask(client, provider)
        bare.id = "another"
        with pytest.raises(AttributeError, match="'ChatCompletion' object has no attribute 'xproxy_result'"):
            _ = bare.xproxy_result
        assert not hasattr(recorded.choices[0], "xproxy_result")
        assert not hasattr(type(recorded), "xproxy_result")

    def test_a_field_of_that_name_in_an_answer_is_read_where_we_have_none(self, instrument: Instrument, provider: ProviderServer) -> None:
        """A client that is pointed at the proxy, as the published SDK's users have it."""
        instrument()
        body = {**COMPLETED.body, "id": "proxied-by-hand", "xproxy_result": {"request_id": "r-9"}}
        provider.script(Reply(body))
        with openai.OpenAI(api_key="k", base_url=f"{provider.url}/api/v1/proxy/openai/v1") as pointed:
            answer: Any = pointed.chat.completions.create(**CHAT)
        assert answer.xproxy_result["request_id"] == "r-9"

    def test_it_goes_with_its_response(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer) -> None:
        """Nothing is kept of a response that is gone, but by its id for a while."""
        instrument()
        answer = ask(client, provider)
        key = id(answer)
        assert key in _results._by_object
        del answer
        gc.collect()
        assert key not in _results._by_object

    def test_a_copy_is_known_by_its_id(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer) -> None:
        """As what an SDK's helper makes of an answer; but an id that two calls had says nothing."""
        instrument()
        provider.script(Reply({**COMPLETED.body, "id": "only-once"}))
        once = client.chat.completions.create(**CHAT)
        assert once.model_copy().xproxy_result is once.xproxy_result  # type: ignore[attr-defined]
        first, second = ask(client, provider), ask(client, provider)
        assert first.xproxy_result is not second.xproxy_result
        assert not hasattr(first.model_copy(), "xproxy_result")


class TestStreams:
    """The last chunk that the caller is given, and the stream."""

    def test_the_last_chunk_has_it(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, packets: Any) -> None:
        """Where the usage was our wish, its chunk is hidden, and the one before it is the last."""
        instrument()
        provider.script(STREAMED)
        stream = client.chat.completions.create(**CHAT, stream=True)
        chunks: list[Any] = list(stream)
        assert [hasattr(one, "xproxy_result") for one in chunks] == [False, False, True]
        assert chunks[-1].xproxy_result.cost.total.base == COST
        assert chunks[-1].xproxy_result is stream.xproxy_result  # type: ignore[attr-defined]
        assert packets()[0]["body"]["units"] == {"text": {"input": 5, "output": 2}}

    def test_the_last_chunk_is_read_within_the_loop(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, packets: Any
    ) -> None:
        """The call ends by that; its packet is the one it would have been."""
        instrument()
        provider.script(STREAMED)
        stream: Any = client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
        assert [one.xproxy_result.cost.total.base for one in stream if hasattr(one, "xproxy_result")] == [COST]
        body = packets()[0]["body"]
        assert (body["units"], body.get("properties")) == ({"text": {"input": 5, "output": 2}}, None)
        assert len(body["provider_response_json"]) == 4

    def test_a_stream_that_is_not_read_yet_says_so_at_once(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer
    ) -> None:
        """Waiting for it would be waiting for oneself."""
        instrument({"result_timeout_s": 3600})
        provider.script(STREAMED)
        with client.chat.completions.create(**CHAT, stream=True) as stream:
            next(stream)
            result = stream.xproxy_result  # type: ignore[attr-defined]
            assert (result.code, result.cost) == ("unknown_error", None)
            assert "still to be read" in result.message
        assert result.code is None

    async def test_an_async_stream(self, instrument: Instrument, provider: ProviderServer) -> None:
        """The same."""
        instrument()
        provider.script(STREAMED)
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
            chunks = [one async for one in await client.chat.completions.create(**CHAT, stream=True)]
        result = await chunks[-1].xproxy_result  # type: ignore[attr-defined]
        assert result.cost.total.base == COST

    def test_claude_streams_and_their_helper(self, instrument: Instrument, claude: anthropic.Anthropic, provider: ProviderServer) -> None:
        """The helper makes its final message itself."""
        instrument()
        provider.script(CLAUDE_STREAMED)
        events: list[Any] = list(claude.messages.create(**MESSAGE, stream=True))
        assert [event.type for event in events if hasattr(event, "xproxy_result")][-1] == "message_stop"
        assert events[-1].xproxy_result.cost.total.base == COST
        provider.script(CLAUDE_STREAMED)
        provider._script[-1].events[0]["message"]["id"] = "msg_helper"  # type: ignore[index]
        with claude.messages.stream(**MESSAGE) as stream:
            message: Any = stream.get_final_message()
        assert message.xproxy_result.cost.total.base == COST

    def test_raw_responses(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer) -> None:
        """The raw response has it, and what it is parsed into, as LangChain does it."""
        instrument()
        provider.script(Reply({**COMPLETED.body, "id": "raw-1"}))
        raw: Any = client.chat.completions.with_raw_response.create(**CHAT)
        assert raw.xproxy_result.cost.total.base == COST
        assert raw.parse().xproxy_result is raw.xproxy_result

    def test_a_stream_that_is_parsed_of_a_raw_response(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer
    ) -> None:
        """As LangChain reads streams."""
        instrument()
        provider.script(STREAMED)
        stream: Any = client.chat.completions.with_raw_response.create(**CHAT, stream=True).parse()
        chunks: list[Any] = list(stream)
        assert chunks[-1].xproxy_result.cost.total.base == COST
        assert stream.xproxy_result is chunks[-1].xproxy_result


class TestWaiting:
    """Bounded, and never in the way of an event loop."""

    def test_reading_waits_for_the_ingest(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, ingest: IngestServer
    ) -> None:
        """The call itself does not."""
        ingest.script(Answer(delay_s=0.3))
        instrument()
        answer = ask(client, provider)
        assert not ingest.packets
        assert answer.xproxy_result.cost.total.base == COST

    def test_it_waits_no_longer_than_it_is_told(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, ingest: IngestServer, monkeypatch: Any
    ) -> None:
        """Then it says what it knows, and is not waited for again at each of its fields; read again later, it knows more."""
        gate, waits = threading.Event(), []
        wait = Ticket.wait
        monkeypatch.setattr(Ticket, "wait", lambda self, timeout_s: (waits.append(timeout_s), wait(self, timeout_s))[1])
        ingest.decide(lambda request: Answer() if gate.wait(20) else None)
        instrument({"result_timeout_s": 0.5})
        result = ask(client, provider).xproxy_result
        assert result.code == "ingest_retry_enqueued"
        assert result.to_dict() == {"code": "ingest_retry_enqueued", "message": "Pay-i has not answered yet: the packet is on its way"}
        assert [result.cost for _ in range(20)] == [None] * 20
        assert waits[0] <= 0.5
        assert len(waits) < 20
        gate.set()
        assert result.wait(10)
        assert result.cost.total.base == COST
        assert (result.code, "code" in result) == (None, False)

    async def test_awaiting_does_not_block_the_loop(self, instrument: Instrument, provider: ProviderServer, ingest: IngestServer) -> None:
        """Another task goes on meanwhile; many may wait at once."""
        gate = threading.Event()
        ingest.decide(lambda request: Answer() if gate.wait(20) else None)
        instrument()
        provider.script(*[Reply({**COMPLETED.body, "id": f"c{number}"}) for number in range(20)])
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
            answers: list[Any] = await asyncio.gather(*(client.chat.completions.create(**CHAT) for _ in range(20)))
        waiting = [asyncio.ensure_future(_awaited(answer)) for answer in answers]
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert not any(one.done() for one in waiting)
        gate.set()
        assert [result.cost.total.base for result in await asyncio.gather(*waiting)] == [COST] * 20

    async def test_reading_in_a_loop_is_named_once(
        self, instrument: Instrument, provider: ProviderServer, ingest: IngestServer, caplog: pytest.LogCaptureFixture, monkeypatch: Any
    ) -> None:
        """It works, as it does with the published SDK; and it blocks the loop as it does there."""
        monkeypatch.setattr("payi_otel.delivery.result._has_warned", False)
        ingest.script(*[Answer(delay_s=0.1)] * 2)
        instrument()
        provider.script(COMPLETED, COMPLETED)
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
            for _ in range(2):
                answer: Any = await client.chat.completions.create(**CHAT)
                assert answer.xproxy_result.cost.total.base == COST
        assert [record.message for record in caplog.records if "event loop" in record.message] == [
            "xproxy_result is read in an event loop, which it blocks until Pay-i answers: write `await response.xproxy_result`"
        ]

    async def test_a_cancelled_wait_takes_nothing_with_it(
        self, instrument: Instrument, provider: ProviderServer, ingest: IngestServer
    ) -> None:
        """The packet goes on, and another reader gets its result."""
        gate = threading.Event()
        ingest.decide(lambda request: Answer() if gate.wait(20) else None)
        instrument()
        provider.script(COMPLETED)
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
            answer: Any = await client.chat.completions.create(**CHAT)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_awaited(answer), 0.05)
        gate.set()
        assert (await answer.xproxy_result).cost.total.base == COST

    def test_a_hundred_threads_may_wait_for_one(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, ingest: IngestServer
    ) -> None:
        """All of them are woken."""
        gate = threading.Event()
        ingest.decide(lambda request: Answer() if gate.wait(20) else None)
        instrument()
        answer, found = ask(client, provider), []
        threads = [threading.Thread(target=lambda: found.append(answer.xproxy_result.cost.total.base)) for _ in range(100)]
        for thread in threads:
            thread.start()
        gate.set()
        for thread in threads:
            thread.join(10)
        assert found == [COST] * 100


async def _awaited(answer: Any) -> Any:
    return await answer.xproxy_result


class TestWithoutAnAnswer:
    """The reference's local codes."""

    def test_queued_and_delivered_later(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, ingest: IngestServer
    ) -> None:
        """A service that is down is said at once; the same result then has the cost."""
        ingest.script(DOWN)
        instrument({"ingest_retry": {"queue_interval": 0.2}})
        result = ask(client, provider).xproxy_result
        assert (result.code, result.message) == ("ingest_retry_enqueued", "http_503: the packet is sent again later")
        assert payi_otel.flush(10)
        assert result.cost.total.base == COST

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (Answer(reset=True), "api_connection_error"),
            (Answer(200, "<html>a captive portal</html>"), "invalid_json"),
            (Answer(503), "unknown_error"),
            (Answer(401, {"xproxy_error": {"code": "invalid_api_key", "message": "m"}}), "invalid_api_key"),
        ],
    )
    def test_lost(
        self, answer: Answer, code: str, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, ingest: IngestServer
    ) -> None:
        """Without the queue."""
        ingest.script(answer, times=5)
        instrument({"ingest_retry": {"queue_enabled": False}})
        result = ask(client, provider).xproxy_result
        assert result.code == code
        assert result.message.endswith("the packet is lost")

    def test_refused(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, ingest: IngestServer) -> None:
        """Pay-i's own code."""
        ingest.script(Answer(400, {"statusCode": 400, "xproxy_error": {"code": "category_not_found", "message": "m"}}))
        instrument()
        assert ask(client, provider).xproxy_result.code == "category_not_found"

    def test_offline(self, provider: ProviderServer, client: openai.OpenAI, tmp_path: Any) -> None:
        """As the published SDK says it."""
        payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": str(tmp_path / "packets.json")}})
        try:
            result = ask(client, provider).xproxy_result
            assert (result.to_dict(), result.code, result.cost) == ({"request_id": "local_instrumentation"}, None, None)
        finally:
            payi_otel.shutdown(5)

    def test_after_shutdown(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer, ingest: IngestServer) -> None:
        """What could not be sent is lost, and says so."""
        ingest.script(*[DOWN] * 20)
        instrument()
        result = ask(client, provider).xproxy_result
        assert result.code == "ingest_retry_enqueued"
        payi_otel.shutdown(0)
        assert (result.code, result.message) == ("unknown_error", "shutdown: the packet is lost")

    def test_no_pipeline(self, provider: ProviderServer, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
        """An instrumentor that was started by itself, and nobody takes packets; what other tests have not let go of yet might."""
        for takers in ("_takers", "_other_takers"):
            monkeypatch.setattr(registry, takers, [])
        from payi_otel.instrumentors.openai import OpenAIInstrumentor

        instrumentor = OpenAIInstrumentor()
        instrumentor.instrument()
        try:
            assert ask(client, provider).xproxy_result.code == "configuration_error"
        finally:
            instrumentor.uninstrument()

    def test_a_call_without_a_packet(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer) -> None:
        """A response in the background is billed when it is found finished."""
        if "background" not in inspect.signature(client.responses.create).parameters:
            pytest.skip("this version of openai has none")
        instrument()
        queued = {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "queued",
            "background": True,
            "model": MODEL,
            "output": [],
        }
        done = {**queued, "status": "completed", "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}}
        provider.script(Reply(queued), Reply(done))
        begun: Any = client.responses.create(model=MODEL, input="Hi.", background=True)
        assert begun.xproxy_result.code == "unknown_error"
        assert begun.xproxy_result.message.startswith("the call makes no packet of its own")
        found: Any = client.responses.retrieve("resp_1")
        assert found.xproxy_result.cost.total.base == COST


class TestLastResult:
    """`get_context()["last_result"]` is the context's own."""

    def test_it_is_the_last_calls(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer) -> None:
        """And none before the first."""
        instrument()
        with track_context(user_id="ada"):
            assert "last_result" not in get_context()
            answer = ask(client, provider)
            assert get_context()["last_result"] is answer.xproxy_result
            assert get_context()["user_id"] == "ada"
        assert get_context()["last_result"] is answer.xproxy_result

    async def test_tasks_do_not_see_one_another(self, instrument: Instrument, provider: ProviderServer) -> None:
        """Each its own call, whatever the order in which they end."""
        instrument()
        provider.always("/chat/completions", lambda number: Reply({**COMPLETED.body, "id": f"c{number}"}))

        async def call(client: openai.AsyncOpenAI) -> tuple[Any, Any]:
            answer: Any = await client.chat.completions.create(**CHAT)
            await asyncio.sleep(0.01)
            return answer.xproxy_result, get_context()["last_result"]

        async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as client, track_context():
            pairs = await asyncio.gather(*(call(client) for _ in range(20)))
            assert "last_result" not in get_context()
        assert all(own is last for own, last in pairs)
        assert len({id(own) for own, _ in pairs}) == 20

    def test_a_threads_next_request_does_not_see_the_one_before(
        self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer
    ) -> None:
        """A pool's thread keeps its context; the scope tells the requests apart."""
        instrument()
        with track_context(user_id="ada"):
            ask(client, provider)
        with track_context(user_id="bob"):
            assert "last_result" not in get_context()
            answer = ask(client, provider)
            with track_context(use_case_step="inner"):
                assert get_context()["last_result"] is answer.xproxy_result

    def test_a_failed_calls_too(self, instrument: Instrument, client: openai.OpenAI, provider: ProviderServer) -> None:
        """It is a packet as any."""
        instrument()
        provider.script(Reply({"error": {"message": "no"}}, status=400))
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**CHAT)
        assert get_context()["last_result"].request_id == "request-1"


def test_a_fault_of_ours_is_not_the_callers(
    instrument: Instrument,
    client: openai.OpenAI,
    provider: ProviderServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The response comes, without its result."""
    instrument()
    monkeypatch.setattr("payi_otel._guard.raise_faults", False)
    monkeypatch.setattr(_results, "describe", lambda cls: 1 / 0)
    monkeypatch.setattr(_results, "_described", set())
    with caplog.at_level(logging.ERROR):
        provider.script(Reply({**COMPLETED.body, "id": "faulty"}))
        answer = client.chat.completions.create(**CHAT)
    assert answer.choices[0].message.content == "Hi."
    assert any("attaching a result" in record.message for record in caplog.records)


def test_what_is_final_stays_so() -> None:
    """A worker may still be at a packet that was given up at the process's end."""
    ticket = Ticket()
    ticket.settle(Outcome(Fate.RETRY, "http_503"), is_final=False)
    ticket.settle(Outcome(Fate.RETRY, "shutdown"))
    ticket.settle(None)
    assert ticket.result.message == "shutdown: the packet is lost"


def test_a_result_is_left_to_no_collector(instrument: Instrument, client: openai.OpenAI, provider: ProviderServer) -> None:
    """It is gone with who reads it."""
    instrument()
    answer = ask(client, provider)
    seen = weakref.ref(answer.xproxy_result)
    gc.collect()
    assert seen() is None
    assert answer.xproxy_result.cost.total.base == COST


def test_many_may_read_while_it_comes() -> None:
    """Nothing is raised, whoever reads what at that moment."""
    faults: list[BaseException] = []
    for _ in range(200):
        ticket = Ticket()
        ticket.settle(Outcome(Fate.RETRY, "http_503"), is_final=False)
        result = ticket.result

        def read(result: XproxyResult = result) -> None:
            try:
                for _ in range(5):
                    result.wait()
                    result.to_dict()
                    json.dumps(result)
            except BaseException as fault:
                faults.append(fault)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        ticket.settle(Outcome(Fate.DELIVERED, result={"request_id": "r", "cost": {"total": {"base": 1.0}}}))
        for thread in threads:
            thread.join(10)
    assert faults == []
