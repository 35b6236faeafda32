"""No value, however odd, costs a packet."""

from __future__ import annotations

import base64
import enum
import json
import uuid
from datetime import datetime, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from delivery_fakes import Target, make_packet
from hypothesis import given, settings
from hypothesis import strategies as st

from payi_otel._json import to_json
from payi_otel.delivery._encode import to_wire_body
from payi_otel.delivery.outcome import Fate
from payi_otel.exporters.file import FileSink
from payi_otel.exporters.http import HttpSink
from payi_otel.testing import IngestServer


class Hostile:
    """Every way of looking at it raises."""

    def __getattribute__(self, name: str) -> Any:
        """Raises."""
        raise RuntimeError

    def __str__(self) -> str:
        """Raises."""
        raise RuntimeError

    __repr__ = __str__


class HostileDict(dict):  # type: ignore[type-arg]
    """Looks like a dict and breaks when it is read."""

    def items(self) -> Any:
        """Raises."""
        raise RuntimeError


class Colour(enum.Enum):
    """An enum."""

    RED = "red"


CIRCULAR: list[Any] = []
CIRCULAR.append(CIRCULAR)
DEEP: Any = "bottom"
for _ in range(100_000):
    DEEP = [DEEP]
ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("inf"), None),
        ([float("-inf"), 1.5], [None, 1.5]),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ("a\x00b\x1f", "a\x00b\x1f"),
        (b"\x00\xff", base64.b64encode(b"\x00\xff").decode()),
        (bytearray(b"a"), "YQ=="),
        (2**64, str(2**64)),
        ([2**64 - 1, b""], [2**64 - 1, ""]),
        (-(2**70), str(-(2**70))),
        (10**5000, hex(10**5000)),
        ({1: "a", None: "b", (2, 3): "c"}, {"1": "a", "None": "b", "(2, 3)": "c"}),
        ({"a\udfff": 1}, {"a\ufffd": 1}),
        (object(), "<object>"),
        ({"k": [object()], "x": 1}, {"k": ["<object>"], "x": 1}),
        (Hostile(), "<Hostile>"),
        ({Hostile(): 1}, {"<Hostile>": 1}),
        ([HostileDict(a=1), float("nan"), b""], ["<HostileDict>", None, ""]),
        (Colour.RED, "red"),
        ([Colour.RED, b""], ["red", ""]),
        (ID, str(ID)),
        ([ID, b""], [str(ID), ""]),
        (datetime(2026, 1, 1, tzinfo=timezone.utc), "2026-01-01T00:00:00+00:00"),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ((1, (2, {3})), [1, [2, [3]]]),
        (Decimal("1.5"), "<Decimal>"),
        (CIRCULAR, ["<cut>"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_not_json_becomes_something_that_is(value: Any, expected: Any) -> None:
    """Alone, and in the middle of others."""
    assert json.loads(to_json(value)) == expected
    assert json.loads(to_json({"before": 1, "value": value, "after": [2]})) == {"before": 1, "value": expected, "after": [2]}


def test_depth_is_cut() -> None:
    """100,000 levels, and no parser's recursion limit."""
    encoded = to_json({"value": DEEP})
    assert encoded.count(b"[") <= 200
    assert b"<cut>" in encoded


def test_ordinary_values_are_unchanged() -> None:
    """The quick way."""
    value = {"text": "José 山田 😀", "n": [0, -1, 2**53, 1.5, True, None], "nested": {"a": {"b": []}}}
    assert json.loads(to_json(value)) == value


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary() | st.builds(object)
anything: st.SearchStrategy[Any] = st.deferred(
    lambda: plain | st.lists(anything, max_size=3) | st.dictionaries(st.text(st.characters()) | st.integers(), anything, max_size=3)
)


@settings(max_examples=200)
@given(anything)
def test_any_value_gives_strict_json(value: Any) -> None:
    """UTF-8, no NaN, no lone surrogates."""

    def refuse(name: str) -> Any:
        raise AssertionError(name)

    json.loads(to_json(value).decode("utf-8"), parse_constant=refuse)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, 0),
        (2_147_483_647, 2_147_483_647),
        (2_147_483_648, 2_147_483_647),
        (-1, 0),
        (1.9, 1),
        (float("nan"), 0),
        (float("inf"), 2_147_483_647),
        (None, 0),
        ("12", 0),
        (True, 1),
    ],
)
def test_counts_are_brought_into_range(count: Any, expected: int) -> None:
    """Out of int32 a packet would be refused whole."""
    body = to_wire_body({"units": {"text": {"input": count, "output": 1}}, "end_to_end_latency_ms": count or 0})
    assert body["units"] == {"text": {"input": expected, "output": 1}}
    assert body["end_to_end_latency_ms"] == expected


def test_the_packets_own_body_is_not_changed() -> None:
    """A packet is frozen."""
    body = {"units": {"text": {"input": -1}}, "end_to_end_latency_ms": -1}
    to_wire_body(body)
    assert body == {"units": {"text": {"input": -1}}, "end_to_end_latency_ms": -1}


HOSTILE_BODIES = [
    {"properties": {"k": "\ud800"}},
    {"properties": {"k": "a\x00\r\n"}},
    {"provider_request_json": "x" * 10_000_000},
    {"provider_response_json": "\udfff" * 1000},
    {"units": {"text": {"input": 2**70, "output": -5}}},
    {"end_to_end_latency_ms": float("inf")},
    {"provider_response_id": "a/b?c=d&e#f%\r\n\x00é\ud800" + "x" * 100},
]


@pytest.mark.parametrize("body", HOSTILE_BODIES, ids=lambda body: next(iter(body)))
def test_a_packet_with_an_odd_value_is_delivered(body: dict[str, Any], tmp_path: Any) -> None:
    """Over HTTP and to a file."""
    with IngestServer() as server:
        sink = HttpSink(Target(server.url))
        assert sink.deliver(make_packet(1, body)).fate is Fate.DELIVERED
        sink.close()
        assert len(server.packets) == 1
    file = FileSink(tmp_path / "capture.json")
    assert file.deliver(make_packet(1, body)).fate is Fate.DELIVERED
    file.close()
    assert len(json.loads((tmp_path / "capture.json").read_bytes())) == 1
