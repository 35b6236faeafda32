"""Defects seen in the published SDK's instrumentation of OpenAI (docs/differences.md), done to the real `openai` SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from provider_server import ProviderServer, Reply

openai = pytest.importorskip("openai")

MESSAGES = [{"role": "user", "content": "Say hello."}]
CHAT: dict[str, Any] = {"model": "gpt-4.1-mini", "messages": MESSAGES}
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
NULLS = {**USAGE, "prompt_tokens_details": None, "completion_tokens_details": None}
NULLS_WITHIN = {
    **USAGE,
    "prompt_tokens_details": {"cached_tokens": None, "audio_tokens": None},
    "completion_tokens_details": {"reasoning_tokens": None, "rejected_prediction_tokens": None},
}
UNITS = {"text": {"input": 12, "output": 5}}
TOOL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city":"Rome"}'}}


def completion(number: int = 1, usage: Any = USAGE, **message: Any) -> dict[str, Any]:
    """A chat completion."""
    said = {"role": "assistant", "content": "Hello.", **message}
    choices = [{"index": 0, "message": said, "finish_reason": "stop"}]
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": "gpt-4.1-mini"}
    return {**head, "choices": choices, "usage": usage}


def response(number: int = 1, usage: Any = None, **more: Any) -> dict[str, Any]:
    """An answer of the Responses API."""
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
    output = [{**message, "content": [{"type": "output_text", "text": "Hello.", "annotations": []}]}]
    head = {"id": f"resp_{number}", "object": "response", "created_at": 1, "model": "gpt-4.1-mini", "status": "completed"}
    return {**head, "output": output, "usage": usage, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, **more}


@pytest.fixture
def client(provider: ProviderServer) -> Iterator[Any]:
    """A client that retries nothing."""
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as one:
        yield one


@pytest.mark.parametrize("usage", [NULLS, NULLS_WITHIN], ids=["no details", "details without counts"])
def test_null_details_mean_nothing(usage: dict[str, Any], client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """In a chat, in a chat's stream and in a response."""
    of_response = {
        "input_tokens": 12,
        "output_tokens": 5,
        "total_tokens": 17,
        "input_tokens_details": usage["prompt_tokens_details"],
        "output_tokens_details": usage["completion_tokens_details"],
    }
    chunk = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4.1-mini", "choices": [], "usage": usage}
    instrument()
    provider.script(Reply(completion(usage=usage)), Reply(events=[chunk]), Reply(response(usage=of_response)))
    client.chat.completions.create(**CHAT)
    list(client.chat.completions.create(**CHAT, stream=True))
    client.responses.create(model="gpt-4.1-mini", input="Say hello.")
    for packet in packets(3):
        assert (packet["body"]["units"], packet["body"].get("properties")) == (UNITS, None)


def test_no_usage_at_all_is_an_estimate(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Of a server that is only compatible."""
    instrument()
    provider.script(Reply(completion(usage=None)))
    assert client.chat.completions.create(**CHAT).usage is None
    (packet,) = packets()
    assert packet["body"]["properties"] == {"payi_otel.usage_estimated": "input,output"}


def test_the_sdks_own_messages_may_be_given_back(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """An answer's message object in the next prompt, beside an image and a text that tokenizers reject."""
    instrument()
    provider.script(Reply(completion()), Reply(completion(2)))
    said = client.chat.completions.create(**CHAT).choices[0].message
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBORw0K" * 40}}
    asked = {"role": "user", "content": [{"type": "text", "text": "<|endoftext|>"}, image]}
    client.chat.completions.create(model="gpt-4.1-mini", messages=[*MESSAGES, said, asked])
    assert [message["role"] for message in provider.requests[1]["body"]["messages"]] == ["user", "assistant", "user"]
    for packet in packets(2):
        assert sum(unit["input"] for unit in packet["body"]["units"].values()) == 12
        assert sum(unit["output"] for unit in packet["body"]["units"].values()) == 5


def test_tool_calls_of_a_plain_chat_are_named(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """And the deprecated form."""
    instrument()
    provider.script(Reply(completion(content=None, tool_calls=[TOOL])), Reply(completion(2, content=None, function_call=TOOL["function"])))
    for _ in range(2):
        client.chat.completions.create(**CHAT)
    called = [packet["body"]["provider_response_function_calls"] for packet in packets(2)]
    assert called == [[{"name": "look_up", "arguments": '{"city":"Rome"}'}]] * 2


def test_prediction_tokens_are_billed_once(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Accepted or rejected, they are within the output."""
    instrument()
    details = {"accepted_prediction_tokens": 1, "rejected_prediction_tokens": 3, "reasoning_tokens": 0}
    provider.script(Reply(completion(usage={**USAGE, "completion_tokens_details": details})))
    client.chat.completions.create(**CHAT)
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


def test_a_chats_cache_writes_and_tier_are_told(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """They have prices of their own."""
    instrument()
    usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3}}
    provider.script(Reply({**completion(usage=usage), "service_tier": "flex"}))
    client.chat.completions.create(**CHAT)
    (packet,) = packets()
    assert packet["body"]["units"] == {
        "text": {"input": 5, "output": 5},
        "text_cache_read": {"input": 4, "output": 0},
        "text_cache_write": {"input": 3, "output": 0},
    }
    assert packet["body"]["properties"] == {"payi_otel.service_tier": "flex"}
