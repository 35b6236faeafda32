"""Log lines of the delivery layer: rate-limited, and never the cause of a fault themselves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_MAX_KEYS = 256
"""Kinds of line remembered; codes come from a server, so their number must have a bound."""


class LimitedLog:
    """Writes lines of one kind at most once in a window; the next one says how many were left out."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._kinds: dict[object, tuple[float, int]] = {}

    def write(self, level: int, kind: object, window_s: float, text: str, *args: object) -> None:
        """Logs `text % args`, unless a line of this kind was written less than `window_s` seconds ago (0: always)."""
        now = self._clock()
        last, left_out = self._kinds.get(kind, (None, 0))
        if last is not None and now - last < window_s:
            self._kinds[kind] = (last, left_out + 1)
            return
        if len(self._kinds) >= _MAX_KEYS:
            self._kinds.clear()
        self._kinds[kind] = (now, 0)
        if left_out:
            text, args = text + " (%d more lines like this were suppressed)", (*args, left_out)
        self._emit(level, text, args)

    def forget(self, kind: object) -> None:
        """The next line of this kind is written at once."""
        self._kinds.pop(kind, None)

    def _emit(self, level: int, text: str, args: tuple[object, ...]) -> None:
        try:
            self._logger.log(level, text, *args)
        except Exception:  # a handler of the application may itself fail
            return
