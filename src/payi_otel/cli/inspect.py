"""`payi-otel inspect`: what was captured, as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payi_otel.captures.summary import Group, Summary, largest_first
from payi_otel.cli._summing import Captures, files_argument, prices_option, read_prices, where_option

if TYPE_CHECKING:
    from rich.table import Table

BROKEN = 1
BY = ("model", "use case", "user", "account", "hour")
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
        _show(summary, [name.replace("-", " ") for name in dimensions] or list(BY), top)
    for file, where in broken.items():
        click.echo(f"payi-otel inspect: {file} is broken {where}; what is behind it is not counted", err=True)
    return BROKEN if broken else 0


def _show(summary: Summary, dimensions: Sequence[str], top: int) -> None:
    from rich.console import Console

    console = Console()
    total = summary.total
    if not total.calls:
        console.print("no packets")
        return
    console.print(f"{total.calls:,} calls, {total.errors:,} of them failed, {summary.first[:19]} to {summary.last[:19]}", markup=False)
    for name in dimensions:
        groups = summary.by[name]
        if len(groups) > 1 or "-" not in groups or len(dimensions) == 1:
            console.print(to_table(name, groups, top, has_cost=bool(total.priced)))
    if total.priced and total.unpriced:
        console.print(f"{total.unpriced:,} calls are in no price table; the cost is that of the others", markup=False)


def to_table(name: str, groups: dict[str, Group], top: int, *, has_cost: bool) -> Table:
    """The largest groups of a dimension as rows."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(name, overflow="fold", min_width=13)
    for title in ("calls", "failed", "in → out", "p50 ms", "p99 ms", "1st token", "cached", *(["cost"] if has_cost else [])):
        table.add_column(title, justify="right", no_wrap=True)
    for key, group in _ordered(name, groups)[:top]:
        cells = [key, f"{group.calls:,}", f"{group.errors:,}", f"{group.tokens_in:,} → {group.tokens_out:,}"]
        cells += [_ms(group.latency.percentile(50)), _ms(group.latency.percentile(99)), _ms(group.first_token.percentile(50))]
        cells += ["-" if group.cache_share is None else f"{group.cache_share:.0%}"]
        cells += [f"{group.cost:,.4f}" if group.priced else "-"] if has_cost else []
        table.add_row(*(Text(printable(cell)) for cell in cells))
    if len(groups) > top:
        table.caption = f"{len(groups) - top:,} more; --top shows them"
    return table


def _ordered(name: str, groups: dict[str, Group]) -> list[tuple[str, Group]]:
    """Hours as they follow, all else by size."""
    return sorted(groups.items()) if name == "hour" else largest_first(groups)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def printable(text: str) -> str:
    """Without what could steer a terminal: names are the captured application's."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
