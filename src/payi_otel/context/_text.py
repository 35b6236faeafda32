"""Scope values as text and back: the form they have in headers and in baggage."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from payi_otel.context._fields import PROPERTY_FIELDS, SWITCH_FIELDS, as_properties, is_version


def to_text(value: object) -> str:
    """Limit ids joined by commas, properties as compact JSON, anything else as `str` makes it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return json.dumps(dict(value), separators=(",", ":"))
    return ",".join(value) if isinstance(value, list | tuple) else str(value)


def from_text(name: str, text: str) -> Any:
    """The value a `ScopeChange` takes for this field; empty text clears it.

    Raises:
        ValueError: the text is no value of this field.
    """
    if name == "limit_ids":
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if name in PROPERTY_FIELDS:
        return _read_properties(text)
    if name in SWITCH_FIELDS:
        return text.strip().lower() == "true"
    return _read_version(text) if name == "use_case_version" and text else text


def _read_version(text: str) -> int:
    number = int(text)
    if not is_version(number):
        raise ValueError("not a version")
    return number


def _read_properties(text: str) -> dict[str, str | None]:
    if not text:
        return {}
    try:
        try:
            given = json.loads(text)
        except ValueError:
            given = json.loads(_decoded(text))
        if not isinstance(given, dict):
            raise ValueError("not a JSON object")
        return as_properties(given)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _decoded(text: str) -> bytes:
    """Property headers are base64 in proxy mode, and some callers write them so everywhere."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("neither JSON nor base64") from error
