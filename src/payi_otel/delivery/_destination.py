"""What is known of the place where packets go: whether it takes any, when it is tried next, and how many may be under way at once.

No threads, no clock and no I/O in here.
"""

from __future__ import annotations

import random
from typing import Final

from payi_otel.delivery._item import RetrySettings
from payi_otel.delivery.outcome import Fault, Outcome

_JITTER: Final = 0.5
"""Processes that went down together must not come back in step."""
_RETRY_AFTER_JITTER: Final = 0.1
"""The same for those that were told the same time; never sooner than they were told."""
_HELD: Final = 6
"""What needs somebody (a wrong key, address, certificate) is tried after so many intervals, 30 s by default; then after twice as many."""
_MAX_HELD: Final = 60
"""The most of those, 5 min by default."""
_FLUSH_INTERVAL_S: Final = 1.0
"""While somebody waits for a flush, a drain is tried at least so often."""
_EXIT_DELAYS_S: Final = (0.25, 0.5, 1.0)
"""Between the probes of a process that is ending; after the last one fails, nothing more can be saved."""


class Destination:
    """Back-off belongs to the destination, not to the packet: while it is down, one packet at a time finds out whether it is up again."""

    def __init__(self, retry: RetrySettings, max_senders: int) -> None:
        self._retry = retry
        self._max_senders = max_senders
        self.senders = max_senders
        """Requests that may be under way at once: one after a failure, and twice as many with each success."""
        self.down_by: Fault | None = None
        self.generation = 0
        """How often it came back."""
        self.drain_at: float | None = None
        """When the retry queue is looked at next; None: nothing waits, or a probe is under way."""
        self.not_before = 0.0
        self.is_probing = False
        self._is_held = False
        self._failed_probes = 0
        self._flushes = 0
        self.exit_by: float | None = None
        self._exit_failures = 0

    @property
    def is_down(self) -> bool:
        """True while it takes nothing."""
        return self.down_by is not None

    @property
    def is_given_up(self) -> bool:
        """True when no further attempt can be made before the process is gone."""
        if self.exit_by is None or not self.is_down:
            return False
        return self._exit_failures > len(_EXIT_DELAYS_S) or (self.drain_at is not None and self.drain_at > self.exit_by)

    def drain_in_s(self, now: float) -> float | None:
        """Seconds until what waits is looked at; None: not before something else happens."""
        return None if self.drain_at is None or self.is_probing else max(0.0, self.drain_at - now)

    def mark_down(self, now: float, outcome: Outcome, *, is_probe: bool) -> None:
        """Every packet would fare the same."""
        if not self.is_down:
            self.drain_at = None
            self._failed_probes = 0
        self.senders = 1
        self.down_by, self._is_held = outcome.fault, outcome.needs_somebody
        self.postpone(now, outcome)
        self._failed_probes += is_probe
        self._exit_failures += is_probe and self.exit_by is not None
        if is_probe or self.drain_at is None:
            self.drain_at = now + self._interval_s()
        self.drain_at = max(self.drain_at, self.not_before)

    def recover(self) -> bool:
        """It answered; True when it had been down."""
        if not self.is_down:
            return False
        self.down_by = None
        self.generation += 1
        self.is_probing = False
        self.not_before = 0.0
        self.drain_at = None
        return True

    def postpone(self, now: float, outcome: Outcome) -> None:
        """It asked for time."""
        if outcome.retry_after_s is not None:
            self.not_before = max(self.not_before, now + outcome.retry_after_s * random.uniform(1, 1 + _RETRY_AFTER_JITTER))

    def slow_down(self) -> None:
        """Something failed."""
        self.senders = max(1, self.senders // 2)

    def speed_up(self) -> int:
        """Something was taken; how many more may be under way now."""
        before, self.senders = self.senders, min(self._max_senders, self.senders * 2)
        return self.senders - before

    def plan_drain(self, now: float) -> None:
        """Something waits."""
        if self.drain_at is None and not self.is_probing:
            self.drain_at = max(now + self._interval_s(), self.not_before)

    def begin_flush(self, now: float, *, exit_by: float | None, has_waiting: bool) -> None:
        """Somebody waits: it is tried at once. It gets the time it asked for, but for the last probe of a process that ends."""
        self._flushes += 1
        if exit_by is not None:
            self.exit_by, self.not_before = exit_by, now
        if has_waiting and not self.is_probing:
            self.drain_at = max(now, self.not_before)

    def end_flush(self) -> None:
        """Nobody waits for that flush any more."""
        self._flushes -= 1

    def _interval_s(self) -> float:
        interval_s = self._retry.queue_interval
        if self.exit_by is not None:
            return min(interval_s, _EXIT_DELAYS_S[min(max(self._exit_failures - 1, 0), len(_EXIT_DELAYS_S) - 1)])
        if self._is_held and self.is_down:
            interval_s *= min(_HELD * 2 ** min(self._failed_probes, 16), _MAX_HELD)
        if self._flushes:
            interval_s = min(interval_s, _FLUSH_INTERVAL_S)
        return interval_s * random.uniform(1 - _JITTER, 1 + _JITTER)
