"""A packet's body as the API takes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from payi_otel._json import to_json
from payi_otel._large import SLICE, give_way
from payi_otel.semconv import MAX_NUMBER

_TIMES: Final = ("end_to_end_latency_ms", "time_to_first_token_ms", "time_to_first_completion_token_ms")


def to_wire_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """A packet's body with its counts in the range the API takes; the same values where nothing is odd."""
    wire = dict(body)
    if "units" in wire and not _are_counts(wire["units"]):
        wire["units"] = _to_units(wire["units"])
    for name in _TIMES:
        value = wire.get(name)
        if value is not None:
            wire[name] = _to_count(value)
    return wire


def to_wire_json(body: Mapping[str, Any]) -> bytes:
    """The same as `to_json` of it, but long texts are encoded in slices."""
    if not has_long_texts(body):
        return to_json(body)
    parts: list[bytes] = []
    for name, value in body.items():
        parts += (b"," if parts else b"{", to_json(name), b":", *_encode(value))
    return b"".join([*parts, b"}"])


def has_long_texts(body: Mapping[str, Any]) -> bool:
    """Whether what was asked or answered is too long for one step."""
    return _is_long(body.get("provider_request_json")) or _is_long(body.get("provider_response_json"))


def _is_long(value: Any) -> bool:
    return length_of(value) > SLICE


def length_of(value: Any) -> int:
    """Characters of a text, or of the texts of a list (an object's keys count as well); 0 for anything else."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, list):
        return 0
    try:
        return sum(map(len, value))  # a stream has thousands
    except TypeError:  # they are not all texts
        return sum(len(item) for item in value if isinstance(item, str))


def _encode(value: Any) -> Iterator[bytes]:
    if not _is_long(value):
        yield to_json(value)
    elif isinstance(value, list):
        for position, few in enumerate(_groups(value)):
            yield b"," if position else b"["
            yield from _encode(few[0]) if len(few) == 1 else (to_json(few)[1:-1],)
            give_way()
        yield b"]"
    else:
        yield b'"'
        start = 0
        while start < len(value):
            stop = start + SLICE
            while "\ud800" <= value[stop - 1 : stop] <= "\udbff":  # the first half of what may be a pair
                stop += 1
            yield to_json(value[start:stop])[1:-1]
            start = stop
            give_way()
        yield b'"'


def _groups(values: list[Any]) -> Iterator[list[Any]]:
    """As many at a time as have the length of a slice, or a single one that is longer."""
    few: list[Any] = []
    length = 0
    for value in values:
        if few and length + length_of(value) > SLICE:
            yield few
            few, length = [], 0
        few.append(value)
        length += length_of(value)
    yield few


def _are_counts(units: Any) -> bool:
    """Whether units are what they should be, as ours are."""
    if type(units) is not dict:
        return False
    for sides in units.values():
        if type(sides) is not dict:
            return False
        for count in sides.values():
            if type(count) is not int or not 0 <= count <= MAX_NUMBER:
                return False
    return True


def _to_units(units: Any) -> Any:
    if not isinstance(units, Mapping):
        return {}
    return {unit: {side: _to_count(count) for side, count in sides.items()} for unit, sides in units.items() if isinstance(sides, Mapping)}


def _to_count(value: Any) -> int:
    if type(value) is int and 0 <= value <= MAX_NUMBER:
        return value
    try:
        return int(min(max(value, 0), MAX_NUMBER)) if value == value else 0
    except Exception:  # not a number at all
        return 0
