"""Calls of every SDK that Pay-i's proxy serves, sync and async, in each form in which an answer can be had.

A call gives what its caller sees of the answer as plain values, so that it can be compared with the same call made without us.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import pytest
from aws_frames import EVENT_STREAM, chunk, frame
from provider_server import ProviderServer, Reply
from proxy_answers import RESULT

MODEL, AWS_MODEL = "my-model", "us.amazon.nova-lite-v1:0"
ARN = "arn:aws:bedrock:us-east-1:1:application-inference-profile/p1"
USAGE = (5, 2)
"""The input and output tokens of every answer here."""
DEFAULTS = {"use_case_name": "tests", "use_case_id": "case-1"}
"""What the `instrument` fixture says of every call."""


@dataclass(frozen=True)
class CallCase:
    """One call."""

    name: str
    provider: str
    """What stands for its provider in the proxy's path."""
    call: Callable[[str, Mapping[str, Any]], Any]
    """Makes it towards a URL, with arguments of its own."""
    reply: Reply
    error: str
    """What the SDK raises of a 400."""
    base: str = ""
    """The path of the client's base URL, where the proxy's path takes its place."""
    headers: str = "extra_headers"
    """The argument that takes headers for one call; "" where there is none."""

    def run(self, url: str, **arguments: Any) -> Any:
        """Makes it, and gives what the caller sees."""
        seen = self.call(url, arguments)
        return asyncio.run(seen) if asyncio.iscoroutine(seen) else seen


def requests_of(provider: ProviderServer) -> list[dict[str, Any]]:
    """What a provider was asked for; not where an SDK looked around before its first call."""
    return [request for request in provider.requests if "/.well-known/" not in request["path"]]


def stripped(value: Any) -> Any:
    """A value without the results that the proxy added to it."""
    if isinstance(value, Mapping):
        return {key: stripped(one) for key, one in value.items() if key != RESULT}
    return [stripped(one) for one in value] if isinstance(value, list | tuple) else value


def full_name(kind: type) -> str:
    """Module and name."""
    return f"{kind.__module__}.{kind.__qualname__}"


# ---- The SDKs made by Stainless: `openai` and `anthropic`


def _plain(value: Any) -> Any:
    return [full_name(type(value)), value.to_dict()] if hasattr(value, "to_dict") else value


def _data_of(lines: list[str]) -> list[Any]:
    texts = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def _final(stream: Any) -> Any:
    names = ("get_final_completion", "get_final_response", "get_final_message")
    return next(getattr(stream, name)() for name in names if hasattr(stream, name))


def ask(client: Any, resource: str, form: str, arguments: Mapping[str, Any]) -> Any:
    """A call in one form, read to its end."""
    owner = attrgetter(resource)(client)
    if form == "plain":
        return _plain(owner.create(**arguments))
    if form == "stream":
        with owner.create(**arguments, stream=True) as stream:
            return [type(stream).__name__, [_plain(event) for event in stream]]
    if form == "raw":
        raw = owner.with_raw_response.create(**arguments)
        return [type(raw).__name__, raw.status_code, _plain(raw.parse()), json.loads(raw.http_response.content)]
    if form == "raw-stream":
        return [_plain(event) for event in owner.with_raw_response.create(**arguments, stream=True).parse()]
    if form == "streaming":
        with owner.with_streaming_response.create(**arguments) as response:
            return [type(response).__name__, response.status_code, json.loads(response.read())]
    if form == "streaming-lines":
        with owner.with_streaming_response.create(**arguments, stream=True) as response:
            return _data_of(list(response.iter_lines()))
    assert form == "helper", form
    with owner.stream(**arguments) as stream:
        return [[event.type for event in stream], _plain(_final(stream))]


async def ask_async(client: Any, resource: str, form: str, arguments: Mapping[str, Any]) -> Any:
    """The same, awaited."""
    owner = attrgetter(resource)(client)
    if form == "plain":
        return _plain(await owner.create(**arguments))
    if form == "stream":
        async with await owner.create(**arguments, stream=True) as stream:
            return [type(stream).__name__, [_plain(event) async for event in stream]]
    if form == "raw":
        raw = await owner.with_raw_response.create(**arguments)
        return [type(raw).__name__, raw.status_code, _plain(await _awaited(raw.parse())), json.loads(raw.http_response.content)]
    if form == "raw-stream":
        raw = await owner.with_raw_response.create(**arguments, stream=True)
        return [_plain(event) async for event in await _awaited(raw.parse())]
    if form == "streaming":
        async with owner.with_streaming_response.create(**arguments) as response:
            return [type(response).__name__, response.status_code, json.loads(await response.read())]
    if form == "streaming-lines":
        async with owner.with_streaming_response.create(**arguments, stream=True) as response:
            return _data_of([line async for line in response.iter_lines()])
    assert form == "helper", form
    async with owner.stream(**arguments) as stream:
        return [[event.type async for event in stream], _plain(await _final(stream))]


async def _awaited(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value


def new_client(sdk: str, name: str, url: str, arguments: Mapping[str, Any]) -> Any:
    """A client of a class by this name; `{}` in an argument is the provider's URL."""
    module = pytest.importorskip(sdk)
    if not hasattr(module, name):
        pytest.skip(f"this version of {sdk} has no {name}")
    filled = {key: value.format(url) if isinstance(value, str) else value for key, value in arguments.items()}
    return getattr(module, name)(max_retries=0, **filled)


def stainless(
    sdk: str, name: str, made_with: Mapping[str, Any], resource: str, form: str, asked: Mapping[str, Any]
) -> Callable[[str, Mapping[str, Any]], Any]:
    """A call of one of these SDKs, by a new client that is closed behind it."""

    def call(url: str, arguments: Mapping[str, Any]) -> Any:
        client = new_client(sdk, name, url, made_with)
        if form == "helper" and not hasattr(attrgetter(resource)(client), "stream"):
            pytest.skip(f"this version of {sdk} has no such helper")
        given = {**asked, **arguments}
        if name.startswith("Async"):
            return _closing(client, resource, form, given)
        with client:
            return ask(client, resource, form, given)

    return call


async def _closing(client: Any, resource: str, form: str, arguments: Mapping[str, Any]) -> Any:
    async with client:
        return await ask_async(client, resource, form, arguments)


CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi."}]}
COUNTED = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
COMPLETION = {
    **{"id": "c1", "object": "chat.completion", "created": 1, "model": MODEL, "usage": COUNTED},
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
}
CHUNKS = [
    {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "H"}, "finish_reason": None}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {"content": "i."}, "finish_reason": "stop"}]},
    {**CHUNK, "choices": [], "usage": COUNTED},
]
PART = {"type": "output_text", "text": "Hi.", "annotations": []}
ITEM = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [PART]}
RESPONSE = {
    **{"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": MODEL, "output": [ITEM]},
    **{"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None},
    "usage": {
        **{"input_tokens": 5, "input_tokens_details": {"cached_tokens": 0}, "total_tokens": 7},
        **{"output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}},
    },
}
BEGUN = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
AT = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
RESPONSE_EVENTS = [
    {"sequence_number": number, **event}
    for number, event in enumerate(
        (
            {"type": "response.created", "response": BEGUN},
            {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "content": [], "status": "in_progress"}},
            {"type": "response.content_part.added", **AT, "part": {**PART, "text": ""}},
            {"type": "response.output_text.delta", **AT, "delta": "Hi.", "logprobs": []},
            {"type": "response.output_text.done", **AT, "text": "Hi.", "logprobs": []},
            {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
            {"type": "response.completed", "response": RESPONSE},
        )
    )
]
EMBEDDED = {
    **{"object": "list", "model": MODEL, "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]},
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}
ASKED_USAGE = {"stream_options": {"include_usage": True}}
SEEN_CHUNKS = Reply(events=CHUNKS)
SEEN_EVENTS = Reply(events=RESPONSE_EVENTS, done=False)
OPENAI_CALLS: tuple[tuple[str, str, dict[str, Any], Reply], ...] = (
    ("chat.completions", "plain", CHAT, Reply(COMPLETION)),
    ("chat.completions", "stream", {**CHAT, **ASKED_USAGE}, SEEN_CHUNKS),
    ("chat.completions", "raw", CHAT, Reply(COMPLETION)),
    ("chat.completions", "raw-stream", {**CHAT, **ASKED_USAGE}, SEEN_CHUNKS),
    ("chat.completions", "streaming", CHAT, Reply(COMPLETION, gzipped=True)),
    ("chat.completions", "streaming-lines", {**CHAT, **ASKED_USAGE}, SEEN_CHUNKS),
    ("chat.completions", "helper", {**CHAT, **ASKED_USAGE}, SEEN_CHUNKS),
    ("responses", "plain", {"model": MODEL, "input": "Hi."}, Reply(RESPONSE)),
    ("responses", "stream", {"model": MODEL, "input": "Hi."}, SEEN_EVENTS),
    ("responses", "raw", {"model": MODEL, "input": "Hi."}, Reply(RESPONSE)),
    ("responses", "helper", {"model": MODEL, "input": "Hi."}, SEEN_EVENTS),
    ("embeddings", "plain", {"model": MODEL, "input": "Hi."}, Reply(EMBEDDED)),
)
AZURE = {"api_key": "az-secret", "azure_endpoint": "{}", "api_version": "2024-10-21"}
OPENAI_CLIENTS: tuple[tuple[str, str, dict[str, Any], str, str], ...] = (
    ("openai", "OpenAI", {"api_key": "sk-secret", "base_url": "{}/v1"}, "openai/v1", "/v1"),
    ("azure", "AzureOpenAI", AZURE, "azure.openai", ""),
    ("azure-deployment", "AzureOpenAI", {**AZURE, "azure_deployment": "my-deployment"}, "azure.openai", ""),
    ("databricks", "OpenAI", {"api_key": "dapi", "base_url": "{}/serving-endpoints/"}, "openai/v1", "/serving-endpoints"),
)
FEW_FORMS = frozenset({("chat.completions", "plain"), ("chat.completions", "stream")})

ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}
HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL}
MESSAGE = {
    **{**HEAD, "content": [{"type": "text", "text": "Hi."}], "stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"input_tokens": 5, "output_tokens": 2},
}
MESSAGE_EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None, "usage": {"input_tokens": 5, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
ON_AWS = {"aws_access_key": "AKID", "aws_secret_key": "secret", "aws_region": "us-east-1", "base_url": "{}"}
ANTHROPIC_CLIENTS: tuple[tuple[str, str, dict[str, Any], str, str], ...] = (
    ("anthropic", "Anthropic", {"api_key": "sk-secret", "base_url": "{}"}, "anthropic", ""),
    ("foundry", "AnthropicFoundry", {"api_key": "az-secret", "base_url": "{}/anthropic/"}, "azure.anthropic", "/anthropic"),
    ("anthropic-bedrock", "AnthropicBedrock", ON_AWS, "aws.bedrock", ""),
)
ANTHROPIC_FORMS = ("plain", "stream", "raw", "raw-stream", "streaming", "streaming-lines", "helper")


def _message_reply(client: str, form: str) -> Reply:
    if form not in ("stream", "raw-stream", "streaming-lines", "helper"):
        return Reply(MESSAGE)
    if client == "anthropic-bedrock":
        return Reply(events=[chunk(event) for event in MESSAGE_EVENTS], headers=EVENT_STREAM)
    return Reply(events=MESSAGE_EVENTS, done=False)


def _openai_calls() -> Iterator[CallCase]:
    for short, name, made_with, provider, base in OPENAI_CLIENTS:
        for resource, form, asked, reply in OPENAI_CALLS:
            if short in ("openai", "azure") or (resource, form) in FEW_FORMS:
                for prefix in ("", "Async"):
                    call = stainless("openai", prefix + name, made_with, resource, form, asked)
                    title = f"{prefix.lower() or 'sync'}-{short}-{resource}-{form}"
                    yield CallCase(title, provider, call, reply, "openai.BadRequestError", base)


def _anthropic_calls() -> Iterator[CallCase]:
    for short, name, made_with, provider, base in ANTHROPIC_CLIENTS:
        for form in ANTHROPIC_FORMS:
            if short == "anthropic-bedrock" and form in ("streaming-lines", "raw-stream"):
                continue  # its lines are frames
            for resource in ("messages", "beta.messages") if form == "plain" else ("messages",):
                for prefix in ("", "Async"):
                    asked = {**ASK, "model": ARN} if short == "anthropic-bedrock" and resource == "beta.messages" else ASK
                    call = stainless("anthropic", prefix + name, made_with, resource, form, asked)
                    title = f"{prefix.lower() or 'sync'}-{short}-{resource}-{form}"
                    yield CallCase(title, provider, call, _message_reply(short, form), "anthropic.BadRequestError", base)


# ---- Bedrock's runtime

MESSAGES = [{"role": "user", "content": [{"text": "Hi."}]}]
CONVERSED = {
    **{"output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}}, "stopReason": "end_turn"},
    **{"usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7}, "metrics": {"latencyMs": 1}},
}
CONVERSED_EVENTS = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi."}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": CONVERSED["usage"], "metrics": {"latencyMs": 1}}),
]
TITAN = json.dumps({"inputText": "Hi."})
INVOKED = {"inputTextTokenCount": 5, "results": [{"tokenCount": 2, "outputText": "Hi.", "completionReason": "FINISH"}]}
METRICS = {"inputTokenCount": 5, "outputTokenCount": 2, "invocationLatency": 2, "firstByteLatency": 1}
INVOKED_CHUNKS = [{"outputText": "Hi.", "index": 0}, {"completionReason": "FINISH", "amazon-bedrock-invocationMetrics": METRICS}]
REQUEST_ID = {"x-amzn-requestid": "req-1"}
BEDROCK_CALLS: tuple[tuple[str, dict[str, Any], Reply], ...] = (
    ("converse", {"modelId": AWS_MODEL, "messages": MESSAGES}, Reply(CONVERSED, headers=REQUEST_ID)),
    ("converse", {"modelId": ARN, "messages": MESSAGES}, Reply(CONVERSED, headers=REQUEST_ID)),
    (
        "converse_stream",
        {"modelId": AWS_MODEL, "messages": MESSAGES},
        Reply(events=[frame(value, kind=kind) for kind, value in CONVERSED_EVENTS], headers=EVENT_STREAM),
    ),
    ("invoke_model", {"modelId": "amazon.titan-text-express-v1", "body": TITAN}, Reply(INVOKED, headers=REQUEST_ID)),
    (
        "invoke_model_with_response_stream",
        {"modelId": "amazon.titan-text-express-v1", "body": TITAN},
        Reply(events=[chunk(value) for value in INVOKED_CHUNKS], headers=EVENT_STREAM),
    ),
)
AWS_KEYS = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


@contextmanager
def boto3_client(url: str | None, retries: int = 0) -> Any:
    """A client of boto3; None: AWS's own host."""
    boto3 = pytest.importorskip("boto3")
    config = importlib.import_module("botocore.config").Config(retries={"max_attempts": retries})
    client = boto3.client("bedrock-runtime", endpoint_url=url, config=config, **AWS_KEYS)
    yield client
    client.close()


@asynccontextmanager
async def aio_client(url: str | None) -> Any:
    """A client of aiobotocore."""
    session = pytest.importorskip("aiobotocore.session")
    config = importlib.import_module("aiobotocore.config").AioConfig(retries={"max_attempts": 0})
    async with session.get_session().create_client("bedrock-runtime", endpoint_url=url, config=config, **AWS_KEYS) as client:
        yield client


def _event(event: Mapping[str, Any]) -> Any:
    """One event of a stream, a chunk's bytes read."""
    return json.loads(event["chunk"]["bytes"]) if "chunk" in event else event


def bedrock(operation: str, asked: Mapping[str, Any]) -> Callable[[str, Mapping[str, Any]], Any]:
    """A call with boto3."""

    def call(url: str, arguments: Mapping[str, Any]) -> Any:
        with boto3_client(url) as client:
            result = getattr(client, operation)(**asked, **arguments)
            rest = {key: value for key, value in result.items() if key not in ("ResponseMetadata", "stream", "body")}
            if "stream" in operation:
                stream = result.get("stream") or result["body"]
                return [type(stream).__name__, [_event(event) for event in stream], rest]
            return [rest, json.loads(result["body"].read()) if "body" in result else None]

    return call


def aio_bedrock(operation: str, asked: Mapping[str, Any]) -> Callable[[str, Mapping[str, Any]], Any]:
    """A call with aiobotocore."""

    async def call(url: str, arguments: Mapping[str, Any]) -> Any:
        async with aio_client(url) as client:
            result = await getattr(client, operation)(**asked, **arguments)
            rest = {key: value for key, value in result.items() if key not in ("ResponseMetadata", "stream", "body")}
            if "stream" in operation:
                stream = result.get("stream") or result["body"]
                return [type(stream).__name__, [_event(event) async for event in stream], rest]
            return [rest, json.loads(await result["body"].read()) if "body" in result else None]

    return call


# ---- Databricks


def databricks_api(url: str, host: str | None = None) -> Any:
    """The serving endpoints of a workspace, which is moved to another host once the SDK has looked around at the first."""
    sdk = pytest.importorskip("databricks.sdk")
    config = sdk.config.Config(host=url, token="dapi", auth_type="pat", retry_timeout_seconds=1)
    if host is not None:
        config.host = host
    return sdk.service.serving.ServingEndpointsAPI(sdk.core.ApiClient(config))


def query(url: str, arguments: Mapping[str, Any]) -> Any:
    """A query with `databricks-sdk`."""
    api = databricks_api(url)
    serving = importlib.import_module("databricks.sdk.service.serving")
    return api.query("my-endpoint", messages=[serving.ChatMessage(role=serving.ChatMessageRole.USER, content="Hi.")], **arguments).as_dict()


# ----

CALLS: tuple[CallCase, ...] = (
    *_openai_calls(),
    *_anthropic_calls(),
    *(
        CallCase(
            f"{short}-{operation}{'-arn' if asked['modelId'] == ARN else ''}",
            "aws.bedrock",
            made(operation, asked),
            reply,
            "botocore.exceptions.ClientError",
            headers="",
        )
        for short, made in (("boto3", bedrock), ("aiobotocore", aio_bedrock))
        for operation, asked, reply in BEDROCK_CALLS
    ),
    CallCase(
        "databricks-sdk-query", "openai/v1", query, Reply(COMPLETION), "databricks.sdk.errors.platform.BadRequest", "/serving-endpoints", ""
    ),
)
BY_NAME = {call.name: call for call in CALLS}
PLAIN = tuple(
    BY_NAME[name]
    for name in (
        "sync-openai-chat.completions-plain",
        "async-openai-chat.completions-plain",
        "sync-azure-chat.completions-plain",
        "sync-anthropic-messages-plain",
        "async-anthropic-messages-plain",
        "sync-foundry-messages-plain",
        "sync-anthropic-bedrock-messages-plain",
        "boto3-converse",
        "aiobotocore-converse",
        "databricks-sdk-query",
    )
)
"""One of each kind of client, for rules that hold for all of them alike."""
