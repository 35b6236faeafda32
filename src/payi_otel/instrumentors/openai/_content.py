"""What was said in an OpenAI call, read in the worker: JSON of request and answer, tool calls, inline data, estimates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from payi_otel.instrumentors._raw import read_events
from payi_otel.instrumentors._stream import StreamReader
from payi_otel.packets.units import Usage
from payi_otel.payload import Content, FunctionCall
from payi_otel.semconv import NOT_INSTRUMENTED

_CHARS_PER_TOKEN = 4
"""OpenAI's own rule of thumb for English text: https://platform.openai.com/tokenizer"""

_INLINE_FIELDS = {
    "image_generation_call": "result",
    "response.image_generation_call.partial_image": "partial_image_b64",
    "response.audio.delta": "delta",
    "response.output_audio.delta": "delta",
}
"""By the `type` of an object, its field that holds bare base64 (no `data:` prefix)."""
_INLINE_KEYS = frozenset({"file_data", "b64_json", "embedding"})
"""Keys that hold bare base64 wherever they stand. A vector is asked for as base64 by the SDK itself; one of numbers stays."""
_INLINE_PARENTS = frozenset({"input_audio", "audio"})
"""Objects whose `data` is base64."""
_MAYBE_INLINE_KEYS = frozenset({"data", "image", "mask"})
"""Keys that hold base64 in some APIs and words in others."""
_MIN_INLINE_CHARS = 256
"""A shorter value under one of the last keys is a word, not data."""
_MAX_DATA_URL_HEAD = 200
"""Characters in which the media type of a `data:` URL ends."""
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_\r\n")
_NO_TEXT = frozenset({*_INLINE_KEYS, "data", "image_url", "type", "role", "id", "call_id", "file_id", "status"})
"""Keys whose values are no tokens of text."""


class RecordedEvents:
    """The bytes of a stream, as they came, and how many of its events were taken by the caller."""

    def __init__(self, pieces: Sequence[bytes], taken: int, new_reader: Callable[[], StreamReader]) -> None:
        self._pieces, self._taken, self._new_reader = pieces, taken, new_reader

    def read(self, *, late_usage: bool) -> tuple[list[Any], Usage | None]:
        """The events that were taken; and the usage, where it had come already when the caller left."""
        events = list(read_events(b"".join(self._pieces)))
        usage = None
        if late_usage and len(events) > self._taken:
            reader = self._new_reader()
            for event in events:
                reader.take(event)
            usage = reader.answer().usage
        return events[: self._taken], usage


class OpenAIContent:
    """References kept from a call until the worker reads them. `answers` holds bytes, SDK objects or JSON values."""

    def __init__(
        self,
        request: bytes | None,
        answers: Sequence[Any] | RecordedEvents,
        *,
        streamed: bool,
        restore: Mapping[str, Any] | None = None,
        estimates: bool = True,
    ) -> None:
        self._request, self._answers = request, answers
        self._streamed, self._restore, self._estimates = streamed, restore or {}, estimates

    def read(self, *, inline_data: bool, estimate: bool) -> Content:
        """Makes JSON values of it all; `restore` puts back what we changed in the request."""
        request, answers, usage = self._request_json(), self._answers, None
        if isinstance(answers, RecordedEvents):
            answers, usage = answers.read(late_usage=estimate)
        answers = [value for answer in answers if (value := to_json(answer)) is not None]
        estimated = estimate_tokens(request, answers) if estimate and self._estimates and usage is None else None
        if not inline_data:
            request = without_inline_data(request)
            answers = [without_inline_data(answer) for answer in answers]
        return Content(
            request=request,
            responses=answers,
            streamed=self._streamed,
            function_calls=tuple(read_function_calls(answers)),
            estimated_tokens=estimated,
            usage=usage,
        )

    def with_request(self, request: bytes | None, *, estimates: bool) -> OpenAIContent:
        """The same answers to another request: a fetched answer belongs to the call that asked for it."""
        return OpenAIContent(request, self._answers, streamed=self._streamed, estimates=estimates)

    def _request_json(self) -> Any:
        request = to_json(self._request)
        if isinstance(request, dict):
            for name, original in self._restore.items():
                if original is None:
                    request.pop(name, None)
                else:
                    request[name] = original
        return request


def to_json(value: Any) -> Any:
    """An SDK object, bytes or a JSON value as a JSON value; None where it is none."""
    if isinstance(value, bytes):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        return to_dict(mode="json", warnings=False)
    return value


def without_inline_data(value: Any, parent: str = "") -> Any:
    """The same JSON with base64 data replaced by `<not_instrumented>`; `parent` is the key it stands under."""
    if isinstance(value, dict):
        field = _INLINE_FIELDS.get(str(value.get("type")))
        return {
            key: NOT_INSTRUMENTED if _is_inline(key, item, parent, field) else without_inline_data(item, key) for key, item in value.items()
        }
    if isinstance(value, list):
        return [without_inline_data(item, parent) for item in value]
    return NOT_INSTRUMENTED if isinstance(value, str) and _is_data_url(value) else value


def _is_inline(key: str, value: Any, parent: str, field: str | None) -> bool:
    if not isinstance(value, str) or not value:
        return False
    sure = key == field or key in _INLINE_KEYS or (key == "data" and parent in _INLINE_PARENTS)
    return (sure or (key in _MAYBE_INLINE_KEYS and len(value) >= _MIN_INLINE_CHARS)) and _BASE64.issuperset(value)


def _is_data_url(text: str) -> bool:
    return text[:5].lower() == "data:" and ";base64," in text[:_MAX_DATA_URL_HEAD]


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
    return orjson.dumps(text).decode() if isinstance(text, str) else None


def _add(merged: dict[tuple[Any, ...], list[Any]], key: tuple[Any, ...], name: Any, arguments: Any) -> None:
    entry = merged.setdefault(key, ["", None])
    entry[0] += name or ""
    if arguments:
        entry[1] = (entry[1] or "") + arguments


def estimate_tokens(request: Any, answers: Sequence[Any]) -> tuple[int, int]:
    """(input, output) tokens by the length of the text, for a call whose provider gave no usage. Never exact."""
    text = sum(len(piece) for piece in _texts(_prompt_of(request)))
    tokens = _count_tokens(request.get("input")) if isinstance(request, dict) else 0
    deltas, chars = 0, 0
    for answer in answers:
        said = sum(len(piece) for piece in _said(answer))
        deltas += 1 if said else 0
        chars += said
    streamed_tokens = deltas if len(answers) > 1 else 0  # a stream sends about one event a token
    return tokens - (-text // _CHARS_PER_TOKEN), max(streamed_tokens, -(-chars // _CHARS_PER_TOKEN))


def _count_tokens(value: Any) -> int:
    """Numbers in an embedding's input are tokens."""
    if isinstance(value, list):
        return sum(_count_tokens(item) for item in value)
    return 1 if type(value) is int else 0


def _prompt_of(request: Any) -> Any:
    if not isinstance(request, dict):
        return None
    return [request.get(key) for key in ("messages", "input", "instructions", "prompt", "tools", "functions")]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if not _is_data_url(value):
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _NO_TEXT:
                yield from _texts(item)


def _said(answer: Any) -> Iterator[str]:
    """The model's own words and tool arguments in an answer or an event."""
    if not isinstance(answer, dict):
        return
    for choice in answer.get("choices") or ():
        said = choice.get("message") or choice.get("delta") or {}
        yield from _texts([said.get(key) for key in ("content", "refusal", "reasoning_content", "reasoning")])
        for call in said.get("tool_calls") or ():
            yield from _texts([call.get("function"), call.get("custom")])
        yield from _texts(said.get("function_call"))
    if str(answer.get("type", "")).endswith(".delta"):
        yield from _texts(answer.get("delta"))
    elif "output" in answer:
        yield from _texts([item.get("content") or item.get("arguments") for item in answer["output"] or () if isinstance(item, dict)])
