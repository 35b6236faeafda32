"""The whole packet a chat stream makes, as the stream tests of this folder expect it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from comparing import SCOPE

MESSAGES = [{"role": "user", "content": "Say hello."}]
REQUEST = {"messages": MESSAGES, "model": "gpt-4o-mini"}
STREAMED = {**REQUEST, "stream": True}
EXACT = {"text": {"input": 12, "output": 5}}
ESTIMATED = "estimated"


def readable(packet: dict[str, Any]) -> dict[str, Any]:
    """A comparable packet with its JSON texts parsed, and estimates, which are no promise, named instead of given."""
    body = dict(packet["body"])
    body["provider_request_json"] = json.loads(body["provider_request_json"])
    said = body.get("provider_response_json")
    if isinstance(said, list):
        body["provider_response_json"] = [json.loads(text) for text in said]
    properties = body.get("properties") or {}
    properties.pop("system.failure.description", None)
    if properties.get("payi_otel.usage_estimated"):
        assert body["units"]["text"]["input"] > 0
        assert (body["units"]["text"]["output"] > 0) == ("time_to_first_completion_token_ms" in body)
        body["units"] = ESTIMATED
    return {"body": body, "scope": packet["scope"]}


def stream_packet(
    events: Sequence[Any],
    *,
    reason: str | None = None,
    units: Any = EXACT,
    status: int = 200,
    failure: str | None = None,
    scope: dict[str, str] | None = None,
    request: dict[str, Any] = STREAMED,
    response_id: str = "chatcmpl-1",
) -> dict[str, Any]:
    """The packet of a stream of which these events have come."""
    properties = {
        "payi_otel.end_reason": reason,
        "payi_otel.usage_estimated": "input,output" if units == ESTIMATED else None,
        "system.failure": failure,
    }
    has_output = any(choice["delta"].get("content") for event in events for choice in event.get("choices") or ())
    optional = {
        "time_to_first_token_ms": "ms" if events else None,
        "time_to_first_completion_token_ms": "ms" if has_output else None,
        "provider_response_json": list(events) or None,
        "properties": {name: value for name, value in properties.items() if value is not None} or None,
    }
    return {
        "body": {
            "category": "system.openai",
            "resource": "gpt-4o-mini",
            "units": units,
            "http_status_code": status,
            "provider_response_id": response_id if events else "payi_<uuid4>",
            "provider_request_json": request,
            **{name: value for name, value in optional.items() if value is not None},
        },
        "scope": SCOPE if scope is None else scope,
    }
