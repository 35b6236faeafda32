"""What packets come to over time adds up to what they come to in all."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from payi_otel.captures.series import LARGEST, MAX_BUCKETS, Series, step_for
from payi_otel.captures.summary import OTHERS, Group, Summary

BEGIN = datetime(2026, 1, 31, 23, 50, tzinfo=timezone.utc)


def record(after: timedelta, **more: Any) -> dict[str, Any]:
    """A call that began so long after `BEGIN`."""
    return {
        "resource": "gpt-5",
        "units": {"text": {"input": 10, "output": 2}},
        "event_timestamp": (BEGIN + after).isoformat(),
        "http_status_code": 200,
        "end_to_end_latency_ms": 100,
        **more,
    }


def series_of(*records: dict[str, Any]) -> Series:
    """Read as a report is: first summed up, then by time."""
    summary = Summary()
    for one in records:
        summary.add(one)
    series = Series(summary)
    for one in records:
        series.add(one)
    return series


def test_time_goes_on_where_nothing_is_called() -> None:
    """A bucket of each minute, hour, day, month or year between the first and the last call."""
    series = series_of(record(timedelta()), record(timedelta(minutes=12)))
    assert series.buckets[:2] == ["2026-01-31T23:50", "2026-01-31T23:51"]
    assert (series.buckets[-1], len(series.buckets)) == ("2026-02-01T00:02", 13)
    assert list(series.total) == ["2026-01-31T23:50", "2026-02-01T00:02"]


@pytest.mark.parametrize(
    ("length", "step", "count"),
    [
        (timedelta(), "minute", 1),
        (timedelta(minutes=MAX_BUCKETS - 1), "minute", MAX_BUCKETS),
        (timedelta(hours=5), "hour", 6),
        (timedelta(days=20), "day", 21),
        (timedelta(days=400), "month", 15),
        (timedelta(days=365 * 30), "year", 31),
        (timedelta(days=365 * 7900), "year", 7895),
    ],
)
def test_buckets_are_as_short_as_a_screen_has_room_for(length: timedelta, step: str, count: int) -> None:
    """Each follows the one before it, whatever the length of months and years."""
    series = series_of(record(timedelta()), record(length))
    assert (series.step.name, len(series.buckets)) == (step, count)
    assert series.buckets == sorted(set(series.buckets))
    assert set(series.total) <= set(series.buckets)


def test_no_packet_is_left_out_of_any_dimension() -> None:
    """What is not among the largest is one group."""
    records = [
        record(timedelta(hours=number), user_id=f"user {number:02}", resource="gpt-5" if number % 2 else "x") for number in range(40)
    ]
    series = series_of(*records, record(timedelta(), user_id="user 07"))
    users = series.by["user"]
    assert list(users) == ["user 07", *(f"user {number:02}" for number in range(LARGEST - 1)), OTHERS]
    for groups in series.by.values():
        assert sum(cell.calls for cells in groups.values() for cell in cells.values()) == 41
        assert sum(cell.units["text"][0] for cells in groups.values() for cell in cells.values()) == 410
    assert sum(cell.calls for cell in users[OTHERS].values()) == 40 - LARGEST


def test_a_group_of_others_that_was_captured_so_is_among_the_others() -> None:
    """A user may be called `(others)`."""
    series = series_of(record(timedelta(), user_id=OTHERS), record(timedelta(), user_id="alice"))
    assert {name: [cell.calls for cell in cells.values()] for name, cells in series.by["user"].items()} == {"alice": [1], OTHERS: [1]}


@pytest.mark.parametrize("stamp", [None, "", "yesterday", 5, "0000-01-01T00:00:00+00:00", "2026-13-40T99:99:99Z"])
def test_a_call_at_no_known_time_is_not_drawn(stamp: Any) -> None:
    """It is in the sums all the same."""
    odd = record(timedelta(), event_timestamp=stamp)
    series = series_of(odd, record(timedelta()))
    assert sum(cell.calls for cell in series.total.values()) == 1
    assert series_of(odd).buckets == []


def test_stamps_of_other_time_zones_are_in_the_same_hour() -> None:
    """Times are compared, not texts."""
    series = series_of(
        record(timedelta(), event_timestamp="2026-01-01T01:00:00+02:00"), record(timedelta(), event_timestamp="2025-12-31T23:00:10Z")
    )
    assert [(bucket, cell.calls) for bucket, cell in series.total.items()] == [("2025-12-31T23:00", 2)]


def test_the_step_of_no_time_is_the_shortest() -> None:
    """There is nothing to draw then."""
    assert step_for("", "").name == "minute"
    assert Group().size == (0.0, 0, 0)
