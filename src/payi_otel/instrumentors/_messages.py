"""What was said in a call as messages of the GenAI conventions, of the JSON of its request and of its answers. Pure.

Requests and answers say by their keys whose they are, as their blocks do (`_message_parts`); a stream's events are first put together
to the answer that they are parts of (`_message_streams`). An unknown shape gives nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from payi_otel.instrumentors._message_parts import (
    Part,
    dicts,
    field,
    media,
    parsed,
    read_parts,
    reasoning_part,
    server_call,
    text_of,
    text_part,
    tool_call,
    tool_response,
)
from payi_otel.instrumentors._message_streams import put_together
from payi_otel.payload import Content

Message = dict[str, Any]
_ROLES = {"model": "assistant", "USER": "user", "CHATBOT": "assistant", "SYSTEM": "system", "TOOL": "tool"}
"""Other words for the conventions' roles."""
_REASONS = {
    "stop": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "finish": "stop",
    "finished": "stop",
    "complete": "stop",
    "completed": "stop",
    "endoftext": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "requires_action": "tool_call",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "failed": "error",
    "cancelled": "error",
    "other": "error",
}
"""What the providers call the conventions' finish reasons; any other stands as it is."""
_MISSING = "error"
"""Where an answer ended before it said why."""
_SERVER_CALLS = frozenset(
    {"code_interpreter_call", "file_search_call", "image_generation_call", "mcp_call", "tool_search_call", "web_search_call"}
)


class Messages(Struct, frozen=True):
    """A call's content, each in the form of the attribute that it becomes."""

    inputs: list[Message]
    outputs: list[Message]
    system: list[Part]
    tools: list[dict[str, Any]]


def read_messages(content: Content) -> Messages:
    """Reads a call's content, from which base64 data has been taken out."""
    request = content.request if isinstance(content.request, dict) else {}
    answers = list(content.responses)
    answer = put_together(answers) if content.streamed else answers[0] if answers else None
    system = read_parts(field(request, "system")) + _instructions(field(request, "systemInstruction", "system_instruction", "instructions"))
    return Messages(list(_inputs(request)), list(_outputs(answer)), system, list(_tools(request)))


def _instructions(value: Any) -> list[Part]:
    parts = field(value, "parts")
    return read_parts(parts if parts is not None else value)


def _input(role: Any, parts: list[Part], name: Any = None) -> Iterator[Message]:
    if parts:
        yield {"role": _ROLES.get(role, role) if isinstance(role, str) else "user", "parts": parts, "name": text_of(name)}


def _output(parts: list[Part], reason: Any, role: Any = None) -> Iterator[Message]:
    role = _ROLES.get(role, role) if isinstance(role, str) and role else "assistant"
    yield {"role": role, "parts": parts, "finish_reason": finish_reason(reason), "name": None}


def finish_reason(reason: Any) -> str:
    """The conventions' word for why a model stopped."""
    return _REASONS.get(reason.lower(), reason) if isinstance(reason, str) and reason else _MISSING


# ---- requests


def _inputs(request: dict[str, Any]) -> Iterator[Message]:
    yield from _read_by(_REQUESTS, request)


def _turns(messages: Any, request: dict[str, Any]) -> Iterator[Message]:
    for message in dicts(messages):
        yield from _turn(message)


def _turn(message: dict[str, Any]) -> Iterator[Message]:
    role, content = message.get("role"), message.get("content")
    if role == "tool" or (role == "function" and content is not None):
        yield from _input("tool", [tool_response(message.get("tool_call_id"), content)], message.get("name"))
    else:
        yield from _input(role, _said_by(message), message.get("name"))


def _said_by(message: dict[str, Any]) -> list[Part]:
    """Chat's words of a message, which are the same in a history and in an answer."""
    parts = reasoning_part(field(message, "reasoning_content", "reasoning"))
    parts += read_parts(message.get("content")) + text_part(message.get("refusal"))
    audio = message.get("audio")
    if isinstance(audio, dict):
        parts += [{**media("audio", None), "transcript": text_of(audio.get("transcript"))}]
    for call in dicts(message.get("tool_calls")):
        called = field(call, "function", "custom")
        arguments = field(called, "arguments")
        parts.append(tool_call(call.get("id"), field(called, "name"), field(called, "input") if arguments is None else parsed(arguments)))
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        parts.append(tool_call(None, legacy.get("name"), parsed(legacy.get("arguments"))))
    return parts


def _contents(contents: Any, request: dict[str, Any]) -> Iterator[Message]:
    for content in contents if isinstance(contents, list) else [contents]:
        if isinstance(content, dict) and "parts" in content:
            yield from _input(content.get("role"), read_parts(content["parts"]))
        else:
            yield from _input("user", read_parts(content))


def _items(items: Any, request: dict[str, Any]) -> Iterator[Message]:
    """The input of a response or of an interaction: a text, messages, and what happened between them."""
    blocks: list[Part] = []
    for item in items if isinstance(items, list) else [items]:
        if isinstance(item, dict) and "role" in item:
            yield from _turn(item)
        elif isinstance(item, dict) and (said := _item_parts(item)):
            role, parts = said
            yield from _input(role, parts)
        else:
            blocks += read_parts(item)
    yield from _input("user", blocks)


def _item_parts(item: dict[str, Any]) -> tuple[str, list[Part]] | None:
    """Whose an item or step is that is no message, and its parts; None where it is none."""
    kind = item.get("type")
    if kind == "function_call":
        return "assistant", [tool_call(field(item, "call_id", "id"), item.get("name"), parsed(item.get("arguments")))]
    if kind == "custom_tool_call":
        return "assistant", [tool_call(field(item, "call_id", "id"), item.get("name"), item.get("input"))]
    if kind == "computer_call":
        return "assistant", [tool_call(item.get("call_id"), "computer", {"action": item.get("action")})]
    if kind in ("function_call_output", "custom_tool_call_output", "computer_call_output", "function_result"):
        return "tool", [tool_response(item.get("call_id"), field(item, "output", "result"))]
    if kind in ("reasoning", "thought"):
        return "assistant", [*_thoughts(item.get("summary")), *_thoughts(item.get("content"))]
    if kind == "user_input":
        return "user", read_parts(item.get("content"))
    if kind in ("message", "model_output"):
        return "assistant", read_parts(item.get("content"))
    if isinstance(kind, str) and kind in _SERVER_CALLS:
        name = kind.removesuffix("_call")
        return "assistant", [
            server_call(item.get("id"), item.get("name") or name, {k: v for k, v in item.items() if k not in ("id", "name")})
        ]
    if kind == "compaction":
        return "assistant", read_parts(item)
    return None


def _thoughts(blocks: Any) -> list[Part]:
    return [part for block in dicts(blocks) for part in reasoning_part(block.get("text"))]


def _prompts(prompt: Any, request: dict[str, Any]) -> Iterator[Message]:
    for text in prompt if isinstance(prompt, list) else [prompt]:
        yield from _input("user", text_part(text))


def _cohere(message: Any, request: dict[str, Any]) -> Iterator[Message]:
    for turn in dicts(request.get("chat_history")):
        yield from _input(turn.get("role"), text_part(turn.get("message")))
    yield from _input("user", text_part(message))


_Reader = Callable[[Any, dict[str, Any]], Iterator[Message]]
_REQUESTS: dict[str, _Reader] = {
    "messages": _turns,
    "contents": _contents,
    "input": _items,
    "prompt": _prompts,
    "inputText": _prompts,
    "message": _cohere,
    "inputs": _prompts,
}


def _tools(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for tool in dicts(request.get("tools")) if "tools" in request else dicts(field(request.get("toolConfig"), "tools")):
        declared = field(tool, "functionDeclarations", "function_declarations")
        if declared is not None:
            yield from (_function(one, field(one, "parameters", "parametersJsonSchema")) for one in dicts(declared))
        elif (function := field(tool, "function", "toolSpec")) is not None:
            yield _function(function, field(function, "parameters") or field(field(function, "inputSchema"), "json"))
        elif field(tool, "input_schema") is not None or tool.get("type") in ("function", "custom"):
            yield _function(tool, field(tool, "input_schema", "parameters"))
        else:
            kind = text_of(tool.get("type")) or next(iter(tool), "")
            yield {"name": text_of(tool.get("name")) or kind, "type": kind}
    yield from (_function(one, one.get("parameters")) for one in dicts(request.get("functions")))


def _function(tool: Any, parameters: Any) -> dict[str, Any]:
    return {
        "name": str(field(tool, "name") or ""),
        "description": text_of(field(tool, "description")),
        "parameters": parameters if isinstance(parameters, dict) else None,
        "type": "function",
    }


# ---- answers


def _outputs(answer: Any) -> Iterator[Message]:
    if isinstance(answer, str):
        yield from _output(text_part(answer), "stop")
    if not isinstance(answer, dict):
        return
    yield from _read_by(_ANSWERS, answer)


def _read_by(readers: dict[str, _Reader], said: dict[str, Any]) -> list[Message]:
    """What the first reader finds whose key is there and holds something."""
    found = (list(reader(said[key], said)) for key, reader in readers.items() if said.get(key) is not None)
    return next((messages for messages in found if messages), [])


def _choices(choices: Any, answer: dict[str, Any]) -> Iterator[Message]:
    for choice in dicts(choices):
        message = choice.get("message")
        parts = _said_by(message) if isinstance(message, dict) else text_part(choice.get("text"))
        yield from _output(parts, field(choice, "finish_reason", "finishReason", "stop_reason"), field(message, "role"))


def _candidates(candidates: Any, answer: dict[str, Any]) -> Iterator[Message]:
    for candidate in dicts(candidates):
        content = candidate.get("content")
        yield from _output(read_parts(field(content, "parts")), field(candidate, "finishReason", "finish_reason"), field(content, "role"))


def _output_of(output: Any, answer: dict[str, Any]) -> Iterator[Message]:
    """Of a response, whose items are one answer; or of Converse."""
    if isinstance(output, list):
        yield from _one_answer(output, field(answer.get("incomplete_details"), "reason") or answer.get("status"))
    elif isinstance(message := field(output, "message"), dict):
        yield from _output(read_parts(message.get("content")), answer.get("stopReason"), message.get("role"))


def _steps(steps: Any, answer: dict[str, Any]) -> Iterator[Message]:
    yield from _one_answer(steps, answer.get("status"))


def _one_answer(items: Any, reason: Any) -> Iterator[Message]:
    parts = [part for item in dicts(items) if (said := _item_parts(item)) and said[0] == "assistant" for part in said[1]]
    if parts:
        is_call = reason == "completed" and parts[-1]["type"] == "tool_call"
        yield from _output(parts, "tool_call" if is_call else None if reason in ("queued", "in_progress") else reason)


def _message(content: Any, answer: dict[str, Any]) -> Iterator[Message]:
    if isinstance(content, list):
        yield from _output(read_parts(content), answer.get("stop_reason"), answer.get("role"))


def _listed(*names: str) -> Callable[[Any, dict[str, Any]], Iterator[Message]]:
    """Texts in a list, each with the reason why it ended."""

    def read(items: Any, answer: dict[str, Any]) -> Iterator[Message]:
        for item in dicts(items):
            reason = field(item, "completionReason", "stop_reason", "finish_reason", "finishReason")
            text = text_part(field(item, *names) or field(item.get("data"), "text"))
            if text:
                yield from _output(text, field(reason, "reason") or reason)

    return read


def _whole(text: Any, answer: dict[str, Any]) -> Iterator[Message]:
    if isinstance(text, str):
        reason = field(answer, "stop_reason", "stopReason", "finish_reason", "completionReason")
        yield from _output(text_part(text), reason or "stop")


def _made(images: Any, answer: dict[str, Any]) -> Iterator[Message]:
    """Images that were asked for."""
    for image in dicts(images):
        if "b64_json" in image or "url" in image:
            yield from _output([media("image", None, image.get("url"))], "stop")


_ANSWERS: dict[str, _Reader] = {
    "choices": _choices,
    "candidates": _candidates,
    "output": _output_of,
    "steps": _steps,
    "content": _message,
    "results": _listed("outputText"),
    "outputs": _listed("text"),
    "generations": _listed("text"),
    "completions": _listed("text"),
    "generation": _whole,
    "outputText": _whole,
    "completion": _whole,
    "text": _whole,
    "data": _made,
}
