"""Gemini's usage metadata: every modality, what was cached of it, thoughts, tools and long prompts."""

from __future__ import annotations

from typing import Any

import pytest

from payi_otel.instrumentors._gemini import GeminiReader, model_name
from payi_otel.instrumentors._gemini_usage import read_usage

PLAIN = {"prompt_token_count": 10, "candidates_token_count": 5, "total_token_count": 15}


def details(**counts: int) -> list[dict[str, Any]]:
    """Counts by modality as the API lists them."""
    return [{"modality": modality, "token_count": number} for modality, number in counts.items()]


def units(meta: Any, model: str = "gemini-2.5-flash", queries: int = 0) -> dict[str, tuple[int, int]]:
    """The units as pairs."""
    read = read_usage(meta, model, queries=queries)
    assert read is not None
    return {name: (unit.input, unit.output) for name, unit in read.units.items()}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {"text": (10, 5)}),
        ({"thoughts_token_count": 7, "total_token_count": 22}, {"text": (10, 5), "reasoning": (0, 7)}),
        ({"thoughts_token_count": 3}, {"text": (10, 2), "reasoning": (0, 3)}),
        ({"candidates_token_count": None, "thoughts_token_count": 3, "total_token_count": 13}, {"text": (10, 0), "reasoning": (0, 3)}),
        ({"tool_use_prompt_token_count": 4, "total_token_count": 19}, {"text": (14, 5)}),
        ({"cached_content_token_count": 4}, {"text": (6, 5), "text_cache_read": (4, 0)}),
        ({"prompt_tokens_details": details(TEXT=4, IMAGE=6)}, {"text": (4, 5), "vision": (6, 0)}),
        ({"prompt_tokens_details": details(DOCUMENT=8)}, {"text": (2, 5), "vision": (8, 0)}),
        ({"prompt_tokens_details": details(AUDIO=3) * 2}, {"text": (4, 5), "audio": (6, 0)}),
        (
            {
                "cached_content_token_count": 7,
                "prompt_tokens_details": details(TEXT=2, VIDEO=8),
                "cache_tokens_details": details(TEXT=1, VIDEO=6),
            },
            {"text": (1, 5), "video": (2, 0), "text_cache_read": (1, 0), "video_cache_read": (6, 0)},
        ),
        (
            {"cached_content_token_count": 7, "prompt_tokens_details": details(TEXT=2, VIDEO=8)},
            {"text": (0, 5), "video": (3, 0), "text_cache_read": (7, 0)},
        ),
        ({"candidates_tokens_details": details(IMAGE=4)}, {"text": (10, 1), "image": (0, 4)}),
        ({"candidates_tokens_details": details(AUDIO=5)}, {"text": (10, 0), "audio": (0, 5)}),
        ({"prompt_tokens_details": None, "candidates_tokens_details": [], "cached_content_token_count": None}, {"text": (10, 5)}),
    ],
)
def test_every_field_has_its_unit(more: dict[str, Any], expected: dict[str, tuple[int, int]]) -> None:
    """Disjoint, and together the provider's totals; where details miss, the rest is text."""
    assert units({**PLAIN, **more}) == expected


@pytest.mark.parametrize(
    ("model", "prompt", "suffix"),
    [
        ("gemini-2.5-pro", 200_001, "_large_context"),
        ("gemini-3-pro-preview", 300_000, "_large_context"),
        ("gemini-3.1-pro", 300_000, "_large_context"),
        ("gemini-2.5-pro", 200_000, ""),
        ("gemini-2.5-flash", 300_000, ""),
        ("gemini-1.5-pro-002", 128_001, "_large_context"),
    ],
)
def test_long_prompts_have_a_price_of_their_own_where_the_model_has_one(model: str, prompt: int, suffix: str) -> None:
    """By the prompt alone."""
    meta = {"prompt_token_count": prompt, "candidates_token_count": 5}
    assert units(meta, model) == {f"text{suffix}": (prompt, 5)}


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-flash", 1), ("gemini-3-pro-preview", 3)])
def test_searches_are_billed_by_prompt_or_by_query(model: str, searches: int) -> None:
    """Three queries for one prompt."""
    assert units(PLAIN, model, queries=3)["web_search_request"] == (0, searches)


def test_a_stream_counts_its_last_totals() -> None:
    """Neither the first, nor their sum; a field that is left out later keeps its last value."""
    reader = GeminiReader()
    for meta in (
        {"prompt_token_count": 10},
        {**PLAIN, "candidates_token_count": 2},
        {"candidates_token_count": 30, "total_token_count": 40},
    ):
        reader.take({"model_version": "gemini-2.5-flash", "response_id": "r1", "usage_metadata": meta})
    answer = reader.answer()
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 30)


@pytest.mark.parametrize(
    ("meta", "output", "properties"),
    [
        ({"prompt_token_count": 10, "total_token_count": 10}, 100, {"payi_otel.usage_estimated": "output"}),
        ({"prompt_token_count": 10, "candidates_token_count": 0}, 0, {}),
        ({"prompt_token_count": 10, "thoughts_token_count": 3}, 3, {}),
        ({"prompt_token_count": 10, "candidates_token_count": 30}, 30, {}),
    ],
)
def test_what_was_said_before_any_count_of_it_is_estimated(meta: dict[str, int], output: int, properties: dict[str, str]) -> None:
    """A stream that is left may have told no more than the prompt's tokens."""
    reader = GeminiReader()
    for _ in range(2):
        reader.take({"candidates": [{"content": {"parts": [{"text": "x" * 200}]}}], "usage_metadata": meta})
    answer = reader.answer()
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, output)
    assert answer.properties == properties


@pytest.mark.parametrize("meta", [None, {}, {"prompt_token_count": None}])
def test_no_usage_is_none(meta: Any) -> None:
    """It is estimated then."""
    assert read_usage(meta, "gemini-2.5-flash") is None


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("gemini-2.5-flash", "gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("projects/p/locations/l/endpoints/1", "projects/p/locations/l/endpoints/1"),
        ("", None),
        (None, None),
    ],
)
def test_a_model_is_named_without_its_collection(given: Any, name: str | None) -> None:
    """As price lists name it."""
    assert model_name(given) == name
