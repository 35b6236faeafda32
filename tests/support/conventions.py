"""The GenAI semantic conventions as a table, and what a span has against them.

Source: https://github.com/open-telemetry/semantic-conventions-genai (main of November 2026): docs/gen-ai/client-inference.md,
client-embeddings.md, openai.md, aws-bedrock.md and the registry behind them. Names and types are copied; where `opentelemetry-util-genai`
knows a name, test_semantic_conventions.py holds this package against that, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from payi_otel._providers import providers

STRING, INT, DOUBLE, BOOLEAN, STRINGS = "string", "int", "double", "boolean", "string[]"

OPERATIONS = frozenset(
    {"chat", "create_agent", "embeddings", "execute_tool", "fetch_response", "generate_content", "invoke_agent"}
    | {"invoke_workflow", "plan", "retrieval", "text_completion"}
)
OWN_OPERATIONS = frozenset(name for facts in providers() for name in facts.own_operations)
"""Operations that the conventions have no name for; "otherwise, a custom value MAY be used"."""
PROVIDERS = frozenset(
    {"anthropic", "aws.bedrock", "azure.ai.inference", "azure.ai.openai", "cohere", "deepseek", "gcp.gemini", "gcp.gen_ai"}
    | {"gcp.vertex_ai", "groq", "ibm.watsonx.ai", "mistral_ai", "moonshot_ai", "openai", "perplexity", "x_ai"}
)
OWN_PROVIDERS = frozenset(name for facts in providers() for name in facts.own_provider_names)
VALUES: Mapping[str, frozenset[str]] = {
    "gen_ai.operation.name": OPERATIONS | OWN_OPERATIONS,
    "gen_ai.provider.name": PROVIDERS | OWN_PROVIDERS,
    "gen_ai.output.type": frozenset({"text", "json", "image", "speech"}),
    "openai.api.type": frozenset({"chat_completions", "responses"}),
}

ALWAYS: Mapping[str, str] = {
    "gen_ai.operation.name": STRING,
    "gen_ai.provider.name": STRING,
    "gen_ai.request.model": STRING,
    "server.address": STRING,
    "server.port": INT,
    "error.type": STRING,
}
"""What a span of any operation may have."""
PROVIDERS_OWN: Mapping[str, str] = {
    "openai.api.type": STRING,
    "openai.request.service_tier": STRING,
    "openai.response.service_tier": STRING,
    "openai.response.system_fingerprint": STRING,
    "aws.bedrock.guardrail.id": STRING,
}
OURS: Mapping[str, str] = {
    "payi.category": STRING,
    "payi.end_reason": STRING,
    "payi.proxied": BOOLEAN,
    "openai.response.background": BOOLEAN,
}
"""Names of this package's own, in addition to the conventions."""
USAGE: Mapping[str, str] = dict.fromkeys(
    (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.text.input_tokens",
        "gen_ai.usage.text.output_tokens",
        "gen_ai.usage.text.cache_read.input_tokens",
        "gen_ai.usage.image.input_tokens",
        "gen_ai.usage.image.output_tokens",
        "gen_ai.usage.image.cache_read.input_tokens",
        "gen_ai.usage.audio.input_tokens",
        "gen_ai.usage.audio.output_tokens",
        "gen_ai.usage.audio.cache_read.input_tokens",
    ),
    INT,
)
CONTENT: Mapping[str, str] = dict.fromkeys(
    ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions"), STRING
)
"""Opt-in; on spans a JSON string."""
ANSWERED: Mapping[str, str] = {
    "gen_ai.response.id": STRING,
    "gen_ai.response.model": STRING,
    "gen_ai.response.finish_reasons": STRINGS,
    "gen_ai.request.stream": BOOLEAN,
    "gen_ai.response.time_to_first_chunk": DOUBLE,
}
INFERENCE: Mapping[str, str] = {
    **ALWAYS,
    **PROVIDERS_OWN,
    **USAGE,
    **CONTENT,
    **ANSWERED,
    "gen_ai.conversation.compacted": BOOLEAN,
    "gen_ai.conversation.id": STRING,
    "gen_ai.output.type": STRING,
    "gen_ai.prompt.name": STRING,
    "gen_ai.prompt.version": STRING,
    "gen_ai.request.choice.count": INT,
    "gen_ai.request.frequency_penalty": DOUBLE,
    "gen_ai.request.max_tokens": INT,
    "gen_ai.request.presence_penalty": DOUBLE,
    "gen_ai.request.previous_response.id": STRING,
    "gen_ai.request.reasoning.level": STRING,
    "gen_ai.request.seed": INT,
    "gen_ai.request.stop_sequences": STRINGS,
    "gen_ai.request.temperature": DOUBLE,
    "gen_ai.request.top_k": INT,
    "gen_ai.request.top_p": DOUBLE,
}
EMBEDDINGS: Mapping[str, str] = {
    **ALWAYS,
    **PROVIDERS_OWN,
    "gen_ai.embeddings.dimension.count": INT,
    "gen_ai.request.encoding_formats": STRINGS,
    "gen_ai.response.model": STRING,
    "gen_ai.usage.input_tokens": INT,
    # Not in the conventions: embeddings have no id and no output. A provider that tells them all the same is not cut.
    "gen_ai.response.id": STRING,
    "gen_ai.usage.output_tokens": INT,
}
FETCH: Mapping[str, str] = {
    **{name: kind for name, kind in ALWAYS.items() if name != "gen_ai.request.model"},
    **PROVIDERS_OWN,
    **CONTENT,
    **ANSWERED,
    "gen_ai.conversation.id": STRING,
    "gen_ai.request.stream_cursor": STRING,
    "gen_ai.response.status": STRING,
    # "SHOULD NOT report token usage": it does where it is what a background response is billed by, since no other span can.
    **USAGE,
}
BY_OPERATION: Mapping[str, Mapping[str, str]] = {"embeddings": EMBEDDINGS, "fetch_response": FETCH}
REQUIRED: Mapping[str, tuple[str, ...]] = {"fetch_response": ("gen_ai.response.id",)}
"""In addition to what every operation requires."""
AT_START = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address", "server.port")
"""What samplers decide by: "SHOULD be provided at span creation time (if provided at all)"."""

_PARTS = (
    (("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_write.input_tokens"), "gen_ai.usage.input_tokens"),
    (("gen_ai.usage.reasoning.output_tokens",), "gen_ai.usage.output_tokens"),
    (tuple(f"gen_ai.usage.{kind}.input_tokens" for kind in ("text", "image", "audio")), "gen_ai.usage.input_tokens"),
    (tuple(f"gen_ai.usage.{kind}.output_tokens" for kind in ("text", "image", "audio")), "gen_ai.usage.output_tokens"),
    (
        tuple(f"gen_ai.usage.{kind}.cache_read.input_tokens" for kind in ("text", "image", "audio")),
        "gen_ai.usage.cache_read.input_tokens",
    ),
    (("gen_ai.usage.image.cache_read.input_tokens",), "gen_ai.usage.image.input_tokens"),
    (("gen_ai.usage.audio.cache_read.input_tokens",), "gen_ai.usage.audio.input_tokens"),
)
"""Parts that are subsets of a total, and disjoint among themselves."""
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    STRING: lambda value: type(value) is str,
    INT: lambda value: type(value) is int,
    DOUBLE: lambda value: type(value) is float,
    BOOLEAN: lambda value: type(value) is bool,
    STRINGS: lambda value: type(value) is tuple and bool(value) and all(type(one) is str for one in value),
}


@dataclass(frozen=True)
class Facts:
    """What is known of a call without its span."""

    failed: bool = False
    streamed: bool = False
    has_begun: bool = True
    """Something of a stream came."""


def violations(span: Any, facts: Facts) -> list[str]:
    """What a span of ours has against the conventions, in words."""
    return [*_of_span(span, facts), *violations_of(span.attributes), *_of_conditions(span.attributes, facts), *_of_totals(span.attributes)]


def _of_span(span: Any, facts: Facts) -> Iterator[str]:
    operation, model = span.attributes.get("gen_ai.operation.name"), span.attributes.get("gen_ai.request.model")
    if span.name != (f"{operation} {model}" if model else operation):
        yield f"its name is {span.name!r}"
    if span.kind.name != "CLIENT":
        yield f"its kind is {span.kind.name}"
    if (span.status.status_code.name == "ERROR") != facts.failed:
        yield f"its status is {span.status.status_code.name}, failed is {facts.failed}"
    if span.events:
        yield "it has events"


def violations_of(attributes: Mapping[str, Any]) -> list[str]:
    """What names, types and values have against them."""
    return list(_of_attributes(attributes))


def _of_attributes(attributes: Mapping[str, Any]) -> Iterator[str]:
    operation = attributes.get("gen_ai.operation.name", "")
    allowed = {**BY_OPERATION.get(operation, INFERENCE), **OURS}
    for name in ("gen_ai.operation.name", "gen_ai.provider.name", *REQUIRED.get(operation, ())):
        if name not in attributes:
            yield f"{name} is required"
    for name, value in attributes.items():
        if name not in allowed:
            yield f"{name} is no attribute of {operation}"
        elif not _TYPES[allowed[name]](value):
            yield f"{name} is {value!r}, not a {allowed[name]}"
        elif name in VALUES and value not in VALUES[name]:
            yield f"{name} is {value!r}"


def _of_conditions(attributes: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    if ("server.address" in attributes) != ("server.port" in attributes):
        yield "server.port is required where server.address is set"
    if ("error.type" in attributes) != facts.failed:
        yield f"error.type is {attributes.get('error.type')!r}, failed is {facts.failed}"
    if attributes.get("gen_ai.request.stream") != (True if facts.streamed else None):
        yield "gen_ai.request.stream is set if and only if the request is streaming"
    if ("gen_ai.response.time_to_first_chunk" in attributes) != (facts.streamed and facts.has_begun):
        yield "gen_ai.response.time_to_first_chunk is of streams"
    if not 0 <= attributes.get("gen_ai.response.time_to_first_chunk", 0.0) < 60:
        yield "gen_ai.response.time_to_first_chunk is in seconds"
    if attributes.get("gen_ai.request.choice.count") == 1:
        yield "gen_ai.request.choice.count is told where it is not 1"


def _of_totals(attributes: Mapping[str, Any]) -> Iterator[str]:
    for parts, total in _PARTS:
        together = sum(attributes.get(part, 0) for part in parts)
        if together and together > attributes.get(total, 0):
            yield f"{total} is {attributes.get(total)}, its parts make {together}"
