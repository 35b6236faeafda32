"""What the proxy says of a call in its answer: the same `xproxy_result` as of a call that is recorded from here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from provider_server import Reply
from proxied_calls import CALLS, CHAT, COMPLETION, PLAIN, CallCase, new_client
from rich.pretty import pretty_repr

import openai
import payi_otel
from payi_otel import LimitExceeded, XproxyResult, cost_of, get_context, track_context
from payi_otel.instrumentors._proxy import ProxyRoute
from payi_otel.limits import limits
from payi_otel.testing import Answer

Instrument = Callable[..., None]


@pytest.mark.parametrize("case", CALLS, ids=lambda case: case.name)
def test_every_call_has_its_result(case: CallCase, instrument: Instrument, provider: Any, proxy: Any) -> None:
    """Plain, raw, streamed, by helper and by whichever SDK: nobody has to be asked."""
    instrument({"proxy": True})
    provider.script(case.reply, case.reply)
    with track_context(limit_ids=["limit-1"]):
        for _ in range(2):
            found: dict[str, Any] = {}
            case.run(provider.url)
            found.update(get_context())
    # an async call of these cases runs in an event loop, and a context, of its own
    if "async" in case.name or "aio" in case.name:
        return
    result = found["last_result"]
    assert isinstance(result, XproxyResult)
    assert result.to_dict() == proxy.calls[-1].result
    assert (result.cost.total.base, result.limits["limit-1"].state) == (6 / 1000, "ok")
    assert proxy.requests == []


@pytest.fixture
def client(provider: Any) -> Any:
    """An OpenAI client that points at its provider."""
    with new_client("openai", "OpenAI", provider.url, {"api_key": "k", "base_url": "{}/v1"}) as made:
        yield made


def test_a_response_has_the_handle_and_its_dump_the_answers_own(instrument: Instrument, provider: Any, proxy: Any, client: Any) -> None:
    """The proxy's answer has a field more than the provider's; the attribute is ours."""
    instrument({"proxy": True})
    provider.script(Reply(COMPLETION))
    answer = client.chat.completions.create(**CHAT)
    assert isinstance(answer.xproxy_result, XproxyResult)
    assert answer.model_dump()["xproxy_result"] == answer.xproxy_result.to_dict() == proxy.calls[0].result
    assert cost_of(answer).amount == 3 / 1000


async def test_async(instrument: Instrument, provider: Any, proxy: Any) -> None:
    """It is there, and awaiting it is over at once."""
    instrument({"proxy": True, "result_timeout_s": 3600})
    provider.script(Reply(COMPLETION))
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        answer: Any = await client.chat.completions.create(**CHAT)
    assert (await answer.xproxy_result).cost.total.base == 3 / 1000


def test_a_client_that_points_at_the_proxy_has_it_too(provider: Any, proxy: Any) -> None:
    """In proxy mode or not."""
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=proxy.api_key, base_url=proxy.url))
    own = {"xProxy-api-key": proxy.api_key, "xProxy-Provider-BaseUri": provider.url + "/v1"}
    try:
        provider.script(Reply(COMPLETION))
        with openai.OpenAI(api_key="k", base_url=f"{proxy.url}/api/v1/proxy/openai/v1", default_headers=own) as pointed:
            answer: Any = pointed.chat.completions.create(**CHAT)
        assert isinstance(answer.xproxy_result, XproxyResult)
        assert answer.xproxy_result.cost.total.base == 3 / 1000
    finally:
        payi_otel.shutdown(5)


class TestLimits:
    """The proxy's word on limits counts like an ingest's."""

    def test_a_blocked_call_says_why(self, instrument: Instrument, provider: Any, proxy: Any, client: Any) -> None:
        """In Pay-i's own code."""
        proxy.block("limit-1")
        instrument({"proxy": True})
        with track_context(limit_ids=["limit-1"]):
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(**CHAT)
            result = get_context()["last_result"]
        assert (result.code, result.blocked_limit_ids) == ("limit_reached", ["limit-1"])

    def test_states_are_told_and_enforced(self, instrument: Instrument, provider: Any, proxy: Any, client: Any) -> None:
        """The second call is refused here, and nobody is asked."""
        told: list[tuple[str, str]] = []
        proxy.block("limit-1")
        instrument({"proxy": True, "enforce_limits": True, "on_limit": lambda *state: told.append(state)})
        with track_context(limit_ids=["limit-1"]):
            with pytest.raises(openai.BadRequestError):
                client.chat.completions.create(**CHAT)
            with pytest.raises(LimitExceeded):
                client.chat.completions.create(**CHAT)
        assert payi_otel.flush(10)
        assert told == [("limit-1", "blocked")]
        assert len(proxy.calls) == 1


def test_a_stream_that_was_left_is_asked_for_when_it_is_read(instrument: Instrument, provider: Any, proxy: Any, client: Any) -> None:
    """Its last chunk never came."""
    instrument({"proxy": True})
    chunk = {"id": "c-left", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    provider.script(Reply(events=[chunk] * 3))
    stream = client.chat.completions.create(**CHAT, stream=True)
    next(stream)
    stream.close()
    path = "/api/v1/requests/provider/system.openai/c-left/result"
    proxy.decide(lambda request: Answer(200, {"xproxy_result": {"request_id": "r"}}) if request["path"] == path else Answer(404))
    assert stream.xproxy_result.request_id == "r"


def test_a_proxy_that_cannot_be_reached(provider: Any, client: Any) -> None:
    """The error is the SDK's; the result says in a code of the reference that nobody answered."""
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key="k", base_url="http://127.0.0.1:9"), config={"proxy": True})
    try:
        with track_context(), pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(**CHAT)
        result = get_context()["last_result"]
        assert (result.code, result.message, provider.requests) == ("api_connection_error", "Pay-i's proxy gave no answer", [])
        assert payi_otel.stats().created == 0
    finally:
        payi_otel.shutdown(5)


def test_the_applications_pay_i_counts_more_than_an_exporters(instrument: Instrument, provider: Any, proxy: Any, client: Any) -> None:
    """Whichever is made last."""
    instrument({"proxy": True})
    exporter = payi_otel.PayiSpanExporter(api_key="another", base_url="http://127.0.0.1:9")
    provider.script(Reply(COMPLETION))
    client.chat.completions.create(**CHAT)
    assert proxy.calls[0].header("xproxy-api-key") == proxy.api_key
    exporter.shutdown()


def test_no_key_is_shown() -> None:
    """Where a call's way is shown, its key is not, nor by rich in a traceback."""
    route = ProxyRoute("url", None, "secret", {"xProxy-User-ID": "secret"}, None)
    assert "secret" not in repr(route) + pretty_repr(route)


def test_warnings_are_said_once(instrument: Instrument, provider: Any, proxy: Any, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """As with packets."""
    instrument({"proxy": True})
    for _ in range(2):
        provider.script(Reply({**COMPLETION, "xproxy_result": {"warnings": ["the model is not known"]}}))
    own = {"xProxy-api-key": proxy.api_key, "xProxy-Provider-BaseUri": provider.url}
    with (
        caplog.at_level(logging.WARNING, logger="payi.instrument"),
        openai.OpenAI(api_key="k", base_url=f"{provider.url}/api/v1/proxy/openai/v1", default_headers=own) as pointed,
    ):
        for _ in range(2):
            pointed.chat.completions.create(**CHAT)
    assert [record.message for record in caplog.records if "Pay-i warns" in record.message] == ["Pay-i warns: 'the model is not known'"]


def test_a_key_that_was_replaced_is_found(provider: Any, proxy: Any, client: Any) -> None:
    """The refused call fails as it must; the next one has the new key."""
    keys = iter(["old", proxy.api_key])
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=lambda: next(keys), base_url=proxy.url), config={"proxy": True})
    try:
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(**CHAT)
        proxy.problems.clear()
        provider.script(Reply(COMPLETION))
        client.chat.completions.create(**CHAT)
    finally:
        payi_otel.shutdown(5)


@pytest.mark.parametrize("case", [PLAIN[0]], ids=["openai"])
def test_without_a_pay_i_client_calls_go_direct_and_are_recorded(
    case: CallCase, provider: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A scope that asks for the proxy where packets go to a file: said once, and nothing is lost."""
    file = tmp_path / "packets.json"
    payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": str(file)}})
    try:
        provider.script(case.reply, case.reply)
        with caplog.at_level(logging.WARNING, logger="payi.instrument"), track_context(proxy=True):
            case.run(provider.url)
            case.run(provider.url)
    finally:
        payi_otel.shutdown(5)
    assert file.read_text().count('"category"') == 2
    assert len([record for record in caplog.records if "proxy mode needs a Pay-i client" in record.message]) == 1


def test_the_proxy_and_a_file_are_not_both() -> None:
    """One error at start-up."""
    with pytest.raises(ValueError, match="proxy: True is not allowed with offline_instrumentation"):
        payi_otel.payi_instrument(config={"proxy": True, "offline_instrumentation": {}})


@pytest.mark.parametrize("case", [case for case in PLAIN if not case.name.startswith(("async", "aio"))], ids=lambda case: case.name)
def test_a_blocked_limit_is_learned_of_every_sdk(case: CallCase, instrument: Instrument, provider: Any, proxy: Any) -> None:
    """The second call is refused here."""
    proxy.block("limit-1")
    instrument({"proxy": True, "enforce_limits": True})
    with track_context(limit_ids=["limit-1"]):
        with pytest.raises(Exception) as caught:
            case.run(provider.url)
        assert not isinstance(caught.value, LimitExceeded)
        with pytest.raises(LimitExceeded):
            case.run(provider.url)
    assert len(proxy.calls) == 1


def test_a_price_that_no_header_carries_is_escaped(instrument: Instrument, provider: Any, proxy: Any, client: Any) -> None:
    """As every other value; the call is made."""
    mapping = {"model": CHAT["model"], "price_as_resource": "modèle"}
    instrument({"proxy": True, "openai_config": {"model_mappings": [mapping]}})
    provider.script(Reply(COMPLETION))
    client.chat.completions.create(**CHAT)
    assert proxy.calls[0].header("xproxy-priceas-resource") == "mod%C3%A8le"


def test_a_gateways_password_is_not_told(instrument: Instrument, provider: Any, proxy: Any) -> None:
    """It is the provider's."""
    instrument({"proxy": True})
    provider.script(Reply(COMPLETION))
    url = provider.url.replace("http://", "http://user:secret@")
    with openai.OpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as gateway:
        gateway.chat.completions.create(**CHAT)
    assert proxy.calls[0].base_uri == provider.url + "/v1"


def test_a_stream_that_is_collected_within_the_book_of_limits_ends(instrument: Instrument) -> None:
    """The book is told of a proxied stream wherever a collector finds it."""
    limits.begin(None, enforces=True)
    with limits._lock:
        limits.note({"limits": {"team": {"state": "ok"}}}, in_call=True)
    limits.end()
