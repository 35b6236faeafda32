"""The `openai` SDK for the contract suite: chat completions and the Responses API."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest
from provider_server import Reply

from contract import ESTIMATED, FAILED, Contract, Form, Outcome

openai = pytest.importorskip("openai")

CHAT = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Say hello."}]}
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17, "prompt_tokens_details": {"cached_tokens": 4}}
ASKED = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4.1-mini-2025-04-14",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": USAGE,
}
ERROR = {"error": {"message": "Say hello. is no good", "type": "invalid_request_error", "code": None, "param": None}}


def chunk(delta: dict[str, Any] | None, finish: str | None = None, usage: Any = None) -> dict[str, Any]:
    """One event of a chat stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4.1-mini-2025-04-14", "choices": choices}
    return {**head, "usage": usage} if usage else head


CHUNKS = [chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo."}), chunk({}, "stop"), chunk(None, usage=USAGE)]


def client(url: str) -> AbstractContextManager[Any]:
    """A client that retries nothing."""
    return openai.OpenAI(api_key="sk-secret", base_url=url + "/v1", max_retries=0)


def async_client(url: str) -> Any:
    """Its async twin."""
    return openai.AsyncOpenAI(api_key="sk-secret", base_url=url + "/v1", max_retries=0)


def reply(form: Form, outcome: Outcome) -> Reply:
    """What OpenAI answers."""
    if outcome == "error":
        return Reply(ERROR, status=401)
    if form == "stream":
        return Reply(events=CHUNKS, cut_after=2 if outcome == "cut" else None, held=outcome == "left")
    return Reply(ANSWER, cut_body=outcome == "cut")


def call(one: Any, form: Form, outcome: Outcome) -> Any:
    """A chat completion, with `with_raw_response` as its raw form."""
    if form == "raw":
        return one.chat.completions.with_raw_response.create(**CHAT).parse().to_dict()
    if form == "plain":
        return one.chat.completions.create(**CHAT).to_dict()
    with one.chat.completions.create(**ASKED) as stream:
        return [next(stream).to_dict()] if outcome == "left" else [event.to_dict() for event in stream]


async def async_call(one: Any, form: Form, outcome: Outcome) -> Any:
    """The same with the async client."""
    if form == "raw":
        return (await one.chat.completions.with_raw_response.create(**CHAT)).parse().to_dict()
    if form == "plain":
        return (await one.chat.completions.create(**CHAT)).to_dict()
    async with await one.chat.completions.create(**ASKED) as stream:
        return [(await anext(stream)).to_dict()] if outcome == "left" else [event.to_dict() async for event in stream]


def packet(form: Form, outcome: Outcome) -> dict[str, Any]:
    """What Pay-i gets of it."""
    exact = {"text": {"input": 8, "output": 5}, "text_cache_read": {"input": 4, "output": 0}}
    body: dict[str, Any] = {
        "category": "system.openai",
        "resource": "gpt-4.1-mini",
        "units": exact,
        "http_status_code": 200,
        "provider_response_id": "chatcmpl-1",
        "provider_request_json": CHAT,
    }
    if form == "stream":
        body["provider_request_json"] = ASKED
    if outcome == "error":
        return {**body, "units": {}, "http_status_code": 401, "provider_response_id": "req_1", "provider_response_json": ERROR} | {
            "properties": {"payi_otel.end_reason": "error"}
        }
    if form != "stream":
        if outcome == "cut":
            failed = {"payi_otel.end_reason": "error", "system.failure": FAILED}
            return {**body, "units": {}, "http_status_code": 299, "provider_response_id": "payi_<uuid4>", "properties": failed}
        return {**body, "provider_response_json": ANSWER}
    body |= {"time_to_first_token_ms": "ms", "time_to_first_completion_token_ms": "ms"}
    if outcome == "ok":
        return {**body, "provider_response_json": CHUNKS}
    estimated = {"payi_otel.usage_estimated": "input,output"}
    if outcome == "left":
        return {**body, "units": ESTIMATED, "provider_response_json": CHUNKS[:1]} | {
            "properties": {"payi_otel.end_reason": "closed", **estimated}
        }
    failed = {"payi_otel.end_reason": "error", "system.failure": FAILED, **estimated}
    return {**body, "units": ESTIMATED, "http_status_code": 299, "provider_response_json": CHUNKS[:2], "properties": failed}


CONTRACTS = (Contract("chat", client, call, reply, packet, async_client, async_call),)
