"""What was said in a Mistral call: its texts, its tool calls, and where its JSON holds base64 data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from payi_otel._json import read_json, to_json
from payi_otel._large import Marks
from payi_otel.instrumentors._content import CallContent, texts_in
from payi_otel.instrumentors._inline import InlineRules
from payi_otel.payload import FunctionCall

_INLINE = InlineRules(keys=frozenset({"input_audio", "image_base64", "audio_data", "ref_audio"}))
_NO_TEXT = frozenset({*_INLINE.keys, "image_url", "document_url", "type", "role", "id", "tool_call_id", "file_id", "object", "index"})
"""Keys whose values are no tokens of text."""
_PROMPT_KEYS = ("messages", "prompt", "suffix", "input", "inputs", "instructions", "tools")
_SAID_KEYS = ("content", "tool_calls")


class MistralContent(CallContent):
    """The content of a call through `mistralai`."""

    inline = _INLINE
    call_marks = Marks(b"tool_calls", b"function.call", b"function_call")

    def prompt_texts(self, request: Any) -> Iterator[str]:
        """Messages, a prompt with its suffix, inputs, instructions and tools."""
        if isinstance(request, dict):
            yield from texts_in([request.get(key) for key in _PROMPT_KEYS], _NO_TEXT)

    def said(self, answer: Any) -> Iterator[str]:
        """The choices' words and tool arguments; a conversation's or response's outputs, and what events add to them; what was heard."""
        if not isinstance(answer, dict):
            return
        if str(answer.get("type")).startswith("response."):  # events that end something say it once more
            yield from texts_in(answer.get("delta"), _NO_TEXT)
            return
        for choice in answer.get("choices") or ():
            words = choice.get("message") or choice.get("delta") or {}
            yield from texts_in([words.get(key) for key in _SAID_KEYS], _NO_TEXT)
        for part in (answer, *(answer.get("outputs") or ()), *(answer.get("output") or ())):
            yield from texts_in([part.get(key) for key in ("content", "arguments", "text")], _NO_TEXT)

    def read_function_calls(self, answers: Sequence[Any]) -> Iterator[FunctionCall]:
        """The tool calls of choices, and a conversation's function calls, in order; in a stream, put together of their pieces."""
        calls: list[tuple[Any, list[str]]] = []
        for answer in answers:
            for place, name, arguments in _pieces(answer):
                begun = next((call for key, call in reversed(calls) if key == place), None)
                if begun is None or (name and begun[0] and arguments is not None and _is_whole(begun[1])):
                    calls.append((place, [name, arguments or ""]))
                else:
                    begun[0] = begun[0] or name
                    begun[1] += arguments or ""
        return (FunctionCall(name, arguments) for _, (name, arguments) in calls)


def _pieces(answer: Any) -> Iterator[tuple[Any, str, str | None]]:
    """Place, name and arguments of each call, or of what an event tells of one."""
    if not isinstance(answer, dict):
        return
    for choice in answer.get("choices") or ():
        words = choice.get("message") or choice.get("delta") or {}
        for position, call in enumerate(words.get("tool_calls") or ()):
            called = call.get("function") or {}
            yield (choice.get("index"), call.get("index") or position), called.get("name") or "", _text(called.get("arguments"))
    for entry in (answer, *(answer.get("outputs") or ())):
        if entry.get("type") in ("function.call", "function.call.delta"):
            yield entry.get("tool_call_id"), entry.get("name") or "", _text(entry.get("arguments"))
    for item in answer.get("output") or (answer.get("item"),):
        if isinstance(item, dict) and item.get("type") == "function_call" and answer.get("type") != "response.output_item.added":
            yield item.get("call_id"), item.get("name") or "", _text(item.get("arguments"))


def _text(arguments: Any) -> str | None:
    return arguments if arguments is None or isinstance(arguments, str) else to_json(arguments).decode()


def _is_whole(arguments: str) -> bool:
    try:
        read_json(arguments.encode())
    except ValueError:
        return False
    return True
