"""What the demo's provider answers: pure functions from a request's JSON to the JSON of the OpenAI API, usage included."""

from __future__ import annotations

import base64
import itertools
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

CHARS_PER_TOKEN = 4
"""A rule of thumb; the demo needs plausible counts, not exact ones."""
MIN_CACHED_TOKENS = 1024
"""OpenAI caches prompts from this length on, in steps of 128."""
CACHE_STEP = 128
REASONING_TOKENS = 192
EMBEDDING_SIZE = 8
CREATED_AT = 1_760_000_000
"""Seconds since the epoch; fixed, so that two runs of the demo read alike."""
REPLY = "Thank you for asking. Your order left our warehouse this morning and should reach you within two working days."
TOOL_ARGUMENT = "A-1027"

_serial = itertools.count(1)

Json = Mapping[str, Any]


def count_tokens(value: Any) -> int:
    """About how many tokens a JSON value is."""
    text = value if isinstance(value, str) else json.dumps(value)
    return max(1, len(text) // CHARS_PER_TOKEN)


def to_cached_tokens(prompt_tokens: int, seen_before: bool) -> int:
    """How much of a prompt was read from the cache, as OpenAI rounds it."""
    if not seen_before or prompt_tokens < MIN_CACHED_TOKENS:
        return 0
    return prompt_tokens // CACHE_STEP * CACHE_STEP


def to_chat_completion(request: Json, seen_before: bool) -> dict[str, Any]:
    """The answer of `/v1/chat/completions`: a reply, or a call of the first tool where the request offers any."""
    tools = request.get("tools")
    message: dict[str, Any] = {"role": "assistant", "content": None if tools else REPLY, "refusal": None}
    if tools:
        message["tool_calls"] = [_tool_call(tools[0]["function"])]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if tools else "stop"}
    return {**_chat_head(request, "chat.completion"), "choices": [choice], "usage": _chat_usage(request, message, seen_before)}


def to_chat_chunks(request: Json, seen_before: bool) -> Iterator[dict[str, Any]]:
    """The same answer as a stream: the usage comes last, on a chunk without choices, and only where it was asked for."""
    whole = to_chat_completion(request, seen_before)
    head = {**_chat_head(request, "chat.completion.chunk"), "id": whole["id"]}
    with_usage = bool((request.get("stream_options") or {}).get("include_usage"))
    tail: dict[str, Any] = {"usage": None} if with_usage else {}
    message = whole["choices"][0]["message"]
    for delta in _chat_deltas(message):
        yield {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}], **tail}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": whole["choices"][0]["finish_reason"]}], **tail}
    if with_usage:
        yield {**head, "choices": [], "usage": whole["usage"]}


def to_response(request: Json, seen_before: bool) -> dict[str, Any]:
    """The answer of `/v1/responses`."""
    content = [{"type": "output_text", "text": REPLY, "annotations": []}]
    message = {"type": "message", "id": _new_id("msg_"), "status": "completed", "role": "assistant", "content": content}
    return {**_response_head(request), "status": "completed", "output": [message], "usage": _response_usage(request, seen_before)}


def to_response_events(request: Json, seen_before: bool) -> Iterator[dict[str, Any]]:
    """The same answer as a stream of events; the usage stands in the last one."""
    whole = to_response(request, seen_before)
    opening = {**whole, "status": "in_progress", "output": [], "usage": None}
    message = whole["output"][0]
    part = message["content"][0]
    place = {"item_id": message["id"], "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": opening},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in _words(part["text"])),
        {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": whole},
    ]
    return ({**event, "sequence_number": number} for number, event in enumerate(events))


def to_embeddings(request: Json) -> dict[str, Any]:
    """The answer of `/v1/embeddings`: one short vector for each input."""
    inputs = request["input"] if isinstance(request["input"], list) else [request["input"]]
    vector: Any = [round(0.1 * (place + 1), 1) for place in range(EMBEDDING_SIZE)]
    if request.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{EMBEDDING_SIZE}f", *vector)).decode()
    tokens = sum(count_tokens(text) for text in inputs)
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(inputs))]
    return {"object": "list", "data": data, "model": request["model"], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def to_error(message: str, kind: str, code: str | None) -> dict[str, Any]:
    """The body of a refusal."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _chat_head(request: Json, kind: str) -> dict[str, Any]:
    return {"id": _new_id("chatcmpl-"), "object": kind, "created": CREATED_AT, "model": request["model"], "service_tier": "default"}


def _response_head(request: Json) -> dict[str, Any]:
    return {
        "id": _new_id("resp_"),
        "object": "response",
        "created_at": CREATED_AT,
        "model": request["model"],
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": 1.0,
        "top_p": 1.0,
        "service_tier": "default",
    }


def _chat_usage(request: Json, message: Json, seen_before: bool) -> dict[str, Any]:
    prompt = count_tokens(request["messages"])
    reasoning = _reasoning_tokens(request)
    completion = count_tokens(message.get("tool_calls") or message["content"]) + reasoning
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": to_cached_tokens(prompt, seen_before), "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _response_usage(request: Json, seen_before: bool) -> dict[str, Any]:
    prompt = count_tokens(request["input"])
    reasoning = _reasoning_tokens(request)
    output = count_tokens(REPLY) + reasoning
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": to_cached_tokens(prompt, seen_before)},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": prompt + output,
    }


def _chat_deltas(message: Json) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": "" if message["content"] else None, "refusal": None}
    if message["content"]:
        yield from ({"content": word} for word in _words(message["content"]))
    for index, call in enumerate(message.get("tool_calls") or ()):
        yield {"tool_calls": [{"index": index, **call}]}


def _tool_call(function: Json) -> dict[str, Any]:
    names = function.get("parameters", {}).get("required", [])
    arguments = json.dumps(dict.fromkeys(names, TOOL_ARGUMENT))
    return {"id": _new_id("call_"), "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _reasoning_tokens(request: Json) -> int:
    return REASONING_TOKENS if str(request["model"]).startswith(("gpt-5", "o")) else 0


def _words(text: str) -> list[str]:
    return [word + " " for word in text.split()]


def _new_id(prefix: str) -> str:
    return f"{prefix}demo{next(_serial):08d}"
