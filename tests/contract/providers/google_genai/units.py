"""What reads the usage of Gemini's answers, for docs/units.md."""

from __future__ import annotations

from typing import Any

from units_page import COUNT, Readers

from payi_otel.instrumentors import _gemini_usage
from payi_otel.packets.units import Usage


def gemini(usage: Any) -> Usage | None:
    """Searches are not in the usage."""
    queries = (usage.pop("grounding_metadata", None) or {}).get("web_search_queries", 0)
    return _gemini_usage.read_usage({"total_token_count": 999, **usage}, "gemini-3-flash", queries=queries)


READERS: Readers = {
    "Gemini": (gemini, {"prompt_token_count": COUNT, "candidates_token_count": COUNT, "cached_content_token_count": 0}),
}
