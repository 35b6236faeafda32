"""How long an answer is waited for: so long that a slow service is heard, so short that one that hangs holds nothing up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from payi_otel._http_library import names_of

_LEAST_S: Final = 10.0
"""While requests hang, nothing is delivered; a client's own time-out of a minute is too long for that."""
_MANY: Final = 3
"""So many times as long nothing is answered before an answer is waited for twice as long."""
_ROOM: Final = 4
"""An answer may take so many times as long as the last one."""

_SILENCE: Final = frozenset({"ReadTimeout", "WriteTimeout"})


class Patience:
    """Ten seconds at first, or the client's time-out where that is less; up to that time-out for a service that turns out to be slow."""

    def __init__(self, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_s = most_s
        self._clock = clock
        self.seconds = min(_LEAST_S, most_s)
        self._silent_since: float | None = None

    @contextmanager
    def tried(self, patience_s: float) -> Iterator[None]:
        """Learns from one request, which was given so many seconds."""
        began_s = self._clock()
        try:
            yield
        except Exception as fault:
            if not _SILENCE.isdisjoint(names_of(fault)):
                self._was_silent(began_s, patience_s)
            raise
        self._silent_since = None
        self.seconds = min(self._most_s, max(_LEAST_S, min(self.seconds, _ROOM * (self._clock() - began_s))))

    def _was_silent(self, began_s: float, patience_s: float) -> None:
        if self._silent_since is None:
            self._silent_since = began_s
        if patience_s == self.seconds and self._clock() - self._silent_since >= _MANY * patience_s:
            self.seconds = min(self._most_s, 2 * patience_s)
            self._silent_since = self._clock()
