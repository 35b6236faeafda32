"""Mistral's conversations, responses, documents and transcriptions, and where a version of the SDK has none of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from provider_server import ProviderServer, Reply

try:
    from mistralai.client import Mistral
except ImportError:
    Mistral = pytest.importorskip("mistralai").Mistral

pytestmark = pytest.mark.filterwarnings("ignore:ast:DeprecationWarning")  # of a dependency of the SDK's, on Python 3.12 and 3.13

USAGE = {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 111, "connector_tokens": 100, "connectors": {"web_search": 2}}
UNITS = {"text": {"input": 108, "output": 3}, "web_search_request": {"input": 0, "output": 2}}
CALL = {"type": "function.call", "tool_call_id": "c1", "name": "f", "arguments": "{}", "object": "entry"}
SAID = {"type": "message.output", "content": "Hello.", "model": "mistral-medium-2508", "role": "assistant", "object": "entry"}
ANSWER = {"object": "conversation.response", "conversation_id": "conv_1", "outputs": [SAID, CALL], "usage": USAGE}
PAGES = {
    "model": "mistral-ocr-2512",
    "pages": [{"index": 0, "markdown": "# One", "images": [], "dimensions": None}],
    "usage_info": {"pages_processed": 3, "doc_size_bytes": 70},
}
HEARD = {
    "model": "voxtral-mini-2507",
    "text": "Hello.",
    "language": "en",
    "segments": [],
    "usage": {"prompt_audio_seconds": 12, "prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 160},
}


@pytest.fixture
def client(provider: ProviderServer, instrument: Any) -> Iterator[Any]:
    """A client, instrumented."""
    instrument()
    with Mistral(api_key="secret", server_url=provider.url) as one:
        yield one


def has(one: Any, *path: str) -> Any:
    """A resource, where this version has it."""
    for name in path:
        if not hasattr(one, name):
            pytest.skip(f"this version has no {'.'.join(path)}")
        one = getattr(one, name)
    return one


def named(events: list[dict[str, Any]]) -> list[str]:
    """Events with the names that Mistral gives them, by which the SDK tells them apart."""
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]


@pytest.mark.parametrize("method", ["start", "append", "restart"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_conversations_answer_is_one_packet(method: str, is_async: bool, client: Any, provider: ProviderServer, packets: Any) -> None:
    """What its connectors put into the prompt is billed as input, each search by itself; the model that answered is priced."""
    conversations = has(client, "beta", "conversations")
    provider.script(Reply(ANSWER))
    asked: dict[str, Any] = {"inputs": "Say hello."}
    asked |= {"agent_id": "ag_1"} if method == "start" else {"conversation_id": "conv_1"}
    asked |= {"from_entry_id": "e1"} if method == "restart" else {}

    async def call_async() -> None:
        async with client:
            await getattr(conversations, f"{method}_async")(**asked)

    asyncio.run(call_async()) if is_async else getattr(conversations, method)(**asked)
    (packet,) = packets()
    body = packet["body"]
    assert (body["units"], body["resource"], body["provider_response_id"]) == (UNITS, "mistral-medium-2508", "payi_<uuid4>")
    assert body["provider_response_function_calls"] == [{"name": "f", "arguments": "{}"}]


@pytest.mark.parametrize("outcome", ["ok", "error", "left"])
def test_a_conversations_stream_is_one_packet(outcome: str, client: Any, provider: ProviderServer, packets: Any) -> None:
    """Answered whole, broken off by Mistral, or left."""
    conversations = has(client, "beta", "conversations")
    head = {"created_at": "2026-01-01T00:00:00Z"}
    piece = {**head, "id": "m1", "role": "assistant", "object": "entry"}
    begun = [
        {"type": "conversation.response.started", "conversation_id": "conv_1", **head},
        {"type": "message.output.delta", "content": "Hello.", "model": "mistral-medium-2508", **piece},
    ]
    last = {"type": "conversation.response.done", "usage": USAGE, **head}
    if outcome == "error":
        last = {"type": "conversation.response.error", "message": "no", "code": 500, **head}
    provider.script(Reply(events=named([*begun, last]), done=False, held=outcome == "left"))
    with conversations.start_stream(inputs="Say hello.", model="mistral-medium-latest") as stream:
        for event in stream:
            if outcome == "left" and event.data.type == "message.output.delta":
                break
    (packet,) = packets()
    body, properties = packet["body"], packet["body"].get("properties", {})
    assert body["resource"] == "mistral-medium-latest"
    assert properties.get("payi_otel.end_reason") == {"ok": None, "error": "error", "left": "closed"}[outcome]
    if outcome == "ok":
        assert (body["units"], body["http_status_code"]) == (UNITS, 200)
    else:
        assert body["http_status_code"] == {"error": 299, "left": 200}[outcome]
        assert properties["payi_otel.usage_estimated"] == "input,output"


TURN = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}
TEXT = {"type": "output_text", "text": "Hello.", "annotations": []}
WROTE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [TEXT]}
RESPONSE = {
    **{"id": "resp_1", "object": "response", "created_at": 1, "model": "mistral-medium-2508", "parallel_tool_calls": True},
    **{"status": "completed", "tool_choice": "auto", "tools": [], "output": [WROTE, TURN], "temperature": 0.3, "top_p": 1.0},
}
SPENT = {
    **{"input_tokens": 40, "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 4}},
    **{"output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 49},
}
RESPONSE_UNITS = {
    **{"text": {"input": 6, "output": 4}, "text_cache_read": {"input": 30, "output": 0}},
    **{"text_cache_write": {"input": 4, "output": 0}, "reasoning": {"input": 0, "output": 5}},
}


@pytest.mark.parametrize("is_async", [False, True])
def test_a_response_is_one_packet(is_async: bool, client: Any, provider: ProviderServer, packets: Any) -> None:
    """What was cached and what was reasoned are parts of its totals."""
    responses = has(client, "responses")
    provider.script(Reply({**RESPONSE, "usage": SPENT}))

    async def call_async() -> None:
        async with client:
            await responses.create_async(model="mistral-medium-latest", input="Say hello.")

    asyncio.run(call_async()) if is_async else responses.create(model="mistral-medium-latest", input="Say hello.")
    body = packets()[0]["body"]
    assert (body["units"], body["resource"], body["provider_response_id"]) == (RESPONSE_UNITS, "mistral-medium-latest", "resp_1")
    assert body["provider_response_function_calls"] == [{"name": "f", "arguments": "{}"}]


@pytest.mark.parametrize("outcome", ["ok", "error", "left"])
def test_a_responses_stream_is_one_packet(outcome: str, client: Any, provider: ProviderServer, packets: Any) -> None:
    """Answered whole, broken off by Mistral, or left."""
    responses = has(client, "responses")
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    begun = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
    events = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_text.delta", "delta": "Hello.", "logprobs": [], **place},
        {"type": "response.output_text.done", "text": "Hello.", "logprobs": [], **place},
        {"type": "response.output_item.done", "item": TURN, "output_index": 1},
        {"type": "response.completed", "response": {**RESPONSE, "usage": SPENT}},
    ]
    if outcome == "error":
        events[-1] = {"type": "error", "code": "overloaded", "message": "no", "param": None}
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    provider.script(Reply(events=named(numbered), done=False, held=outcome == "left"))
    with responses.create(model="mistral-medium-latest", input="Say hello.", stream=True) as stream:
        for event in stream:
            if outcome == "left" and event.data.type == "response.output_item.done":
                break
    body = packets()[0]["body"]
    properties = body.get("properties", {})
    assert (body["resource"], body["provider_response_id"]) == ("mistral-medium-latest", "resp_1")
    assert body["provider_response_function_calls"] == [{"name": "f", "arguments": "{}"}]
    assert properties.get("payi_otel.end_reason") == {"ok": None, "error": "error", "left": "closed"}[outcome]
    if outcome == "ok":
        assert (body["units"], body["http_status_code"]) == (RESPONSE_UNITS, 200)
    else:
        assert body["http_status_code"] == {"error": 299, "left": 200}[outcome]
        assert body["units"] == {"text": {"input": 3, "output": 2}}
        assert properties["payi_otel.usage_estimated"] == "input,output"


def test_a_document_is_billed_by_the_page(client: Any, provider: ProviderServer, packets: Any) -> None:
    """Whatever its length."""
    ocr = has(client, "ocr")
    provider.script(Reply(PAGES))
    ocr.process(model="mistral-ocr-latest", document={"type": "document_url", "document_url": "https://example.org/a.pdf"})
    (packet,) = packets()
    assert packet["body"]["units"] == {"page": {"input": 3, "output": 0}}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_transcription_is_billed_by_seconds_and_tokens(streamed: bool, client: Any, provider: ProviderServer, packets: Any) -> None:
    """The tokens of the audio stand in the total alone, and are no mismatch."""
    transcriptions = has(client, "audio", "transcriptions")
    asked = {"model": "voxtral-mini-latest", "file_url": "https://example.org/a.mp3"}
    if streamed:
        events = [{"type": "transcription.text.delta", "text": "Hello."}, {**HEARD, "type": "transcription.done"}]
        provider.script(Reply(events=named(events), done=False))
        with transcriptions.stream(**asked) as stream:
            assert len(list(stream)) == 2
    else:
        provider.script(Reply(HEARD))
        transcriptions.complete(**asked)
    (packet,) = packets()
    body = packet["body"]
    assert body["units"] == {"text": {"input": 4, "output": 9}, "audio": {"input": 12, "output": 0}}
    assert "properties" not in body
