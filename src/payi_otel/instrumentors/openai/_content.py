"""What was said in an OpenAI call: its tool calls, its texts, and where its JSON holds base64 data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from payi_otel import _large
from payi_otel._json import to_json
from payi_otel._large import Marks
from payi_otel.instrumentors._content import CallContent, texts_in
from payi_otel.instrumentors._inline import InlineRules
from payi_otel.payload import FunctionCall

_INLINE = InlineRules(
    fields={
        "image_generation_call": "result",
        "response.image_generation_call.partial_image": "partial_image_b64",
        "response.audio.delta": "delta",
        "response.output_audio.delta": "delta",
    },
    keys=frozenset({"file_data", "b64_json", "embedding"}),  # a vector is asked for as base64 by the SDK itself; one of numbers stays
    parents=frozenset({"input_audio", "audio"}),
)
_NO_TEXT = frozenset({*_INLINE.keys, "data", "image_url", "type", "role", "id", "call_id", "file_id", "status"})
"""Keys whose values are no tokens of text."""
_IMAGE_TYPES = frozenset({"image_url", "input_image", "computer_screenshot"})
_FILE_TYPES = frozenset({"file", "input_file", "item_reference"})
"""Parts whose text is not told."""
_STREAM_OPTIONS = b'"stream_options"'
_OUR_OPTIONS = b',"stream_options":{"include_usage":true}'
"""As the SDK writes what we add to a request."""
_OWN_TOOLS = frozenset({"function", "custom", "namespace", "local_shell", "apply_patch", "computer", "computer_use_preview"})
"""Tools that the caller runs himself: what they give back stands in a request of his."""
_UNSEEN = ("previous_response_id", "conversation", "prompt")
"""What the provider keeps, and puts into the prompt of a response."""
_PROMPT_KEYS = ("messages", "input", "instructions", "prompt", "tools", "functions")


class OpenAIContent(CallContent):
    """The content of a call through the `openai` SDK."""

    inline = _INLINE
    call_marks = Marks(b"tool_call", b"function_call")
    image_marks = Marks(*(f'"{kind}"'.encode() for kind in sorted(_IMAGE_TYPES)))

    def with_request(self, request: bytes | None, *, estimates: bool) -> OpenAIContent:
        """The same answers to another request: a fetched answer belongs to the call that asked for it."""
        return OpenAIContent(request, self._answers, streamed=self._streamed, estimates=estimates)

    def without_ours(self, request: bytes) -> bytes | None:
        """Takes out the `stream_options` that are all ours: a key that stands there once, and not in a text, where it would be escaped."""
        if list(self._restore.items()) != [("stream_options", None)]:
            return super().without_ours(request)
        at = _large.find(_STREAM_OPTIONS, request) - 1
        end = at + len(_OUR_OPTIONS)
        if at < 0 or not request.startswith(_OUR_OPTIONS, at) or _large.find(_STREAM_OPTIONS, request, end) >= 0:
            return None
        return request[:at] + request[end:]

    def read_function_calls(self, answers: Sequence[Any]) -> Iterator[FunctionCall]:
        """Chat's tool calls, custom tools and the deprecated form; items of the Responses API."""
        return read_function_calls(answers)

    def prompt_texts(self, request: Any) -> Iterator[str]:
        """Messages, instructions and tools."""
        if isinstance(request, dict):
            yield from texts_in([request.get(key) for key in _PROMPT_KEYS], _NO_TEXT)

    def prompt_tokens(self, request: Any) -> int:
        """Numbers in an embedding's input are tokens."""
        return _count_tokens(request.get("input")) if isinstance(request, dict) else 0

    def has_image(self, request: Any) -> bool:
        """Whether an image stands in a message, or in what a tool gave back: beside text of which all stands in the request."""
        if not isinstance(request, dict):
            return False
        given = [request.get("messages"), request.get("input")]
        return _has_type(given, _IMAGE_TYPES) and not (_has_type(given, _FILE_TYPES) or _adds_text(request))

    def said(self, answer: Any) -> Iterator[str]:
        """Text, refusals, reasoning where it is told, and tool arguments."""
        if not isinstance(answer, dict):
            return
        for choice in answer.get("choices") or ():
            said = choice.get("message") or choice.get("delta") or {}
            yield from _texts(choice.get("text"))
            yield from _texts([said.get(key) for key in ("content", "refusal", "reasoning_content", "reasoning")])
            for call in said.get("tool_calls") or ():
                yield from _texts([call.get("function"), call.get("custom")])
            yield from _texts(said.get("function_call"))
        if str(answer.get("type", "")).endswith(".delta"):
            yield from _texts(answer.get("delta"))
        elif "output" in answer:
            yield from _texts([item.get("content") or item.get("arguments") for item in answer["output"] or () if isinstance(item, dict)])


def _has_type(value: Any, kinds: frozenset[str]) -> bool:
    if isinstance(value, list):
        return any(_has_type(item, kinds) for item in value)
    if not isinstance(value, dict):
        return False
    return value.get("type") in kinds or _has_type(value.get("content"), kinds) or _has_type(value.get("output"), kinds)


def _adds_text(request: dict[str, Any]) -> bool:
    """Whether the provider adds text of its own to the prompt: earlier turns, a stored prompt, or what tools of its own find."""
    tools = request.get("tools")
    is_served = isinstance(tools, list) and any(isinstance(tool, dict) and tool.get("type") not in _OWN_TOOLS for tool in tools)
    return is_served or "web_search_options" in request or any(request.get(name) is not None for name in _UNSEEN)


def _texts(value: Any) -> Iterator[str]:
    return texts_in(value, _NO_TEXT)


def _count_tokens(value: Any) -> int:
    if isinstance(value, list):
        return sum(_count_tokens(item) for item in value)
    return 1 if type(value) is int else 0


def read_function_calls(answers: Sequence[Any]) -> Iterator[FunctionCall]:
    """The caller's tools that the model called, in order, from plain answers and from streams."""
    merged: dict[tuple[Any, ...], list[Any]] = {}
    for answer in answers:
        if not isinstance(answer, dict):
            continue
        for choice in answer.get("choices") or ():
            _add_choice(merged, choice)
        _add_response(merged, answer)
    for key in sorted(merged):
        name, arguments = merged[key]
        if name:
            yield FunctionCall(name, arguments)


def _add_choice(merged: dict[tuple[Any, ...], list[Any]], choice: Any) -> None:
    said = choice.get("message") or choice.get("delta") or {}
    choice_index = choice.get("index") or 0
    legacy = said.get("function_call")
    if legacy:
        _add(merged, (choice_index, -1), legacy.get("name"), legacy.get("arguments"))
    for position, call in enumerate(said.get("tool_calls") or ()):
        called = call.get("function") or call.get("custom") or {}
        index = call.get("index")
        arguments = called.get("arguments") if "arguments" in called else _as_json(called.get("input"))
        _add(merged, (choice_index, position if index is None else index), called.get("name"), arguments)


def _add_response(merged: dict[tuple[Any, ...], list[Any]], answer: dict[str, Any]) -> None:
    """A `Response`, or a stream's events: done items as they come, replaced by the final response that repeats them."""
    if answer.get("type") == "response.output_item.done":
        _set_item(merged, answer.get("output_index") or 0, answer.get("item") or {})
    response = answer.get("response") if isinstance(answer.get("response"), dict) else answer
    for index, item in enumerate((response or {}).get("output") or ()):
        if isinstance(item, dict):
            _set_item(merged, index, item)


def _set_item(merged: dict[tuple[Any, ...], list[Any]], index: int, item: dict[str, Any]) -> None:
    if item.get("type") == "function_call":
        merged[(index, 0)] = [item.get("name"), item.get("arguments")]
    elif item.get("type") == "custom_tool_call":
        merged[(index, 0)] = [item.get("name"), _as_json(item.get("input"))]


def _as_json(text: Any) -> str | None:
    """A custom tool's input is free text: as a JSON string it is valid where arguments are read as JSON."""
    return to_json(text).decode() if isinstance(text, str) else None


def _add(merged: dict[tuple[Any, ...], list[Any]], key: tuple[Any, ...], name: Any, arguments: Any) -> None:
    entry = merged.setdefault(key, ["", None])
    entry[0] += name or ""
    if arguments:
        entry[1] = (entry[1] or "") + arguments
