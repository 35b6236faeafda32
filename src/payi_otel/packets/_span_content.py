"""What a span of another instrumentation says was asked and answered, where it was told to say it; read in the worker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from payi_otel import semconv
from payi_otel.packets.counting import TokenCounter
from payi_otel.payload import Content, FunctionCall
from payi_otel.semconv import NOT_INSTRUMENTED

_REDACTED = "__REDACTED__"
"""Stands in OpenInference's spans for what it was told to leave out."""
_OLD = re.compile(r"(?:gen_ai|llm)\.(prompts?|completions?)\.\d+\.content")
"""The conventions before 1.37 number their messages."""
_DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/=_\-\r\n]{256,}")


class SpanContent:
    """A `ContentReader` over a span's attributes."""

    __slots__ = ("_attributes", "_is_embedding")

    def __init__(self, attributes: Mapping[str, Any], *, is_embedding: bool) -> None:
        self._attributes, self._is_embedding = attributes, is_embedding

    def read(self, *, inline_data: bool, estimate: TokenCounter | None) -> Content:
        """Request and answer as the span has them: raw where it has that, else as messages of the conventions."""
        request, answer = self._request(), self._answer()
        counts = None
        if estimate is not None and (request is not None or answer is not None):
            counts = (estimate(_texts(request)), 0 if self._is_embedding else estimate(_texts(answer)))
        calls = tuple(_tool_calls(answer))
        if not inline_data:
            request, answer = _without_data(request), _without_data(answer)
        return Content(request, () if answer is None else (answer,), streamed=False, function_calls=calls, estimated_tokens=counts)

    def _request(self) -> Any:
        raw = self._json("input.value")
        if raw is not None:
            return raw
        parts = {
            "messages": self._json(semconv.INPUT_MESSAGES),
            "system": self._json(semconv.SYSTEM_INSTRUCTIONS),
            "tools": self._json(semconv.TOOL_DEFINITIONS),
        }
        return {name: value for name, value in parts.items() if value} or self._old("prompt")

    def _answer(self) -> Any:
        raw = self._json("output.value")
        if raw is not None:
            return raw
        messages = self._json(semconv.OUTPUT_MESSAGES)
        return {"messages": messages} if messages else self._old("completion")

    def _old(self, kind: str) -> Any:
        texts = [
            value
            for name, value in self._attributes.items()
            if (match := _OLD.fullmatch(name)) is not None and match.group(1).startswith(kind) and isinstance(value, str)
        ]
        return {"messages": texts} if texts else None

    def _json(self, name: str) -> Any:
        """A JSON text's value; a text that is none, or was cut by a limit, as it is; structured values as they are."""
        value = self._attributes.get(name)
        if value is None or value == _REDACTED:
            return None
        if not isinstance(value, str):
            return _plain(value)
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value


def _texts(value: Any, key: str = "content") -> Iterator[str]:
    """The words of a request or an answer."""
    if isinstance(value, str):
        if key in ("content", "text", "input", "arguments", "response", "system", "messages", "prompt", "instructions"):
            yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)


def _tool_calls(answer: Any) -> Iterator[FunctionCall]:
    """Tools the model asked for, in the conventions' messages and in the providers' own JSON."""
    if isinstance(answer, list):
        for item in answer:
            yield from _tool_calls(item)
    elif isinstance(answer, Mapping):
        kind, name = answer.get("type"), answer.get("name")
        function = answer.get("function")
        if kind in ("tool_call", "function_call", "tool_use") and isinstance(name, str):
            yield FunctionCall(name, _as_text(answer.get("arguments", answer.get("input"))))
        elif isinstance(function, Mapping) and isinstance(function.get("name"), str) and "arguments" in function:
            yield FunctionCall(str(function["name"]), _as_text(function["arguments"]))
        else:
            for item in answer.values():
                yield from _tool_calls(item)


def _as_text(arguments: Any) -> str | None:
    return arguments if isinstance(arguments, str | None) else orjson.dumps(arguments).decode()


def _without_data(value: Any) -> Any:
    """The same without base64 data."""
    if isinstance(value, str):
        return NOT_INSTRUMENTED if _DATA_URL.match(value) or _BASE64.fullmatch(value) else value
    if isinstance(value, Mapping):
        return {name: _without_data(item) for name, item in value.items()}
    return [_without_data(item) for item in value] if isinstance(value, list) else value
