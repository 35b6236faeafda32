"""`payi-otel inspect`: what was captured, as tables."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payi_otel._words import counted
from payi_otel.captures.summary import Summary
from payi_otel.cli._summing import Captures, files_argument, prices_option, read_prices, where_option
from payi_otel.cli._tables import to_table

if TYPE_CHECKING:
    from rich.console import Console

BY = ("model", "use case", "user", "account", "hour")
_WIDTH_ELSEWHERE = 200
"""Columns: all that a table has, with names of a hundred characters."""
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
    summary = Summary(read_prices(price_file))
    for record in captures.records():
        summary.add(record)
    if as_json:
        click.echo(json.dumps({**summary.to_json(), "broken": captures.broken}, indent=2))
    else:
        _show(summary, [name.replace("-", " ") for name in dimensions] or list(BY), top, has_prices=price_file is not None)
    return captures.say_broken("inspect")


def _show(summary: Summary, dimensions: Sequence[str], top: int, *, has_prices: bool) -> None:
    console = _console()
    total = summary.total
    if not total.calls:
        console.print("no packets")
        return
    span = f", {summary.first[:19]} to {summary.last[:19]}" if summary.first else ""
    console.print(f"{counted(total.calls, 'call')}, {total.errors:,} of them failed{span}", markup=False, highlight=False)
    for name in dimensions:
        groups = summary.by[name]
        if len(groups) > 1 or "-" not in groups or len(dimensions) == 1:
            table, width = to_table(name, groups, top, console.width, has_cost=bool(total.priced))
            console.width = max(console.width, width)  # a number is never cut
            console.print(table)
    if total.unpriced and (total.priced or has_prices):
        text = "the cost is that of the others" if total.priced else "so no cost is known"
        are = "is" if total.unpriced == 1 else "are"
        console.print(f"{counted(total.unpriced, 'call')} {are} in no price table; {text}", markup=False, highlight=False)


def _console() -> Console:
    """As wide as the terminal; where there is none (a pipe, a file), wide enough."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_ELSEWHERE
    return console
