"""`Summary`: what a capture's packets come to, in all and by model, use case, user, account and hour; in memory that does not grow."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final, Protocol

from payi_otel.semconv import PROPERTY_FAILURE, STATUS_WITHOUT_HTTP

DIMENSIONS: Final[Mapping[str, str]] = {
    "model": "resource",
    "use case": "use_case_name",
    "user": "user_id",
    "account": "account_name",
    "hour": "event_timestamp",
}
"""What packets are told apart by, and the field of a record that says it."""
OTHERS: Final = "(others)"
"""The groups of a dimension beyond the bound, as one."""
NONE: Final = "-"
"""Packets that say nothing of a dimension."""
MAX_GROUPS: Final = 10_000
_MAX_FAILURES: Final = 100
_HOUR_CHARS: Final = len("2026-01-01T00")
_SECOND_CHARS: Final = len("2026-01-01T00:00:00")
_STEP: Final = math.log(1.02)
"""Durations are kept to 2 %."""
_CACHE_READ: Final = "text_cache_read"
_TEXT: Final = ("text", "text_cache_read", "text_cache_write", "text_cache_write_1h")
_UTC_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")


class Prices(Protocol):
    """What packets cost."""

    def cost_of(self, record: Mapping[str, Any]) -> float | None:
        """None where there is no price for it."""
        ...


class Durations:
    """Milliseconds, counted by size: percentiles of any number of them take a few hundred counts."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self.count = 0
        self._counts: dict[int, int] = {}

    def add(self, ms: float) -> None:
        """Counts one."""
        size = int(math.log(ms) / _STEP) if ms >= 1 else -1
        self._counts[size] = self._counts.get(size, 0) + 1
        self.count += 1

    def percentile(self, percent: float) -> float | None:
        """That many of a hundred are not above it, in ms, to 2 %; None where there are none."""
        if not self.count:
            return None
        wanted, seen = math.ceil(self.count * percent / 100), 0
        for size in sorted(self._counts):
            seen += self._counts[size]
            if seen >= wanted:
                return 0.0 if size < 0 else math.exp((size + 0.5) * _STEP)
        return None


@dataclass(slots=True)
class Group:
    """What some packets come to."""

    calls: int = 0
    errors: int = 0
    units: dict[str, list[int]] = field(default_factory=dict)
    """By unit, how many went in and came out."""
    cost: float = 0.0
    priced: int = 0
    """Packets whose cost is known."""
    latency: Durations = field(default_factory=Durations)
    first_token: Durations = field(default_factory=Durations)

    @property
    def unpriced(self) -> int:
        """Packets whose cost is not known, and which `cost` does not hold."""
        return self.calls - self.priced

    @property
    def tokens_in(self) -> int:
        """All units that went in."""
        return sum(counts[0] for counts in self.units.values())

    @property
    def tokens_out(self) -> int:
        """All units that came out."""
        return sum(counts[1] for counts in self.units.values())

    @property
    def size(self) -> tuple[float, int, int]:
        """What groups are ordered by: cost, then units, then calls."""
        return self.cost, self.tokens_in + self.tokens_out, self.calls

    @property
    def cache_share(self) -> float | None:
        """Of the text that went in, how much the provider had in a cache; None where no text went in."""
        text = sum(self.units[name][0] for name in _TEXT if name in self.units)
        return self.units.get(_CACHE_READ, [0, 0])[0] / text if text else None

    def add(self, call: Call) -> None:
        """Counts one packet."""
        self.calls += 1
        self.errors += bool(call.failure)
        for name, given, said in call.units:
            counts = self.units.setdefault(name, [0, 0])
            counts[0] += given
            counts[1] += said
        if call.cost is not None:
            self.cost += call.cost
            self.priced += 1
        if call.latency_ms is not None:
            self.latency.add(call.latency_ms)
        if call.first_token_ms is not None:
            self.first_token.add(call.first_token_ms)

    def to_json(self) -> dict[str, Any]:
        """Its numbers by name; durations in ms."""
        return {
            "calls": self.calls,
            "errors": self.errors,
            "units": {name: {"input": counts[0], "output": counts[1]} for name, counts in sorted(self.units.items())},
            "cost": self.cost if self.priced else None,
            "unpriced": self.unpriced,
            "cache_share": self.cache_share,
            "latency_ms": _percentiles(self.latency),
            "time_to_first_token_ms": _percentiles(self.first_token),
        }


@dataclass(frozen=True, slots=True)
class Call:
    """What of a record is counted."""

    stamp: str
    """When it began, in UTC; empty where that is not known."""
    failure: str
    """The status with which it was refused, or how it failed; empty where it did not."""
    units: tuple[tuple[str, int, int], ...]
    latency_ms: float | None
    first_token_ms: float | None
    cost: float | None

    @property
    def hour(self) -> str:
        """In which it began."""
        return self.stamp[:_HOUR_CHARS] or NONE

    @classmethod
    def read(cls, record: Mapping[str, Any], prices: Prices | None) -> Call:
        """Reads a record, whatever stands in it."""
        cost = cost_in(record)
        if cost is None and prices is not None:
            cost = prices.cost_of(record)
        return cls(
            stamp=stamp_of(record),
            failure=failure_of(record),
            units=tuple(units_of(record)),
            latency_ms=_number(record.get("end_to_end_latency_ms")),
            first_token_ms=_number(record.get("time_to_first_token_ms")),
            cost=cost,
        )


class Summary:
    """Adds records up."""

    def __init__(self, prices: Prices | None = None) -> None:
        """Nothing yet.

        Args:
            prices: What packets cost that do not say so themselves; None: those are not priced.
        """
        self._prices = prices
        self.total = Group()
        self.by: dict[str, dict[str, Group]] = {name: {} for name in DIMENSIONS}
        self.failures: dict[str, int] = {}
        """Failed calls, by status or by the kind of failure."""
        self.first = self.last = ""
        """When the first and the last packet began, in UTC."""

    def add(self, record: Mapping[str, Any]) -> None:
        """Counts one packet, whatever stands in it."""
        call = Call.read(record, self._prices)
        self.total.add(call)
        if call.stamp:
            self.first = min(self.first or call.stamp, call.stamp)
            self.last = max(self.last, call.stamp)
        if call.failure:
            failure = _bounded(self.failures, call.failure, _MAX_FAILURES)
            self.failures[failure] = self.failures.get(failure, 0) + 1
        for name, groups in self.by.items():
            key = _bounded(groups, call.hour if name == "hour" else key_of(record, name), MAX_GROUPS)
            group = groups.get(key)
            if group is None:
                group = groups[key] = Group()
            group.add(call)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "first": self.first,
            "last": self.last,
            "total": self.total.to_json(),
            "failures": self.failures,
            "by": {name: {key: group.to_json() for key, group in groups.items()} for name, groups in self.by.items()},
        }


def largest_first(groups: Mapping[str, Group]) -> list[tuple[str, Group]]:
    """The groups of a dimension, the same order whenever they are the same."""
    return sorted(groups.items(), key=lambda item: (*(-size for size in item[1].size), item[0]))


def in_order(dimension: str, groups: Mapping[str, Group]) -> list[tuple[str, Group]]:
    """The groups of a dimension as they are shown: hours as they follow, all else by size."""
    return sorted(groups.items()) if dimension == "hour" else largest_first(groups)


def key_of(record: Mapping[str, Any], dimension: str) -> str:
    """Which group of a dimension a record is in."""
    if dimension == "hour":
        return stamp_of(record)[:_HOUR_CHARS] or NONE
    value = record.get(DIMENSIONS[dimension])
    return value if isinstance(value, str) and value else NONE


def stamp_of(record: Mapping[str, Any]) -> str:
    """When it began, in UTC, so that texts compare as times do; empty where that is not known."""
    stamp = record.get("event_timestamp")
    if not isinstance(stamp, str):
        return ""
    try:
        if _UTC_STAMP.fullmatch(stamp):
            datetime.fromisoformat(stamp[:_SECOND_CHARS])
            return stamp
        time = datetime.fromisoformat(stamp)
        return (time.astimezone(timezone.utc) if time.tzinfo is not None else time).isoformat()
    except (ValueError, OverflowError):
        return ""


def failure_of(record: Mapping[str, Any]) -> str:
    """The status with which the provider refused the call, or how it failed on the way; empty where it did neither."""
    status, properties = record.get("http_status_code"), record.get("properties")
    if isinstance(status, int) and status >= 400:
        return str(status)
    kind = properties.get(PROPERTY_FAILURE) if isinstance(properties, Mapping) else None
    return str(kind or "") or (str(STATUS_WITHOUT_HTTP) if status == STATUS_WITHOUT_HTTP else "")


def units_of(record: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Each unit with how many went in and came out."""
    units = record.get("units")
    if not isinstance(units, Mapping):
        return []
    return [(str(name), _count(sides, "input"), _count(sides, "output")) for name, sides in units.items() if isinstance(sides, Mapping)]


def cost_in(record: Mapping[str, Any]) -> float | None:
    """The cost that was captured with a packet, in its `xproxy_result`; None where there is none."""
    found: Any = record
    for name in ("xproxy_result", "cost", "total", "base"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return _number(found)


def _bounded(groups: Mapping[str, Any], key: str, bound: int) -> str:
    return key if key in groups or len(groups) < bound else OTHERS


def _percentiles(durations: Durations) -> dict[str, float | None]:
    return {f"p{percent}": durations.percentile(percent) for percent in (50, 90, 99)}


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value <= sys.float_info.max else None  # not NaN, not 10 ** 400


def _count(sides: Mapping[str, Any], side: str) -> int:
    number = _number(sides.get(side))
    return int(number) if number is not None else 0
