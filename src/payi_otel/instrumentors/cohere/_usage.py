"""Cohere's usage to units: what is billed is `billed_units`. `tokens` counts what the model saw, Cohere's own words around a prompt too.

Source: https://docs.cohere.com/docs/how-does-cohere-pricing-work; the models `ApiMetaBilledUnits` and `UsageBilledUnits` of `cohere` 7.3.
Prompt tokens that hit the cache (`cached_tokens`) have no price of their own there.
"""

from __future__ import annotations

from typing import Any

from payi_otel.instrumentors._values import count_of, get
from payi_otel.packets.units import IMAGE, TEXT, VISION, Units, UnitSource, Usage

SEARCH_UNIT, CLASSIFICATION, PAGE = "search_unit", "classification", "page"
"""A query with up to a hundred documents; a text that is put into a class; a page of a document that was read."""
_API = "Cohere"
_OTHERS = {"search_units": SEARCH_UNIT, "classifications": CLASSIFICATION, "pages": PAGE}

UNIT_SOURCES = (
    UnitSource(_API, TEXT, "input", "billed_units.input_tokens"),
    UnitSource(_API, TEXT, "input", "billed_units.text_tokens"),
    UnitSource(_API, TEXT, "output", "billed_units.output_tokens"),
    UnitSource(_API, VISION, "input", "billed_units.image_tokens"),
    UnitSource(_API, IMAGE, "input", "billed_units.images"),
    *(UnitSource(_API, unit, "input", f"billed_units.{field}") for field, unit in _OTHERS.items()),
    UnitSource(_API, TEXT, "input", "tokens.input_tokens"),
    UnitSource(_API, TEXT, "output", "tokens.output_tokens"),
)


def read_usage(usage: Any) -> Usage | None:
    """The `usage` of version 2, or the `meta` of version 1, as JSON; None where it tells no count.

    `tokens` is taken only where nothing is said of what is billed, as by private deployments.
    """
    told = [counts for name in ("billed_units", "tokens") if isinstance(counts := get(usage, name), dict)]
    billed = next((counts for counts in told if any(count is not None for count in counts.values())), None)
    if billed is None:
        return None
    problems: list[str] = []
    counts = {name: count_of(billed, name, problems) for name in billed}  # Cohere sends them as 7.0
    given, images = counts.get("input_tokens", 0), counts.get("image_tokens", 0)
    text = counts.get("text_tokens") or (given - images if given >= images else given)
    said = counts.get("output_tokens", 0)
    units = {
        TEXT: Units(text, said),
        VISION: Units(images, 0),
        IMAGE: Units(0 if images else counts.get("images", 0), 0),  # older models bill an image as a whole
        **{unit: Units(counts.get(field, 0), 0) for field, unit in _OTHERS.items()},
    }
    has_tokens = bool({"input_tokens", "text_tokens", "image_tokens", "output_tokens"} & counts.keys())
    return Usage(
        {name: unit for name, unit in units.items() if any(unit) or (name == TEXT and has_tokens)},
        text + images if has_tokens else None,
        said if has_tokens else None,
        mismatch="; ".join(problems) or None,
    )
