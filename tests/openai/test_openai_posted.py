"""Calls made by `client.post`, the SDK's way around its own methods, are billed like those of the methods."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comparing import SCOPE
from openai_shapes import USAGE, chat_events, completion
from provider_server import ProviderServer, Reply

from payi_otel import create_headers, track_context

openai = pytest.importorskip("openai")
CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"
REQUEST = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}
RAW = {"headers": {"X-Stainless-Raw-Response": "true"}}
EMBEDDED = {"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 12, "total_tokens": 12}}


def posted(client: Any, form: str) -> Any:
    """What `post` is given, by the form of the call."""
    kinds = openai.types.chat
    stream = {"stream": True, "stream_cls": openai.Stream[kinds.ChatCompletionChunk]} if "stream" in form else {}
    if isinstance(client, openai.AsyncOpenAI) and stream:
        stream["stream_cls"] = openai.AsyncStream[kinds.ChatCompletionChunk]
    body = {**REQUEST, "stream": True} if stream else dict(REQUEST)
    return {"cast_to": kinds.ChatCompletion, "body": body, "options": dict(RAW) if "raw" in form else {}, **stream}


def owed(form: str) -> dict[str, Any]:
    """The packet's body without its words."""
    streamed = {"time_to_first_token_ms": "ms", "time_to_first_completion_token_ms": "ms"} if "stream" in form else {}
    head = {"category": "system.openai", "resource": "gpt-4o-mini", "units": {"text": {"input": 12, "output": 5}}}
    return {**head, "http_status_code": 200, "provider_response_id": "chatcmpl-1", **streamed}


def check(packet: Any, provider: ProviderServer, form: str) -> None:
    """Whole, with the request as the caller made it, and asked for its usage where it is a stream."""
    asked = json.loads(packet["body"].pop("provider_request_json"))
    said = packet["body"].pop("provider_response_json")
    packet["body"].pop("provider_request_headers", None)
    assert asked == (posted(None, form)["body"])
    assert [json.loads(text) for text in said] == chat_events() if "stream" in form else json.loads(said) == completion()
    assert packet == {"body": owed(form), "scope": SCOPE}
    sent = provider.requests[0]["body"]
    assert sent == {**asked, **({"stream_options": {"include_usage": True}} if "stream" in form else {})}


@pytest.mark.parametrize("form", ["plain", "raw", "stream", "raw stream"])
def test_a_posted_chat_is_one_whole_packet(form: str, instrument: Any, client: Any, provider: ProviderServer, packets: Any) -> None:
    """And its caller sees what he would have seen: the usage he did not ask for is not among his chunks."""
    instrument()
    provider.script(Reply(events=chat_events()) if "stream" in form else Reply(completion()))
    result = client.post(CHAT, **posted(client, form))
    result = result.parse() if "raw" in form else result
    if "stream" in form:
        assert [chunk.usage for chunk in result] == [None] * len(chat_events(usage=None))
    else:
        assert result.usage.model_dump(exclude_none=True) == USAGE
    check(packets()[0], provider, form)


@pytest.mark.parametrize("form", ["plain", "raw", "stream", "raw stream"])
async def test_awaited_too(form: str, instrument: Any, async_client: Any, provider: ProviderServer, packets: Any) -> None:
    """By the async client."""
    instrument()
    provider.script(Reply(events=chat_events()) if "stream" in form else Reply(completion()))
    result = await async_client.post(CHAT, **posted(async_client, form))
    result = result.parse() if "raw" in form else result
    if "stream" in form:
        assert [chunk.usage async for chunk in result] == [None] * len(chat_events(usage=None))
    check(packets()[0], provider, form)


def test_posted_embeddings_are_one_packet(instrument: Any, client: Any, provider: ProviderServer, packets: Any) -> None:
    """Input tokens."""
    instrument()
    provider.script(Reply(EMBEDDED))
    client.post(EMBEDDINGS, cast_to=openai.types.CreateEmbeddingResponse, body={"model": "text-embedding-3-small", "input": ["a"]})
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 12, "output": 0}}


def test_headers_of_ours_stay_here(instrument: Any, client: Any, provider: ProviderServer, packets: Any) -> None:
    """And say whose call it is."""
    instrument()
    provider.script(Reply(completion()))
    options = {"headers": {"X-Own": "1", **create_headers(user_id="bob")}}
    client.post(CHAT, **{**posted(client, "plain"), "options": options})
    assert packets()[0]["scope"] == {**SCOPE, "xproxy-user-id": "bob"}
    sent = provider.requests[0]["headers"]
    assert sent["x-own"] == "1"
    assert not any(name.startswith("xproxy-") for name in sent)


def test_extra_json_is_sent_as_it_was(instrument: Any, client: Any, provider: ProviderServer, packets: Any) -> None:
    """With the caller's own stream options in it."""
    instrument()
    provider.script(Reply(events=chat_events()))
    extra = {"stream_options": {"include_obfuscation": False}, "top_k": 3}
    list(client.post(CHAT, **{**posted(client, "stream"), "options": {"extra_json": extra}}))
    assert provider.requests[0]["body"] == {
        **REQUEST,
        "stream": True,
        "top_k": 3,
        "stream_options": {"include_obfuscation": False, "include_usage": True},
    }
    assert json.loads(packets()[0]["body"]["provider_request_json"]) == {**REQUEST, "stream": True, **extra}


def test_what_is_no_call_of_a_model_is_posted_as_it_is(instrument: Any, client: Any, provider: ProviderServer, packets: Any) -> None:
    """And a method of the SDK, which posts as well, is one call."""
    instrument()
    provider.script(Reply({"ok": True}), Reply(completion()))
    assert client.post("/something", cast_to=object, body={"model": "m"}) == {"ok": True}
    with track_context(user_id="ada"):
        client.chat.completions.create(**REQUEST)
    assert [packet["scope"]["xproxy-user-id"] for packet in packets()] == ["ada"]
