"""An ended call to its ingest packet: pure, and run in the worker, never in the call."""

from __future__ import annotations

import linecache
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from payi_otel import semconv
from payi_otel._json import to_json
from payi_otel._secrets import without_secrets
from payi_otel.packets.counting import TokenCounter, TokenCounters, by_length
from payi_otel.packets.model import IngestPacket
from payi_otel.packets.pricing import ModelMapping, PriceAs, price_as
from payi_otel.packets.units import TEXT, Units, has_vision, with_vision
from payi_otel.payload import Content, JsonTexts, LargeJson, Payload

if TYPE_CHECKING:
    from payi_otel.config import Settings

logger = logging.getLogger("payi.instrument")

_SAID = ("", 0)
"""Empty values that are something said: only None, and containers without anything in them, are left out."""
_MAX_FRAMES = 4096
"""Frames whose text is remembered: a program makes its calls from the same few places."""
_frames: tuple[dict[tuple[int, int], tuple[str, CodeType]], ...] = ({}, {})
"""Without their source, and with it. By the `id` of a code, which is kept so that no other gets it: hashing a code takes its time."""

_SAFE_RESPONSE_HEADERS = ("content-type", "date", "x-request-id", "request-id", "apim-request-id", "retry-after", "server")
_SAFE_RESPONSE_PREFIXES = ("x-ratelimit-", "openai-", "anthropic-", "x-ms-", "x-amzn-", "cf-ray")


class PacketRules(Struct, frozen=True):
    """The settings that shape a packet."""

    log_prompt_and_response: bool = True
    instrument_inline_data: bool = False
    model_mappings: Mapping[str, Sequence[ModelMapping]] = field(default_factory=dict)
    host_mappings: Mapping[str, str | None] = field(default_factory=dict)
    counters: TokenCounters = field(default_factory=TokenCounters)
    max_chars: int | None = None
    """The destination cuts longer texts."""

    @classmethod
    def from_settings(cls, settings: Settings, *, log_prompt_and_response: bool = True, max_chars: int | None = None) -> PacketRules:
        """Takes over what concerns packets."""
        return cls(
            log_prompt_and_response=log_prompt_and_response,
            instrument_inline_data=settings.instrument_inline_data,
            model_mappings={
                "openai": settings.openai_config.model_mappings,
                "anthropic": settings.anthropic_config.model_mappings,
                "botocore": settings.aws_config.model_mappings,
                "aiobotocore": settings.aws_config.model_mappings,
            },
            host_mappings=settings.host_mappings,
            counters=TokenCounters(
                {model: config.tokenizer_path for model, config in settings.aws_config.model_config.items() if config.tokenizer_path}
            ),
            max_chars=max_chars,
        )


def to_packet(payload: Payload, rules: PacketRules) -> IngestPacket:
    """Makes the packet of one call.

    Args:
        payload: What its invocation left, or what another instrumentation's span says.
        rules: The settings that shape it.
    """
    logs = payload.scope.log_prompt_and_response
    logs = rules.log_prompt_and_response if logs is None else logs
    price = price_as(payload, rules.model_mappings, rules.host_mappings)
    content = _read_content(payload, rules)
    scope = payload.scope
    return IngestPacket(
        body=_body(payload, price, content, rules, logs=logs),
        module=payload.module if "/" in payload.module else "",
        limit_ids=scope.limit_ids,
        use_case_name=scope.use_case_name,
        use_case_id=scope.use_case_id,
        use_case_version=scope.use_case_version,
        use_case_step=scope.use_case_step,
        user_id=scope.user_id,
        account_name=scope.account_name,
        resource_scope=price.resource_scope,
        logging_disabled=not logs,
    )


def _read_content(payload: Payload, rules: PacketRules) -> Content | None:
    """Bad content costs the bodies, never the packet."""
    if payload.content is None:
        return None
    try:
        estimate = (_counter(payload, rules) or by_length) if _is_estimated(payload) else None
        content = payload.content.read(inline_data=rules.instrument_inline_data, estimate=estimate)
        large = content.request
        return replace(content, request=large.cut(rules.max_chars)) if isinstance(large, LargeJson) else content
    except Exception as fault:
        logger.warning("the bodies of a call could not be read (%s): its packet goes without them", type(fault).__name__)
        return None


def _counter(payload: Payload, rules: PacketRules) -> TokenCounter | None:
    return rules.counters.counter_for(payload.module.partition("/")[0], payload.model)


def _is_estimated(payload: Payload) -> bool:
    """No usage came of a call that the provider had begun to answer.

    An answer that says that it failed, and held no output before, cost nothing.
    """
    if payload.usage is not None:
        return False
    if payload.failure is not None and payload.end_reason == "completed":
        return payload.first_completion_token_ms is not None
    if payload.http_status is None:
        return payload.end_reason == "error" and payload.first_token_ms is not None
    return payload.http_status < 400


def _body(payload: Payload, price: PriceAs, content: Content | None, rules: PacketRules, *, logs: bool) -> dict[str, Any]:
    units, properties = _units(payload, content, rules)
    received = without_secrets(payload.response_headers)
    scope = payload.scope
    optional = {
        "time_to_first_token_ms": _bounded_or_none(payload.first_token_ms),
        "time_to_first_completion_token_ms": _bounded_or_none(payload.first_completion_token_ms),
        "provider_uri": payload.provider_uri,
        "provider_request_headers": _headers(payload.request_headers) if logs and payload.request_headers else None,
        "provider_response_headers": _headers(received if logs else _safe(received)),
        **_said(payload, content, logs=logs),
        "properties": {**(scope.request_properties or {}), **payload.properties, **properties, **_facts(payload, logs=logs)},
        "use_case_properties": dict(scope.use_case_properties) if scope.use_case_properties else None,
    }
    return {
        "category": price.category,
        "resource": price.resource,
        "units": {name: {"input": _bounded(unit.input), "output": _bounded(unit.output)} for name, unit in units.items()},
        "event_timestamp": _timestamp(payload.started_at_ns),
        "end_to_end_latency_ms": _bounded(payload.latency_ms),
        "http_status_code": payload.http_status or semconv.STATUS_WITHOUT_HTTP,
        "provider_response_id": payload.response_id or f"payi_{uuid4()}",
        **{name: value for name, value in optional.items() if value or value in _SAID},
    }


def _timestamp(at_ns: int) -> str:
    """ISO 8601 in UTC, with microseconds where it is between two seconds."""
    second_s, rest_us = divmod((at_ns + 500) // 1000, 1_000_000)
    fraction = f".{rest_us:06d}" if rest_us else ""
    return f"{_to_second(second_s)}{fraction}+00:00"


@lru_cache(maxsize=16)  # packets that wait have been made of calls of the same few seconds
def _to_second(second_s: int) -> str:
    return datetime.fromtimestamp(second_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


def _units(payload: Payload, content: Content | None, rules: PacketRules) -> tuple[Mapping[str, Units], dict[str, str]]:
    usage = payload.usage or (content.usage if content is not None else None)
    if usage is None:
        if content is None or content.estimated_tokens is None:
            is_missing = semconv.PROPERTY_INSTRUMENTED_BY in payload.properties and _is_estimated(payload)
            return {}, {semconv.PROPERTY_USAGE_MISSING: "true"} if is_missing else {}
        return {TEXT: Units(*content.estimated_tokens)}, {semconv.PROPERTY_USAGE_ESTIMATED: "input,output"}
    units, properties = usage.units, {}
    if usage.mismatch is not None:
        logger.warning("the usage of %s does not add up: %s", payload.model or payload.response_model, usage.mismatch)
        properties[semconv.PROPERTY_USAGE_MISMATCH] = usage.mismatch
    if content is not None and content.image_texts is not None and not has_vision(units):
        count = _counter(payload, rules)
        if count is not None:
            units = with_vision(units, count(content.image_texts))
            already = payload.properties.get(semconv.PROPERTY_USAGE_ESTIMATED)
            properties[semconv.PROPERTY_USAGE_ESTIMATED] = f"{already},vision" if already else "vision"
    return units, properties


def _facts(payload: Payload, *, logs: bool) -> dict[str, str]:
    facts: dict[str, str] = {}
    if payload.stack:
        facts[semconv.PROPERTY_STACK_TRACE] = orjson.dumps(stack_lines(payload, source=logs)).decode()
    if payload.failure is not None and (payload.http_status is None or payload.http_status < 400):
        kind, text = payload.failure
        facts[semconv.PROPERTY_FAILURE] = kind
        if logs and text:
            facts[semconv.PROPERTY_FAILURE_DESCRIPTION] = text
    if payload.end_reason != "completed":
        facts[semconv.PROPERTY_END_REASON] = payload.end_reason
    if payload.service_tier not in (None, "default", "auto", "standard"):
        facts[semconv.PROPERTY_SERVICE_TIER] = str(payload.service_tier)
    return facts


def stack_lines(payload: Payload, *, source: bool) -> list[str]:
    """The caller's stack as text, outermost first. Without `source`, code that may quote a prompt is left out."""
    known = _frames[source]
    return [(known.get((id(code), at)) or _read_frame(code, at, source=source))[0] for code, at in payload.stack]


def _read_frame(code: CodeType, offset: int, *, source: bool) -> tuple[str, CodeType]:
    number = next((line for start, end, line in code.co_lines() if start <= offset < end and line is not None), code.co_firstlineno)
    text = f'File "{code.co_filename}", line {number}, in {code.co_name}'
    if source and (said := linecache.getline(code.co_filename, number).strip()):
        text += f"\n    {said}"
    if len(_frames[source]) >= _MAX_FRAMES:
        _frames[source].clear()
    frame = _frames[source][id(code), offset] = (text, code)
    return frame


def _said(payload: Payload, content: Content | None, *, logs: bool) -> dict[str, Any]:
    """Request, answer and tool calls. With logging off, of a tool call only its name is said."""
    calls = content.function_calls if content is not None else ()
    said: dict[str, Any] = {}
    if calls:
        said["provider_response_function_calls"] = [
            {"name": call.name, "arguments": call.arguments} if logs and call.arguments is not None else {"name": call.name}
            for call in calls
        ]
    if not logs:
        return said
    if content is not None:
        said["provider_request_json"] = _text_of(content.request) if content.request is not None else None
        said_back = content.responses
        answers = said_back if isinstance(said_back, JsonTexts) else [_text_of(answer) for answer in said_back]
        said["provider_response_json"] = answers if content.streamed or len(answers) != 1 else answers[0]
    if payload.error_body:
        said["provider_response_json"] = payload.error_body
    return said


def _text_of(value: Any) -> str:
    return value[0] if isinstance(value, JsonTexts) else to_json(value).decode()


def _headers(headers: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in headers]


def _safe(headers: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """Response headers that hold no content whatever the provider."""
    return [pair for pair in headers if pair[0].lower() in _SAFE_RESPONSE_HEADERS or pair[0].lower().startswith(_SAFE_RESPONSE_PREFIXES)]


def _bounded(number: int) -> int:
    return number if 0 <= number <= semconv.MAX_NUMBER else 0 if number < 0 else semconv.MAX_NUMBER


def _bounded_or_none(number: int | None) -> int | None:
    return None if number is None else _bounded(number)
