"""Calls with content of every kind, and that content as messages of the GenAI conventions."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aws_frames import EVENT_STREAM, chunk, frame
from provider_server import Reply
from span_calls import has, with_bedrock, with_openai

PIXEL = base64.b64encode(bytes(range(256))).decode()
"""Base64 data that must not stand on a span."""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def text(content: str) -> dict[str, Any]:
    """A part of words."""
    return {"content": content, "type": "text"}


def thought(content: str) -> dict[str, Any]:
    """A part of reasoning."""
    return {"content": content, "type": "reasoning"}


def call(call_id: str | None = "c1", arguments: Any = None) -> dict[str, Any]:
    """A tool call for the weather in Rome."""
    return {"arguments": {"city": "Rome"} if arguments is None else arguments, "name": "weather", "id": call_id, "type": "tool_call"}


def result(response: Any, call_id: str | None = "c0") -> dict[str, Any]:
    """What a tool gave."""
    return {"response": response, "id": call_id, "type": "tool_call_response"}


def blob(modality: str, mime: str | None = None) -> dict[str, Any]:
    """Media without its bytes."""
    return {"mime_type": mime, "modality": modality, "content": "", "type": "blob"}


def asked(role: str, *parts: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    """An input message."""
    return {"role": role, "parts": list(parts), "name": name}


def said(*parts: dict[str, Any], reason: str = "stop") -> dict[str, Any]:
    """An output message."""
    return {"role": "assistant", "parts": list(parts), "finish_reason": reason, "name": None}


def tool(description: str | None = "Of a city.") -> dict[str, Any]:
    """The definition of the tool."""
    return {"name": "weather", "description": description, "parameters": SCHEMA, "type": "function"}


@dataclass(frozen=True)
class ContentCall:
    """One call, with the whole values of its four attributes; () where there is to be none."""

    name: str
    reply: Reply
    make: Callable[[str], Any]
    inputs: Sequence[Any] = ()
    outputs: Sequence[Any] = ()
    system: Sequence[Any] = ()
    tools: Sequence[Any] = ()


CALLS: list[ContentCall] = []

# ---- OpenAI

CHAT: dict[str, Any] = {
    "model": "gpt-5",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
                {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
                {"type": "file", "file": {"file_id": "file_1"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c0", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}],
        },
        {"role": "tool", "tool_call_id": "c0", "content": "Sunny."},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": SCHEMA}}],
}
CHAT_ASKED = [
    asked("system", text("Be kind.")),
    asked(
        "user",
        text("What is this?"),
        blob("image"),
        {"mime_type": None, "modality": "image", "uri": "https://example.com/cat.png", "type": "uri"},
        blob("audio", "audio/wav"),
        {"mime_type": None, "modality": "document", "file_id": "file_1", "type": "file"},
        name="ann",
    ),
    asked("assistant", call("c0")),
    asked("tool", result("Sunny.")),
]
CHAT_SAID = [said(text("A cat."), call("c1"), reason="tool_call"), said(text("No."), reason="length")]
TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "A cat.", "tool_calls": [TOOL_CALL]},
            "finish_reason": "tool_calls",
        },
        {"index": 1, "message": {"role": "assistant", "content": None, "refusal": "No."}, "finish_reason": "length"},
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def chunks(*deltas: tuple[int, dict[str, Any], str | None]) -> list[dict[str, Any]]:
    """Events of a chat stream."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5"}
    return [{**head, "choices": [{"index": index, "delta": delta, "finish_reason": finish}]} for index, delta, finish in deltas]


def piece(index: int, arguments: str, **head: Any) -> dict[str, Any]:
    """A piece of a tool call."""
    return {"tool_calls": [{"index": index, **head, "function": {"arguments": arguments, **({"name": "weather"} if head else {})}}]}


CHUNKS = chunks(
    (0, {"role": "assistant", "content": "A "}, None),
    (1, {"role": "assistant", "refusal": "No."}, None),
    (0, {"content": "cat."}, None),
    (0, piece(0, "", id="c1", type="function"), None),
    (0, piece(0, '{"city":'), None),
    (0, piece(0, '"Rome"}'), None),
    (0, {}, "tool_calls"),
    (1, {}, "length"),
)
ITEMS = [
    {"role": "user", "content": [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "file_id": "file_1"}]},
    {"type": "function_call", "call_id": "c0", "name": "weather", "arguments": '{"city":"Rome"}'},
    {"type": "function_call_output", "call_id": "c0", "output": "Sunny."},
]
RESPONSES: dict[str, Any] = {
    "model": "gpt-5",
    "instructions": "Be kind.",
    "input": ITEMS,
    "tools": [
        {"type": "function", "name": "weather", "description": "Of a city.", "parameters": SCHEMA},
        {"type": "web_search"},
    ],
}
MESSAGE_ITEM = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "A cat.", "annotations": []}],
}
CALL_ITEM = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "c1",
    "name": "weather",
    "arguments": '{"city":"Rome"}',
    "status": "completed",
}
THOUGHT_ITEM = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "background": False,
    "model": "gpt-5",
    "output": [THOUGHT_ITEM, MESSAGE_ITEM, CALL_ITEM],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
}
RESPONSES_SAID = [said(thought("Hm."), text("A cat."), call("c1"), reason="tool_call")]
BROKEN = [
    {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": [], "usage": None}},
    {"type": "response.output_item.added", "output_index": 0, "item": {**MESSAGE_ITEM, "status": "in_progress", "content": []}},
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_1", "delta": "A "},
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_1", "delta": "cat."},
    {"type": "response.output_item.added", "output_index": 1, "item": {**CALL_ITEM, "arguments": "", "status": "in_progress"}},
    {"type": "response.function_call_arguments.delta", "output_index": 1, "item_id": "fc_1", "delta": '{"city":"Rome"}'},
    {"type": "error", "code": "server_error", "message": "no", "param": None},
]


def _ignoring(make: Callable[[str], Any]) -> Callable[[str], Any]:
    def ignore(url: str) -> None:
        try:
            make(url)
        except Exception:
            return

    return ignore


if has("openai"):
    whole = {"inputs": CHAT_ASKED, "outputs": CHAT_SAID, "tools": [tool()]}
    items = {
        "inputs": [
            asked("user", text("What is this?"), {"mime_type": None, "modality": "image", "file_id": "file_1", "type": "file"}),
            asked("assistant", call("c0")),
            asked("tool", result("Sunny.")),
        ],
        "system": [text("Be kind.")],
        "tools": [tool(), {"name": "web_search", "type": "web_search"}],
    }
    prompt = {"model": "gpt-3.5-turbo-instruct", "prompt": "Say hello."}
    texts = [
        {**event, "choices": [{"index": 0, "text": word, "finish_reason": end}]}
        for event, word, end in zip(CHUNKS, ("Hel", "lo."), (None, "stop"), strict=False)
    ]
    CALLS += [
        ContentCall("openai-chat", Reply(COMPLETION), with_openai(lambda client: client.chat.completions.create(**CHAT)), **whole),
        ContentCall(
            "openai-chat-stream",
            Reply(events=CHUNKS),
            with_openai(lambda client: list(client.chat.completions.create(**CHAT, n=2, stream=True))),
            **whole,
        ),
        ContentCall(
            "openai-chat-refused",
            Reply({"error": {"message": "What is this? is no good"}}, status=400),
            _ignoring(with_openai(lambda client: client.chat.completions.create(**CHAT))),
            CHAT_ASKED,
            tools=[tool()],
        ),
        ContentCall(
            "openai-chat-stream-cut",
            Reply(events=CHUNKS, cut_after=3),
            _ignoring(with_openai(lambda client: list(client.chat.completions.create(**CHAT, stream=True)))),
            CHAT_ASKED,
            [said(text("A cat."), reason="error"), said(text("No."), reason="error")],
            tools=[tool()],
        ),
        ContentCall(
            "openai-responses",
            Reply(RESPONSE),
            with_openai(lambda client: client.responses.create(**RESPONSES)),
            outputs=RESPONSES_SAID,
            **items,
        ),
        ContentCall(
            "openai-responses-stream",
            Reply(events=[{"type": "response.completed", "response": RESPONSE}], done=False),
            with_openai(lambda client: list(client.responses.create(**RESPONSES, stream=True))),
            outputs=RESPONSES_SAID,
            **items,
        ),
        ContentCall(
            "openai-responses-broken",
            Reply(events=BROKEN, done=False),
            _ignoring(with_openai(lambda client: list(client.responses.create(**RESPONSES, stream=True)))),
            outputs=[said(text("A cat."), call("c1"), reason="error")],
            **items,
        ),
        ContentCall(
            "openai-completions",
            Reply({**COMPLETION, "choices": [{"index": 0, "text": "Hello.", "finish_reason": "stop"}]}),
            with_openai(lambda client: client.completions.create(**prompt)),
            [asked("user", text("Say hello."))],
            [said(text("Hello."))],
        ),
        ContentCall(
            "openai-completions-stream",
            Reply(events=texts),
            with_openai(lambda client: list(client.completions.create(**prompt, stream=True))),
            [asked("user", text("Say hello."))],
            [said(text("Hello."))],
        ),
        ContentCall(
            "openai-images",
            Reply({"created": 1, "data": [{"b64_json": PIXEL}]}),
            with_openai(lambda client: client.images.generate(model="gpt-image-1", prompt="A cat.")),
            [asked("user", text("A cat."))],
            [said(blob("image"))],
        ),
        ContentCall(
            "openai-embeddings",
            Reply({"object": "list", "model": "e", "data": [], "usage": {"prompt_tokens": 5, "total_tokens": 5}}),
            with_openai(lambda client: client.embeddings.with_raw_response.create(model="e", input="Hi.")),
        ),
        ContentCall(
            "openai-responses-fetched",
            Reply(RESPONSE),
            with_openai(lambda client: client.responses.retrieve("resp_1")),
            outputs=RESPONSES_SAID,
        ),
    ]

# ---- Claude, at Anthropic and at Bedrock

CLAUDE: dict[str, Any] = {
    "max_tokens": 64,
    "system": [{"type": "text", "text": "Be kind."}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c0", "name": "weather", "input": {"city": "Rome"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c0", "content": "Sunny."}]},
    ],
    "tools": [{"name": "weather", "description": "Of a city.", "input_schema": SCHEMA}],
}
CLAUDE_WHOLE: dict[str, Any] = {
    "inputs": [
        asked(
            "user",
            text("What is this?"),
            blob("image", "image/png"),
            {"mime_type": None, "modality": "document", "uri": "https://example.com/a.pdf", "type": "uri"},
        ),
        asked("assistant", call("c0")),
        asked("user", result("Sunny.")),
    ],
    "outputs": [said(thought("Hm."), text("A cat."), call("c1"), reason="tool_call")],
    "system": [text("Be kind.")],
    "tools": [tool()],
}
CLAUDE_ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": PIXEL},
        {"type": "redacted_thinking", "data": PIXEL},
        {"type": "text", "text": "A cat."},
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Rome"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one block."""
    begun = {"type": "content_block_start", "index": index, "content_block": start}
    return [
        begun,
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


CLAUDE_EVENTS = [
    {"type": "message_start", "message": {**CLAUDE_ANSWER, "content": [], "stop_reason": None}},
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Hm."},
        {"type": "signature_delta", "signature": PIXEL},
    ),
    *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "A "}, {"type": "text_delta", "text": "cat."}),
    *block(
        2,
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"city":'},
        {"type": "input_json_delta", "partial_json": '"Rome"}'},
    ),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 1}},
    {"type": "message_stop"},
]


def _anthropic(*, stream: bool) -> Callable[[str], Any]:
    def make(url: str) -> Any:
        import anthropic

        with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client:
            answer = client.messages.create(model="claude-opus-5", **CLAUDE, stream=stream)
            return list(answer) if stream else answer

    return make


if has("anthropic"):
    CALLS += [
        ContentCall("anthropic", Reply(CLAUDE_ANSWER), _anthropic(stream=False), **CLAUDE_WHOLE),
        ContentCall("anthropic-stream", Reply(events=CLAUDE_EVENTS, done=False), _anthropic(stream=True), **CLAUDE_WHOLE),
    ]

# ---- Bedrock

CONVERSE: dict[str, Any] = {
    "modelId": "us.amazon.nova-lite-v1:0",
    "system": [{"text": "Be kind."}],
    "messages": [
        {"role": "user", "content": [{"text": "What is this?"}, {"image": {"format": "png", "source": {"bytes": PIXEL.encode()}}}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c0", "name": "weather", "input": {"city": "Rome"}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "c0", "content": [{"text": "Sunny."}]}}]},
    ],
    "toolConfig": {"tools": [{"toolSpec": {"name": "weather", "description": "Of a city.", "inputSchema": {"json": SCHEMA}}}]},
}
CONVERSE_WHOLE: dict[str, Any] = {
    "inputs": [
        asked("user", text("What is this?"), blob("image", "image/png")),
        asked("assistant", call("c0")),
        asked("user", result([{"text": "Sunny."}])),
    ],
    "outputs": [said(text("A cat."), call("c1"), reason="tool_call")],
    "system": [text("Be kind.")],
    "tools": [tool()],
}
CONVERSED = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [{"text": "A cat."}, {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Rome"}}}],
        }
    },
    "stopReason": "tool_use",
    "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    "metrics": {"latencyMs": 1},
}
CONVERSE_EVENTS: list[tuple[str, Any]] = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "A "}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "cat."}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "c1", "name": "weather"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"city":'}}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '"Rome"}'}}}),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}, "metrics": {"latencyMs": 1}}),
]
HELLO: dict[str, Any] = {"inputs": [asked("user", text("Say hello."))], "outputs": [said(text("Hello."))]}


def _invoke(model: str, body: dict[str, Any], *, stream: bool = False) -> Callable[[str], Any]:
    given = {"modelId": model, "body": json.dumps(body)}
    if stream:
        return with_bedrock(lambda client: list(client.invoke_model_with_response_stream(**given)["body"]))
    return with_bedrock(lambda client: client.invoke_model(**given)["body"].read())


FAMILIES: list[tuple[str, dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = [
    (
        "amazon.titan-text-express-v1",
        {"inputText": "Say hello."},
        {"results": [{"outputText": "Hello.", "completionReason": "FINISH"}]},
        [{"outputText": "Hel"}, {"outputText": "lo.", "completionReason": "FINISH"}],
    ),
    (
        "meta.llama3-70b-instruct-v1:0",
        {"prompt": "Say hello."},
        {"generation": "Hello.", "stop_reason": "stop"},
        [{"generation": "Hel", "stop_reason": None}, {"generation": "lo.", "stop_reason": "stop"}],
    ),
    (
        "mistral.mistral-large-2402-v1:0",
        {"prompt": "Say hello."},
        {"outputs": [{"text": "Hello.", "stop_reason": "stop"}]},
        [{"outputs": [{"text": "Hel", "stop_reason": None}]}, {"outputs": [{"text": "lo.", "stop_reason": "stop"}]}],
    ),
    (
        "cohere.command-r-v1:0",
        {"message": "Say hello."},
        {"text": "Hello.", "finish_reason": "COMPLETE"},
        [{"text": "Hel"}, {"text": "lo."}, {"finish_reason": "COMPLETE"}],
    ),
    (
        "us.amazon.nova-lite-v1:0",
        {"messages": [{"role": "user", "content": [{"text": "Say hello."}]}]},
        {"output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}}, "stopReason": "end_turn"},
        [{"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Hello."}}}, {"messageStop": {"stopReason": "end_turn"}}],
    ),
    (
        "deepseek.v3-v1:0",
        {"messages": [{"role": "user", "content": "Say hello."}]},
        {"choices": [{"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]},
        [{"choices": [{"delta": {"content": "Hello."}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}],
    ),
]

if has("boto3"):
    CALLS += [
        ContentCall("converse", Reply(CONVERSED), with_bedrock(lambda client: client.converse(**CONVERSE)), **CONVERSE_WHOLE),
        ContentCall(
            "converse-stream",
            Reply(events=[frame(value, kind=kind) for kind, value in CONVERSE_EVENTS], headers=EVENT_STREAM),
            with_bedrock(lambda client: list(client.converse_stream(**CONVERSE)["stream"])),
            **CONVERSE_WHOLE,
        ),
        ContentCall("invoke-claude", Reply(CLAUDE_ANSWER), _invoke("anthropic.claude-opus-5", CLAUDE), **CLAUDE_WHOLE),
        ContentCall(
            "invoke-claude-stream",
            Reply(events=[chunk(event) for event in CLAUDE_EVENTS], headers=EVENT_STREAM),
            _invoke("anthropic.claude-opus-5", CLAUDE, stream=True),
            **CLAUDE_WHOLE,
        ),
    ]
    for model, body, answer, events in FAMILIES:
        family = model.split(".")[-2] + "-" + model.split(".")[-1][:5]
        CALLS += [
            ContentCall(f"invoke-{family}", Reply(answer), _invoke(model, body), **HELLO),
            ContentCall(
                f"invoke-{family}-stream",
                Reply(events=[chunk(event) for event in events], headers=EVENT_STREAM),
                _invoke(model, body, stream=True),
                **HELLO,
            ),
        ]

# ---- Gemini

CONTENTS = [
    {"role": "user", "parts": [{"text": "What is this?"}, {"inline_data": {"mime_type": "image/png", "data": PIXEL}}]},
    {"role": "model", "parts": [{"function_call": {"name": "weather", "args": {"city": "Rome"}}}]},
    {"role": "user", "parts": [{"function_response": {"name": "weather", "response": {"sky": "sunny"}}}]},
]
DECLARED = {"name": "weather", "description": "Of a city.", "parameters_json_schema": SCHEMA}
GEMINI_WHOLE: dict[str, Any] = {
    "inputs": [
        asked("user", text("What is this?"), blob("image", "image/png")),
        asked("assistant", call(None)),
        asked("user", result({"sky": "sunny"}, None)),
    ],
    "outputs": [said(thought("Hm."), text("A cat."), call(None))],
    "system": [text("Be kind.")],
}
PARTS = [
    {"text": "Hm.", "thought": True},
    {"text": "A "},
    {"text": "cat."},
    {"functionCall": {"name": "weather", "args": {"city": "Rome"}}},
]
GEMINI_TOKENS = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}


def _candidate(*parts: Any, finish: str | None = None) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, **({"finishReason": finish} if finish else {})}
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "usageMetadata": GEMINI_TOKENS}


def _gemini(*, stream: bool) -> Callable[[str], Any]:
    def make(url: str) -> Any:
        from google import genai

        client = genai.Client(api_key="secret", http_options={"base_url": url})
        asked = {"model": "gemini-2.5-flash", "contents": CONTENTS, "config": {"system_instruction": "Be kind."}}
        return list(client.models.generate_content_stream(**asked)) if stream else client.models.generate_content(**asked)

    return make


def _interact(*, stream: bool) -> Callable[[str], Any]:
    def make(url: str) -> Any:
        from google import genai

        with warnings.catch_warnings(), genai.Client(api_key="secret", http_options={"base_url": url}) as client:
            warnings.simplefilter("ignore")
            answer = client.interactions.create(
                model="gemini-3-flash", input="What is this?", system_instruction="Be kind.", **({"stream": True} if stream else {})
            )
            return list(answer) if stream else answer

    return make


STEPS = [
    {"type": "model_output", "content": [{"type": "text", "text": "A cat."}]},
    {"type": "function_call", "id": "c1", "name": "weather", "arguments": {"city": "Rome"}},
]
INTERACTION = {"id": "i1", "status": "completed", "model": "gemini-3-flash", "created": "2026-11-26T00:00:00Z", "object": "interaction"}
INTERACTED: dict[str, Any] = {
    "inputs": [asked("user", text("What is this?"))],
    "outputs": [said(text("A cat."), call("c1"), reason="tool_call")],
    "system": [text("Be kind.")],
}
INTERACTION_EVENTS = [
    {"event_type": "interaction.created", "interaction": {**INTERACTION, "status": "in_progress"}},
    {"event_type": "step.start", "index": 0, "step": {"type": "model_output", "content": []}},
    {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "A "}},
    {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "cat."}},
    {"event_type": "step.start", "index": 1, "step": {**STEPS[1], "arguments": {}}},
    {"event_type": "step.delta", "index": 1, "delta": {"type": "arguments_delta", "arguments": '{"city":"Rome"}'}},
    {"event_type": "interaction.completed", "interaction": INTERACTION},
]


if has("google.genai"):
    CALLS += [
        ContentCall(
            "gemini", Reply(_candidate(PARTS[0], {"text": "A cat."}, PARTS[3], finish="STOP")), _gemini(stream=False), **GEMINI_WHOLE
        ),
        ContentCall(
            "gemini-stream",
            Reply(events=[*(_candidate(part) for part in PARTS[:3]), _candidate(PARTS[3], finish="STOP")], done=False),
            _gemini(stream=True),
            **GEMINI_WHOLE,
        ),
    ]
if has("google.genai._gaos"):
    CALLS += [
        ContentCall("interaction", Reply({**INTERACTION, "steps": STEPS}), _interact(stream=False), **INTERACTED),
        ContentCall("interaction-stream", Reply(events=INTERACTION_EVENTS), _interact(stream=True), **INTERACTED),
    ]


def _vertex(*, stream: bool) -> Callable[[str], Any]:
    def make(url: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from google.auth.credentials import AnonymousCredentials
            from vertexai.generative_models import GenerativeModel

            import vertexai

            vertexai.init(project="p", location="us-central1", credentials=AnonymousCredentials(), api_transport="rest", api_endpoint=url)
            answer = GenerativeModel("gemini-2.5-flash").generate_content("Say hello.", stream=stream)
            return list(answer) if stream else answer

    return make


if has("vertexai.generative_models"):
    hello = _candidate({"text": "Hello."}, finish="STOP")
    CALLS += [
        ContentCall("vertexai", Reply(hello), _vertex(stream=False), outputs=[said(text("Hello."))]),
        ContentCall(
            "vertexai-stream", Reply([_candidate({"text": "Hel"}), hello]), _vertex(stream=True), outputs=[said(text("HelHello."))]
        ),
    ]

# ---- Databricks


def _databricks(url: str) -> Any:
    from databricks import sdk

    serving = sdk.service.serving
    one = serving.ServingEndpointsAPI(sdk.core.ApiClient(sdk.config.Config(host=url, token="secret", auth_type="pat")))
    return one.query("my-endpoint", messages=[serving.ChatMessage(role=serving.ChatMessageRole.USER, content="Say hello.")])


if has("databricks.sdk"):
    CALLS.append(
        ContentCall(
            "databricks",
            Reply({"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finishReason": "stop"}]}),
            _databricks,
            **HELLO,
        )
    )
