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
    items = headers.items() if isinstance(headers, Mapping) or hasattr(headers, "items") else headers
    return tuple([(str(name), value) for name, value in items if isinstance(value, str) and not _is_secret(str(name))])


@lru_cache(maxsize=1024)  # a program meets the same few names over and over
def _is_secret(name: str) -> bool:
    return _UNRECORDED.search(name) is not None
