"""`payi-otel inspect`: what was captured, as tables."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payi_otel.captures.summary import Group, Summary, largest_first
from payi_otel.cli._summing import Captures, files_argument, prices_option, read_prices, where_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

BROKEN = 1
BY = ("model", "use case", "user", "account", "hour")
_MIN_NAME = 13
_GAP = 2
"""Columns of a terminal between two of the table's, and at its edges together."""
_CAN_GO = ("1st token", "cached", "p99 ms", "p50 ms", "failed")
"""What is left out where there is no room, the first first: what was used, and what it cost, is not."""
_WIDTH_ELSEWHERE = 200
DESCRIPTION = """Show what captures hold: calls, errors, units, latency, and cost where prices are known, by model, use case, user, account
and hour.

FILE is an offline file of this package or of the published SDK, or packets as JSON lines; a file of any size is read in little memory.

\b
  payi-otel inspect packets.json
  payi-otel inspect packets.json --by user --top 5 --where 'status>=400'

Exit code 1: a file could not be read to its end; the tables show what came before, and it is said where it breaks.
"""


@click.command(short_help="see what was captured, as tables", help=DESCRIPTION)
@files_argument
@click.option(
    "--by",
    "dimensions",
    multiple=True,
    type=click.Choice([name.replace(" ", "-") for name in BY]),
    help="Only this table; may be given again.",
)
@where_option
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Rows of a table.")
@prices_option
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def command(
    files: Sequence[Path], dimensions: Sequence[str], filters: tuple[str, ...], top: int, price_file: Path | None, as_json: bool
) -> int:
    """Reads every file, and shows what they hold together; 0 where all were whole."""
    captures = Captures(files, filters)
    summary, broken = Summary(read_prices(price_file)), captures.broken
    for record in captures.records():
        summary.add(record)
    if as_json:
        click.echo(json.dumps({**summary.to_json(), "broken": broken}, indent=2))
    else:
        _show(summary, [name.replace("-", " ") for name in dimensions] or list(BY), top, has_prices=price_file is not None)
    for file, where in broken.items():
        click.echo(f"payi-otel inspect: {file} is broken {where}; what is behind it is not counted", err=True)
    return BROKEN if broken else 0


def _show(summary: Summary, dimensions: Sequence[str], top: int, *, has_prices: bool) -> None:
    console = _console()
    total = summary.total
    if not total.calls:
        console.print("no packets")
        return
    span = f", {summary.first[:19]} to {summary.last[:19]}" if summary.first else ""
    console.print(f"{total.calls:,} calls, {total.errors:,} of them failed{span}", markup=False, highlight=False)
    for name in dimensions:
        groups = summary.by[name]
        if len(groups) > 1 or "-" not in groups or len(dimensions) == 1:
            table, width = to_table(name, groups, top, console.width, has_cost=bool(total.priced))
            console.width = max(console.width, width)  # a number is never cut
            console.print(table)
    if total.unpriced and (total.priced or has_prices):
        text = "the cost is that of the others" if total.priced else "so no cost is known"
        console.print(f"{total.unpriced:,} calls are in no price table; {text}", markup=False, highlight=False)


def _console() -> Console:
    """As wide as the terminal; where there is none (a pipe, a file), wide enough."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_ELSEWHERE
    return console


def to_table(name: str, groups: dict[str, Group], top: int, width: int, *, has_cost: bool) -> tuple[Table, int]:
    """The largest groups of a dimension as rows, without the columns that there is no room for, and the width that it needs."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [(key, _cells(group, has_cost=has_cost)) for key, group in _ordered(name, groups)[:top]]
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


def _ordered(name: str, groups: dict[str, Group]) -> list[tuple[str, Group]]:
    """Hours as they follow, all else by size."""
    return sorted(groups.items()) if name == "hour" else largest_first(groups)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def printable(text: str) -> str:
    """Without what could steer a terminal: names are the captured application's."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
