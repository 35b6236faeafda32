"""A packet's body as the API takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from payi_otel.semconv import MAX_NUMBER


def to_wire_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """A packet's body with its counts in the range the API takes; the same values where nothing is odd."""
    wire = dict(body)
    if "units" in wire:
        wire["units"] = _to_units(wire["units"])
    for name, value in wire.items():
        if name[-3:] == "_ms" and value is not None:
            wire[name] = _to_count(value)
    return wire


def _to_units(units: Any) -> Any:
    if not isinstance(units, dict | Mapping):
        return {}
    return {
        unit: {side: _to_count(count) for side, count in sides.items()}
        for unit, sides in units.items()
        if type(sides) is dict or isinstance(sides, Mapping)
    }


def _to_count(value: Any) -> int:
    if type(value) is int and 0 <= value <= MAX_NUMBER:
        return value
    try:
        return int(min(max(value, 0), MAX_NUMBER)) if value == value else 0
    except Exception:  # not a number at all
        return 0
