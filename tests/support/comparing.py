"""Packets made comparable: what the tests of every provider share."""

from __future__ import annotations

from typing import Any


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
