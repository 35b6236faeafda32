"""Which HTTP headers may be recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

_UNRECORDED = re.compile(
    r"authorization|cookie|password|passwd|secret|credential|signature|bearer"
    r"|(api|access|subscription|private|session|goog|auth)[-_]?key"
    r"|(access|auth|security|session|id|refresh|csrf|xsrf|api)[-_]?token|^token$|^x-token$|^key$"
    r"|^x-stainless-|^x-google-genai-response-mode$",  # what an SDK's `with_raw_response` and helpers say to itself
    re.IGNORECASE,
)


def without_secrets(headers: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Header pairs that may be recorded: no credentials, no cookies, text values only."""
    raw = getattr(headers, "raw", None)
    if isinstance(raw, list):  # as httpx keeps them: its own `items` takes several times as long
        try:
            return tuple(_read_raw(raw).items())
        except (UnicodeDecodeError, AttributeError):  # other than ASCII, or somebody's own
            pass
    items = headers.items() if isinstance(headers, Mapping) or hasattr(headers, "items") else headers
    return tuple([(str(name), value) for name, value in items if isinstance(value, str) and not _is_secret(str(name))])


def _read_raw(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """ASCII headers, as httpx reads them: names in lower case, values of one name joined."""
    values: dict[str, str] = {}
    for raw_name, value in raw:
        name = _name_of(raw_name)
        if name is not None:
            text = value.decode("ascii")
            values[name] = f"{values[name]}, {text}" if name in values else text
    return values


@lru_cache(maxsize=1024)  # a program meets the same few names over and over
def _name_of(raw: bytes) -> str | None:
    """None for one that is not recorded."""
    name = raw.decode("ascii").lower()
    return None if _is_secret(name) else name


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _UNRECORDED.search(name) is not None
