"""Every packet whose fate is open, and what is known of the destination: which packet is next, and when.

No threads, no clock and no I/O in here. But for `add`, the queue's one lock is held around every call.
"""

from __future__ import annotations

import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from payi_otel.delivery import stats
from payi_otel.delivery._item import Barrier, Item, RetrySettings, copy_while_changing
from payi_otel.delivery.outcome import EncodedPacket, Fate, Fault, Outcome
from payi_otel.delivery.stats import Counters, Stats, increment

_MAX_PACKET_FAULTS: Final = 10
"""A packet that made the destination fail so often, with another one delivered between each two failures, is poison."""
_SUSPECTS: Final = 5
"""So many different packets failing on their own account, with no success between, mean that the destination is at fault."""
_JITTER: Final = 0.1
"""Processes that went down together must not come back in step."""
_FLUSH_INTERVAL_S: Final = 1.0
"""While somebody waits for a flush, a drain is tried at least so often."""
_EXIT_DELAYS_S: Final = (0.25, 0.5, 1.0)
"""Between the probes of a process that is ending; after the last one fails, nothing more can be saved."""


class Backlog:
    """The state machine behind the queue.

    A packet goes inbox -> working -> settled, or from working to `waiting` and, at a drain, over `ready` to working again.
    While the destination is down, `ready` is empty and one packet of `waiting` at a time is the probe.
    """

    def __init__(
        self, retry: RetrySettings, wake: Callable[[int], None], slim: Callable[[EncodedPacket], EncodedPacket | None] | None = None
    ) -> None:
        self._retry = retry
        self._wake = wake
        self._slim = slim
        self._waiting_bytes = 0
        self._with_bodies: deque[Item] = deque()
        """Packets in the retry queue, the oldest first, whose bodies can be left out; some have gone since."""
        self.counters = Counters()
        self.inbox: deque[Item] = deque()
        self._ready: deque[Item] = deque()
        self._waiting: deque[Item] = deque()
        self._working: set[Item] = set()
        self._suspects: set[Item] = set()
        self._prefer_ready = True
        self._drain_at: float | None = None
        self._not_before = 0.0
        self._is_probing = False
        self._generation = 0
        self._flushes = 0
        self._exit_by: float | None = None
        self._exit_barrier: Barrier | None = None
        self._exit_failures = 0
        self.is_finished = False
        self._down_by: Fault | None = None

    def add(self, item: Item) -> None:
        """Takes a new packet. Needs no lock and may run in the middle of any other method: a garbage collection can end a span."""
        self.inbox.append(item)

    @property
    def is_empty(self) -> bool:
        """True when every packet has its fate."""
        return self.is_finished or not (self.inbox or self._ready or self._waiting or self._working)

    @property
    def has_next(self) -> bool:
        """True when there is a packet that need not wait for a drain."""
        return bool(self.inbox or self._ready)

    @property
    def is_down(self) -> bool:
        """True while the destination takes nothing."""
        return self._down_by is not None

    @property
    def waiting_count(self) -> int:
        """Packets in the retry queue."""
        return len(self._ready) + len(self._waiting)

    def to_stats(self, *, late: int) -> Stats:
        """The account at this instant; `late` are submissions refused after shutdown."""
        inbox, stray = (0, len(self.inbox)) if self.is_finished else (len(self.inbox), 0)
        return self.counters.to_stats(inbox=inbox, waiting=self.waiting_count, in_flight=len(self._working), shut_out=late + stray)

    # what is next

    def take(self, now: float) -> Item | None:
        """The next packet to work on, or None when nothing is due."""
        if self.is_finished:
            return None
        item = self._take_ready_or_new() or self._take_drained(now)
        if item is not None:
            item.generation = self._generation
            self._working.add(item)
        return item

    def _take_ready_or_new(self) -> Item | None:
        # In turns: neither a long queue nor a steady stream of new packets may hold up the other.
        self._prefer_ready = not self._prefer_ready
        if self._ready and (self._prefer_ready or not self.inbox):
            return self._leave(self._ready.popleft())
        if self.inbox:
            self.counters.taken += 1
            return self.inbox.popleft()
        return None

    def _take_drained(self, now: float) -> Item | None:
        if not self._waiting or self._is_probing or self._drain_at is None or now < self._drain_at:
            return None
        self._drain_at = None
        item = self._leave(self._waiting.popleft())
        if self.is_down:
            item.is_probe = self._is_probing = True
        else:
            self._release_waiting()
        return item

    def rest_s(self, now: float) -> float | None:
        """How long nothing is due; None: until something is added."""
        if self.is_finished:
            return None
        if self.has_next:
            return 0.0
        if not self._waiting or self._drain_at is None or self._is_probing:
            return None
        return max(0.0, self._drain_at - now)

    # what becomes of a packet

    def begin_attempt(self, item: Item) -> None:
        """Counts an attempt before it is made."""
        self.counters.attempts += 1
        self.counters.retries += item.attempts > 0
        self.counters.duplicates_possible += item.ambiguous
        item.attempts += 1
        if self._waiting:
            self._wake(1)  # this worker may be away for long: another one has to keep the time of the next drain

    def end_attempt(self, item: Item, outcome: Outcome) -> None:
        """Counts what an attempt came to."""
        item.ambiguous = item.ambiguous or outcome.ambiguous
        if outcome.fate is Fate.RETRY:
            increment(self.counters.failures, outcome.code)

    def park(self, item: Item, now: float) -> list[Item]:
        """Sends a packet to the retry queue without an attempt; returns those that had to make room."""
        self._working.discard(item)
        return self._enqueue(item, now, at_head=False)

    def deliver(self, item: Item, *, duplicate: bool) -> bool:
        """The destination took the packet. True when it had been down."""
        self._suspects.clear()
        if self._close(item):
            self.counters.delivered += 1
            self.counters.duplicates_reported += duplicate
        return self._recover()

    def bury(self, item: Item, code: str, *, is_answer: bool) -> bool:
        """The packet is refused for good; an answer of the destination shows that it is up. True when it had been down."""
        if self._close(item):
            increment(self.counters.dead, code)
        return self._recover() if is_answer else False

    def drop(self, item: Item, reason: str) -> bool:
        """We give the packet up. False when it had its fate already."""
        closed = self._close(item)
        if closed:
            increment(self.counters.dropped, reason)
        return closed

    def expel(self, item: Item, reason: str) -> None:
        """Gives a packet up wherever it is: a fault of ours left it there."""
        for place in (self._ready, self._waiting):
            with contextlib.suppress(ValueError):
                place.remove(item)
                self._leave(item)
        self.drop(item, reason)

    def forget(self, item: Item) -> None:
        """The call is not billable: there never was a packet."""
        if self._close(item):
            self.counters.taken -= 1

    def split(self, item: Item, parts: Iterable[Item]) -> None:
        """These take the place of one that was no packet; who waits for it waits for them."""
        for part in parts:
            part.barriers = item.barriers
            for barrier in part.barriers:
                barrier.remaining += 1
            self.add(part)
        self.forget(item)

    def is_poison(self, item: Item, outcome: Outcome) -> bool:
        """Whether this failure is the packet's last; failures of a destination that is down do not count against it."""
        if outcome.fault is Fault.PACKET and not self.is_down and item.delivered_at_fault != self.counters.delivered:
            item.packet_faults += 1
            item.delivered_at_fault = self.counters.delivered
        return item.packet_faults >= _MAX_PACKET_FAULTS

    def retry_later(self, item: Item, outcome: Outcome, now: float) -> list[Item]:
        """Keeps a packet for a later attempt; returns the packets that had to make room for it."""
        if not item.is_open:
            return []
        self._working.discard(item)
        was_probe, item.is_probe = item.is_probe, False
        self._is_probing = self._is_probing and not was_probe
        if outcome.fault is Fault.PACKET:
            return self._retry_packet_fault(item, outcome, now, was_probe=was_probe)
        if item.generation != self._generation and not self.is_down:
            # This attempt began before the destination came back; it says nothing about now.
            self._ready.append(item)
            self._enter(item)
            self._wake(1)
            return self._make_room()
        self._mark_down(now, outcome, is_probe=was_probe)
        return self._enqueue(item, now, at_head=item.was_queued)

    def _retry_packet_fault(self, item: Item, outcome: Outcome, now: float, *, was_probe: bool) -> list[Item]:
        was_suspect = item in self._suspects
        self._suspects.add(item)
        if was_probe and self._down_by is Fault.DESTINATION:
            self._recover()  # it answers again, if only this packet badly
        elif len(self._suspects) >= _SUSPECTS or (was_probe and was_suspect):
            self._suspects.clear()
            self._mark_down(now, outcome, is_probe=was_probe)
        elif was_probe:
            self._drain_at = max(now, self._not_before)  # may be this packet alone: another one probes at once
        elif outcome.retry_after_s is not None:
            self._not_before = max(self._not_before, now + outcome.retry_after_s)
        return self._enqueue(item, now, at_head=False)

    def _enqueue(self, item: Item, now: float, *, at_head: bool) -> list[Item]:
        item.was_queued = True
        if at_head:
            self._waiting.appendleft(item)
        else:
            self._waiting.append(item)
        self._enter(item)
        if self._drain_at is None and not self._is_probing:
            self._drain_at = max(now + self._interval_s(), self._not_before)
        return self._make_room()

    def _enter(self, item: Item) -> None:
        """The item is in the retry queue now."""
        item.is_waiting = True
        self._waiting_bytes += item.size
        if not item.is_slim and not item.is_listed:
            item.is_listed = True
            self._with_bodies.append(item)

    def _leave(self, item: Item) -> Item:
        """The item is out of the retry queue."""
        item.is_waiting = False
        self._waiting_bytes -= item.size
        return item

    def _make_room(self) -> list[Item]:
        """Keeps to the queue's limits: bodies go before costs, and then the oldest packets."""
        most, most_bytes, dropped = self._retry.queue_max_size, self._retry.queue_max_bytes, list[Item]()
        while 0 < most_bytes < self._waiting_bytes and self._with_bodies:
            self._leave_out_bodies(self._with_bodies.popleft())
        while 0 < most < self.waiting_count or 0 < most_bytes < self._waiting_bytes:
            oldest = self._leave((self._ready or self._waiting).popleft())
            self.drop(oldest, stats.QUEUE_FULL)
            dropped.append(oldest)
        return dropped

    def _leave_out_bodies(self, item: Item) -> None:
        item.is_listed = False
        if self._slim is None or not item.is_waiting or not isinstance(item.held, EncodedPacket):
            return
        item.is_slim = True
        slim = self._slim(item.held)
        if slim is not None:
            self._waiting_bytes += len(slim.json) - item.size
            item.held = slim
            self.counters.bodies_dropped += 1

    # the destination

    def _mark_down(self, now: float, outcome: Outcome, *, is_probe: bool) -> None:
        if not self.is_down:
            self._waiting.extendleft(reversed(self._ready))
            self._ready.clear()
            self._drain_at = None
        self._down_by = outcome.fault
        self._not_before = max(self._not_before, now + (outcome.retry_after_s or 0.0))
        self._exit_failures += is_probe and self._exit_by is not None
        if is_probe or self._drain_at is None:
            self._drain_at = now + self._interval_s()
        self._drain_at = max(self._drain_at, self._not_before)

    def _recover(self) -> bool:
        """The destination answered; True when it had been down."""
        if not self.is_down:
            return False
        self._down_by = None
        self._generation += 1
        self._is_probing = False
        self._not_before = 0.0
        self._release_waiting()
        return True

    def _release_waiting(self) -> None:
        """Everything that waits goes at full speed."""
        self._drain_at = None
        self._ready.extend(self._waiting)
        self._waiting.clear()
        self._wake(len(self._ready))

    def _interval_s(self) -> float:
        interval_s = self._retry.queue_interval
        if self._exit_by is not None:
            return min(interval_s, _EXIT_DELAYS_S[min(max(self._exit_failures - 1, 0), len(_EXIT_DELAYS_S) - 1)])
        if self._flushes:
            interval_s = min(interval_s, _FLUSH_INTERVAL_S)
        return interval_s * random.uniform(1 - _JITTER, 1 + _JITTER)

    # flush and shutdown

    def begin_flush(self, now: float, *, exit_by: float | None = None) -> Barrier:
        """Starts a drain at once; the barrier clears when every packet that is open now has its fate.

        A destination that asked for time gets it, but for the last probe of a process that ends.
        """
        self._flushes += 1
        open_items = [*copy_while_changing(self.inbox), *self._ready, *self._waiting, *self._working]
        barrier = Barrier(len(open_items))
        if exit_by is not None:
            self._exit_by, self._exit_barrier, self._not_before = exit_by, barrier, now
        for item in open_items:
            item.barriers = (*item.barriers, barrier)
        if self._waiting and not self._is_probing:
            self._drain_at = max(now, self._not_before)
        self._wake(1)
        return barrier

    def end_flush(self) -> None:
        """Nobody waits for that flush any more."""
        self._flushes -= 1

    def release_exit(self) -> None:
        """Ends the wait of a process that is ending when no further attempt can be made in time."""
        if self._exit_barrier is None or self._exit_by is None or self._working or not self.is_down:
            return
        if self._exit_failures > len(_EXIT_DELAYS_S) or (self._drain_at is not None and self._drain_at > self._exit_by):
            self._exit_barrier.cleared.set()

    def sweep(self, reason: str) -> list[Item]:
        """Gives up everything that is open; nothing is taken any more."""
        self.is_finished = True
        while self.inbox:
            self._working.add(self.inbox.popleft())
            self.counters.taken += 1
        given_up = [*self._ready, *self._waiting, *self._working]
        self._ready.clear()
        self._waiting.clear()
        self._with_bodies.clear()
        for item in given_up:
            self.drop(item, reason)
        return given_up

    def _close(self, item: Item) -> bool:
        self._working.discard(item)
        self._suspects.discard(item)
        if item.is_probe:
            item.is_probe = self._is_probing = False
            self._drain_at = 0.0 if self._waiting else None
        was_open, item.is_open = item.is_open, False
        for barrier in item.barriers:
            barrier.pass_one()
        item.barriers = ()
        return was_open
