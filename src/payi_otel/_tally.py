"""Counts by name that a call may add to without a lock."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable
from typing import Any, Final

_MAX_NAMES: Final = 10_000
"""What is beyond counts under the empty name, so that a program with endless names does not grow for ever."""


class Tally:
    """Exact counts: adding is one step of a C iterator, which no other thread can interrupt."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """All are zero. Takes no lock: a forked child's may be held by a thread that is not there."""
        self._lock = threading.Lock()
        self._adders: dict[Any, Callable[[], int]] = {}
        self._reads: dict[Any, int] = {}

    def adder(self, name: Hashable) -> Callable[[], int]:
        """What adds one to a name's count each time it is called."""
        add = self._adders.get(name)
        if add is None:
            add = self._adders.setdefault(name if len(self._adders) < _MAX_NAMES else "", itertools.count().__next__)
        return add

    def add(self, name: Hashable) -> None:
        """Adds one."""
        (self._adders.get(name) or self.adder(name))()

    def read(self) -> dict[Any, int]:
        """Every count that is not zero. Reading moves the iterators, too, which is taken off again."""
        with self._lock:
            counts = {}
            for name, add in self._adders.copy().items():
                reads = self._reads.get(name, 0)
                if count := add() - reads:
                    counts[name] = count
                self._reads[name] = reads + 1
            return counts
