"""boto3 and aiobotocore for the contract suite: Converse and InvokeModel, each plain and streamed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aws_frames import EVENT_STREAM, chunk, frame
from provider_server import Reply

from contract import ESTIMATED, FAILED, Contract, Form, Outcome

boto3 = pytest.importorskip("boto3")

MODEL = "us.amazon.nova-lite-v1:0"
ASK = {"messages": [{"role": "user", "content": [{"text": "Say hello."}]}]}
USE = {"toolUseId": "t1", "name": "look_up", "input": {"city": "Rome"}}
USAGE = {"inputTokens": 10, "outputTokens": 7, "totalTokens": 67, "cacheReadInputTokens": 30, "cacheWriteInputTokens": 20}
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"toolUse": USE}]}},
    "stopReason": "tool_use",
    "usage": USAGE,
    "metrics": {"latencyMs": 1},
}
ERROR = {"message": "Say hello. is no key"}
HEADERS = {"x-amzn-requestid": "req-1"}
CONVERSED: list[tuple[str, Any]] = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t1", "name": "look_up"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": '{"city":"Rome"}'}}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}),
]
UNITS = {
    "text": {"input": 10, "output": 7},
    "text_cache_read": {"input": 30, "output": 0},
    "text_cache_write": {"input": 20, "output": 0},
}
CACHE = ("cacheReadInputTokens", "cacheWriteInputTokens")


def knows_cache() -> bool:
    """Whether this botocore's model of Converse has counts of the cache: older ones drop them, and cannot ask for it (`cachePoint`)."""
    import botocore.session

    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    return CACHE[0] in service.shape_for("TokenUsage").members


PARSED = USAGE if knows_cache() else {key: count for key, count in USAGE.items() if key not in CACHE}
"""What the SDK keeps of the usage of an answer; a stream's is read as it was sent."""
TITAN = {"inputText": "Say hello."}
TITAN_ANSWER = {"inputTextTokenCount": 4, "results": [{"tokenCount": 6, "outputText": "Hello.", "completionReason": "FINISH"}]}
METRICS = {"inputTokenCount": 4, "outputTokenCount": 6, "invocationLatency": 2, "firstByteLatency": 1}
CHUNKS = [
    {"outputText": "Hel", "index": 0},
    {"outputText": "lo."},
    {"completionReason": "FINISH", "amazon-bedrock-invocationMetrics": METRICS},
]
TITAN_MODEL = "amazon.titan-text-express-v1"


def settings(url: str) -> dict[str, Any]:
    """What makes a client that retries nothing."""
    from botocore.config import Config

    config = Config(retries={"max_attempts": 0})
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    return {"endpoint_url": url, "config": config, **keys}


@contextmanager
def client(url: str) -> Iterator[Any]:
    """A client of boto3."""
    one = boto3.client("bedrock-runtime", **settings(url))
    yield one
    one.close()


@asynccontextmanager
async def async_client(url: str) -> AsyncIterator[Any]:
    """A client of aiobotocore."""
    session = pytest.importorskip("aiobotocore.session")
    from aiobotocore.config import AioConfig

    config = AioConfig(retries={"max_attempts": 0})
    async with session.get_session().create_client("bedrock-runtime", **{**settings(url), "config": config}) as one:
        yield one


def reply(form: Form, outcome: Outcome) -> Reply:
    """What Converse answers."""
    if outcome == "error":
        return Reply(ERROR, status=403, headers={**HEADERS, "x-amzn-errortype": "AccessDeniedException"})
    if form == "stream":
        frames = [frame(value, kind=kind) for kind, value in CONVERSED]
        return Reply(events=frames, headers=EVENT_STREAM, cut_after=3 if outcome == "cut" else None, held=outcome == "left")
    return Reply(ANSWER, cut_body=outcome == "cut", headers=HEADERS)


def without_metadata(result: Any) -> Any:
    """A result without what differs from call to call."""
    return {key: value for key, value in result.items() if key not in ("ResponseMetadata", "xproxy_result")}


def call(one: Any, form: Form, outcome: Outcome) -> Any:
    """Converse."""
    if form == "plain":
        return without_metadata(one.converse(modelId=MODEL, **ASK))
    stream = one.converse_stream(modelId=MODEL, **ASK)["stream"]
    return taken(stream, outcome)


def taken(stream: Any, outcome: Outcome) -> Any:
    """The events, or the first one of a stream that is then closed."""
    if outcome != "left":
        return type(stream).__name__, list(stream)
    event = next(iter(stream))
    stream.close()
    return event


async def async_call(one: Any, form: Form, outcome: Outcome) -> Any:
    """The same awaited."""
    if form == "plain":
        return without_metadata(await one.converse(modelId=MODEL, **ASK))
    return await async_taken((await one.converse_stream(modelId=MODEL, **ASK))["stream"], outcome)


async def async_taken(stream: Any, outcome: Outcome) -> Any:
    """As `taken`."""
    if outcome != "left":
        try:
            return type(stream).__name__, [event async for event in stream]
        finally:
            stream.close()  # else aiohttp may say of a connection that was cut that nobody closed it
    events = stream.__aiter__()
    event = await anext(events)
    await events.aclose()
    stream.close()
    return event


def packet(form: Form, outcome: Outcome) -> dict[str, Any]:
    """What Pay-i gets of it."""
    events = [{kind: value} for kind, value in CONVERSED]
    tools = [{"name": "look_up", "arguments": '{"city":"Rome"}'}]
    whole = body(MODEL, ASK, UNITS, "req-1")
    if form != "stream":
        whole["units"] = UNITS if knows_cache() else {"text": UNITS["text"]}
        return ended(whole, outcome, {**ANSWER, "usage": PARSED}, tools)
    return streamed(whole, outcome, events, tools)


def body(model: str, ask: Any, units: Any, request_id: str) -> dict[str, Any]:
    """What every packet of a call has."""
    return {
        "category": "system.aws.bedrock",
        "resource": model,
        "units": units,
        "http_status_code": 200,
        "provider_response_id": request_id,
        "provider_request_json": ask,
    }


def ended(whole: dict[str, Any], outcome: Outcome, answer: Any, tools: Any) -> dict[str, Any]:
    """The packet of a plain call."""
    if outcome == "error":
        refused = {"message": ERROR["message"], "Error": {"Message": ERROR["message"], "Code": "AccessDeniedException"}}
        whole |= {"units": {}, "http_status_code": 403, "provider_response_json": refused}
        return {**whole, "properties": {"payi_otel.end_reason": "error"}}
    if outcome == "cut":
        failed = {"payi_otel.end_reason": "error", "system.failure": FAILED}
        return {**whole, "units": {}, "http_status_code": 299, "provider_response_id": "payi_<uuid4>", "properties": failed}
    return {**whole, "provider_response_json": answer, **({"provider_response_function_calls": tools} if tools else {})}


def streamed(whole: dict[str, Any], outcome: Outcome, events: list[Any], tools: Any) -> dict[str, Any]:
    """The packet of a stream."""
    if outcome == "error":
        return ended(whole, outcome, None, None)
    called = {"provider_response_function_calls": tools} if tools else {}
    whole["time_to_first_token_ms"] = "ms"
    if outcome == "left":
        closed = {"payi_otel.end_reason": "closed", "payi_otel.usage_estimated": "input,output"}
        if not tools:
            whole["time_to_first_completion_token_ms"] = "ms"
        return {**whole, "units": ESTIMATED, "provider_response_json": events[:1], "properties": closed}
    whole["time_to_first_completion_token_ms"] = "ms"
    if outcome == "ok":
        return {**whole, "provider_response_json": events, **called}
    failed = {"payi_otel.end_reason": "error", "system.failure": FAILED, "payi_otel.usage_estimated": "input,output"}
    cut_at = 3 if tools else 2
    return {**whole, "units": ESTIMATED, "http_status_code": 299, "provider_response_json": events[:cut_at], "properties": failed, **called}


def invoke_reply(form: Form, outcome: Outcome) -> Reply:
    """What InvokeModel answers."""
    if outcome == "error":
        return reply(form, outcome)
    if form == "stream":
        frames = [chunk(value) for value in CHUNKS]
        return Reply(events=frames, headers=EVENT_STREAM, cut_after=2 if outcome == "cut" else None, held=outcome == "left")
    return Reply(TITAN_ANSWER, headers=HEADERS)


def invoke(one: Any, form: Form, outcome: Outcome) -> Any:
    """InvokeModel; its raw form reads the body in parts."""
    asked = {"modelId": TITAN_MODEL, "body": json.dumps(TITAN)}
    if form == "stream":
        return taken(one.invoke_model_with_response_stream(**asked)["body"], outcome)
    read = one.invoke_model(**asked)["body"]
    return type(read).__name__, (b"".join(read.iter_chunks(7)) if form == "raw" else read.read())


async def async_invoke(one: Any, form: Form, outcome: Outcome) -> Any:
    """The same awaited."""
    asked = {"modelId": TITAN_MODEL, "body": json.dumps(TITAN)}
    if form == "stream":
        return await async_taken((await one.invoke_model_with_response_stream(**asked))["body"], outcome)
    read = (await one.invoke_model(**asked))["body"]
    return type(read).__name__, (b"".join([piece async for piece in read.iter_chunks(7)]) if form == "raw" else await read.read())


def invoke_packet(form: Form, outcome: Outcome) -> dict[str, Any]:
    """What Pay-i gets of it."""
    whole = body(TITAN_MODEL, TITAN, {"text": {"input": 4, "output": 6}}, "req-1")
    return streamed(whole, outcome, CHUNKS, None) if form == "stream" else ended(whole, outcome, TITAN_ANSWER, None)


CONTRACTS = (
    Contract("converse", client, call, reply, packet, async_client, async_call, forms=("plain", "stream")),
    Contract(
        "invoke",
        client,
        invoke,
        invoke_reply,
        invoke_packet,
        async_client,
        async_invoke,
        without=frozenset({("plain", "cut"), ("raw", "cut")}),
    ),
)
