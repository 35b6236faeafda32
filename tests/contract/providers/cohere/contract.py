"""The `cohere` SDK for the contract suite: chat of both versions of the API, embed and rerank."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from typing import Any

import pytest
from provider_server import Reply

from contract import ESTIMATED, FAILED, Contract, Form, Outcome

cohere = pytest.importorskip("cohere")

ASK = {"model": "command-a-03-2025", "messages": [{"role": "user", "content": "Say hello."}]}
ASK_V1 = {"model": "command-r-08-2024", "message": "Say hello."}
EMBED = {"model": "embed-v4.0", "texts": ["Say hello."], "input_type": "search_query", "embedding_types": ["float"]}
RERANK = {"model": "rerank-v3.5", "query": "hello", "documents": ["Hello.", "Bye."]}
BILLED = {"billed_units": {"input_tokens": 5, "output_tokens": 3}, "tokens": {"input_tokens": 71, "output_tokens": 8}}
UNITS = {"text": {"input": 5, "output": 3}}
CALL = {"id": "look_up_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city":"Rome"}'}}
ANSWER = {
    "id": "c1",
    "finish_reason": "TOOL_CALL",
    "message": {"role": "assistant", "tool_plan": "I look.", "tool_calls": [CALL]},
    "usage": BILLED,
}
ERROR = {"id": "e1", "message": "Say hello. is no key"}
EVENTS = [
    {"id": "c1", "type": "message-start", "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}}},
    {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I look."}}},
    {
        "type": "tool-call-start",
        "index": 0,
        "delta": {"message": {"tool_calls": {**CALL, "function": {"name": "look_up", "arguments": ""}}}},
    },
    {"type": "tool-call-delta", "index": 0, "delta": {"message": {"tool_calls": {"function": {"arguments": '{"city":"Rome"}'}}}}},
    {"type": "tool-call-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": BILLED}},
]
CALL_V1 = {"name": "look_up", "parameters": {"city": "Rome"}}
ANSWER_V1 = {
    "response_id": "c1",
    "generation_id": "g1",
    "text": "",
    "finish_reason": "COMPLETE",
    "tool_calls": [CALL_V1],
    "meta": {"api_version": {"version": "1"}, **BILLED},
}
EVENTS_V1 = [
    {"is_finished": False, "event_type": "stream-start", "generation_id": "g1"},
    {"is_finished": False, "event_type": "text-generation", "text": "Hel"},
    {"is_finished": False, "event_type": "tool-calls-generation", "text": "lo.", "tool_calls": [CALL_V1]},
    {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": ANSWER_V1},
]
VECTORS = {
    "id": "v1",
    "embeddings": {"float": [[0.5, 0.25]]},
    "texts": ["Say hello."],
    "response_type": "embeddings_by_type",
    "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 4}},
}
RANKED = {
    "id": "r1",
    "results": [{"index": 0, "relevance_score": 0.9}, {"index": 1, "relevance_score": 0.1}],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
}


@contextmanager
def client(url: str, *, name: str = "ClientV2") -> Iterator[Any]:
    """A client of the real SDK."""
    with getattr(cohere, name)(api_key="secret", base_url=url) as one:
        yield one


@asynccontextmanager
async def async_client(url: str, *, name: str = "AsyncClientV2") -> AsyncIterator[Any]:
    """Its async twin."""
    async with getattr(cohere, name)(api_key="secret", base_url=url) as one:
        yield one


def lines(events: list[dict[str, Any]]) -> list[bytes]:
    """A stream as version 1 of the API sends it."""
    return [json.dumps(event).encode() + b"\n" for event in events]


def reply(form: Form, outcome: Outcome, *, answer: Any = ANSWER, events: Any = EVENTS) -> Reply:
    """What Cohere answers."""
    if outcome == "error":
        return Reply(ERROR, status=401)
    if form == "stream":
        return Reply(events=events, done=False, cut_after=2 if outcome == "cut" else None, held=outcome == "left")
    return Reply(answer, cut_body=outcome == "cut")


def dumped(value: Any) -> Any:
    """The SDK's object as JSON."""
    return value.model_dump(mode="json", by_alias=True)


def call(one: Any, form: Form, outcome: Outcome, *, asked: dict[str, Any] = ASK) -> Any:
    """A chat."""
    if form == "plain":
        return dumped(one.chat(**asked))
    if form == "raw":
        return dumped(one.with_raw_response.chat(**asked).data)
    with closing(one.chat_stream(**asked)) as stream:
        return [dumped(next(stream))] if outcome == "left" else [dumped(event) for event in stream]


async def async_call(one: Any, form: Form, outcome: Outcome, *, asked: dict[str, Any] = ASK) -> Any:
    """The same, awaited."""
    if form == "plain":
        return dumped(await one.chat(**asked))
    if form == "raw":
        return dumped((await one.with_raw_response.chat(**asked)).data)
    stream = one.chat_stream(**asked)
    try:
        return [dumped(await anext(stream))] if outcome == "left" else [dumped(event) async for event in stream]
    finally:
        await stream.aclose()


def packet(form: Form, outcome: Outcome, *, asked: dict[str, Any] = ASK, answer: Any = ANSWER, events: Any = EVENTS) -> dict[str, Any]:
    """What Pay-i gets of it: what is billed, and not what the model saw."""
    body: dict[str, Any] = {
        "category": "system.cohere",
        "resource": asked["model"],
        "units": UNITS,
        "http_status_code": 200,
        "provider_response_id": "c1",
        "provider_request_json": {**asked, "stream": form == "stream"},
        "provider_response_function_calls": [{"name": "look_up", "arguments": '{"city":"Rome"}'}],
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
        return {**body, "provider_response_json": answer}
    timed = {"time_to_first_token_ms": "ms", "time_to_first_completion_token_ms": "ms"}
    if outcome == "ok":
        return {**body, **timed, "provider_response_json": events}
    begun = {**nothing, "units": ESTIMATED, "provider_response_id": "c1" if events is EVENTS else "g1"}
    estimated = {"payi_otel.usage_estimated": "input,output"}
    if outcome == "left":
        properties = {"payi_otel.end_reason": "closed", **estimated}
        return {**begun, "time_to_first_token_ms": "ms", "provider_response_json": events[:1], "properties": properties}
    cut = {**begun, **timed, "http_status_code": 299, "provider_response_json": events[:2]}
    return {**cut, "properties": {**failed, **estimated}}


def single(method: str, asked: dict[str, Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A call that is not streamed, plain and raw, and the same awaited."""

    def ask(one: Any, form: Form, outcome: Outcome) -> Any:
        if form == "raw":
            return dumped(getattr(one.with_raw_response, method)(**asked).data)
        return dumped(getattr(one, method)(**asked))

    async def ask_async(one: Any, form: Form, outcome: Outcome) -> Any:
        if form == "raw":
            return dumped((await getattr(one.with_raw_response, method)(**asked)).data)
        return dumped(await getattr(one, method)(**asked))

    return ask, ask_async


def single_packet(form: Form, outcome: Outcome, *, asked: dict[str, Any], answer: dict[str, Any], units: Any) -> dict[str, Any]:
    """What Pay-i gets of it."""
    body = packet("plain", outcome, asked=asked, answer=answer)
    body["provider_request_json"] = asked
    body.pop("provider_response_function_calls", None)
    return body | {"units": units, "provider_response_id": answer["id"]} if outcome == "ok" else body


V1 = {"asked": ASK_V1, "answer": ANSWER_V1, "events": EVENTS_V1}
CONTRACTS = (
    Contract("chat", client, call, reply, packet, async_client, async_call),
    Contract(
        "chat-v1",
        partial(client, name="Client"),
        partial(call, asked=ASK_V1),
        partial(reply, answer=ANSWER_V1, events=lines(EVENTS_V1)),
        partial(packet, **V1),
        partial(async_client, name="AsyncClient"),
        partial(async_call, asked=ASK_V1),
    ),
    *(
        Contract(
            method,
            client,
            ask,
            partial(reply, answer=answer),
            partial(single_packet, asked=asked, answer=answer, units=units),
            async_client,
            ask_async,
            forms=("plain", "raw"),
        )
        for method, asked, answer, units in (
            ("embed", EMBED, VECTORS, {"text": {"input": 4, "output": 0}}),
            ("rerank", RERANK, RANKED, {"search_unit": {"input": 1, "output": 0}}),
        )
        for ask, ask_async in (single(method, asked),)
    ),
)
