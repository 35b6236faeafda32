"""The `mistralai` SDK for the contract suite: chat, plain and streamed, and embeddings."""

from __future__ import annotations

from typing import Any

import pytest
from provider_server import Reply

from contract import ESTIMATED, FAILED, Contract, Form, Outcome

try:
    from mistralai.client import Mistral
except ImportError:  # before version 2; where it is not installed at all, there is nothing to run
    Mistral = pytest.importorskip("mistralai").Mistral

ASK = {"model": "mistral-large-latest", "messages": [{"role": "user", "content": "Say hello."}]}
USAGE = {"prompt_tokens": 40, "completion_tokens": 7, "total_tokens": 47, "prompt_tokens_details": {"cached_tokens": 30}}
UNITS = {"text": {"input": 10, "output": 7}, "text_cache_read": {"input": 30, "output": 0}}
CALL = {"id": "abc123def", "function": {"name": "look_up", "arguments": '{"city": "Rome"}'}, "index": 0}
HEAD = {"id": "cmpl-1", "object": "chat.completion", "model": "mistral-large-2512", "created": 1}
MESSAGE = {"role": "assistant", "content": "", "tool_calls": [CALL], "prefix": False}
ANSWER = {**HEAD, "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "tool_calls"}], "usage": USAGE}
ERROR = {"object": "error", "message": "Say hello. is no key", "type": "invalid_request_error", "code": "1500"}


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    """One event."""
    choices = [{"index": 0, "delta": delta, "finish_reason": reason}]
    return {**HEAD, "object": "chat.completion.chunk", "choices": choices, **more}


EVENTS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hel"}),
    chunk({"content": "", "tool_calls": [CALL]}, "tool_calls", usage=USAGE),
]
VECTORS = {
    "id": "emb-1",
    "object": "list",
    "model": "mistral-embed",
    "data": [{"object": "embedding", "embedding": [0.5], "index": 0}],
    "usage": {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4},
}


def client(url: str) -> Any:
    """A client of the real SDK, which retries nothing by itself."""
    return Mistral(api_key="secret", server_url=url)


def reply(form: Form, outcome: Outcome) -> Reply:
    """What Mistral answers."""
    if outcome == "error":
        return Reply(ERROR, status=401)
    if form == "stream":
        return Reply(events=EVENTS, cut_after=2 if outcome == "cut" else None, held=outcome == "left")
    return Reply(ANSWER, cut_body=outcome == "cut")


def dumped(value: Any) -> Any:
    """The SDK's object as JSON."""
    return value.model_dump(mode="json", by_alias=True)


def call(one: Any, form: Form, outcome: Outcome) -> Any:
    """A completion."""
    if form == "plain":
        return dumped(one.chat.complete(**ASK))
    with one.chat.stream(**ASK) as stream:
        return [dumped(next(iter(stream)))] if outcome == "left" else [dumped(event) for event in stream]


async def async_call(one: Any, form: Form, outcome: Outcome) -> Any:
    """The same, awaited."""
    if form == "plain":
        return dumped(await one.chat.complete_async(**ASK))
    async with await one.chat.stream_async(**ASK) as stream:
        return [dumped(await anext(aiter(stream)))] if outcome == "left" else [dumped(event) async for event in stream]


def embed(one: Any, form: Form, outcome: Outcome) -> Any:
    """An embedding."""
    return dumped(one.embeddings.create(model="mistral-embed", inputs="Say hello."))


async def embed_async(one: Any, form: Form, outcome: Outcome) -> Any:
    """The same, awaited."""
    return dumped(await one.embeddings.create_async(model="mistral-embed", inputs="Say hello."))


def sent(body: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    """What the SDK makes of a request: it adds what is false by default."""
    return body | {"stream": stream}


def packet(form: Form, outcome: Outcome) -> dict[str, Any]:
    """What Pay-i gets of it."""
    body: dict[str, Any] = {
        "category": "system.mistral",
        "resource": "mistral-large-latest",
        "units": UNITS,
        "http_status_code": 200,
        "provider_response_id": "cmpl-1",
        "provider_request_json": sent(ASK, stream=form == "stream"),
        "provider_response_function_calls": [{"name": "look_up", "arguments": '{"city": "Rome"}'}],
    }
    failed = {"payi_otel.end_reason": "error", "system.failure": FAILED}
    nothing = {key: value for key, value in body.items() if key != "provider_response_function_calls"}
    unanswered = {**nothing, "units": {}, "provider_response_id": "payi_<uuid4>"}
    if outcome == "error":
        refused = {"http_status_code": 401, "provider_response_json": ERROR, "properties": {"payi_otel.end_reason": "error"}}
        return {**unanswered, **refused}
    if form != "stream":
        if outcome == "cut":
            return {**unanswered, "http_status_code": 299, "properties": failed}
        return {**body, "provider_response_json": ANSWER}
    timed = {"time_to_first_token_ms": "ms", "time_to_first_completion_token_ms": "ms"}
    if outcome == "ok":
        return {**body, **timed, "provider_response_json": EVENTS}
    estimated = {"payi_otel.usage_estimated": "input,output"}
    if outcome == "left":
        left = {**nothing, "units": ESTIMATED, "time_to_first_token_ms": "ms", "provider_response_json": EVENTS[:1]}
        return {**left, "properties": {"payi_otel.end_reason": "closed", **estimated}}
    cut = {**nothing, **timed, "units": ESTIMATED, "http_status_code": 299, "provider_response_json": EVENTS[:2]}
    return {**cut, "properties": {**failed, **estimated}}


def embeddings_reply(form: Form, outcome: Outcome) -> Reply:
    """What Mistral answers to embeddings."""
    return Reply(ERROR, status=401) if outcome == "error" else Reply(VECTORS, cut_body=outcome == "cut")


def embeddings_packet(form: Form, outcome: Outcome) -> dict[str, Any]:
    """What Pay-i gets of them."""
    body = packet("plain", outcome)
    body |= {"resource": "mistral-embed", "provider_request_json": {"model": "mistral-embed", "input": "Say hello."}}
    if outcome == "ok":
        del body["provider_response_function_calls"]
        body |= {"units": {"text": {"input": 4, "output": 0}}, "provider_response_id": "emb-1", "provider_response_json": VECTORS}
    return body


CONTRACTS = (
    Contract("chat", client, call, reply, packet, client, async_call, forms=("plain", "stream")),
    Contract("embeddings", client, embed, embeddings_reply, embeddings_packet, client, embed_async, forms=("plain",)),
)
