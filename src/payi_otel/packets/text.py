"""JSON text of requests and answers: whatever a provider's SDK put into them, the packet gets a text that every parser takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_MAX_DEPTH = 200
"""orjson stops at 254 levels."""
_MAX_BITS = 10_000
"""Python refuses decimal text of more than 4,300 digits."""
_CUT = "<cut>"


def to_text(value: Any) -> str:
    """JSON text of a value; raises nothing.

    NaN becomes null, keys and integers past 64 bit become text, what no JSON can hold becomes its type's name, and what is
    deeper than 200 levels is cut.
    """
    try:
        return orjson.dumps(value, default=_name_of, option=_OPTIONS).decode()
    except Exception:  # a lone surrogate, a large integer, an odd key, a circle; and orjson calls back into the values
        return orjson.dumps(_plain(value, 0)).decode()


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return str.encode(value, "utf-8", "replace").decode()
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return int(value)
        return str(int(value)) if value.bit_length() <= _MAX_BITS else _name_of(value)
    if not isinstance(value, Mapping | list | tuple):
        return _name_of(value)
    if depth >= _MAX_DEPTH:
        return _CUT
    if isinstance(value, Mapping):
        return {_plain(key if isinstance(key, str) else str(key), depth): _plain(item, depth + 1) for key, item in value.items()}
    return [_plain(item, depth + 1) for item in value]


def _name_of(value: Any) -> str:
    return f"<{type(value).__name__}>"
