"""What Bedrock says was used: by Converse, by the bodies of the model families, by its headers, and by guardrails.

Families are told apart by the shape of their answers, not by model names: an inference profile's ARN names none.
Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html and .../APIReference/API_runtime_TokenUsage.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from payi_otel.instrumentors._values import count_of, get
from payi_otel.packets.long_prompts import CLAUDE, is_long_prompt
from payi_otel.packets.units import (
    IMAGE,
    LARGE_CONTEXT,
    REASONING,
    TEXT,
    TEXT_CACHE_READ,
    TEXT_CACHE_WRITE,
    TEXT_CACHE_WRITE_1H,
    Units,
    UnitSource,
    Usage,
    as_large_context,
)

GUARDRAIL_UNITS = {
    "topicPolicyUnits": "guardrail_topic",
    "contentPolicyUnits": "guardrail_content",
    "contentPolicyImageUnits": "guardrail_content_image",
    "wordPolicyUnits": "guardrail_word_free",
    "sensitiveInformationPolicyUnits": "guardrail_sensitive_information",
    "sensitiveInformationPolicyFreeUnits": "guardrail_sensitive_information_free",
    "contextualGroundingPolicyUnits": "guardrail_contextual_grounding",
    "automatedReasoningPolicyUnits": "guardrail_automated_reasoning",
}
"""By the counter in an assessment, the unit; of input and output assessments together, on the input side."""
_GUARDRAIL_NAMES = frozenset(GUARDRAIL_UNITS.values())
_CONVERSE, _INVOKE = "Bedrock Converse", "Bedrock InvokeModel, any family"
_IMAGES, _GUARDRAILS = "Bedrock InvokeModel, models that make images", "Bedrock guardrails"
UNIT_SOURCES = (
    UnitSource(_CONVERSE, TEXT, "input", "usage.inputTokens"),
    UnitSource(_CONVERSE, TEXT, "output", "usage.outputTokens"),
    UnitSource(_CONVERSE, TEXT_CACHE_READ, "input", "usage.cacheReadInputTokens"),
    UnitSource(_CONVERSE, TEXT_CACHE_WRITE, "input", "usage.cacheWriteInputTokens"),
    UnitSource(_CONVERSE, TEXT_CACHE_WRITE_1H, "input", "usage.cacheDetails[1h]"),
    UnitSource(_INVOKE, TEXT, "input", "x-amzn-bedrock-input-token-count"),
    UnitSource(_INVOKE, TEXT, "output", "x-amzn-bedrock-output-token-count"),
    UnitSource(_INVOKE, TEXT_CACHE_READ, "input", "x-amzn-bedrock-cache-read-input-token-count"),
    UnitSource(_INVOKE, TEXT_CACHE_WRITE, "input", "x-amzn-bedrock-cache-write-input-token-count"),
    UnitSource(_IMAGES, IMAGE, "output", "images"),
    *(UnitSource(_GUARDRAILS, unit, "input", f"invocationMetrics.usage.{counter}") for counter, unit in GUARDRAIL_UNITS.items()),
)
_HEADER = "x-amzn-bedrock-"
_NAMES = {
    "input": ("inputTokens", "inputTokenCount"),
    "output": ("outputTokens", "outputTokenCount"),
    "read": ("cacheReadInputTokens", "cacheReadInputTokenCount"),
    "write": ("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
}
_RUNNING = {
    "prompt_token_count": "input",
    "inputTextTokenCount": "input",
    "generation_token_count": "output",
    "totalOutputTextTokenCount": "output",
}
_OF_TEXTS = frozenset({"usage", "meta", "embedding", "embeddings"})
"""Of bodies that may tell of images they were given."""
Counts = dict[str, int]
"""Tokens by `input`, `output`, `read`, `write`, `write_1h`, `reasoning`; a key is missing where nothing was said of it."""


def converse_counts(usage: Any, problems: list[str]) -> Counts:
    """Converse's `TokenUsage`, Nova's usage, and the metrics in the last chunk of a stream: input excludes what was cached."""
    counts: Counts = {}
    for key, names in _NAMES.items():
        said = next((name for name in names if get(usage, name) is not None), None)
        if said is not None:
            counts[key] = count_of(usage, said, problems)
    hour = sum(count_of(one, "inputTokens", problems) for one in get(usage, "cacheDetails") or () if get(one, "ttl") == "1h")
    if hour:
        counts["write_1h"] = min(hour, counts.get("write", hour))
        counts["write"] = max(0, counts.get("write", hour) - hour)
    return counts


def body_counts(body: Any, problems: list[str]) -> Counts:
    """The counts in the body of any family that has them there."""
    if not isinstance(body, dict):
        return {}
    usage = body.get("usage")
    if isinstance(usage, dict):
        if "prompt_tokens" in usage or "completion_tokens" in usage:
            return _openai_counts(usage, problems)
        return converse_counts(usage, problems)
    if "prompt_token_count" in body or "generation_token_count" in body:
        return _pair(count_of(body, "prompt_token_count", problems), count_of(body, "generation_token_count", problems))
    if "inputTextTokenCount" in body:
        said = sum(count_of(result, "tokenCount", problems) for result in body.get("results") or ())
        return _pair(count_of(body, "inputTextTokenCount", problems), said)
    billed = get(body.get("meta"), "billed_units")
    if billed is not None:
        return _pair(count_of(billed, "input_tokens", problems), count_of(billed, "output_tokens", problems))
    return {}


def running_counts(chunk: Mapping[str, Any], problems: list[str]) -> Counts:
    """The totals so far in a chunk of Llama's or Titan's: all there is of a stream that is left before Bedrock's metrics."""
    return {key: count_of(chunk, name, problems) for name, key in _RUNNING.items() if chunk.get(name) is not None}


def listed_counts(body: Any) -> Counts:
    """AI21's J2 lists its tokens instead of counting them."""
    if not isinstance(body, dict) or not isinstance(body.get("prompt"), dict) or "completions" not in body:
        return {}
    said = sum(len(get(get(one, "data"), "tokens") or ()) for one in body.get("completions") or ())
    return _pair(len(body["prompt"].get("tokens") or ()), said)


def _pair(given: int, said: int) -> Counts:
    return {"input": given, "output": said}


def _openai_counts(usage: dict[str, Any], problems: list[str]) -> Counts:
    """gpt-oss, DeepSeek, Qwen, Jamba, Mistral: what was cached and reasoned is inside the totals."""
    total_in, total_out = count_of(usage, "prompt_tokens", problems), count_of(usage, "completion_tokens", problems)
    read = min(count_of(usage.get("prompt_tokens_details"), "cached_tokens", problems), total_in)
    reasoning = min(count_of(usage.get("completion_tokens_details"), "reasoning_tokens", problems), total_out)
    return {"input": total_in - read, "read": read, "output": total_out, "reasoning": reasoning}


def image_usage(body: Any) -> Usage | None:
    """Images are billed each, and their prompts not at all: Titan's, Nova's and Stability's, whose first models call them artifacts.

    None where the body is of no such model; what was held back (`seeds` without images) cost nothing.
    """
    if not isinstance(body, dict) or not body.keys().isdisjoint(_OF_TEXTS):
        return None
    lists = [body[name] for name in ("images", "artifacts") if isinstance(body.get(name), list)]
    made = sum(isinstance(get(one, "base64") if isinstance(one, dict) else one, str) for found in lists for one in found)
    return Usage({IMAGE: Units(0, made)}) if lists or isinstance(body.get("seeds"), list) else None


def header_counts(headers: Mapping[str, Any] | None) -> Counts:
    """The token counts Bedrock puts into an answer's headers, whatever the family."""
    counts: Counts = {}
    for key, name in (("input", "input"), ("output", "output"), ("read", "cache-read-input"), ("write", "cache-write-input")):
        value = (headers or {}).get(f"{_HEADER}{name}-token-count")
        if isinstance(value, str) and value.isascii() and value.isdecimal():
            counts[key] = int(value)
    return counts


def to_usage(counts: Counts, guardrails: Mapping[str, int], problems: list[str]) -> Usage | None:
    """Counts as disjoint units; None where nothing was said of tokens or guardrails."""
    if not counts and not guardrails:
        return None
    read, write, hour = counts.get("read", 0), counts.get("write", 0), counts.get("write_1h", 0)
    output, reasoning = counts.get("output", 0), counts.get("reasoning", 0)
    units = {
        TEXT: Units(counts.get("input", 0), output - reasoning),
        TEXT_CACHE_READ: Units(read, 0),
        TEXT_CACHE_WRITE: Units(write, 0),
        TEXT_CACHE_WRITE_1H: Units(hour, 0),
        REASONING: Units(0, reasoning),
    }
    units = {name: unit for name, unit in units.items() if unit != Units() or (name == TEXT and counts)}
    return Usage(
        units={**units, **_guardrail_units(guardrails)},
        input_tokens=counts.get("input", 0) + read + write + hour if counts else None,
        output_tokens=output if counts else None,
        cache_read_tokens=read,
        cache_write_tokens=write + hour,
        reasoning_tokens=reasoning,
        mismatch="; ".join(problems) or None,
    )


def with_guardrails(usage: Usage | None, guardrails: Mapping[str, int]) -> Usage | None:
    """Claude's own usage, which tells more than Bedrock's, with the guardrails' units."""
    return usage._replace(units={**usage.units, **_guardrail_units(guardrails)}) if usage is not None and guardrails else usage


def with_long_prompt(usage: Usage | None, *models: str | None) -> Usage | None:
    """The same usage under the names of a long prompt, where one of the model's names is of a Claude that has such a price."""
    if usage is None or not any(is_long_prompt(CLAUDE, model, usage.input_tokens or 0) for model in models):
        return usage
    done = {name: unit for name, unit in usage.units.items() if name in _GUARDRAIL_NAMES or name.endswith(LARGE_CONTEXT)}
    rest = {name: unit for name, unit in usage.units.items() if name not in done}
    return usage._replace(units={**as_large_context(rest), **done})


def _guardrail_units(guardrails: Mapping[str, int]) -> dict[str, Units]:
    return {name: Units(number, 0) for name, number in guardrails.items() if number}


def guardrail_counts(trace: Any) -> dict[str, int]:
    """The units of every assessment in a guardrail's trace, of Converse (`inputAssessment`) or of a body (`input`)."""
    counts: dict[str, int] = {}
    for assessment in _assessments(get(trace, "guardrail")):
        for unit, number in policy_counts(get(get(assessment, "invocationMetrics"), "usage")).items():
            counts[unit] = counts.get(unit, 0) + number
    return counts


def policy_counts(usage: Any) -> dict[str, int]:
    """The units of one guardrail's `usage`, by the policies it has."""
    return {unit: number for counter, unit in GUARDRAIL_UNITS.items() if (number := count_of(usage, counter, []))}


def _assessments(guardrail: Any) -> Iterable[Any]:
    """One assessment by the guardrail's id for the input; lists of them, or a list of such objects, for the output."""
    for key in ("inputAssessment", "input"):
        found = get(guardrail, key)
        if isinstance(found, dict):
            yield from found.values()
    found = get(guardrail, "outputAssessments")
    if isinstance(found, dict):
        for group in found.values():
            yield from group if isinstance(group, list) else [group]
    for output in get(guardrail, "outputs") or ():
        if isinstance(output, dict):
            for one in output.values():
                yield from one if isinstance(one, list) else [one]
