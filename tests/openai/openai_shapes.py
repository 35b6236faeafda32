"""Answers as OpenAI sends them, and packets made comparable: what the tests of this folder share."""

from __future__ import annotations

from typing import Any

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


def completion(**changes: Any) -> dict[str, Any]:
    """A chat completion as OpenAI sends it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}],
        "usage": USAGE,
        **changes,
    }


def chunk(content: str | None = None, **changes: Any) -> dict[str, Any]:
    """A chunk of a chat stream; `delta`, `finish` and `usage` change it."""
    delta = changes.pop("delta", {"content": content} if content is not None else {})
    finish, usage, choices = changes.pop("finish", None), changes.pop("usage", None), changes.pop("choices", None)
    if choices is None:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini-2024-07-18"}
    return {**base, "choices": choices, **({"usage": usage} if usage is not None else {}), **changes}


def chat_events(*, usage: dict[str, Any] | None = USAGE, words: tuple[str, ...] = ("Hello", " there", ".")) -> list[dict[str, Any]]:
    """A whole chat stream, with its usage chunk unless `usage` is None."""
    events = [chunk(delta={"role": "assistant", "content": ""}), *(chunk(word) for word in words), chunk(finish="stop")]
    return [*events, chunk(choices=[], usage=usage)] if usage is not None else events


def comparable(packet: dict[str, Any]) -> dict[str, Any]:
    """A packet with what differs from run to run checked and taken out, and its headers beside its body."""
    body = dict(packet["body"])
    assert isinstance(body.pop("event_timestamp"), str)
    assert 0 <= body.pop("end_to_end_latency_ms") < 60_000
    for name in ("time_to_first_token_ms", "time_to_first_completion_token_ms"):
        if name in body:
            assert 0 <= body[name] < 60_000
            body[name] = "ms"
    headers = {item["name"].lower(): item["value"] for item in body.pop("provider_response_headers", [])}
    assert not {"set-cookie", "authorization"} & headers.keys()
    properties = dict(body.get("properties") or {})
    if properties.pop("system.stack_trace", None) is not None and not properties:
        body.pop("properties")
    elif properties:
        body["properties"] = properties
    if body["provider_response_id"].startswith("payi_"):
        body["provider_response_id"] = "payi_<uuid4>"
    body.pop("provider_uri", None)
    scope = {name: value for name, value in packet["headers"].items() if name.startswith("xproxy-") and name != "xproxy-api-key"}
    scope.pop("xproxy-instrumented-module", None)
    return {"body": body, "scope": scope}


SCOPE = {"xproxy-usecase-name": "tests", "xproxy-usecase-id": "case-1"}
"""What the default configuration of `instrument` puts into every packet's headers."""
