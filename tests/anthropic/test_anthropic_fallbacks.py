"""Fallbacks of Claude's: each model's tokens are billed once, at that model's price, whoever asked the second one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from provider_server import ProviderServer, Reply

anthropic = pytest.importorskip("anthropic")

ASKED, SERVED = "claude-fable-5", "claude-opus-4-8"
ASK: dict[str, Any] = {"model": ASKED, "max_tokens": 9, "messages": [{"role": "user", "content": "Say hello."}]}
HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "stop_sequence": None}
DECLINED = {"type": "message", "model": ASKED, "input_tokens": 10, "output_tokens": 3}
ANSWERED = {"type": "fallback_message", "model": SERVED, "input_tokens": 20, "output_tokens": 7}
TOTALS = {"input_tokens": 20, "output_tokens": 7}
SAID = [{"type": "text", "text": "Hello."}]
BILLED = {"msg_1": (SERVED, {"text": (20, 7)}), "msg_1.message.1": (ASKED, {"text": (10, 3)})}


def message(**more: Any) -> dict[str, Any]:
    """A whole message, of the fallback's."""
    return {**HEAD, "model": SERVED, "content": SAID, "stop_reason": "end_turn", "usage": TOTALS, **more}


def billed(packets: list[dict[str, Any]]) -> dict[str, tuple[str, dict[str, tuple[int, int]]]]:
    """Model and units by the id of a packet."""
    bodies = [packet["body"] for packet in packets]
    pairs = [{name: (unit["input"], unit["output"]) for name, unit in body["units"].items()} for body in bodies]
    return {body["provider_response_id"]: (body["resource"], units) for body, units in zip(bodies, pairs, strict=True)}


@pytest.fixture
def client(provider: ProviderServer) -> Iterator[Any]:
    """A client that retries nothing."""
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as one:
        yield one


@pytest.mark.parametrize("raw", [False, True])
def test_the_model_that_answered_is_priced(raw: bool, client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Not the one that was asked and declined, whose part is a packet of its own."""
    instrument()
    provider.script(Reply(message(usage={**TOTALS, "iterations": [DECLINED, ANSWERED]})))
    messages = client.beta.messages.with_raw_response if raw else client.beta.messages
    messages.create(**ASK, extra_body={"fallbacks": [{"model": SERVED}]})
    assert billed(packets(2)) == BILLED


@pytest.mark.parametrize("started", [ASKED, SERVED])
def test_a_stream_that_changes_its_model_is_billed_once(started: str, client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Its start names the model that declines in the middle of it: the totals are the other's."""
    instrument()
    begun = {**HEAD, "model": started, "content": [], "stop_reason": None, "usage": {"input_tokens": 10, "output_tokens": 1}}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    events = [
        {"type": "message_start", "message": begun},
        {"type": "message_delta", "delta": ended, "usage": {**TOTALS, "iterations": [DECLINED, ANSWERED]}},
        {"type": "message_stop"},
    ]
    provider.script(Reply(events=events, done=False))
    list(client.beta.messages.create(**ASK, stream=True, extra_body={"fallbacks": [{"model": SERVED}]}))
    assert billed(packets(2)) == BILLED


def test_where_all_declined_the_totals_are_the_last_ones(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """No iteration is a fallback's then: all of them are messages."""
    instrument()
    iterations = [DECLINED, {**ANSWERED, "type": "message"}]
    provider.script(Reply(message(model=ASKED, stop_reason="refusal", usage={**TOTALS, "iterations": iterations})))
    client.beta.messages.create(**ASK, extra_body={"fallbacks": [{"model": SERVED}]})
    assert billed(packets(2)) == BILLED


def test_turns_of_one_model_are_one_packet(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Of the provider's own tools; the name that was asked for stays the price's, for it may be mapped."""
    instrument()
    turns = [{**DECLINED, "model": f"{ASKED}-20260901"}, {**DECLINED, "model": f"{ASKED}-20260901"}]
    provider.script(Reply(message(model=f"{ASKED}-20260901", usage={**TOTALS, "iterations": turns})))
    client.beta.messages.create(**ASK)
    assert billed(packets(1)) == {"msg_1": (ASKED, {"text": (20, 7)})}


REFUSED = {"type": "refusal", "category": "cyber", "fallback_credit_token": "t", "fallback_has_prefill_claim": False}
FIRST = message(model=ASKED, content=[], stop_reason="refusal", stop_details=REFUSED, usage={"input_tokens": 10, "output_tokens": 3})
BY_THE_SDK = {"msg_2": (SERVED, {"text": (20, 7)}), "msg_2.request.1": (ASKED, {"text": (10, 3)})}


@pytest.fixture
def middleware() -> Any:
    """The SDK's own, which asks another model where one refuses."""
    return pytest.importorskip("anthropic.lib.middleware").BetaRefusalFallbackMiddleware([{"model": SERVED}])


@pytest.mark.parametrize("form", ["parsed", "raw", "lazy"])
def test_what_a_middleware_was_answered_before_is_billed(form: str, middleware: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """It makes two requests in one call, and shows the usage of the last."""
    instrument()
    provider.script(Reply(FIRST), Reply(message(id="msg_2")))
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0, middleware=[middleware]) as client:
        messages = client.beta.messages
        if form == "parsed":
            messages.create(**ASK)
        elif form == "raw":
            messages.with_raw_response.create(**ASK)
        else:
            with messages.with_streaming_response.create(**ASK) as response:
                response.read()
    assert billed(packets(2)) == BY_THE_SDK


async def test_an_async_middleware_is_billed_likewise(middleware: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """And what is refused is billed where the other model fails."""
    instrument()
    provider.script(Reply(FIRST), Reply(message(id="msg_2")), Reply(FIRST), Reply({"error": {"type": "api_error"}}, status=500))
    async with anthropic.AsyncAnthropic(api_key="k", base_url=provider.url, max_retries=0, middleware=[middleware]) as client:
        await client.beta.messages.create(**ASK)
        with pytest.raises(anthropic.InternalServerError):
            await client.beta.messages.create(**ASK)
    first, second, failed, part = packets(4)
    assert billed([first, second]) == BY_THE_SDK
    assert {packet["body"]["http_status_code"]: packet["body"]["units"] for packet in (failed, part)} == {
        500: {},
        200: {"text": {"input": 10, "output": 3}},
    }


def test_a_response_that_a_middleware_has_read_is_billed(middleware: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Nothing of it is left to be seen when the caller reads it."""
    instrument()
    provider.script(Reply(message()))
    with (
        anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0, middleware=[middleware]) as client,
        client.beta.messages.with_streaming_response.create(**ASK) as response,
    ):
        assert response.parse().usage.input_tokens == 20
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 20, "output": 7}}
    assert packet["body"]["provider_response_id"] == "msg_1"
