"""docs/units.md, made of what the providers' usage readers say of themselves; `nox -s pages` writes it."""

from __future__ import annotations

from collections.abc import Iterable

from payi_otel.instrumentors._discovery import all_instrumentors
from payi_otel.packets.long_prompts import CLAUDE, GEMINI
from payi_otel.packets.units import LARGE_CONTEXT, UnitSource


def rows() -> tuple[UnitSource, ...]:
    """Every row once: two SDKs may read the same answers."""
    return tuple(dict.fromkeys(row for instrumentor in all_instrumentors() for row in instrumentor.table.units))


def render(table: Iterable[UnitSource]) -> str:
    """Makes the page."""
    table = tuple(table)
    lines = [
        "# Units",
        "",
        "Made by `nox -s pages`; do not edit. `tests/units/test_units_page.py` holds each row.",
        "",
        "The units of a packet are disjoint: what a provider counts inside a total is taken out of it, so that they add up to what it",
        "bills. What its details leave out of a total is `text`. Where it reports no usage, `text` is estimated and the packet's",
        "property `payi_otel.usage_estimated` says so.",
    ]
    for api in dict.fromkeys(row.api for row in table):
        lines += ["", f"## {api}", "", "| unit | side | the provider's field |", "|---|---|---|"]
        lines += [f"| `{row.unit}` | {row.side} | `{row.field}` |" for row in table if row.api == api]
    lines += [
        "",
        "## Long prompts",
        "",
        f"Past a length, some models have another price: every token unit then ends in `{LARGE_CONTEXT}`.",
        "",
    ]
    lines += ["| models | prompts of more than |", "|---|---|"]
    lines += [f"| {long.models} | {long.above:,} tokens |" for long in (*CLAUDE, *GEMINI)]
    return "\n".join(lines) + "\n"
