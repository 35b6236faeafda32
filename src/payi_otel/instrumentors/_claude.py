"""Claude's messages, whoever serves them: usage, tool calls and texts of a `Message` and of a message's stream.

Source: https://docs.anthropic.com/en/api/messages, and the docstrings of the `anthropic` SDK's usage types (2.14).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from payi_otel import semconv
from payi_otel._json import to_json
from payi_otel._large import Marks
from payi_otel.instrumentors._content import CallContent, RecordingReader, texts_in
from payi_otel.instrumentors._inline import InlineRules
from payi_otel.instrumentors._invocation import Answer, OtherCall
from payi_otel.instrumentors._values import count_of, get, text_of
from payi_otel.packets.counting import of_length
from payi_otel.packets.long_prompts import CLAUDE, is_long_prompt
from payi_otel.packets.units import (
    REASONING,
    TEXT,
    TEXT_CACHE_READ,
    TEXT_CACHE_WRITE,
    TEXT_CACHE_WRITE_1H,
    WEB_SEARCH_REQUEST,
    Units,
    UnitSource,
    Usage,
    as_large_context,
)
from payi_otel.payload import FunctionCall

_API = "Claude, whoever serves it"
UNIT_SOURCES = (
    UnitSource(_API, TEXT, "input", "input_tokens"),
    UnitSource(_API, TEXT, "output", "output_tokens"),
    UnitSource(_API, TEXT_CACHE_READ, "input", "cache_read_input_tokens"),
    UnitSource(_API, TEXT_CACHE_WRITE, "input", "cache_creation_input_tokens"),
    UnitSource(_API, TEXT_CACHE_WRITE, "input", "cache_creation.ephemeral_5m_input_tokens"),
    UnitSource(_API, TEXT_CACHE_WRITE_1H, "input", "cache_creation.ephemeral_1h_input_tokens"),
    UnitSource(_API, REASONING, "output", "output_tokens_details.thinking_tokens"),
    UnitSource(_API, WEB_SEARCH_REQUEST, "output", "server_tool_use.web_search_requests"),
)
_NO_GEO = frozenset({"global", "not_available"})
_NO_TEXT = frozenset({"data", "type", "id", "tool_use_id", "signature", "media_type", "cache_control", "role", "file_id", "url"})
"""Keys whose values are no tokens of text."""
_PROMPT_KEYS = ("system", "messages", "tools")


def read_message(message: Any, usage: Any = None) -> Answer:
    """A `Message`, as an object or as JSON; `usage` where it stands elsewhere (a stream's, put together)."""
    usage = get(message, "usage") if usage is None else usage
    reason, message_id = get(message, "stop_reason"), text_of(get(message, "id")) or None
    model, fell_back = _served_by(usage, text_of(get(message, "model")) or None)
    tier, geo = get(usage, "service_tier"), get(usage, "inference_geo")
    return Answer(
        response_id=message_id,
        model=model,
        finish_reasons=[str(reason)] if reason else [],
        usage=read_usage(usage, model),
        service_tier=tier if isinstance(tier, str) else None,
        resource_scope=f"datazone.{geo}" if isinstance(geo, str) and geo and geo not in _NO_GEO else None,
        properties=_properties(usage),
        others=_others(usage, model),
        fell_back=fell_back or _has_seam(get(message, "content")),
    )


def read_usage(usage: Any, model: str | None) -> Usage | None:
    """Claude's usage as disjoint units; None where there is none. Input, cache reads and cache writes add up, none is inside another."""
    if usage is None or (get(usage, "input_tokens") is None and get(usage, "output_tokens") is None):
        return None
    problems: list[str] = []
    counts = _counts(usage, problems)
    for iteration in get(usage, "iterations") or ():
        if get(iteration, "type") == "compaction":  # billed, and not in the counts above
            for name, number in _counts(iteration, problems).items():
                counts[name] += number
    total_in = counts["input"] + counts["read"] + counts["write"] + counts["write_1h"]
    units = {
        TEXT: Units(counts["input"], counts["output"] - counts["thinking"]),
        TEXT_CACHE_READ: Units(counts["read"], 0),
        TEXT_CACHE_WRITE: Units(counts["write"], 0),
        TEXT_CACHE_WRITE_1H: Units(counts["write_1h"], 0),
        REASONING: Units(0, counts["thinking"]),
        WEB_SEARCH_REQUEST: Units(0, count_of(get(usage, "server_tool_use"), "web_search_requests", problems)),
    }
    units = {name: unit for name, unit in units.items() if name == TEXT or unit != Units()}
    if is_long_prompt(CLAUDE, model, total_in):
        units = as_large_context(units)
    return Usage(
        units=units,
        input_tokens=total_in,
        output_tokens=counts["output"],
        cache_read_tokens=counts["read"],
        cache_write_tokens=counts["write"] + counts["write_1h"],
        reasoning_tokens=counts["thinking"],
        mismatch="; ".join(problems) or None,
    )


def _counts(usage: Any, problems: list[str]) -> dict[str, int]:
    """The tokens of one usage, or of one iteration of it."""
    split = get(usage, "cache_creation")
    hour = count_of(split, "ephemeral_1h_input_tokens", problems)
    written = count_of(usage, "cache_creation_input_tokens", problems)
    if get(usage, "cache_creation_input_tokens") is None and split is not None:
        written = hour + count_of(split, "ephemeral_5m_input_tokens", problems)
    output = count_of(usage, "output_tokens", problems)
    thinking = count_of(get(usage, "output_tokens_details"), "thinking_tokens", problems)
    if hour > written:
        problems.append(f"1h cache writes are {hour}, all cache writes {written}")
        hour = written
    if thinking > output:
        problems.append(f"thinking_tokens are {thinking}, output_tokens {output}")
        thinking = output
    return {
        "input": count_of(usage, "input_tokens", problems),
        "read": count_of(usage, "cache_read_input_tokens", problems),
        "write": written - hour,
        "write_1h": hour,
        "output": output,
        "thinking": thinking,
    }


def _served_by(usage: Any, model: str | None) -> tuple[str | None, bool]:
    """The model whose tokens the totals are, and whether it is a fallback: a stream's start names the model that then declined."""
    by_kind: dict[Any, list[str]] = {}
    for iteration in get(usage, "iterations") or ():
        if (other := text_of(get(iteration, "model"))) is not None:
            by_kind.setdefault(get(iteration, "type"), []).append(other)
    fallbacks, own = by_kind.get("fallback_message", []), by_kind.get("message", [])
    if fallbacks:
        return model if model in fallbacks else fallbacks[-1], True
    return own[-1] if own else model, len(set(own)) > 1


def _has_seam(content: Any) -> bool:
    """Whether a block says that another model goes on; the SDK's own fallbacks put one there, and no iterations into a whole message."""
    return isinstance(content, list) and any(get(block, "type") == "fallback" for block in content)


def _others(usage: Any, model: str | None) -> tuple[OtherCall, ...]:
    """What other models did for the answer: an adviser's part is never in the totals; a fallback's is where it answered itself."""
    others: list[OtherCall] = []
    for number, iteration in enumerate(get(usage, "iterations") or (), 1):
        kind, other = get(iteration, "type"), get(iteration, "model")
        if not isinstance(other, str) or (kind != "advisor_message" and other == model):
            continue
        used = read_usage(iteration, other)
        if used is not None:
            others.append(OtherCall(other, used, f"{kind}.{number}"))
    return tuple(others)


def _properties(usage: Any) -> Mapping[str, str]:
    properties: dict[str, str] = {}
    if (speed := get(usage, "speed")) not in (None, "standard"):
        properties[semconv.PROPERTY_SPEED] = str(speed)
    fetches = get(get(usage, "server_tool_use"), "web_fetch_requests")
    if type(fetches) is int and fetches > 0:
        properties[semconv.PROPERTY_WEB_FETCHES] = str(fetches)
    return properties


class MessageStreamReader(RecordingReader):
    """Takes the events of a message's stream. The start has the input's counts, the deltas cumulative ones of the rest."""

    __slots__ = ("_error", "_is_final", "_message", "_said", "_stop", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._stop: Any = None
        self._error: Any = None
        self._is_final = False
        self._said = 0

    def take(self, event: Any) -> bool:
        """Notes the kind of event, and counts of three kinds of them; nothing of it is kept where its bytes are."""
        self.keep(event)
        kind = get(event, "type")
        if kind == "content_block_delta":
            self._take_delta(get(event, "delta"))
        elif kind == "message_start":
            message = get(event, "message")
            self._message = {name: get(message, name) for name in ("id", "model")}
            self._add_usage(get(message, "usage"))
        elif kind == "message_delta":
            self._is_final = True
            self._stop = get(get(event, "delta"), "stop_reason") or self._stop
            self._add_usage(get(event, "usage"))
        elif kind == "error":
            self._error = get(event, "error")
        return False

    def _take_delta(self, delta: Any) -> None:
        text = get(delta, "text") or get(delta, "partial_json")
        if text:
            self.output_seen = True
        else:
            text = get(delta, "thinking")
        if isinstance(text, str):
            self._said += len(text)

    def _add_usage(self, usage: Any) -> None:
        """A copy: the SDK's own accumulator writes on these objects. What a later event leaves out or null stands."""
        fields = usage if isinstance(usage, dict) else (usage.to_dict() if hasattr(usage, "to_dict") else {})
        self._usage.update({name: value for name, value in fields.items() if value is not None})

    def is_complete(self) -> bool:
        """True once the totals have come."""
        return self._is_final

    def answer(self) -> Answer:
        """What has come so far. The start has a mere placeholder of the output: left there, what was said is estimated."""
        usage = self._usage
        properties: dict[str, str] = {}
        if usage and not self._is_final and self._said:
            estimated = of_length(self._said)
            if estimated > (usage.get("output_tokens") or 0):
                usage = {**usage, "output_tokens": estimated}
                properties[semconv.PROPERTY_USAGE_ESTIMATED] = "output"
        answer = read_message({**self._message, "stop_reason": self._stop}, usage)
        if properties:
            answer = replace(answer, properties={**answer.properties, **properties})
        if self._error is None:
            return answer
        failure = (str(get(self._error, "type") or "error"), str(get(self._error, "message") or ""))
        return replace(answer, failure=failure, refused=True)


class ClaudeContent(CallContent):
    """What was said in a call of Claude's messages."""

    inline = InlineRules(keys=frozenset({"data"}))
    call_marks = Marks(b"tool_use")
    image_marks = Marks(b'"image"')

    def read_function_calls(self, answers: Sequence[Any]) -> Iterator[FunctionCall]:
        """Tools of the caller's; those that run at the provider (`server_tool_use`) are not asked of him."""
        return read_tool_uses(answers)

    def prompt_texts(self, request: Any) -> Iterator[str]:
        """System prompt, messages and tools."""
        if isinstance(request, dict):
            yield from texts_in([request.get(key) for key in _PROMPT_KEYS], _NO_TEXT)

    def said(self, answer: Any) -> Iterator[str]:
        """Text, thinking and tool input."""
        if not isinstance(answer, dict):
            return
        if answer.get("type") == "content_block_delta":
            delta = answer.get("delta") or {}
            yield from texts_in([delta.get(key) for key in ("text", "thinking", "partial_json")])
        elif isinstance(answer.get("content"), list):
            yield from texts_in(answer["content"], _NO_TEXT)

    def has_image(self, request: Any) -> bool:
        """Whether an image block stands in a message, or in a tool's result."""
        return isinstance(request, dict) and _has_image(request.get("messages"))


def _has_image(value: Any) -> bool:
    if isinstance(value, list):
        return any(_has_image(item) for item in value)
    return isinstance(value, dict) and (value.get("type") == "image" or _has_image(value.get("content")))


def read_tool_uses(answers: Sequence[Any]) -> Iterator[FunctionCall]:
    """The `tool_use` blocks of a message, or of a stream's events, in order."""
    blocks: dict[int, list[Any]] = {}
    for answer in answers:
        if not isinstance(answer, dict):
            continue
        if answer.get("type") == "content_block_start":
            block = answer.get("content_block") or {}
            if block.get("type") == "tool_use":
                blocks[answer.get("index") or 0] = [block.get("name"), block.get("input") or {}, ""]
        elif answer.get("type") == "content_block_delta":
            begun = blocks.get(answer.get("index") or 0)
            if begun is not None:
                begun[2] += (answer.get("delta") or {}).get("partial_json") or ""
        else:
            for block in answer.get("content") or ():
                if isinstance(block, dict) and block.get("type") == "tool_use":
                    yield FunctionCall(str(block.get("name")), to_json(block.get("input") or {}).decode())
    for name, given, text in (blocks[index] for index in sorted(blocks)):
        yield FunctionCall(str(name), text or to_json(given).decode())
