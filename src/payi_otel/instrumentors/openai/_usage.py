"""OpenAI's usage objects to disjoint units.

OpenAI counts cached and cache-written tokens inside the input total, reasoning and rejected predictions inside the output total;
audio and image tokens are parts of both totals and, where `cached_tokens_details` says so, of the cached ones. Each unit here holds
a part once, and together they are the totals.
Source: https://platform.openai.com/docs/api-reference/chat/object and /responses/object
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from payi_otel.instrumentors._values import Fields, count_in, count_of, fields_of, fit, get
from payi_otel.packets.units import (
    AUDIO,
    AUDIO_CACHE_READ,
    IMAGE,
    REASONING,
    TEXT,
    TEXT_CACHE_READ,
    TEXT_CACHE_WRITE,
    VISION,
    VISION_CACHE_READ,
    WEB_SEARCH_REQUEST,
    Units,
    UnitSource,
    Usage,
)

_CHAT, _RESPONSES, _IMAGES = "OpenAI chat, completions, embeddings", "OpenAI responses, decisions", "OpenAI images"
_TRANSCRIPTS, _SPEECH = "OpenAI transcriptions", "OpenAI speech"
_CLAUDES_CACHE = {TEXT_CACHE_READ: "cache_read_input_tokens", TEXT_CACHE_WRITE: "cache_creation_input_tokens"}


def _sources(api: str, given: str, said: str) -> tuple[UnitSource, ...]:
    """What the two kinds of usage share."""
    return (
        UnitSource(api, TEXT, "input", given),
        UnitSource(api, TEXT, "output", said),
        UnitSource(api, TEXT_CACHE_READ, "input", f"{given}_details.cached_tokens"),
        UnitSource(api, TEXT_CACHE_WRITE, "input", f"{given}_details.cache_write_tokens"),
        UnitSource(api, REASONING, "output", f"{said}_details.reasoning_tokens"),
    )


UNIT_SOURCES = (
    *_sources(_CHAT, "prompt_tokens", "completion_tokens"),
    *(UnitSource(_CHAT, unit, "input", name) for unit, name in _CLAUDES_CACHE.items()),
    UnitSource(_CHAT, AUDIO, "input", "prompt_tokens_details.audio_tokens"),
    UnitSource(_CHAT, AUDIO, "output", "completion_tokens_details.audio_tokens"),
    UnitSource(_CHAT, VISION, "input", "prompt_tokens_details.image_tokens"),
    UnitSource(_CHAT, IMAGE, "output", "completion_tokens_details.image_tokens"),
    *_sources(_RESPONSES, "input_tokens", "output_tokens"),
    UnitSource(_RESPONSES, WEB_SEARCH_REQUEST, "output", "tool_usage.web_search.num_requests"),
    UnitSource(_IMAGES, TEXT, "input", "input_tokens"),
    UnitSource(_IMAGES, VISION, "input", "input_tokens_details.image_tokens"),
    UnitSource(_IMAGES, IMAGE, "output", "output_tokens"),
    UnitSource(_TRANSCRIPTS, TEXT, "input", "input_tokens"),
    UnitSource(_TRANSCRIPTS, AUDIO, "input", "input_token_details.audio_tokens"),
    UnitSource(_TRANSCRIPTS, TEXT, "output", "output_tokens"),
    UnitSource(_TRANSCRIPTS, AUDIO, "input", "seconds"),
    UnitSource(_SPEECH, TEXT, "input", "input_tokens"),
    UnitSource(_SPEECH, AUDIO, "output", "output_tokens"),
)
_CACHE_READS = (TEXT_CACHE_READ, AUDIO_CACHE_READ, VISION_CACHE_READ)
_TOTALS = (
    ("prompt_tokens", "completion_tokens", "prompt_tokens_details", "completion_tokens_details"),
    ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details"),
)


def read_usage(usage: Any, *, web_searches: int = 0) -> Usage | None:
    """`CompletionUsage`, `ResponseUsage` or an embeddings' usage, as an object or as JSON; None where there is none.

    Args:
        usage: The provider's usage.
        web_searches: Searches the provider ran for the call, which it bills apart from tokens.
    """
    fields = fields_of(usage)
    names = _names_of(fields)
    if names is None:
        return None
    name_in, name_out, details_in, details_out = names
    problems: list[str] = []
    input_parts, output_parts = _input_parts(fields.get(details_in), problems), _output_parts(fields.get(details_out), problems)
    beside = _add_claudes_cache(fields, input_parts, problems)
    total_in, total_out = _totals(fields, (name_in, name_out), (beside, output_parts.get(REASONING, 0)), problems)
    if input_parts or output_parts:
        problems += fit("input", input_parts, total_in) + fit("output", output_parts, total_out)
    return Usage(
        units=_units(input_parts, total_in, output_parts, total_out, web_searches),
        input_tokens=total_in,
        output_tokens=total_out,
        cache_read_tokens=sum([input_parts.get(name, 0) for name in _CACHE_READS]),
        cache_write_tokens=input_parts.get(TEXT_CACHE_WRITE, 0),
        reasoning_tokens=output_parts.get(REASONING, 0),
        mismatch="; ".join(problems) or None,
    )


def _names_of(usage: Fields) -> tuple[str, str, str, str] | None:
    """What this usage calls its two totals and their details; None where it has neither total."""
    for names in _TOTALS:
        if usage.get(names[0]) is not None or usage.get(names[1]) is not None:
            return names
    return None


def _totals(fields: Fields, names: tuple[str, str], parts: tuple[int, int], problems: list[str]) -> tuple[int, int]:
    """All input and all output. Where one is left out, or does not hold its part, the sum of both says so.

    Gemini's API in the form of OpenAI's leaves out what is zero, though it reasoned; xAI's counts reasoning beside the output.
    Source: https://docs.x.ai/docs/key-information/consumption-and-rate-limits
    """
    (name_in, name_out), (cached, reasoning) = names, parts
    total_in, total_out = count_in(fields, name_in, problems), count_in(fields, name_out, problems)
    is_beside = cached > total_in
    if fields.get("total_tokens") is not None:
        total = count_in(fields, "total_tokens", problems)
        rest = total - total_in - total_out
        if rest > 0 and fields.get(name_out) is None:
            total_out += rest
        elif rest > 0 and fields.get(name_in) is None:
            total_in += rest
        elif rest > 0 and rest == reasoning:
            total_out += reasoning
        elif rest > 0 and rest == cached:
            is_beside = True
        elif rest:
            problems.append(f"total_tokens is {total}, input and output make {total_in + total_out}")
    return total_in + (cached if is_beside else 0), total_out


def _add_claudes_cache(fields: Fields, parts: dict[str, int], problems: list[str]) -> int:
    """What Databricks says of Claude's cache in place of details; how much of the input that is.

    Source: `ChatDatabricks._convert_completion_usage_to_usage_metadata` of databricks-langchain 0.21, and its issue 446.
    """
    added = 0
    for unit, name in _CLAUDES_CACHE.items():
        if not parts.get(unit) and fields.get(name) is not None and (count := count_in(fields, name, problems)):
            parts[unit] = count
            added += count
    return added


def _output_parts(details: Any, problems: list[str]) -> dict[str, int]:
    if details is None:
        return {}
    fields = fields_of(details)
    return {
        REASONING: count_in(fields, "reasoning_tokens", problems),
        AUDIO: count_in(fields, "audio_tokens", problems),
        IMAGE: count_in(fields, "image_tokens", problems),
    }


def _input_parts(details: Any, problems: list[str]) -> dict[str, int]:
    if details is None:
        return {}
    fields = fields_of(details)
    cached, audio = count_in(fields, "cached_tokens", problems), count_in(fields, "audio_tokens", problems)
    image = count_in(fields, "image_tokens", problems)
    split = fields.get("cached_tokens_details")
    cached_audio = cached_image = 0
    if split is not None:
        cached_audio, cached_image = count_of(split, "audio_tokens", problems), count_of(split, "image_tokens", problems)
        if cached_audio > audio or cached_image > image or cached_audio + cached_image > cached:
            problems.append("cached_tokens_details are more than what they are details of")
            cached_audio = cached_image = 0
    return {
        TEXT_CACHE_READ: cached - cached_audio - cached_image,
        AUDIO_CACHE_READ: cached_audio,
        VISION_CACHE_READ: cached_image,
        TEXT_CACHE_WRITE: count_in(fields, "cache_write_tokens", problems),
        AUDIO: audio - cached_audio,
        VISION: image - cached_image,
    }


def _units(ins: dict[str, int], total_in: int, outs: dict[str, int], total_out: int, web_searches: int) -> dict[str, Units]:
    if not (ins or outs or web_searches):
        return {TEXT: Units(total_in, total_out)}
    counts: dict[str, list[int]] = {TEXT: [total_in - sum(ins.values()), total_out - sum(outs.values())]}
    for side, parts in enumerate((ins, outs)):
        for name, number in parts.items():
            if number:
                counts.setdefault(name, [0, 0])[side] += number
    if web_searches:
        counts[WEB_SEARCH_REQUEST] = [0, web_searches]
    return {name: Units(*pair) for name, pair in counts.items()}


def read_image_usage(usage: Any) -> Usage | None:
    """The usage of `ImagesResponse`, of a finished image's event, or of the image tool; None where there is none."""
    ins, outs, split = (get(usage, name) for name in ("input_tokens_details", "output_tokens_details", "cached_tokens_details"))
    total = get(usage, "output_tokens")
    return read_usage(
        {
            **{name: get(usage, name) for name in ("input_tokens", "output_tokens", "total_tokens")},
            "input_tokens_details": {
                "image_tokens": get(ins, "image_tokens"),
                "cached_tokens": get(usage, "cached_tokens"),
                "cached_tokens_details": split and {"image_tokens": get(split, "cached_image_tokens")},
            },
            "output_tokens_details": {"image_tokens": total if outs is None else get(outs, "image_tokens")},
        }
    )


def add_usages(usages: Sequence[Usage]) -> Usage:
    """What several answers of one call used together."""
    counts: dict[str, Units] = {}
    for usage in usages:
        for name, unit in usage.units.items():
            before = counts.get(name, Units())
            counts[name] = Units(before.input + unit.input, before.output + unit.output)
    return Usage(
        units=counts,
        input_tokens=sum(usage.input_tokens or 0 for usage in usages),
        output_tokens=sum(usage.output_tokens or 0 for usage in usages),
        mismatch="; ".join(usage.mismatch for usage in usages if usage.mismatch) or None,
    )
