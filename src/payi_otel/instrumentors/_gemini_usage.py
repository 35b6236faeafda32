"""Gemini's usage metadata as disjoint units, by modality.

Source: https://ai.google.dev/api/generate-content#UsageMetadata and https://ai.google.dev/gemini-api/docs/pricing
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from payi_otel.instrumentors._values import count_of, get
from payi_otel.packets.long_prompts import GEMINI, is_long_prompt
from payi_otel.packets.units import (
    AUDIO,
    IMAGE,
    REASONING,
    TEXT,
    TEXT_CACHE_READ,
    VIDEO,
    VISION,
    WEB_SEARCH_REQUEST,
    Units,
    UnitSource,
    Usage,
    as_large_context,
)

INPUT_UNITS = {"TEXT": TEXT, "IMAGE": VISION, "VIDEO": VIDEO, "AUDIO": AUDIO, "DOCUMENT": VISION}
"""By an input's modality. A document's pages are read as images (https://ai.google.dev/gemini-api/docs/document-processing)."""
OUTPUT_UNITS = {"TEXT": TEXT, "IMAGE": IMAGE, "VIDEO": VIDEO, "AUDIO": AUDIO, "DOCUMENT": TEXT}
"""By an output's modality."""
_API = "Gemini"


def _by_kind(field: str, units: Mapping[str, str], side: Literal["input", "output"], suffix: str = "") -> tuple[UnitSource, ...]:
    """The details of one count; text is what they leave of it."""
    return tuple(UnitSource(_API, unit + suffix, side, f"{field}[{kind}]") for kind, unit in units.items() if unit != TEXT)


UNIT_SOURCES = (
    UnitSource(_API, TEXT, "input", "prompt_token_count"),
    *_by_kind("prompt_tokens_details", INPUT_UNITS, "input"),
    UnitSource(_API, TEXT, "input", "tool_use_prompt_token_count"),
    *_by_kind("tool_use_prompt_tokens_details", INPUT_UNITS, "input"),
    UnitSource(_API, TEXT_CACHE_READ, "input", "cached_content_token_count"),
    *_by_kind("cache_tokens_details", INPUT_UNITS, "input", "_cache_read"),
    UnitSource(_API, TEXT, "output", "candidates_token_count"),
    *_by_kind("candidates_tokens_details", OUTPUT_UNITS, "output"),
    UnitSource(_API, REASONING, "output", "thoughts_token_count"),
    UnitSource(_API, WEB_SEARCH_REQUEST, "output", "grounding_metadata.web_search_queries"),
)
_PER_QUERY = re.compile(r"gemini-(?:[3-9]|\d{2})")
"""From Gemini 3 on every search query is billed, before that every prompt that was grounded by a search."""


def read_usage(meta: Any, model: str | None, *, queries: int = 0) -> Usage | None:
    """Disjoint units of a `usage_metadata`, as an object or as JSON of snake case; None where it counts nothing.

    Cached tokens are within the prompt's, thoughts and the results of tools beside it; where the total says that thoughts are
    within the candidates, they are taken out of those.

    Args:
        meta: The provider's usage.
        model: The model that answered, which decides about long prompts.
        queries: Search queries that grounded the answer.
    """
    problems: list[str] = []
    names = ("prompt_token_count", "candidates_token_count", "thoughts_token_count", "total_token_count")
    if meta is None or all(get(meta, name) is None for name in names):
        return None
    prompt, candidates, thoughts, total = (count_of(meta, name, problems) for name in names)
    tool = count_of(meta, "tool_use_prompt_token_count", problems)
    cached = count_of(meta, "cached_content_token_count", problems)
    given = _by_unit(meta, "prompt_tokens_details", INPUT_UNITS, prompt, problems)
    kept = _by_unit(meta, "cache_tokens_details", INPUT_UNITS, min(cached, prompt), problems)
    fresh = _without(given, kept)
    for unit, number in _by_unit(meta, "tool_use_prompt_tokens_details", INPUT_UNITS, tool, problems).items():
        fresh[unit] = fresh.get(unit, 0) + number
    said = _by_unit(meta, "candidates_tokens_details", OUTPUT_UNITS, candidates, problems)
    output = candidates + thoughts
    if thoughts and get(meta, "total_token_count") is not None and total == prompt + tool + candidates and thoughts <= candidates:
        said, output = _without(said, {TEXT: thoughts}), candidates
    units = {unit: Units(fresh.get(unit, 0), said.get(unit, 0)) for unit in (TEXT, VISION, VIDEO, AUDIO, IMAGE)}
    units |= {f"{unit}_cache_read": Units(number, 0) for unit, number in kept.items()}
    units |= {REASONING: Units(0, thoughts), WEB_SEARCH_REQUEST: Units(0, _searches(queries, model))}
    units = {name: unit for name, unit in units.items() if name == TEXT or unit != Units()}
    if is_long_prompt(GEMINI, model, prompt):
        units = as_large_context(units)
    return Usage(
        units=units,
        input_tokens=prompt + tool,
        output_tokens=output,
        cache_read_tokens=sum(kept.values()),
        reasoning_tokens=thoughts,
        mismatch="; ".join(problems) or None,
    )


def _searches(queries: int, model: str | None) -> int:
    return queries if _PER_QUERY.search(model or "") else min(queries, 1)


def _by_unit(meta: Any, name: str, units: Mapping[str, str], total: int, problems: list[str]) -> dict[str, int]:
    """Counts by modality, repeated ones added up; what the details leave out of the total is text."""
    counts: dict[str, int] = {}
    for detail in get(meta, name) or ():
        modality = get(detail, "modality")
        unit = units.get(str(getattr(modality, "value", modality)), TEXT)
        counts[unit] = counts.get(unit, 0) + count_of(detail, "token_count", problems)
    rest = total - sum(counts.values())
    if rest < 0:
        problems.append(f"{name} make {sum(counts.values())}, their total is {total}")
        return _without(counts, {TEXT: -rest})
    if rest:
        counts[TEXT] = counts.get(TEXT, 0) + rest
    return counts


def _without(counts: dict[str, int], parts: Mapping[str, int]) -> dict[str, int]:
    """Takes parts out, each of its own unit first, what that does not hold of text, and then of the others."""
    left, owed = dict(counts), 0
    for unit, number in parts.items():
        taken = min(number, left.get(unit, 0))
        left[unit] = left.get(unit, 0) - taken
        owed += number - taken
    for unit in (TEXT, *sorted(left, key=lambda name: -left[name])):
        taken = min(owed, left.get(unit, 0))
        if taken:
            left[unit] -= taken
            owed -= taken
    return {unit: number for unit, number in left.items() if number}
