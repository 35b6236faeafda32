"""Google's interactions: each request is one whole packet, plain, streamed and raw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import ProviderServer, Reply

genai = pytest.importorskip("google.genai")
pytest.importorskip("google.genai._gaos.interactions", reason="this version makes interactions in another way")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*[Ee]xperimental")

USAGE = {
    "total_input_tokens": 40,
    "total_output_tokens": 7,
    "total_thought_tokens": 3,
    "total_cached_tokens": 30,
    "total_tool_use_tokens": 5,
    "total_tokens": 55,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 36}, {"modality": "image", "tokens": 4}],
    "grounding_tool_count": [{"type": "google_search", "count": 2}],
}
UNITS = {
    "text": {"input": 11, "output": 7},
    "vision": {"input": 4, "output": 0},
    "text_cache_read": {"input": 30, "output": 0},
    "reasoning": {"input": 0, "output": 3},
    "web_search_request": {"input": 0, "output": 2},
}
ASK: dict[str, Any] = {"model": "gemini-3-flash", "input": "Look up Rome."}
CALL = {"type": "function_call", "id": "c1", "name": "look_up", "arguments": {"city": "Rome"}}
HEAD = {"id": "i1", "status": "completed", "model": "gemini-3-flash", "created": "2026-11-26T00:00:00Z", "object": "interaction"}
ANSWER = {**HEAD, "steps": [CALL], "usage": USAGE}
EXPECTED = {
    "category": "system.google.vertex",
    "resource": "google.gemini-3-flash",
    "units": UNITS,
    "http_status_code": 200,
    "provider_response_id": "i1",
    "provider_response_function_calls": [{"name": "look_up", "arguments": '{"city":"Rome"}'}],
}
EVENTS = [
    {"event_type": "interaction.created", "interaction": {**HEAD, "status": "in_progress"}},
    {"event_type": "step.start", "index": 0, "step": {**CALL, "arguments": {}}},
    {"event_type": "step.delta", "index": 0, "delta": {"type": "arguments_delta", "arguments": '{"city":"Rome"}'}},
    {"event_type": "step.stop", "index": 0},
    {"event_type": "interaction.completed", "interaction": {**HEAD, "usage": USAGE}},
]


@pytest.fixture
def client(provider: ProviderServer) -> Iterator[Any]:
    """A client of the Gemini API."""
    with genai.Client(api_key="secret", http_options={"base_url": provider.url}) as one:
        yield one


def body(packet: dict[str, Any]) -> dict[str, Any]:
    """The packet's body with its JSON read."""
    assert packet["scope"] == SCOPE
    parsed = {name: json.loads(value) for name, value in packet["body"].items() if name.endswith("_json") and isinstance(value, str)}
    return {**packet["body"], **parsed}


@pytest.mark.parametrize("raw", [None, "with_raw_response", "with_streaming_response"])
def test_an_interaction_is_one_packet(instrument: Any, client: Any, provider: ProviderServer, packets: Any, raw: str | None) -> None:
    """Parsed at once, later, or as it is read."""
    instrument()
    provider.script(Reply(ANSWER))
    if raw is None:
        assert client.interactions.create(**ASK).id == "i1"
    elif raw == "with_raw_response":
        assert client.interactions.with_raw_response.create(**ASK).parse().id == "i1"
    else:
        with client.interactions.with_streaming_response.create(**ASK) as response:
            assert json.loads(b"".join(response.iter_bytes()))["id"] == "i1"
    assert body(packets()[0]) == {**EXPECTED, "provider_request_json": ASK, "provider_response_json": ANSWER}


def test_a_streamed_interaction_is_billed_by_its_last_event(instrument: Any, client: Any, provider: ProviderServer, packets: Any) -> None:
    """Of which the tool call is put together."""
    instrument()
    provider.script(Reply(events=EVENTS))
    assert [event.event_type for event in client.interactions.create(**ASK, stream=True)] == [event["event_type"] for event in EVENTS]
    packet = body(packets()[0])
    assert [json.loads(text) for text in packet.pop("provider_response_json")] == EVENTS
    times = {"time_to_first_token_ms": "ms", "time_to_first_completion_token_ms": "ms"}
    assert packet == {**EXPECTED, **times, "provider_request_json": {**ASK, "stream": True}}


@pytest.mark.parametrize("left", [False, True])
def test_a_total_beside_any_event_is_billed(instrument: Any, client: Any, provider: ProviderServer, packets: Any, left: bool) -> None:
    """Of a stream that is left, and where the last event has none of its own."""
    instrument()
    counted = {**EVENTS[2], "metadata": {"total_usage": USAGE}}
    provider.script(Reply(events=[*EVENTS[:2], counted, EVENTS[3], {**EVENTS[4], "interaction": HEAD}], held=left))
    with client.interactions.create(**ASK, stream=True) as stream:
        for event in stream:
            if left and event.event_type == "step.stop":
                break
    packet = body(packets()[0])
    assert packet["units"] == UNITS
    assert "payi_otel.usage_estimated" not in packet.get("properties", {})


async def test_an_async_stream_that_is_left_is_estimated(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """It ends when it is closed."""
    instrument()
    provider.script(Reply(events=EVENTS, held=True))
    async with (
        genai.Client(api_key="secret", http_options={"base_url": provider.url}).aio as client,
        await client.interactions.create(**ASK, stream=True) as stream,
    ):
        async for event in stream:
            if event.event_type == "step.delta":
                break
    packet = body(packets()[0])
    assert packet["properties"] == {"payi_otel.end_reason": "closed", "payi_otel.usage_estimated": "input,output"}
    assert packet["units"]["text"]["input"] > 0


def test_a_refused_interaction_carries_its_status(instrument: Any, client: Any, provider: ProviderServer, packets: Any) -> None:
    """And what the provider said."""
    error = {"error": {"code": "permission_denied", "message": "no"}}
    provider.script(Reply(error, status=403), Reply(error, status=403))
    with pytest.raises(Exception) as bare:
        client.interactions.create(**ASK)
    instrument()
    with pytest.raises(type(bare.value)):
        client.interactions.create(**ASK)
    packet = body(packets()[0])
    assert (packet["http_status_code"], packet["units"], packet["provider_response_json"]) == (403, {}, error)


def test_a_background_interaction_is_named_as_not_recorded(
    instrument: Any, client: Any, provider: ProviderServer, packets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Its usage comes with a later fetch. Said at most once a minute."""
    instrument()
    provider.script(*[Reply({**HEAD, "status": "in_progress"})] * 3)
    for _ in range(3):
        client.interactions.create(**ASK, background=True)
    packets(0)
    assert caplog.text.count("i1 is made in the background") == 1, "not once for each of a thousand"
