"""Warnings of this layer: each names a field or a header, never its value, and is said at most once a minute."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("payi.instrument.context")

_INTERVAL_S = 60.0
"""A wrong header comes with every call of a loop; one line a minute tells as much as a thousand."""

_said_at: dict[tuple[str, str], float] = {}


def warn(line: str, name: str) -> None:
    """Logs `line % name`, unless the same was said less than a minute ago. `name` is from a closed list: it is kept."""
    now = time.monotonic()
    last = _said_at.get((line, name))
    if last is None or now - last >= _INTERVAL_S:
        _said_at[line, name] = now
        logger.warning(line, name)


def forget() -> None:
    """Starts anew: the next warning of each kind is said again."""
    _said_at.clear()
