"""What `inspect`, `report` and `watch` share: captures read with the user's filters and prices, as often as is wanted."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from payi_otel.captures.filters import FilterError, Matches, read_filters
from payi_otel.captures.prices import PriceError, PriceTable
from payi_otel.captures.reading import Capture
from payi_otel.cli._errors import WrongUsage

BROKEN: Final = 1
"""Exit code of a command that could not read everything."""
_LOOK_EVERY: Final = 1000
"""Packets between two looks at how far it is: a look costs more than a packet."""

files_argument = click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
where_option = click.option(
    "--where",
    "filters",
    multiple=True,
    metavar="EXPRESSION",
    help="Only such packets, e.g. model=gpt-5, user!=bob, use_case~chat, status>=400, latency>1000; all that are given hold.",
)
prices_option = click.option(
    "--prices",
    "price_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="CSV or JSON with category, resource, unit, input, output: the price of one unit.",
)


def read_prices(file: Path | None) -> PriceTable | None:
    """The table of a file that was asked for.

    Raises:
        WrongUsage: It is none.
    """
    try:
        return PriceTable.read(file) if file is not None else None
    except PriceError as error:
        raise WrongUsage(f"--prices: {error}") from None


def read_where(filters: tuple[str, ...]) -> Matches:
    """The filters that were asked for, as one.

    Raises:
        WrongUsage: One is none.
    """
    try:
        return read_filters(filters)
    except FilterError as error:
        raise WrongUsage(f"--where: {error}") from None


class Captures:
    """The packets of a command's files that its filters are true for.

    Attributes:
        broken: By file, where it could not be read further.
    """

    def __init__(self, files: Sequence[Path], filters: tuple[str, ...]) -> None:
        """Reads nothing yet.

        Raises:
            WrongUsage: A filter is none.
        """
        self._matches = read_where(filters)
        self._files = files
        self._counts: list[int] = []
        self.broken: dict[str, str] = {}

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Each packet; the second time the same ones, also of a file that grew.

        Raises:
            WrongUsage: A file cannot be read.
        """
        known, self._counts = self._counts, []
        for number, file in enumerate(self._files):
            read = 0
            for record in islice(self._read(file), known[number] if known else None):
                read += 1
                if self._matches(record):
                    yield record
            self._counts.append(read)

    def say_broken(self, command: str) -> int:
        """Says which files were, and where; the command's exit code: `BROKEN` where one was, else 0."""
        for file, where in self.broken.items():
            click.echo(f"payi-otel {command}: {file} is broken {where}; what is behind it is not counted", err=True)
        return BROKEN if self.broken else 0

    def _read(self, file: Path) -> Iterator[Mapping[str, Any]]:
        capture = Capture(file)
        try:
            with click.progressbar(length=max(file.stat().st_size, 1), label=file.name, file=sys.stderr, hidden=not _has_watcher()) as bar:
                for number, record in enumerate(capture.records()):
                    if number % _LOOK_EVERY == 0:
                        bar.update(capture.position - bar.pos)
                    yield record
        except OSError as fault:
            raise WrongUsage(f"{file} cannot be read ({fault.strerror}): give a file that was written by offline_instrumentation") from None
        if capture.broken is not None:
            self.broken[str(file)] = str(capture.broken)


def _has_watcher() -> bool:
    return sys.stderr.isatty()
