"""The `google-genai` SDK for the contract suite: `generate_content`, plain and streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import pytest
from provider_server import Reply

from contract import ESTIMATED, FAILED, Contract, Form, Outcome

genai = pytest.importorskip("google.genai")

ASK = "Say hello."
SENT = {"contents": [{"parts": [{"text": ASK}], "role": "user"}]}
USAGE = {
    "promptTokenCount": 40,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 3,
    "cachedContentTokenCount": 30,
    "totalTokenCount": 50,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 36}, {"modality": "IMAGE", "tokenCount": 4}],
}
UNITS = {
    "text": {"input": 6, "output": 7},
    "vision": {"input": 4, "output": 0},
    "text_cache_read": {"input": 30, "output": 0},
    "reasoning": {"input": 0, "output": 3},
}


def said(*parts: dict[str, Any], finish: str | None = None, usage: Any = None) -> dict[str, Any]:
    """One answer, or one of a stream's."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, **({"finishReason": finish} if finish else {})}
    head = {"candidates": [candidate], "modelVersion": "gemini-2.5-flash-001", "responseId": "r1"}
    return {**head, "usageMetadata": usage} if usage else head


HAS_ID = not genai.__version__.startswith("1.1")  # google-genai 1.10 does not read it
CALL = {"functionCall": {"name": "look_up", "args": {"city": "Rome"}}}


def kept(answer: dict[str, Any]) -> dict[str, Any]:
    """What the SDK's object keeps of an answer."""
    return answer if HAS_ID else {key: value for key, value in answer.items() if key != "responseId"}


ANSWER = said(CALL, finish="STOP", usage=USAGE)
EVENTS = [said({"text": "Hel"}), said({"text": "lo."}, usage={"promptTokenCount": 40, "candidatesTokenCount": 2}), ANSWER]
ERROR = {"error": {"code": 403, "message": "Say hello. is no key", "status": "PERMISSION_DENIED"}}


@contextmanager
def client(url: str) -> Iterator[Any]:
    """A client of the Gemini API, kept alive while it is used."""
    yield genai.Client(api_key="secret", http_options={"base_url": url})


@asynccontextmanager
async def async_client(url: str) -> AsyncIterator[Any]:
    """The same; its async side closes what it opened."""
    library = genai._api_client.__dict__.get("httpx2") or genai._api_client.httpx  # aiohttp's warns of sessions the SDK leaves open
    options: dict[str, Any] = {"base_url": url}
    if "async_client_args" in genai.types.HttpOptions.model_fields:  # older versions have no other library than httpx
        options["async_client_args"] = {"transport": library.AsyncHTTPTransport()}
    with nullcontext(genai.Client(api_key="secret", http_options=options)) as one:
        try:
            yield one
        finally:
            if hasattr(one.aio, "aclose"):
                await one.aio.aclose()
            else:  # old versions cannot close it, and its connections would meet the next event loop
                await one._api_client._async_httpx_client.aclose()


def reply(form: Form, outcome: Outcome) -> Reply:
    """What Gemini answers."""
    if outcome == "error":
        return Reply(ERROR, status=403)
    if form == "stream":
        return Reply(events=EVENTS, done=False, cut_after=1 if outcome == "cut" else None, held=outcome == "left")
    return Reply(ANSWER, cut_body=outcome == "cut")


def readable(answer: Any) -> Any:
    """An answer without its headers, which have the time in them."""
    return type(answer).__name__, answer.model_dump(mode="json", exclude_none=True, exclude={"sdk_http_response"})


def call(one: Any, form: Form, outcome: Outcome) -> Any:
    """`generate_content`."""
    if form == "plain":
        return readable(one.models.generate_content(model="gemini-2.5-flash", contents=ASK))
    stream = one.models.generate_content_stream(model="gemini-2.5-flash", contents=ASK)
    if outcome != "left":
        return [readable(answer) for answer in stream]
    first = next(stream)
    stream.close()
    return readable(first)


async def async_call(one: Any, form: Form, outcome: Outcome) -> Any:
    """The same with the async side."""
    if form == "plain":
        return readable(await one.aio.models.generate_content(model="gemini-2.5-flash", contents=ASK))
    stream = await one.aio.models.generate_content_stream(model="gemini-2.5-flash", contents=ASK)
    if outcome != "left":
        return [readable(answer) async for answer in stream]
    first = await anext(stream)
    await stream.aclose()
    return readable(first)


def packet(form: Form, outcome: Outcome) -> dict[str, Any]:
    """What Pay-i gets of it: the model that answered is priced."""
    body: dict[str, Any] = {
        "category": "system.google.vertex",
        "resource": "google.gemini-2.5-flash-001",
        "units": UNITS,
        "http_status_code": 200,
        "provider_response_id": "r1" if HAS_ID else "payi_<uuid4>",
        "provider_request_json": SENT,
    }
    failed = {"payi_otel.end_reason": "error", "system.failure": FAILED}
    unanswered = {**body, "resource": "google.gemini-2.5-flash", "units": {}, "provider_response_id": "payi_<uuid4>"}
    if outcome == "error":
        refused = {"http_status_code": 403, "provider_response_json": ERROR, "properties": {"payi_otel.end_reason": "error"}}
        return {**unanswered, **refused}
    calls = [{"name": "look_up", "arguments": '{"city":"Rome"}'}]
    if form != "stream":
        if outcome == "cut":
            return {**unanswered, "http_status_code": 299, "properties": failed}
        return {**body, "provider_response_json": kept(ANSWER), "provider_response_function_calls": calls}
    body |= {"time_to_first_token_ms": "ms", "time_to_first_completion_token_ms": "ms"}
    if outcome == "ok":
        return {**body, "provider_response_json": [kept(event) for event in EVENTS], "provider_response_function_calls": calls}
    estimated = {"payi_otel.usage_estimated": "input,output"}
    body |= {"units": ESTIMATED, "provider_response_json": [kept(EVENTS[0])]}
    if outcome == "left":
        return {**body, "properties": {"payi_otel.end_reason": "closed", **estimated}}
    return {**body, "http_status_code": 299, "properties": {**failed, **estimated}}


CONTRACTS = (Contract("generate", client, call, reply, packet, async_client, async_call, forms=("plain", "stream")),)
