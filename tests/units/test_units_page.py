"""What docs/units.md says is so: each row's count, alone, becomes its unit."""

from __future__ import annotations

import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from units_page import COUNT, Readers

from payi_otel.instrumentors._units_page import rows
from payi_otel.packets.units import Units, UnitSource

FOLDERS = Path(__file__).parents[1] / "contract" / "providers"
READERS: Readers = {
    api: reader for path in sorted(FOLDERS.glob("*/units.py")) for api, reader in runpy.run_path(str(path))["READERS"].items()
}
"""Every provider's."""
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
