"""JSON of any value at all, and values of any JSON that SDKs read: by orjson, and where it refuses, by what does not.

One odd value costs nothing but itself.
"""

from __future__ import annotations

import base64
import codecs
import json
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_MAX_DEPTH: Final = 200
"""orjson stops at 254 levels."""
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
"""What orjson writes as a number."""
_CUT: Final = "<cut>"


def to_json(value: Any) -> bytes:
    """UTF-8 JSON of any value at all; raises nothing.

    NaN and infinities become null, lone surrogates U+FFFD, bytes base64, integers beyond 64 bit and odd keys text, unknown
    objects their type's name; what is circular or deeper than 200 levels is cut.
    """
    try:
        encoded = orjson.dumps(value, option=_OPTIONS)
    except Exception:  # orjson calls back into the values: anything may come
        encoded = orjson.dumps(_to_plain(value, 0, frozenset()))
    # An orjson result keeps its whole growth buffer (12 KB for a packet of 4 KB) for as long as it lives; a copy does not.
    return bytes(memoryview(encoded))


def read_json(text: bytes | str) -> Any:
    """The value of JSON, as the SDKs read it: with NaN, infinities and lone surrogates, which orjson refuses.

    Raises:
        ValueError: It is none.
    """
    try:
        return orjson.loads(text)
    except ValueError:
        try:
            return json.loads(text)
        except RecursionError as fault:
            raise ValueError("nested too deep") from fault


def to_text(value: str) -> str:
    """The text with its lone surrogates replaced (U+FFFD); a pair of them becomes the character that it means."""
    if value.isascii():
        return value
    # By the functions themselves: a codec that is looked up by name is imported, and a fork in the middle of that loses it for good.
    return codecs.utf_16_le_decode(codecs.utf_16_le_encode(value, "surrogatepass")[0], "replace", True)[0]


def _to_plain(value: Any, depth: int, above: frozenset[int]) -> Any:
    try:
        return _to_plain_value(value, depth, above)
    except Exception:  # a value's own methods may fail: it is named, and the rest of the packet goes on
        return _name(value)


def _to_plain_value(value: Any, depth: int, above: frozenset[int]) -> Any:
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return to_text(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return _to_plain_container(value, depth, above)
    if hasattr(value, "__index__"):
        return _to_integer(operator.index(value))
    return _to_native(value)


def _to_plain_container(value: Any, depth: int, above: frozenset[int]) -> Any:
    if depth >= _MAX_DEPTH or id(value) in above:
        return _CUT
    inside = above | {id(value)}
    if isinstance(value, Mapping):
        return {_to_key(key): _to_plain(item, depth + 1, inside) for key, item in list(value.items())}
    items: Iterable[Any] = list(value)
    return [_to_plain(item, depth + 1, inside) for item in items]


def _to_key(key: Any) -> str:
    try:
        return to_text(key if isinstance(key, str) else str(key))
    except Exception:
        return _name(key)


def _to_integer(value: int) -> int | str:
    if _MIN_INTEGER <= value <= _MAX_INTEGER:
        return value
    try:
        return str(value)
    except ValueError:  # Python refuses decimal text of more than 4,300 digits
        return hex(value)


def _to_native(value: Any) -> Any:
    """Dates, UUIDs, enums and dataclasses as orjson writes them, provided that it can write all of them."""
    try:
        return orjson.loads(orjson.dumps(value))
    except Exception:
        return _name(value)


def _name(value: Any) -> str:
    return f"<{type(value).__name__}>"
