"""Completions as they were before chat: plain, streamed and left early, each one whole packet."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import Reply

pytest.importorskip("openai")

ASK = {"model": "gpt-3.5-turbo-instruct", "prompt": "Say hello."}
USAGE = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "gpt-3.5-turbo-instruct:20230824"}


def choice(text: str, finish: str | None = None) -> dict[str, Any]:
    """One choice."""
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}


WHOLE = {**HEAD, "choices": [choice("Hello.", "stop")], "usage": USAGE}
EVENTS = [{**HEAD, "choices": [choice("Hel")]}, {**HEAD, "choices": [choice("lo.", "stop")]}]
LAST = {**HEAD, "choices": [], "usage": USAGE}


def body(packet: dict[str, Any]) -> dict[str, Any]:
    """The packet's body with its JSON read."""
    assert packet["scope"] == SCOPE
    said = packet["body"].pop("provider_response_json")
    answers = [json.loads(text) for text in said] if isinstance(said, list) else json.loads(said)
    request = json.loads(packet["body"].pop("provider_request_json"))
    return {**packet["body"], "request": request, "answers": answers}


EXPECTED = {
    "category": "system.openai",
    "resource": "gpt-3.5-turbo-instruct",
    "units": {"text": {"input": 4, "output": 2}},
    "http_status_code": 200,
    "provider_response_id": "cmpl-1",
}


async def test_a_completion_is_one_packet(instrument: Any, client: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """Sync and async alike."""
    instrument()
    provider.script(Reply(WHOLE), Reply({**WHOLE, "id": "cmpl-2"}))
    assert client.completions.create(**ASK).to_dict() == WHOLE
    await async_client.completions.create(**ASK)
    first, second = sorted(packets(2), key=lambda packet: str(packet["body"]["provider_response_id"]))
    assert body(first) == {**EXPECTED, "request": ASK, "answers": WHOLE}
    assert second["body"]["provider_response_id"] == "cmpl-2"


def test_a_stream_is_asked_for_its_usage_and_hides_it(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """As chat's."""
    instrument()
    provider.script(Reply(events=[*EVENTS, LAST]))
    assert [event.to_dict() for event in client.completions.create(**ASK, stream=True)] == EVENTS
    assert provider.requests[0]["body"]["stream_options"] == {"include_usage": True}
    (packet,) = packets()
    times = {"time_to_first_token_ms": "ms", "time_to_first_completion_token_ms": "ms"}
    assert body(packet) == {**EXPECTED, **times, "request": {**ASK, "stream": True}, "answers": [*EVENTS, LAST]}


def test_a_stream_that_is_left_is_estimated(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """By the texts that went and came."""
    instrument()
    provider.script(Reply(events=[*EVENTS, LAST], held=True))
    with client.completions.create(**ASK, stream=True) as stream:
        next(stream)
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 3, "output": 1}}
    assert packet["body"]["properties"] == {"payi_otel.end_reason": "closed", "payi_otel.usage_estimated": "input,output"}
