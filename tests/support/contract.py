"""What a provider's fixture folder says for the contract suite (`tests/contract`): how it is called, and what its packets are.

A folder `tests/contract/providers/<provider>/` holds a `contract.py` whose `CONTRACTS` lists `Contract`s, one for each kind of call.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from provider_server import Reply

Form = Literal["plain", "stream", "raw"]
Outcome = Literal["ok", "error", "cut", "left"]
"""Answered whole; refused with an HTTP status; the connection cut midway; a stream that the caller leaves after its first event."""

FORMS: tuple[Form, ...] = ("plain", "stream", "raw")
OUTCOMES: dict[Form, tuple[Outcome, ...]] = {
    "plain": ("ok", "error", "cut"),
    "raw": ("ok", "error", "cut"),
    "stream": ("ok", "error", "cut", "left"),
}
GIVEN = "<given>"
ESTIMATED = "<estimated>"
FAILED = "<what the call raised>"


@dataclass(frozen=True)
class Contract:
    """One kind of call of one provider."""

    name: str
    client: Callable[[str], AbstractContextManager[Any]]
    """A client of the real SDK that talks to this URL."""
    call: Callable[[Any, Form, Outcome], Any]
    """Makes the call, reads it as the outcome says, and returns what the caller saw of it; raises what the SDK raises."""
    reply: Callable[[Form, Outcome], Reply]
    """What the provider answers."""
    packet: Callable[[Form, Outcome], dict[str, Any]]
    """The body of the packet with logging on, as `readable` gives it."""
    async_client: Callable[[str], Any] | None = None
    """An async context manager that gives an async client; None where the SDK has none."""
    async_call: Callable[[Any, Form, Outcome], Awaitable[Any]] | None = None
    forms: tuple[Form, ...] = FORMS
    without: frozenset[tuple[Form, Outcome]] = frozenset()
    """What this kind of call cannot do."""
    drops: frozenset[str] = frozenset(
        {"provider_request_json", "provider_response_json", "provider_request_reasoning_json", "provider_request_headers"}
    )
    """Keys of the body that are not there with logging off."""
    configuration: Mapping[str, Any] = field(default_factory=dict)

    def cases(self) -> list[tuple[Form, Outcome]]:
        """All it can do."""
        return [(form, outcome) for form in self.forms for outcome in OUTCOMES[form] if (form, outcome) not in self.without]

    def expected(self, form: Form, outcome: Outcome, *, logs: bool) -> dict[str, Any]:
        """The packet's body with logging on or off: without it, no word of prompt, answer, tool arguments or error text."""
        body = self.packet(form, outcome)
        if logs:
            return body
        quiet = {key: value for key, value in body.items() if key not in self.drops}
        if "provider_response_function_calls" in quiet:
            quiet["provider_response_function_calls"] = [{"name": call["name"]} for call in quiet["provider_response_function_calls"]]
        return quiet


def readable(packet: dict[str, Any], raised: str | None) -> dict[str, Any]:
    """A comparable packet's body: its JSON texts parsed, what the call raised and mere estimates named instead of given."""
    body = dict(packet["body"])
    for key in ("provider_request_json", "provider_response_json"):
        said = body.get(key)
        if isinstance(said, str):
            body[key] = json_of(said)
        elif isinstance(said, list):
            body[key] = [json_of(text) for text in said]
    properties = dict(body.pop("properties", {}))
    properties.pop("system.failure.description", None)
    if "system.failure" in properties and properties["system.failure"] == raised:
        properties["system.failure"] = FAILED
    if properties.get("payi_otel.usage_estimated") == "input,output":
        assert body["units"]["text"]["input"] > 0
        body["units"] = ESTIMATED
    if properties:
        body["properties"] = properties
    return body


def json_of(text: str) -> Any:
    """JSON where it is JSON, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
