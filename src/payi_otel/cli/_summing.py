"""What `inspect`, `report` and `watch` share: captures summed up, with the user's prices and filters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from payi_otel.captures.filters import FilterError, read_filters
from payi_otel.captures.prices import PriceError, PriceTable
from payi_otel.captures.reading import Capture
from payi_otel.captures.summary import Summary
from payi_otel.cli._errors import WrongUsage


def read_prices(file: Path | None) -> PriceTable | None:
    """The table of a file that was asked for.

    Raises:
        WrongUsage: It is none.
    """
    try:
        return PriceTable.read(file) if file is not None else None
    except PriceError as error:
        raise WrongUsage(f"--prices: {error}") from None


def sum_up(files: Sequence[Path], filters: tuple[str, ...], prices: PriceTable | None) -> tuple[Summary, dict[str, str]]:
    """What files hold, and where those break that do.

    Raises:
        WrongUsage: A file is not there, or a filter is none.
    """
    try:
        matches = read_filters(filters)
    except FilterError as error:
        raise WrongUsage(f"--where: {error}") from None
    summary, broken = Summary(prices), {}
    for file in files:
        capture = Capture(file)
        try:
            for record in capture.records():
                if matches(record):
                    summary.add(record)
        except OSError as fault:
            raise WrongUsage(f"{file} cannot be read ({fault.strerror}): give a file that was written by offline_instrumentation") from None
        if capture.broken is not None:
            broken[str(file)] = str(capture.broken)
    return summary, broken
