"""The groups of a capture as a table for a terminal: what `inspect` and `watch` show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from payi_otel.captures.summary import Group, in_order

if TYPE_CHECKING:
    from rich.table import Table

_MIN_NAME: Final = 13
"""Columns of a terminal that a group's name has at least."""
_GAP: Final = 2
"""Columns of a terminal between two of the table's, and at its edges together."""
_CAN_GO: Final = ("1st token", "cached", "p99 ms", "p50 ms", "failed")
"""What is left out where there is no room, the first first: what was used, and what it cost, is not."""


def to_table(name: str, groups: dict[str, Group], top: int, width: int, *, has_cost: bool) -> tuple[Table, int]:
    """The largest groups of a dimension as rows, without the columns that there is no room for, and the width that it needs."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [(key, _cells(group, has_cost=has_cost)) for key, group in in_order(name, groups)[:top]]
    widths = {title: max(len(title), *(len(cells[title]) for _, cells in rows)) + _GAP for title in rows[0][1]}
    left_out = []
    for title in _CAN_GO:
        if _MIN_NAME + sum(widths.values()) + _GAP > width:
            del widths[title]
            left_out.append(title)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(name, overflow="fold", min_width=_MIN_NAME)
    for title in widths:
        table.add_column(title, justify="right", no_wrap=True)
    for key, cells in rows:
        table.add_row(Text(printable(key)), *(Text(cells[title]) for title in widths))
    more = [f"{len(groups) - top:,} more; --top shows them"] if len(groups) > top else []
    more += [f"no room for {', '.join(left_out)}"] if left_out else []
    table.caption = "; ".join(more) or None
    return table, _MIN_NAME + sum(widths.values()) + _GAP


def _cells(group: Group, *, has_cost: bool) -> dict[str, str]:
    """Its numbers by the titles of their columns."""
    cells = {
        "calls": f"{group.calls:,}",
        "failed": f"{group.errors:,}",
        "in → out": f"{group.tokens_in:,} → {group.tokens_out:,}",
        "p50 ms": _ms(group.latency.percentile(50)),
        "p99 ms": _ms(group.latency.percentile(99)),
        "1st token": _ms(group.first_token.percentile(50)),
        "cached": "-" if group.cache_share is None else f"{group.cache_share:.0%}",
    }
    return {**cells, "cost": f"{group.cost:,.4f}" if group.priced else "-"} if has_cost else cells


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def printable(text: str) -> str:
    """Without what could steer a terminal: names are the captured application's."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
