"""What was said in a Cohere call, of either version of its API, plain or in a stream's events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from payi_otel._json import to_json
from payi_otel._large import Marks
from payi_otel.instrumentors._content import CallContent, texts_in
from payi_otel.instrumentors._inline import InlineRules
from payi_otel.payload import FunctionCall

_NO_TEXT = frozenset({"type", "role", "id", "tool_call_id", "image_url", "event_type", "finish_reason"})
"""Keys whose values are no tokens of text."""
_PROMPT_KEYS = (
    "message",
    "messages",
    "chat_history",
    "preamble",
    "prompt",
    "query",
    "documents",
    "texts",
    "inputs",
    "tools",
    "tool_results",
)
_SAID_KEYS = ("content", "tool_plan", "tool_calls", "text", "generations", "summary")


class CohereContent(CallContent):
    """The content of a call through `cohere`."""

    inline = InlineRules(keys=frozenset({"image", "data"}))
    call_marks = Marks(b"tool_call", b"tool-call")

    def prompt_texts(self, request: Any) -> Iterator[str]:
        """Messages, documents, texts and tools."""
        if isinstance(request, dict):
            yield from texts_in([request.get(key) for key in _PROMPT_KEYS], _NO_TEXT)

    def said(self, answer: Any) -> Iterator[str]:
        """An answer's words, or what an event adds to them; the last event of version 1 has all of them once more."""
        if isinstance(answer, dict):
            words = (answer.get("message"), (answer.get("delta") or {}).get("message"), answer)
            yield from texts_in([part.get(key) for part in words if isinstance(part, dict) for key in _SAID_KEYS], _NO_TEXT)

    def read_function_calls(self, answers: Sequence[Any]) -> Iterator[FunctionCall]:
        """The tool calls of an answer; in a stream of version 2, put together of their pieces."""
        begun: dict[Any, list[str]] = {}
        for answer in answers:
            if not isinstance(answer, dict):
                continue
            if answer.get("type") in ("tool-call-start", "tool-call-delta"):
                call = ((answer.get("delta") or {}).get("message") or {}).get("tool_calls") or {}
                entry = begun.setdefault(answer.get("index"), ["", ""])
                called = call.get("function") or {}
                entry[0] += called.get("name") or ""
                entry[1] += called.get("arguments") or ""
            else:
                yield from _whole(answer)
        for name, arguments in begun.values():
            yield FunctionCall(name, arguments)


def _whole(answer: dict[str, Any]) -> Iterator[FunctionCall]:
    """Version 2 has them in its message, version 1 in the answer, with parameters in place of a text."""
    message = answer.get("message")
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    is_last = answer.get("event_type") == "stream-end"
    for call in calls or (() if is_last else answer.get("tool_calls") or ()):
        called = call.get("function") or call
        arguments = called.get("arguments")
        yield FunctionCall(str(called.get("name")), to_json(called.get("parameters") or {}).decode() if arguments is None else arguments)
