"""`payi-otel report`: what was captured, as one page to look at, send and keep."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from payi_otel._words import counted
from payi_otel.cli._errors import WrongUsage
from payi_otel.cli._summing import Captures, files_argument, prices_option, read_prices, where_option

_PRIVATE = 0o600
"""It names users."""
DESCRIPTION = """Write a page that shows what captures hold: spend or units over time by model, use case, user and account, latency and time
to first token, failed calls, cache hits, and a table to sort and filter.

FILE is an offline file of this package or of the published SDK, or packets as JSON lines. The page is one file that loads nothing from
anywhere; no prompt and no answer is in it.

\b
  payi-otel report packets.json -o report.html
  payi-otel report packets.json --prices prices.csv --where use_case=support_chat

Exit code 1: a file could not be read to its end; the page shows what came before, and says where it breaks.
"""


@click.command(short_help="see what was captured, as a page", help=DESCRIPTION)
@files_argument
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True)
@where_option
@prices_option
@click.option("--json", "as_json", is_flag=True, help="Print where the page is, and of how many calls, as JSON.")
def command(files: Sequence[Path], output: Path, filters: tuple[str, ...], price_file: Path | None, as_json: bool) -> int:
    """Reads every file twice, in little memory, and writes the page; 0 where all were whole."""
    from payi_otel.captures.page import Source, to_page
    from payi_otel.captures.series import Series
    from payi_otel.captures.summary import Summary

    captures, prices = Captures(files, filters), read_prices(price_file)
    _check(output, [*files, *([price_file] if price_file else [])])
    summary = Summary(prices)
    for record in captures.records():
        summary.add(record)
    series = Series(summary, prices)
    for record in captures.records():
        series.add(record)
    source = Source(files=tuple(str(file) for file in files), where=filters, broken=captures.broken)
    _write(output, to_page(source, summary, series))
    if as_json:
        click.echo(json.dumps({"file": str(output), "calls": summary.total.calls, "broken": captures.broken}))
    else:
        click.echo(f"{output}: {counted(summary.total.calls, 'call')}")
    return captures.say_broken("report")


def _check(output: Path, inputs: Sequence[Path]) -> None:
    if output.is_dir():
        raise WrongUsage(f"-o {output} is a directory: give the page a name")
    if not os.access(output.parent, os.W_OK):
        raise WrongUsage(f"-o {output} cannot be written: there is no directory {output.parent} to write to")
    for file in inputs:
        if output.exists() and file.exists() and output.samefile(file):
            raise WrongUsage(f"-o {output} is what is read: give the page another name")


def _write(output: Path, page: str) -> None:
    """All of it or nothing: what was there stays until the new page is whole."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(page)
        temporary.replace(output)
    except OSError as fault:
        raise WrongUsage(f"-o {output} cannot be written ({fault.strerror})") from None
    finally:  # Ctrl-C may end it, too
        with suppress(OSError):
            temporary.unlink()
