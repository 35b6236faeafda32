"""`Series`: what packets come to over time, in all and for the largest groups; read after a `Summary` of the same packets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from payi_otel.captures.summary import OTHERS, Call, Group, Prices, Summary, key_of, largest_first

MAX_BUCKETS: Final = 200
"""More than a screen has room for."""
LARGEST: Final = 8
"""Groups of a dimension that are told apart; all else is one."""
DRAWN: Final = ("model", "use case", "user", "account")


@dataclass(frozen=True, slots=True)
class Step:
    """How long a bucket of time is."""

    name: str
    chars: int
    """So much of a time stamp is the same within it."""
    span: timedelta
    """No shorter than it."""


STEPS: Final = (
    Step("minute", len("2026-01-01T00:00"), timedelta(minutes=1)),
    Step("hour", len("2026-01-01T00"), timedelta(hours=1)),
    Step("day", len("2026-01-01"), timedelta(days=1)),
    Step("month", len("2026-01"), timedelta(days=28)),
    Step("year", len("2026"), timedelta(days=365)),
)
_START: Final = "0001-01-01T00:00:00"
"""What is missing of a bucket to be a time."""


class Series:
    """Adds records up by time."""

    def __init__(self, summary: Summary, prices: Prices | None = None) -> None:
        """Nothing yet.

        Args:
            summary: Of the same records: it says how long they took, and what is large.
            prices: What packets cost that do not say so themselves.
        """
        self._prices = prices
        self.step = step_for(summary.first, summary.last)
        self.buckets = list(_buckets(self.step, summary.first, summary.last))
        self.total: dict[str, Group] = {}
        """By bucket."""
        self.by: dict[str, dict[str, dict[str, Group]]] = {name: _largest(summary.by[name]) for name in DRAWN}
        """By dimension, group and bucket; `OTHERS` last."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Counts one packet, where it is known when it began."""
        call = Call.read(record, self._prices)
        if not call.stamp:
            return
        bucket = call.stamp[: self.step.chars]
        self.total.setdefault(bucket, Group()).add(call)
        for name, groups in self.by.items():
            cells = groups.get(key_of(record, name))
            (groups[OTHERS] if cells is None else cells).setdefault(bucket, Group()).add(call)


def step_for(first: str, last: str) -> Step:
    """The shortest of which there are not too many from the first to the last stamp."""
    length = datetime.fromisoformat(last[:19]) - datetime.fromisoformat(first[:19]) if first else timedelta()
    return next((step for step in STEPS if length / step.span < MAX_BUCKETS), STEPS[-1])


def _buckets(step: Step, first: str, last: str) -> Iterator[str]:
    """Also those in which nothing was called: time goes on there."""
    if not first:
        return
    bucket, end = first[: step.chars], last[: step.chars]
    time = datetime.fromisoformat(bucket + _START[len(bucket) :])
    while bucket < end:
        yield bucket
        try:
            time += step.span
        except OverflowError:  # behind the year 9999
            break
        while (following := time.isoformat()[: step.chars]) == bucket:
            time += timedelta(days=1)
        bucket = following
    yield end


def _largest(groups: Mapping[str, Group]) -> dict[str, dict[str, Group]]:
    known = [key for key, _ in largest_first(groups) if key != OTHERS]
    return {**{key: {} for key in known[:LARGEST]}, OTHERS: {}}
