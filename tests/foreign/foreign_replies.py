"""What the providers answer while foreign spans are recorded, with numbers that tell apart every way to count."""

from __future__ import annotations

from typing import Any

import openai_shapes
import response_shapes
from aws_frames import EVENT_STREAM, chunk, frame
from provider_server import Reply

Units = dict[str, dict[str, int]]

CHAT_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 20},
}
CHAT_WRITE_USAGE = {**CHAT_USAGE, "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 30}}
RESPONSE_USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 0},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}
EMBEDDING_USAGE = {"prompt_tokens": 100, "total_tokens": 100}
CLAUDE_USAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 60,
    "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
    "output_tokens": 50,
}
CLAUDE_THINKING_USAGE = {**CLAUDE_USAGE, "output_tokens_details": {"thinking_tokens": 20}}
CLAUDE_LEFT_USAGE = {**CLAUDE_USAGE, "output_tokens": 1}
"""What the first event of a stream tells."""
CONVERSE_USAGE = {"inputTokens": 10, "outputTokens": 50, "totalTokens": 150, "cacheReadInputTokens": 60, "cacheWriteInputTokens": 30}
NOVA_USAGE = {"inputTokens": 10, "outputTokens": 50, "totalTokens": 150, "cacheReadInputTokenCount": 60, "cacheWriteInputTokenCount": 30}
GEMINI_USAGE = {
    "promptTokenCount": 100,
    "cachedContentTokenCount": 40,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 3,
    "totalTokenCount": 110,
}
GEMINI_EMBEDDING_USAGE = {"promptTokenCount": 100, "totalTokenCount": 100}


def both(one: Units, other: Units) -> Units:
    """What two calls are worth."""
    return {
        name: {side: one.get(name, {}).get(side, 0) + other.get(name, {}).get(side, 0) for side in ("input", "output")}
        for name in [*one, *(name for name in other if name not in one)]
    }


def units(**pairs: tuple[int, int]) -> Units:
    """Units as a packet has them, of (input, output) each."""
    return {name: {"input": pair[0], "output": pair[1]} for name, pair in pairs.items()}


OPENAI_UNITS = units(text=(60, 30), text_cache_read=(40, 0), reasoning=(0, 20))
OPENAI_WRITE_UNITS = units(text=(30, 30), text_cache_read=(40, 0), text_cache_write=(30, 0), reasoning=(0, 20))
INPUT_UNITS = units(text=(100, 0))
CLAUDE_UNITS = units(text=(10, 50), text_cache_read=(60, 0), text_cache_write=(20, 0), text_cache_write_1h=(10, 0))
CLAUDE_THINKING_UNITS = {**CLAUDE_UNITS, **units(text=(10, 30), reasoning=(0, 20))}
CLAUDE_LEFT_UNITS = {**CLAUDE_UNITS, **units(text=(10, 1))}
BEDROCK_UNITS = units(text=(10, 50), text_cache_read=(60, 0), text_cache_write=(30, 0))
GEMINI_UNITS = units(text=(60, 7), text_cache_read=(40, 0), reasoning=(0, 3))
PLAIN_UNITS = units(text=(10, 50))

GPT = "gpt-4.1-mini-2025-04-14"
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city":"Rome"}'}}
CHAT = Reply(openai_shapes.completion(model=GPT, usage=CHAT_USAGE))
CHAT_WRITE = Reply(openai_shapes.completion(model=GPT, usage=CHAT_WRITE_USAGE))
CHAT_TOOL = Reply(
    openai_shapes.completion(
        model=GPT,
        usage=CHAT_USAGE,
        choices=[
            {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}, "finish_reason": "tool_calls"},
        ],
    )
)
CHAT_SECOND = Reply(openai_shapes.completion(id="chatcmpl-2", model=GPT, usage=CHAT_USAGE))
CHAT_STREAM = Reply(events=[{**event, "model": GPT} for event in openai_shapes.chat_events(usage=CHAT_USAGE)])
CHAT_STREAM_WITHOUT = Reply(events=[{**event, "model": GPT} for event in openai_shapes.chat_events(usage=None)])
OPENAI_REFUSED = Reply(
    {"error": {"message": "no such thing", "type": "invalid_request_error", "code": "bad_value", "param": "messages"}}, status=400
)
RESPONSE = Reply(response_shapes.response(usage=RESPONSE_USAGE))
RESPONSE_SECOND = Reply(response_shapes.response(id="resp_2", usage=RESPONSE_USAGE))
RESPONSE_INCOMPLETE = Reply(
    response_shapes.response(usage=RESPONSE_USAGE, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
)
RESPONSE_STREAM = Reply(events=response_shapes.events(response_shapes.response(usage=RESPONSE_USAGE)), done=False)
QUEUED = Reply(response_shapes.unfinished())
POLLED = Reply(response_shapes.finished(usage=RESPONSE_USAGE))
RESPONSE_TOOL = Reply(response_shapes.response(usage=RESPONSE_USAGE, output=[response_shapes.call("look_up", '{"city":"Rome"}')]))
EMBEDDED = Reply(
    {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}],
        "model": "text-embedding-3-small",
        "usage": EMBEDDING_USAGE,
    }
)

CLAUDE = "claude-opus-5-20260901"
HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE}
REQUEST_ID = {"request-id": "req_1", "anthropic-organization-id": "org-1"}
MESSAGE_BODY = {
    **HEAD,
    "content": [{"type": "text", "text": "Hello there."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": CLAUDE_USAGE,
}
MESSAGE = Reply(MESSAGE_BODY, headers=REQUEST_ID)
MESSAGE_THINKING = Reply(
    {
        **MESSAGE_BODY,
        "content": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, {"type": "text", "text": "Hello there."}],
        "usage": CLAUDE_THINKING_USAGE,
    },
    headers=REQUEST_ID,
)
MESSAGE_TOOL = Reply(
    {
        **MESSAGE_BODY,
        "content": [{"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"city": "Rome"}}],
        "stop_reason": "tool_use",
    },
    headers=REQUEST_ID,
)
MESSAGE_REFUSED = Reply(
    {"type": "error", "error": {"type": "invalid_request_error", "message": "no such thing"}}, status=400, headers=REQUEST_ID
)


def message_events(last: dict[str, Any]) -> list[dict[str, Any]]:
    """A message's stream, with this usage in its `message_delta`."""
    started = {**HEAD, "content": [], "stop_reason": None, "stop_sequence": None, "usage": CLAUDE_LEFT_USAGE}
    return [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " there."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": last},
        {"type": "message_stop"},
    ]


CUMULATIVE = {name: count for name, count in CLAUDE_USAGE.items() if name != "cache_creation"}
"""The API repeats the input's counts in `message_delta`; older ones, and other servers, send the output's alone."""
MESSAGE_STREAM = Reply(events=message_events(CUMULATIVE), done=False, headers=REQUEST_ID)
MESSAGE_STREAM_SHORT = Reply(events=message_events({"output_tokens": 50}), done=False, headers=REQUEST_ID)

AMZN = {"x-amzn-requestid": "req-1"}
COUNT = "x-amzn-bedrock-{}-token-count"
INVOKED = {**AMZN, COUNT.format("input"): "10", COUNT.format("output"): "50"}
INVOKED_CACHED = {**INVOKED, COUNT.format("cache-read-input"): "60", COUNT.format("cache-write-input"): "30"}
METRICS = {"inputTokenCount": 10, "outputTokenCount": 50, "invocationLatency": 2, "firstByteLatency": 1}
METRICS_CACHED = {**METRICS, "cacheReadInputTokenCount": 60, "cacheWriteInputTokenCount": 30}
SAID = {"message": {"role": "assistant", "content": [{"text": "Hello there."}]}}
CONVERSED = Reply({"output": SAID, "stopReason": "end_turn", "usage": CONVERSE_USAGE, "metrics": {"latencyMs": 1}}, headers=AMZN)
CONVERSED_TOOL = Reply(
    {
        "output": {
            "message": {
                "role": "assistant",
                "content": [{"toolUse": {"toolUseId": "t1", "name": "look_up", "input": {"city": "Rome"}}}],
            }
        },
        "stopReason": "tool_use",
        "usage": CONVERSE_USAGE,
        "metrics": {"latencyMs": 1},
    },
    headers=AMZN,
)
CONVERSE_STREAM = Reply(
    events=[
        frame(value, kind=kind)
        for kind, value in (
            ("messageStart", {"role": "assistant"}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello"}}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": " there."}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": "end_turn"}),
            ("metadata", {"usage": CONVERSE_USAGE, "metrics": {"latencyMs": 1}}),
        )
    ],
    headers=EVENT_STREAM,
)
BEDROCK_REFUSED = Reply({"message": "no such thing"}, status=400, headers={**AMZN, "x-amzn-errortype": "ValidationException"})
INVOKED_CLAUDE = Reply(MESSAGE_BODY, headers=INVOKED_CACHED)
INVOKED_CLAUDE_STREAM = Reply(
    events=[
        chunk({**event, "amazon-bedrock-invocationMetrics": METRICS_CACHED} if event["type"] == "message_stop" else event)
        for event in message_events(CUMULATIVE)
    ],
    headers=EVENT_STREAM,
)
INVOKED_NOVA = Reply({"output": SAID, "stopReason": "end_turn", "usage": NOVA_USAGE}, headers=INVOKED_CACHED)
INVOKED_NOVA_STREAM = Reply(
    events=[
        chunk(value)
        for value in (
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"delta": {"text": "Hello there."}, "contentBlockIndex": 0}},
            {"contentBlockStop": {"contentBlockIndex": 0}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": NOVA_USAGE, "metrics": {}, "trace": {}}, "amazon-bedrock-invocationMetrics": METRICS_CACHED},
        )
    ],
    headers=EVENT_STREAM,
)
TITAN = {"inputTextTokenCount": 10, "results": [{"tokenCount": 50, "outputText": "Hello there.", "completionReason": "FINISH"}]}
INVOKED_TITAN = Reply(TITAN, headers=INVOKED)
LLAMA = {"generation": "Hello there.", "prompt_token_count": 10, "generation_token_count": 50, "stop_reason": "stop"}
INVOKED_LLAMA = Reply(LLAMA, headers=INVOKED)
TITAN_EMBEDDING = {"embedding": [0.25, 0.5], "inputTextTokenCount": 100}
INVOKED_TITAN_EMBEDDING = Reply(TITAN_EMBEDDING, headers={**AMZN, COUNT.format("input"): "100"})

GEMINI = "gemini-2.5-flash-001"


def gemini(*parts: dict[str, Any], finish: str | None = None, usage: Any = None) -> dict[str, Any]:
    """One answer of Gemini, or one of a stream's."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **({"finishReason": finish} if finish else {})}
    head = {"candidates": [candidate], "modelVersion": GEMINI, "responseId": "r1"}
    return {**head, "usageMetadata": usage} if usage else head


GENERATED = Reply(gemini({"text": "Hello there."}, finish="STOP", usage=GEMINI_USAGE))
GENERATED_TOOL = Reply(gemini({"functionCall": {"name": "look_up", "args": {"city": "Rome"}}}, finish="STOP", usage=GEMINI_USAGE))
GENERATED_STREAM = Reply(
    events=[
        gemini({"text": "Hello"}, usage={"promptTokenCount": 100, "cachedContentTokenCount": 40, "totalTokenCount": 100}),
        gemini({"text": " there."}, finish="STOP", usage=GEMINI_USAGE),
    ],
    done=False,
)
GEMINI_REFUSED = Reply({"error": {"code": 400, "message": "no such thing", "status": "INVALID_ARGUMENT"}}, status=400)
GEMINI_EMBEDDED = Reply({"embeddings": [{"values": [0.25, 0.5]}], "usageMetadata": GEMINI_EMBEDDING_USAGE})
VERTEX_EMBEDDED = Reply(
    {"predictions": [{"embeddings": {"values": [0.25, 0.5], "statistics": {"token_count": 100, "truncated": False}}}]},
)
