"""The `anthropic` SDK for the contract suite: `messages.create`, and the `stream` helper."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest
from provider_server import Reply

from contract import FAILED, Contract, Form, Outcome

anthropic = pytest.importorskip("anthropic")

ASK = {"model": "claude-opus-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Say hello."}]}
STARTED = {"input_tokens": 10, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 20, "output_tokens": 1}
USAGE = {**STARTED, "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 15}, "output_tokens": 7}
BLOCK = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Rome"}}
HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-20260901"}
ANSWER = {**HEAD, "content": [BLOCK], "stop_reason": "tool_use", "stop_sequence": None, "usage": USAGE}
ERROR = {"type": "error", "error": {"type": "authentication_error", "message": "Say hello. is no key"}}
EVENTS = [
    {"type": "message_start", "message": {**HEAD, "content": [], "stop_reason": None, "usage": {**USAGE, **STARTED}}},
    {"type": "content_block_start", "index": 0, "content_block": {**BLOCK, "input": {}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"city": "Rome"}'}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]
UNITS = {
    "text": {"input": 10, "output": 7},
    "text_cache_read": {"input": 30, "output": 0},
    "text_cache_write": {"input": 5, "output": 0},
    "text_cache_write_1h": {"input": 15, "output": 0},
}


def client(url: str) -> AbstractContextManager[Any]:
    """A client that retries nothing."""
    return anthropic.Anthropic(api_key="sk-secret", base_url=url, max_retries=0)


def async_client(url: str) -> Any:
    """Its async twin."""
    return anthropic.AsyncAnthropic(api_key="sk-secret", base_url=url, max_retries=0)


def reply(form: Form, outcome: Outcome) -> Reply:
    """What Anthropic answers."""
    if outcome == "error":
        return Reply(ERROR, status=401, headers={"request-id": "req_1"})
    if form == "stream":
        return Reply(events=EVENTS, done=False, cut_after=3 if outcome == "cut" else None, held=outcome == "left")
    return Reply(ANSWER, cut_body=outcome == "cut")


def call(one: Any, form: Form, outcome: Outcome) -> Any:
    """A message, with `with_raw_response` as its raw form."""
    if form == "raw":
        return one.messages.with_raw_response.create(**ASK).parse().to_dict()
    if form == "plain":
        return one.messages.create(**ASK).to_dict()
    with one.messages.create(**ASK, stream=True) as stream:
        return [next(stream).to_dict()] if outcome == "left" else [event.to_dict() for event in stream]


async def async_call(one: Any, form: Form, outcome: Outcome) -> Any:
    """The same with the async client."""
    if form == "raw":
        parsed = (await one.messages.with_raw_response.create(**ASK)).parse()
        return (await parsed if hasattr(parsed, "__await__") else parsed).to_dict()
    if form == "plain":
        return (await one.messages.create(**ASK)).to_dict()
    async with await one.messages.create(**ASK, stream=True) as stream:
        return [(await anext(stream)).to_dict()] if outcome == "left" else [event.to_dict() async for event in stream]


def helper_call(one: Any, form: Form, outcome: Outcome) -> Any:
    """Through the `stream` helper, whose manager sends when it is entered."""
    with one.messages.stream(**ASK) as stream:
        if outcome == "left":
            return next(iter(stream)).type
        return [event.type for event in stream], stream.get_final_message().to_dict()


async def async_helper_call(one: Any, form: Form, outcome: Outcome) -> Any:
    """The async manager is handed back without an `await`."""
    async with one.messages.stream(**ASK) as stream:
        if outcome == "left":
            return (await anext(aiter(stream))).type
        return [event.type async for event in stream], (await stream.get_final_message()).to_dict()


def packet(form: Form, outcome: Outcome) -> dict[str, Any]:
    """What Pay-i gets of it."""
    body: dict[str, Any] = {
        "category": "system.anthropic",
        "resource": "claude-opus-5",
        "units": UNITS,
        "http_status_code": 200,
        "provider_response_id": "msg_1",
        "provider_request_json": {**ASK, "stream": True} if form == "stream" else ASK,
        "provider_response_function_calls": [{"name": "look_up", "arguments": '{"city": "Rome"}'}],
    }
    failed = {"payi_otel.end_reason": "error", "system.failure": FAILED}
    nothing = {**body, "units": {}}
    del nothing["provider_response_function_calls"]
    if outcome == "error":
        nothing |= {"http_status_code": 401, "provider_response_id": "req_1", "provider_response_json": ERROR}
        return {**nothing, "properties": {"payi_otel.end_reason": "error"}}
    if form != "stream":
        if outcome == "cut":
            return {**nothing, "http_status_code": 299, "provider_response_id": "payi_<uuid4>", "properties": failed}
        body["provider_response_function_calls"] = [{"name": "look_up", "arguments": '{"city":"Rome"}'}]
        return {**body, "provider_response_json": ANSWER}
    body |= {"time_to_first_token_ms": "ms", "time_to_first_completion_token_ms": "ms"}
    if outcome == "ok":
        return {**body, "provider_response_json": EVENTS}
    if outcome == "left":  # the start's counts are exact, but for the output, of which it has a placeholder
        left = {
            key: value
            for key, value in body.items()
            if key not in ("provider_response_function_calls", "time_to_first_completion_token_ms")
        }
        units = {**UNITS, "text": {"input": 10, "output": 1}}
        return {**left, "units": units, "provider_response_json": EVENTS[:1], "properties": {"payi_otel.end_reason": "closed"}}
    units = {**UNITS, "text": {"input": 10, "output": 4}}
    failed["payi_otel.usage_estimated"] = "output"
    return {**body, "units": units, "http_status_code": 299, "provider_response_json": EVENTS[:3], "properties": failed}


CONTRACTS = (
    Contract("messages", client, call, reply, packet, async_client, async_call),
    Contract("helper", client, helper_call, reply, packet, async_client, async_helper_call, forms=("stream",)),
)
