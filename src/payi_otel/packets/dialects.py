"""Spans of other GenAI instrumentations, read as calls: pure, and told apart by the scope that made them, never by arithmetic.

`tests/foreign/golden` holds what each of them emits, recorded from the packages themselves; its README has the table of their
dialects. Where two of them call one thing by different names, the names stand below in the order in which they are looked for.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from opentelemetry.trace import StatusCode

from payi_otel import semconv
from payi_otel.context import baggage
from payi_otel.context.scope import Scope, ScopeChange
from payi_otel.packets._span_content import SpanContent
from payi_otel.packets._span_service import service_of
from payi_otel.packets.long_prompts import CLAUDE, GEMINI, is_long_prompt
from payi_otel.packets.units import (
    AUDIO,
    AUDIO_CACHE_READ,
    IMAGE,
    REASONING,
    TEXT,
    TEXT_CACHE_READ,
    TEXT_CACHE_WRITE,
    TEXT_CACHE_WRITE_1H,
    VISION,
    VISION_CACHE_READ,
    Units,
    Usage,
    as_large_context,
)
from payi_otel.payload import Payload, is_code

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

Kind = Literal["call", "poll"]
"""An answer of a model's, or another look at one."""


class Dialect(Struct, frozen=True):
    """What one instrumentation's numbers mean."""

    scopes: str
    """How the names of its scopes begin."""
    includes_cache: bool = True
    """Whether its input tokens include what came from or went to a cache."""
    but_for: re.Pattern[str] | None = None
    """Found in `<span name> <model>` of the spans for which the opposite holds."""

    def includes(self, span_name: str, model: str | None) -> bool:
        """Whether a span's input tokens include what came from or went to a cache."""
        is_other = self.but_for is not None and self.but_for.search(f"{span_name} {model}") is not None
        return self.includes_cache is not is_other


DIALECTS = (
    Dialect("opentelemetry.instrumentation.genai.bedrock", includes_cache=False),
    Dialect("opentelemetry.instrumentation.genai."),
    Dialect("opentelemetry.instrumentation.google_genai"),
    Dialect("opentelemetry.instrumentation.botocore.bedrock-runtime", includes_cache=False),
    Dialect("com.anthropic.sdk.python"),
    Dialect("opentelemetry.instrumentation.openai_v2"),
    Dialect("opentelemetry.instrumentation.openai.v"),
    Dialect("opentelemetry.instrumentation.anthropic"),
    Dialect("opentelemetry.instrumentation.bedrock", includes_cache=False),
    Dialect("opentelemetry.instrumentation.vertexai"),
    Dialect("opentelemetry.instrumentation.google_generativeai"),
    Dialect("opentelemetry.instrumentation.langchain"),
    Dialect("opentelemetry.instrumentation.openai_agents"),
    Dialect("openinference.instrumentation.bedrock", but_for=re.compile(r"^bedrock\.invoke_model.* .*nova")),
    Dialect("openinference.instrumentation."),
)
"""The first that fits counts."""
_OPERATIONS = frozenset({"chat", "text_completion", "completion", "generate_content", "embeddings", "embedding", "responses"})
"""Of `gen_ai.operation.name`: what a model is paid for. Agents, workflows, tools and retrievals repeat it, or cost nothing."""
_KINDS = frozenset({"LLM", "EMBEDDING"})
"""Of `openinference.span.kind`."""
_EMBEDDINGS = frozenset({"embeddings", "embedding", "EMBEDDING"})
_OPENINFERENCE_KIND = "openinference.span.kind"
_LLAMA_INDEX = "openinference.instrumentation.llama_index"
"""Says of every method of a model that it is a call, also of `_prepare_chat_with_tools`, which asks nobody."""
_TRACELOOP_KIND = "traceloop.span.kind"
_STARTS = frozenset({semconv.OPERATION_NAME, "gen_ai.system", semconv.PROVIDER_NAME, _OPENINFERENCE_KIND, "llm.request.type"})
"""A span of an unknown scope that has one of these at its start may be a call."""
_NO_CALLS = frozenset({semconv.OPERATION_NAME, _OPENINFERENCE_KIND, _TRACELOOP_KIND})
"""Where one of these is there at the start, it says what a span does."""

_INPUT = (semconv.USAGE_INPUT_TOKENS, "gen_ai.usage.prompt_tokens", "llm.token_count.prompt", "llm.usage.prompt_tokens")
_OUTPUT = (semconv.USAGE_OUTPUT_TOKENS, "gen_ai.usage.completion_tokens", "llm.token_count.completion", "llm.usage.completion_tokens")
_COUNTS = frozenset({*_INPUT, *_OUTPUT})
_CACHE_READ = (
    semconv.USAGE_CACHE_READ,
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
    "llm.usage.cache_read_input_tokens",
)
_CACHE_WRITE = (
    semconv.USAGE_CACHE_WRITE,
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
    "llm.usage.cache_creation_input_tokens",
)
_CACHE_WRITE_1H = ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",)
_REASONING = (semconv.USAGE_REASONING, "gen_ai.usage.reasoning_tokens", "llm.token_count.completion_details.reasoning")
_IMAGE_INPUT = (semconv.USAGE_IMAGE_INPUT,)
_IMAGE_CACHE_READ = (semconv.USAGE_IMAGE_CACHE_READ,)
_IMAGE_OUTPUT = (semconv.USAGE_IMAGE_OUTPUT,)
_AUDIO_INPUT = (semconv.USAGE_AUDIO_INPUT, "llm.token_count.prompt_details.audio")
_AUDIO_CACHE_READ = (semconv.USAGE_AUDIO_CACHE_READ,)
_AUDIO_OUTPUT = (semconv.USAGE_AUDIO_OUTPUT, "llm.token_count.completion_details.audio")

_REQUEST_MODEL = (semconv.REQUEST_MODEL, "llm.request.model")
_RESPONSE_MODEL = (semconv.RESPONSE_MODEL, "llm.response.model", "llm.model_name", "embedding.model_name")
_RESPONSE_ID = (semconv.RESPONSE_ID,)
_STATUS = ("http.response.status_code", "http.status_code")
_INVOCATION = ("llm.invocation_parameters", "embedding.invocation_parameters", "input.value")
_MODEL_IN_JSON = re.compile(r'"model(?:Id|_id)?"\s*:\s*"([^"\\]+)"')
_ID_IN_JSON = re.compile(r'\A\{\s*"(?:id|response_id|responseId)"\s*:\s*"([^"\\]+)"|"id"\s*:\s*"((?:chatcmpl-|resp_|msg_)[^"\\]+)"')
"""At its beginning, or anywhere if it looks like a provider's."""
_LENGTH_LIMITS = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")
_HTTP_STATUS = re.compile(r"[1-5]\d\d")
_HEAD_CHARS = 4096
"""So much of a JSON text is looked through for a name: this runs in the application's own time."""


@lru_cache(maxsize=1000)
def dialect_of(scope_name: str) -> Dialect | None:
    """The dialect of a scope; None where it is not known."""
    return next((dialect for dialect in DIALECTS if scope_name.startswith(dialect.scopes)), None)


def may_be_call(scope_name: str, attributes: Mapping[str, Any]) -> bool:
    """Whether a span that starts may turn out to be a call; agents, workflows and tools say at once that they are none."""
    if not _NO_CALLS.isdisjoint(attributes) and _operation(attributes) is None:
        return False
    return dialect_of(scope_name) is not None or not _STARTS.isdisjoint(attributes)  # one pass: each look-up of the SDK's takes a lock


def has_usage(attributes: Mapping[str, Any]) -> bool:
    """Whether a span says how many tokens something took."""
    return not _COUNTS.isdisjoint(attributes)


def read_call(span: ReadableSpan, scope: Scope) -> tuple[Kind, Payload] | None:
    """What an ended span of another instrumentation says of a call.

    Args:
        span: The span. Only its attributes, times and status are read, never an object behind them.
        scope: Whose call it is.

    Returns:
        The call, or None for a span that is none, or none that costs anything: agents, workflows, tools, tokenization.
    """
    attributes = span.attributes or {}
    operation, (name, version) = _operation(attributes), scope_of_span(span)
    if operation is None or (name.startswith(_LLAMA_INDEX) and "._prepare" in span.name):
        return None
    dialect = dialect_of(name)
    model, response_model = _text(attributes, _REQUEST_MODEL), _text(attributes, _RESPONSE_MODEL)
    model = model or _model_in_json(attributes)
    service = service_of(name, attributes, model or response_model)
    includes_cache = dialect is None or dialect.includes(span.name, response_model or model)
    usage = read_usage(attributes, response_model or model, includes_cache=includes_cache)
    if dialect is None and usage is None:
        return None
    failure = _failure(span, attributes)
    status = _status(attributes)
    response_id = _whole(_text(attributes, _RESPONSE_ID)) or _id_in_json(attributes)
    start, end = span.start_time or 0, span.end_time or span.start_time or 0
    payload = Payload(
        scope=scope,
        category=service.category,
        module=f"{name}/{version}" if version else "",
        priced_by=service.sdk,
        model=response_model or model if service.resource_prefix == "google." else model or response_model,
        resource_prefix=service.resource_prefix,
        host=service.host,
        provider_uri=service.uri,
        started_at_ns=start,
        latency_ms=(end - start) // 1_000_000,
        first_token_ms=_first_token_ms(span, attributes),
        http_status=(status if status is None or status >= 400 else None) if failure is not None else status or 200,
        end_reason="error" if failure is not None else "completed",
        failure=failure,
        response_id=response_id,
        response_model=response_model,
        usage=usage,
        properties=_properties(name, version, dialect),
        content=SpanContent(attributes, is_embedding=operation in _EMBEDDINGS),
    )
    is_poll = operation == "fetch_response" or _is_other_look(name, model, attributes, payload)
    return ("poll" if is_poll else "call"), payload


def _is_other_look(scope_name: str, model: str | None, attributes: Mapping[str, Any], payload: Payload) -> bool:
    """OpenLLMetry and OpenInference call it a call when a response is fetched; who fetches names no model.

    OpenLLMetry names none either of a response in the background, but tells no usage of it.
    """
    if scope_name.startswith("openinference."):
        return attributes.get(_INVOCATION[0]) == "{}"
    if not scope_name.startswith("opentelemetry.instrumentation.openai.v"):
        return False
    return model is None and payload.usage is not None and (payload.response_id or "").startswith("resp_")


def _operation(attributes: Mapping[str, Any]) -> str | None:
    """What a span did, where that may cost something."""
    kind = attributes.get(_OPENINFERENCE_KIND)
    if kind is not None:
        return str(kind) if kind in _KINDS else None
    if attributes.get(_TRACELOOP_KIND) is not None:
        return None
    operation = attributes.get(semconv.OPERATION_NAME) or attributes.get("llm.request.type")
    if operation is None:  # the oldest conventions have none: the usage tells
        return "chat" if has_usage(attributes) else None
    return str(operation) if operation in _OPERATIONS or operation == "fetch_response" else None


def read_usage(attributes: Mapping[str, Any], model: str | None, *, includes_cache: bool) -> Usage | None:
    """The counts of a span, by whatever names, as disjoint units; None where it has none.

    Args:
        attributes: The span's.
        model: Whose tokens; some have a price of their own for long prompts.
        includes_cache: Whether its input tokens include what came from or went to a cache.
    """
    given_in, given_out = _count(attributes, _INPUT), _count(attributes, _OUTPUT)
    if given_in is None and given_out is None:
        return None
    said_in, total_out = given_in or 0, given_out or 0
    read, write = _count(attributes, _CACHE_READ) or 0, _count(attributes, _CACHE_WRITE) or 0
    total_in = said_in if includes_cache else said_in + read + write
    mismatch = None
    if read + write > total_in:
        mismatch = f"{read} tokens read from and {write} written to a cache of {total_in} in all"
        write = min(write, max(0, total_in - min(read, total_in)))
        read = min(read, total_in)
    reasoning = min(_count(attributes, _REASONING) or 0, total_out)
    parts = _parts(attributes, read, write, reasoning)
    rest_in = total_in - sum(unit.input for unit in parts.values())
    rest_out = total_out - sum(unit.output for unit in parts.values())
    if rest_in < 0 or rest_out < 0:  # modalities that overlap with what is counted already: the plain parts hold
        parts = _plain_parts(read, write, 0, reasoning)
        rest_in, rest_out = total_in - read - write, total_out - reasoning
    units = {TEXT: Units(rest_in, rest_out), **{name: unit for name, unit in parts.items() if unit != Units()}}
    if any(is_long_prompt(table, model, total_in) for table in (CLAUDE, GEMINI)):
        units = as_large_context(units)
    return Usage(units, total_in, total_out, read, write, reasoning, mismatch)


def _plain_parts(read: int, write: int, write_1h: int, reasoning: int) -> dict[str, Units]:
    return {
        TEXT_CACHE_READ: Units(read, 0),
        TEXT_CACHE_WRITE: Units(write - write_1h, 0),
        TEXT_CACHE_WRITE_1H: Units(write_1h, 0),
        REASONING: Units(0, reasoning),
    }


def _parts(attributes: Mapping[str, Any], read: int, write: int, reasoning: int) -> dict[str, Units]:
    """Everything that is not plain text. Of an image or a sound, what came from a cache is counted apart."""
    image_read = min(_count(attributes, _IMAGE_CACHE_READ) or 0, read)
    audio_read = min(_count(attributes, _AUDIO_CACHE_READ) or 0, read - image_read)
    image, audio = _count(attributes, _IMAGE_INPUT) or 0, _count(attributes, _AUDIO_INPUT) or 0
    write_1h = min(_count(attributes, _CACHE_WRITE_1H) or 0, write)
    return {
        **_plain_parts(read - image_read - audio_read, write, write_1h, reasoning),
        VISION: Units(max(0, image - image_read), 0),
        VISION_CACHE_READ: Units(image_read, 0),
        IMAGE: Units(0, _count(attributes, _IMAGE_OUTPUT) or 0),
        AUDIO: Units(max(0, audio - audio_read), _count(attributes, _AUDIO_OUTPUT) or 0),
        AUDIO_CACHE_READ: Units(audio_read, 0),
    }


def _properties(name: str, version: str, dialect: Dialect | None) -> dict[str, str]:
    properties = {semconv.PROPERTY_INSTRUMENTED_BY: f"{name} {version}".strip()}
    if dialect is None:
        properties[semconv.PROPERTY_DIALECT] = "unknown"
    return properties


def scope_of_span(span: ReadableSpan) -> tuple[str, str]:
    """Name and version of the instrumentation that made it; "" where it has none."""
    scope = span.instrumentation_scope
    return (scope.name, scope.version or "") if scope is not None else ("", "")


def scope_of_attributes(scope: Scope, attributes: Mapping[str, Any]) -> Scope:
    """The scope with what `payi.<field>` attributes say, as a baggage processor copies them onto spans; only where baggage is trusted."""
    values = baggage.trusted(attributes.get)
    return scope.merged(ScopeChange(**values)) if values else scope


def _failure(span: ReadableSpan, attributes: Mapping[str, Any]) -> tuple[str, str] | None:
    kind = attributes.get(semconv.ERROR_TYPE)
    if kind is None and span.status.status_code is not StatusCode.ERROR:
        return None
    described = next((event.attributes for event in span.events if event.name == "exception" and event.attributes), {})
    kinds = (str(one) for one in (kind, described.get("exception.type")) if one)
    return next(filter(is_code, kinds), "_OTHER"), str(span.status.description or described.get("exception.message") or "")


def _status(attributes: Mapping[str, Any]) -> int | None:
    """The HTTP status, which Google's instrumentation has as its error's type."""
    kind = attributes.get(semconv.ERROR_TYPE)
    return _count(attributes, _STATUS) or (int(kind) if isinstance(kind, str) and _HTTP_STATUS.fullmatch(kind) else None)


def _first_token_ms(span: ReadableSpan, attributes: Mapping[str, Any]) -> int | None:
    seconds = attributes.get(semconv.RESPONSE_TIME_TO_FIRST_CHUNK)
    if isinstance(seconds, int | float) and math.isfinite(seconds) and seconds >= 0:
        return int(seconds * 1000)
    first = next((event for event in span.events if event.name == "First Token Stream Event"), None)
    return (first.timestamp - span.start_time) // 1_000_000 if first is not None and span.start_time else None


def _text(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((value for name in names if isinstance(value := attributes.get(name), str) and value), None)


def _count(attributes: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """A number that counts something: no bool, nothing below zero; a float that is whole (some write JSON numbers) is one."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            continue
        if value >= 0 and value == int(value):
            return int(value)
    return None


def _model_in_json(attributes: Mapping[str, Any]) -> str | None:
    """The requested model, where it stands only among a request's parameters."""
    texts = (attributes.get(name) for name in _INVOCATION)
    found = (_MODEL_IN_JSON.search(text, 0, _HEAD_CHARS) for text in texts if isinstance(text, str))
    return next((match.group(1) for match in found if match is not None), None)


def _whole(response_id: str | None) -> str | None:
    """None for an id that a limit of the SDK's may have cut: it is no longer one call's."""
    limits = (os.environ.get(name) for name in _LENGTH_LIMITS)
    return None if response_id is not None and str(len(response_id)) in limits else response_id


def _id_in_json(attributes: Mapping[str, Any]) -> str | None:
    """The answer's id, where it stands only in the answer itself."""
    text = attributes.get("output.value")
    match = _ID_IN_JSON.search(text, 0, _HEAD_CHARS) if isinstance(text, str) else None
    return match.group(1) or match.group(2) if match is not None else None
