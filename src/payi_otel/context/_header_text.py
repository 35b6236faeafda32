"""What an HTTP header can carry, and how anything else is made to fit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

MAX_VALUE_CHARS: Final = 4096
"""Servers refuse header blocks of 8 to 16 kB; two such values still fit."""
_PLAIN: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")
"""What a header carries unchanged: visible ASCII; a blank at an end would be cut off."""


def is_plain(value: str) -> bool:
    """Whether a header carries it as it is."""
    return len(value) <= MAX_VALUE_CHARS and _PLAIN.fullmatch(value) is not None


def to_escaped(value: str) -> str:
    """Percent-encoded (UTF-8) and cut to 4 kB."""
    escaped = quote(value, safe="", errors="replace")[:MAX_VALUE_CHARS]
    return re.sub(r"%[0-9A-F]?\Z", "", escaped)


def to_header(value: str) -> str:
    """As it is, or escaped where a header would not carry that."""
    return value if is_plain(value) else to_escaped(value)


def escaped_ids(ids: Iterable[object]) -> str:
    """A list in one header, whatever is in its members."""
    text = ",".join(to_escaped(str(one)) for one in ids)
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS + 1].rpartition(",")[0]  # half an id is another one
