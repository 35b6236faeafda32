"""Blocks of a message's content, in whatever provider's words, as the parts of a message in the GenAI conventions. Pure.

A block says by its `type`, or by the one key it has, what it is; so one table reads them all. What is not known is left out. Bytes
are never copied: a blob's `content` is empty.
Source: https://github.com/open-telemetry/semantic-conventions-genai, model/gen-ai/gen-ai-input-messages.json
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from payi_otel.semconv import NOT_INSTRUMENTED

Part = dict[str, Any]
"""Its keys stand in the order in which util-genai writes them."""
_AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def dicts(value: Any) -> Iterator[dict[str, Any]]:
    """The objects in what should be a list of them."""
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))


def field(value: Any, *names: str) -> Any:
    """The first of these fields that an object has; None where it has none, or is none."""
    if isinstance(value, dict):
        for name in names:
            if value.get(name) is not None:
                return value[name]
    return None


def text_of(value: Any) -> str | None:
    """A text, where it is one."""
    return value if isinstance(value, str) else None


def text_part(text: Any) -> list[Part]:
    """A part, or none where there is no text."""
    return [{"content": text, "type": "text"}] if isinstance(text, str) and text else []


def reasoning_part(text: Any) -> list[Part]:
    """The same of what the model thought."""
    return [{"content": text, "type": "reasoning"}] if isinstance(text, str) and text else []


def tool_call(call_id: Any, name: Any, arguments: Any) -> Part:
    """A call of the caller's tool."""
    return {"arguments": arguments, "name": str(name or ""), "id": text_of(call_id), "type": "tool_call"}


def tool_response(call_id: Any, response: Any) -> Part:
    """What the caller's tool gave back."""
    return {"response": response, "id": text_of(call_id), "type": "tool_call_response"}


def server_call(call_id: Any, name: Any, details: Mapping[str, Any]) -> Part:
    """A call of a tool that runs at the provider."""
    called = {**details, "type": str(name or "")}
    return {"name": str(name or ""), "server_tool_call": called, "id": text_of(call_id), "type": "server_tool_call"}


def server_response(call_id: Any, name: Any, details: Mapping[str, Any]) -> Part:
    """What such a tool gave."""
    return {"server_tool_call_response": {**details, "type": str(name or "")}, "id": text_of(call_id), "type": "server_tool_call_response"}


def parsed(arguments: Any) -> Any:
    """A tool's arguments as JSON, where they are a text of it."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


def media(modality: str, mime: Any, uri: Any = None, file_id: Any = None) -> Part:
    """An image, audio, a video or a document: by the name it has somewhere, or a blob without its bytes."""
    head = {"mime_type": text_of(mime), "modality": modality}
    if isinstance(file_id, str) and file_id:
        return {**head, "file_id": file_id, "type": "file"}
    if isinstance(uri, str) and uri and uri != NOT_INSTRUMENTED and uri[:5].lower() != "data:":
        return {**head, "uri": uri, "type": "uri"}
    return {**head, "content": "", "type": "blob"}


def read_parts(content: Any) -> list[Part]:
    """The parts of a message's content: a text, a block, or a list of either."""
    if isinstance(content, str):
        return text_part(content)
    if isinstance(content, dict):
        return _read_block(content)
    return [part for item in content for part in read_parts(item)] if isinstance(content, list) else []


def _read_block(block: dict[str, Any]) -> list[Part]:
    kind = block.get("type")
    if isinstance(kind, str):
        reader = _BY_TYPE.get(kind)
        if reader is not None:
            return reader(block)
        if kind.endswith("_tool_result"):
            return [server_response(block.get("tool_use_id"), kind.removesuffix("_tool_result"), _rest(block, "tool_use_id"))]
        return []
    for key, of_key in _BY_KEY.items():
        if block.get(key) is not None:
            return of_key(block)
    return []


def _rest(block: dict[str, Any], *without: str) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key not in ("type", *without)}


# ---- OpenAI


def _image_url(block: dict[str, Any]) -> list[Part]:
    url = block.get("image_url")
    return [media("image", None, field(url, "url") or url, block.get("file_id"))]


def _input_audio(block: dict[str, Any]) -> list[Part]:
    return [media("audio", _AUDIO_TYPES.get(str(field(block.get("input_audio"), "format"))))]


def _file(block: dict[str, Any]) -> list[Part]:
    file = block["file"] if isinstance(block.get("file"), dict) else block
    return [media("document", None, file.get("file_url"), file.get("file_id"))]


# ---- Anthropic


def _sourced(modality: str) -> Callable[[dict[str, Any]], list[Part]]:
    """A block whose `source` says where it is; Gemini's interactions say it in the block itself."""

    def read(block: dict[str, Any]) -> list[Part]:
        source = block.get("source")
        if field(source, "type") == "content":
            return read_parts(field(source, "content"))
        mime = field(source, "media_type") or field(block, "mime_type", "mimeType")
        return [media(modality, mime, field(source, "url") or block.get("uri"), field(source, "file_id"))]

    return read


def _server_use(block: dict[str, Any]) -> list[Part]:
    return [server_call(block.get("id"), block.get("name"), _rest(block, "id", "name"))]


# ---- Converse


def _attached(modality: str) -> Callable[[dict[str, Any]], list[Part]]:
    def read(block: dict[str, Any]) -> list[Part]:
        held = block[modality]
        form, uri = field(held, "format"), field(field(field(held, "source"), "s3Location"), "uri")
        head = "application" if modality == "document" else modality
        return [media(modality, f"{head}/{form}" if isinstance(form, str) else None, uri)]

    return read


def _tool_use(block: dict[str, Any]) -> list[Part]:
    use = block["toolUse"]
    if field(use, "type") == "server_tool_use":
        return [server_call(field(use, "toolUseId"), field(use, "name"), {"input": field(use, "input")})]
    return [tool_call(field(use, "toolUseId"), field(use, "name"), field(use, "input"))]


def _tool_result(block: dict[str, Any]) -> list[Part]:
    result = block["toolResult"]
    return [tool_response(field(result, "toolUseId"), field(result, "content"))]


# ---- Gemini


def _text_or_thought(block: dict[str, Any]) -> list[Part]:
    return reasoning_part(block["text"]) if block.get("thought") is True else text_part(block["text"])


def _inline(block: dict[str, Any]) -> list[Part]:
    mime = field(field(block, "inlineData", "inline_data"), "mimeType", "mime_type")
    return [media(_modality(mime), mime)]


def _referred(block: dict[str, Any]) -> list[Part]:
    data = field(block, "fileData", "file_data")
    mime = field(data, "mimeType", "mime_type")
    return [media(_modality(mime), mime, field(data, "fileUri", "file_uri"))]


def _modality(mime: Any) -> str:
    head = mime.partition("/")[0] if isinstance(mime, str) else ""
    return head if head in ("image", "audio", "video") else "document"


def _called(block: dict[str, Any]) -> list[Part]:
    call = field(block, "functionCall", "function_call")
    return [tool_call(field(call, "id"), field(call, "name"), field(call, "args"))]


def _answered(block: dict[str, Any]) -> list[Part]:
    answer = field(block, "functionResponse", "function_response")
    return [tool_response(field(answer, "id"), field(answer, "response"))]


def _code(block: dict[str, Any]) -> list[Part]:
    code = field(block, "executableCode", "executable_code")
    return [server_call(field(code, "id"), "code_execution", {"code": field(code, "code"), "language": field(code, "language")})]


def _code_result(block: dict[str, Any]) -> list[Part]:
    result = field(block, "codeExecutionResult", "code_execution_result")
    return [server_response(field(result, "id"), "code_execution", _rest(result, "id") if isinstance(result, dict) else {})]


def _texts(block: dict[str, Any]) -> list[Part]:
    return text_part(block.get("text"))


def _content(block: dict[str, Any]) -> list[Part]:
    return read_parts(block.get("content"))


_Reader = Callable[[dict[str, Any]], list[Part]]
_BY_TYPE: dict[str, _Reader] = {
    "text": _texts,
    "input_text": _texts,
    "output_text": _texts,
    "reasoning_text": lambda block: reasoning_part(block.get("text")),
    "summary_text": lambda block: reasoning_part(block.get("text")),
    "refusal": lambda block: text_part(block.get("refusal")),
    "image_url": _image_url,
    "input_image": _image_url,
    "input_audio": _input_audio,
    "file": _file,
    "input_file": _file,
    "image": _sourced("image"),
    "document": _sourced("document"),
    "audio": _sourced("audio"),
    "video": _sourced("video"),
    "tool_use": lambda block: [tool_call(block.get("id"), block.get("name"), block.get("input"))],
    "tool_result": lambda block: [tool_response(block.get("tool_use_id"), block.get("content"))],
    "server_tool_use": _server_use,
    "mcp_tool_use": _server_use,
    "thinking": lambda block: reasoning_part(block.get("thinking")),
    "compaction": lambda block: [{"id": text_of(block.get("id")), "content": text_of(block.get("content")), "type": "compaction"}],
    "container_upload": lambda block: [media("document", None, None, block.get("file_id"))],
    "search_result": _content,
}
_BY_KEY: dict[str, _Reader] = {
    "text": _text_or_thought,
    "toolUse": _tool_use,
    "toolResult": _tool_result,
    "reasoningContent": lambda block: reasoning_part(field(field(block["reasoningContent"], "reasoningText"), "text")),
    "image": _attached("image"),
    "document": _attached("document"),
    "video": _attached("video"),
    "audio": _attached("audio"),
    "guardContent": lambda block: read_parts(field(field(block["guardContent"], "text"), "text")),
    "citationsContent": lambda block: read_parts(field(block["citationsContent"], "content")),
    "inlineData": _inline,
    "inline_data": _inline,
    "fileData": _referred,
    "file_data": _referred,
    "functionCall": _called,
    "function_call": _called,
    "functionResponse": _answered,
    "function_response": _answered,
    "executableCode": _code,
    "executable_code": _code,
    "codeExecutionResult": _code_result,
    "code_execution_result": _code_result,
}
