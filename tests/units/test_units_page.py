"""docs/units.md is what the code says, and what it says is so: each row's count, alone, becomes its unit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from payi_otel.instrumentors import _claude, _gemini_usage
from payi_otel.instrumentors._units_page import render, rows
from payi_otel.instrumentors.bedrock import _usage as bedrock
from payi_otel.instrumentors.databricks._instrumentor import Query
from payi_otel.instrumentors.openai import _audio, _usage
from payi_otel.instrumentors.openai._images import Images
from payi_otel.instrumentors.openai._responses import read_response
from payi_otel.packets.units import Units, UnitSource, Usage

PAGE = Path(__file__).parents[2] / "docs" / "units.md"
COUNT = 7


def gemini(usage: Any) -> Usage | None:
    """Searches are not in the usage."""
    queries = (usage.pop("grounding_metadata", None) or {}).get("web_search_queries", 0)
    return _gemini_usage.read_usage({"total_token_count": 999, **usage}, "gemini-3-flash", queries=queries)


def responses(usage: Any) -> Usage | None:
    """Searches stand beside the usage."""
    return read_response({"usage": usage, "tool_usage": usage.pop("tool_usage", None)}).usage


def guardrails(usage: Any) -> Usage | None:
    """One assessment of an input."""
    return bedrock.to_usage({}, bedrock.guardrail_counts({"guardrail": {"inputAssessment": {"g": usage}}}), [])


def invoked(headers: Mapping[str, Any]) -> Usage | None:
    """Headers are texts."""
    return bedrock.to_usage(bedrock.header_counts({name: str(count) for name, count in headers.items()}), {}, [])


READERS: dict[str, tuple[Callable[[Any], Usage | None], dict[str, Any]]] = {
    "OpenAI chat, completions, embeddings": (_usage.read_usage, {"prompt_tokens": COUNT, "completion_tokens": COUNT}),
    "OpenAI responses, decisions": (responses, {"input_tokens": COUNT, "output_tokens": COUNT}),
    "OpenAI images": (lambda usage: Images().read_answer({"usage": usage}).usage, {"input_tokens": COUNT}),
    "OpenAI transcriptions": (lambda usage: _audio._read_usage({"usage": usage}), {"input_tokens": COUNT}),
    "OpenAI speech": (lambda usage: _audio.Speech().read_answer({"usage": usage}).usage, {}),
    "Claude, whoever serves it": (lambda usage: _claude.read_usage(usage, "claude-opus-5"), {"input_tokens": 0, "output_tokens": COUNT}),
    "Gemini": (gemini, {"prompt_token_count": COUNT, "candidates_token_count": COUNT, "cached_content_token_count": 0}),
    "Bedrock Converse": (lambda body: bedrock.to_usage(bedrock.converse_counts(body["usage"], []), {}, []), {"usage": {}}),
    "Bedrock InvokeModel, any family": (invoked, {}),
    "Bedrock guardrails": (guardrails, {}),
    "Databricks serving endpoints": (lambda usage: Query().read_answer({"usage": usage}).usage, {}),
}
"""By API: what reads its usage, and the totals its parts stand in."""
TOTALS = {"cache_tokens_details": "cached_content_token_count", "tool_use_prompt_tokens_details": "tool_use_prompt_token_count"}
"""Details whose total would otherwise be zero."""


def with_count(base: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The usage with this one count set."""
    name, dot, rest = path.partition(".")
    if dot:
        return {**base, name: with_count(base.get(name) or {}, rest)}
    match = re.fullmatch(r"(\w+)\[(\w+)\]", name)
    if match is None:
        return {**base, name: COUNT}
    details, kind = match.groups()
    if details == "cacheDetails":
        return {**base, details: [{"ttl": kind, "inputTokens": COUNT}]}
    total = {TOTALS[details]: COUNT} if details in TOTALS else {}
    return {**base, **total, details: [{"modality": kind, "token_count": COUNT}]}


def test_the_page_is_made_of_the_code() -> None:
    """Make it with `python -m payi_otel.instrumentors._units_page > docs/units.md`."""
    assert PAGE.read_text() == render(rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.api}-{row.field}")
def test_a_rows_count_becomes_its_unit(row: UnitSource) -> None:
    """On its side; and without it that unit is not there, or is a total's rest."""
    read, base = READERS[row.api]
    if row.unit.startswith("text") and not row.unit.startswith("text_cache"):
        base = {name: value for name, value in base.items() if not isinstance(value, int) or name == row.field}
    usage = read(with_count(base, row.field))
    assert usage is not None
    unit = usage.units.get(row.unit, Units())
    assert (unit.input if row.side == "input" else unit.output) == COUNT


def test_every_unit_that_is_read_has_a_row() -> None:
    """The names in `packets.units` and the guardrails', each somewhere."""
    from payi_otel.packets import units

    names = {value for name, value in vars(units).items() if name.isupper() and isinstance(value, str)} - {units.LARGE_CONTEXT}
    assert {row.unit for row in rows()} >= names - {"audio_cache_read", "image_cache_read", "vision_cache_read", "video_cache_read"}
