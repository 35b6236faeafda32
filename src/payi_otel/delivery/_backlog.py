"""Every packet whose fate is open, and which one is next.

No threads, no clock and no I/O in here. But for `add`, the queue's one lock is held around every call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from payi_otel.delivery import stats
from payi_otel.delivery._destination import Destination
from payi_otel.delivery._item import Barrier, Item, RetrySettings, Task, copy_while_changing
from payi_otel.delivery._making import MAX_S, Making
from payi_otel.delivery._retry_queue import RetryQueue, Slim
from payi_otel.delivery._staged import Staged, take_together
from payi_otel.delivery.outcome import Batching, Fault, Outcome
from payi_otel.delivery.stats import Counters, Stats, increment

_SUSPECTS: Final = 5
"""So many different packets failing on their own account, with no success between, mean that the destination is at fault."""
_MAX_BATCHES: Final = 4
"""Requests of many packets under way at once."""


class Backlog:
    """The state machine behind the queue.

    A packet goes inbox -> working (made) -> perhaps `staged` -> working (sent) -> settled, or from working to the retry queue and, at a
    drain, to working again. While the destination is down, one packet of the retry queue at a time is the probe.
    """

    def __init__(
        self,
        retry: RetrySettings,
        wake: Callable[[int], None],
        *,
        slim: Slim | None = None,
        max_senders: int = 8,
        makes_ahead: bool = False,
        is_inline: bool = False,
        batching: Callable[[], Batching | None] = lambda: None,
    ) -> None:
        """An empty one.

        Args:
            retry: The `ingest_retry` settings.
            wake: Called with how many workers could do something now.
            slim: Makes a packet smaller.
            max_senders: Requests under way at once.
            makes_ahead: Packets are made as soon as a worker is free, not only when one can be sent.
            is_inline: Somebody waits for each packet.
            batching: How packets may go together at present.
        """
        self._wake = wake
        self._makes_ahead = makes_ahead
        self._parks = retry.queue_enabled and not is_inline
        """While the destination is down, new packets wait without an attempt of their own."""
        self._batching = batching
        self.destination = Destination(retry, max_senders)
        self.counters = Counters()
        self.retry_queue = RetryQueue(retry, slim, self.counters)
        self._max_inline = max_senders if is_inline else 0
        self.inbox: deque[Item] = deque()
        self._parts: deque[Item] = deque()
        """The results of batches, which may be many: calls go before them."""
        self._staged = Staged()
        self._working: set[Item] = set()
        self._settling: set[Item] = set()
        """They have their fate, and a worker still writes it where it is kept: a flush waits for these, too."""
        self._sending = self._batches = 0
        self.making = Making(is_shared=is_inline)
        self._suspects: set[Item] = set()
        self._prefers_sending = self._prefers_ready = True
        self._exit_barrier: Barrier | None = None
        self.adopted_count = 0
        """Packets of other processes whose fate is open."""
        self.takes_none = False
        """The process is ending: workers end what they have begun."""
        self.is_finished = False

    def add(self, item: Item) -> None:
        """Takes a new packet. Needs no lock and may run in the middle of any other method: a garbage collection can end a span."""
        self.inbox.append(item)

    @property
    def is_empty(self) -> bool:
        """True when every packet has its fate, and whoever keeps it knows."""
        return self.is_finished or not any((self.inbox, self._parts, self._staged, self.retry_queue.count, self._working, self._settling))

    @property
    def has_next(self) -> bool:
        """True when there is something that need not wait for a drain or for a request to end."""
        can_send = self._can_send()
        return self._can_make(can_send) or (can_send and (bool(self._staged) or self.retry_queue.ready_count > 0))

    def to_stats(self, *, late: int, crowded_out: int, corrupt_records: int) -> Stats:
        """The account at this instant; `late` are submissions after shutdown, `crowded_out` those for which there was no room."""
        inbox, stray = (0, len(self.inbox)) if self.is_finished else (len(self.inbox) + len(self._parts), 0)
        return self.counters.to_stats(
            inbox=inbox,
            made=self.retry_queue.count + len(self._staged),
            on_disk=self.retry_queue.on_disk + self._staged.on_disk,
            in_flight=len(self._working),
            refused={stats.SHUTDOWN: late + stray, stats.QUEUE_FULL: crowded_out},
            corrupt_records=corrupt_records,
        )

    # what is next

    def take(self, now: float) -> Task | None:
        """What to work on next, or None when nothing is due. `end` must follow."""
        if not (self.inbox or self._parts or self._staged or self.retry_queue.count) or self.is_finished or self.takes_none:
            return None
        # In turns: neither a long queue nor a steady stream of new packets may hold up the other.
        self._prefers_sending = not self._prefers_sending
        can_send = self._can_send()
        is_more = self._can_make(can_send)
        can_make = is_more and not self.making.is_at_hand(now)
        task = self._take_sendable(is_more) if can_send and (self._prefers_sending or not can_make) else None
        if task is None and can_make:
            task = self._take_new(now)
        task = task or self._take_drained(now)
        if task is not None:
            for item in task.items:
                item.generation = self.destination.generation
                self._working.add(item)
            self._sending += task.sends
            self._batches += task.is_batch
        return task

    def end(self, task: Task, *, was_taken: bool) -> None:
        """The worker is done with it, whatever came of it; the destination took something, or not."""
        self._sending -= task.sends
        self._batches -= task.is_batch
        self.making.end(task)
        if was_taken:
            self._wake(self.destination.speed_up())
        if self._exit_barrier is not None and not (self._working or self._settling) and self.destination.is_given_up:
            self._exit_barrier.cleared.set()

    def rest_s(self, now: float) -> float | None:
        """How long nothing is due; None: until something is added."""
        if not (self.inbox or self._parts or self._staged or self.retry_queue.count) or self.is_finished or self.takes_none:
            return None
        if self.has_next:
            return MAX_S if self.making.is_at_hand(now) else 0.0
        return self.destination.drain_in_s(now) if self.retry_queue.has_waiting else None

    def _can_send(self) -> bool:
        # Who waits for a packet must not wait for those of others, too.
        return self._sending < max(self.destination.senders, self._max_inline)

    def _can_make(self, can_send: bool) -> bool:
        # While the destination is down, a packet is made to wait; its span takes more memory than its bytes.
        waits = self._parks if self.destination.is_down else self._makes_ahead and self._staged.has_room
        return bool(self.inbox or self._parts) and (can_send or waits)

    def _take_new(self, now: float) -> Task:
        self.making.begin(now)
        item = (self.inbox or self._parts).popleft()
        item.is_making = True
        self.counters.taken += 1
        return Task([item], sends=not (self._makes_ahead or (self.destination.is_down and self._parks)), makes=True)

    def _take_sendable(self, is_more: bool) -> Task | None:
        batching = self._batching()
        # While there is more to be made, packets that have just been made wait for company.
        staged = 0 if batching is not None and is_more and len(self._staged) < batching.max_items else len(self._staged)
        self._prefers_ready = not self._prefers_ready
        is_ready = self.retry_queue.ready_count > 0 and (self._prefers_ready or not staged)
        line, count = (self.retry_queue, self.retry_queue.ready_count) if is_ready else (self._staged, staged)
        if not count:
            return None
        if batching is not None and (count < batching.least or self._batches >= _MAX_BATCHES):
            batching = None
        return take_together(line, batching)

    def _take_drained(self, now: float) -> Task | None:
        destination = self.destination
        if not self.retry_queue.has_waiting or destination.drain_in_s(now) != 0.0:
            return None
        destination.drain_at = None
        item = self.retry_queue.pop_waiting()
        if destination.is_down:
            item.is_probe = destination.is_probing = True
        else:
            self._wake(self.retry_queue.release())
        return Task([item], sends=True)

    # what becomes of a packet

    def place(self, task: Task, now: float) -> tuple[Task | None, list[Item]]:
        """A packet has been made: the task to send it at once, or None; and those that had to make room for it."""
        item = task.items[0]
        if not item.is_open:
            return None, []
        if self.destination.is_down and self._parks and not item.is_awaited:
            return None, self._enqueue(item, now, at_head=False)
        self.making.end(task)
        if task.sends:
            return task, []
        batching = self._batching()
        is_enough = batching is not None and len(self.inbox) + len(self._parts) + len(self._staged) + 1 >= batching.least
        if self._makes_ahead and not item.is_awaited and (is_enough or not self._can_send()):
            self._working.discard(item)
            self._staged.push(item)
            return None, []
        self._sending += 1
        task.sends = True
        return task, []

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

    def drop(self, item: Item, reason: str) -> None:
        """We give the packet up."""
        if self._close(item):
            increment(self.counters.dropped, reason)

    def expel(self, item: Item, reason: str) -> None:
        """Gives a packet up wherever it is: a fault of ours left it there."""
        self.retry_queue.remove(item)
        self._staged.remove(item)
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
            self._parts.append(part)
        self.forget(item)

    def adopt(self, items: Iterable[Item], now: float) -> None:
        """Takes over what another process left on disk."""
        for item in items:
            item.is_adopted = item.was_queued = item.ambiguous = True
            self.counters.taken += 1
            self.counters.adopted += 1
            self.adopted_count += 1
            self.retry_queue.push(item, is_ready=not self.destination.is_down)
        if self.destination.is_down:
            self.destination.plan_drain(now)
        self._wake(self.retry_queue.count)

    def is_poison(self, item: Item, outcome: Outcome) -> bool:
        """Whether this failure is the packet's last; failures of a destination that is down do not count against it."""
        return outcome.fault is Fault.PACKET and not self.destination.is_down and item.fail(self.counters.delivered)

    def retry_later(self, item: Item, outcome: Outcome, now: float, *, is_suspect: bool = True) -> list[Item]:
        """Keeps a packet for a later attempt; returns those that had to make room. Of several sent together one is the suspect."""
        if not item.is_open:
            return []
        self._working.discard(item)
        was_probe = self._release_probe(item)
        if outcome.fault is Fault.PACKET:
            if is_suspect:
                self._suspect(item, outcome, now, was_probe=was_probe)
            return self._enqueue(item, now, at_head=False)
        if item.generation != self.destination.generation and not self.destination.is_down:
            self.retry_queue.push(item, is_ready=True)  # the attempt began before the destination came back, and says nothing about now
            self._wake(1)
            return self._make_room()
        self._mark_down(now, outcome, is_probe=was_probe)
        return self._enqueue(item, now, at_head=item.was_queued)

    def wait(self, item: Item, now: float) -> list[Item]:
        """Keeps a packet for a later attempt, because none could be made now; returns those that had to make room."""
        if not item.is_open:
            return []
        increment(self.counters.failures, stats.SPOOL_UNREADABLE)
        self._release_probe(item)
        return self._enqueue(item, now, at_head=False)

    def _release_probe(self, item: Item) -> bool:
        was_probe, item.is_probe = item.is_probe, False
        self.destination.is_probing = self.destination.is_probing and not was_probe
        return was_probe

    def _suspect(self, item: Item, outcome: Outcome, now: float, *, was_probe: bool) -> None:
        was_suspect = item in self._suspects
        self._suspects.add(item)
        self.destination.slow_down()
        if was_probe and self.destination.down_by is Fault.DESTINATION:
            self._recover()  # it answers again, if only this packet badly
        elif len(self._suspects) >= _SUSPECTS or (was_probe and was_suspect):
            self._suspects.clear()
            self._mark_down(now, outcome, is_probe=was_probe)
        elif was_probe:
            self.destination.drain_at = max(now, self.destination.not_before)  # may be this packet alone: another one probes at once
        else:
            self.destination.postpone(now, outcome)

    def _enqueue(self, item: Item, now: float, *, at_head: bool) -> list[Item]:
        item.was_queued = True
        self._working.discard(item)
        self.retry_queue.push(item, at_head=at_head)
        self.destination.plan_drain(now)
        return self._make_room()

    def _make_room(self) -> list[Item]:
        given_up = self.retry_queue.make_room()
        for item in given_up:
            self.drop(item, stats.QUEUE_FULL)
        return given_up

    # the destination

    def _mark_down(self, now: float, outcome: Outcome, *, is_probe: bool) -> None:
        if not self.destination.is_down:
            self.retry_queue.hold_back()
            while self._staged and self._parks:
                item = self._staged.pop()
                item.was_queued = True
                self.retry_queue.push(item)
        self.destination.mark_down(now, outcome, is_probe=is_probe)

    def _recover(self) -> bool:
        """The destination answered; True when it had been down."""
        if came_back := self.destination.recover():
            self._wake(self.retry_queue.release())
        return came_back

    # flush and shutdown

    def begin_flush(self, now: float, *, exit_by: float | None = None) -> Barrier:
        """Starts a drain at once; the barrier clears when every packet that is open now is settled."""
        awaited = [*self.list_open(), *self._settling]
        barrier = Barrier(len(awaited))
        self._exit_barrier = self._exit_barrier if exit_by is None else barrier
        for item in awaited:
            item.barriers = (*item.barriers, barrier)
        self.destination.begin_flush(now, exit_by=exit_by, has_waiting=self.retry_queue.has_waiting)
        self._wake(1)
        return barrier

    def list_open(self) -> list[Item]:
        """Packets without a fate."""
        return [*copy_while_changing(self.inbox), *self._parts, *self._staged, *self.retry_queue, *self._working]

    def list_unwritten(self) -> list[Item]:
        """Those of them that are not on disk."""
        return [item for item in self.list_open() if item.record is None]

    def sweep(self, reason: str) -> tuple[list[Item], int]:
        """Nothing is taken any more. Returns the open packets, which are given up, and how many are left on disk to the next process."""
        self.is_finished = True
        while self.inbox or self._parts:
            self._working.add((self.inbox or self._parts).popleft())
            self.counters.taken += 1
        open_items = self.list_open()
        self.retry_queue.clear()
        self._staged.clear()
        given_up = [item for item in open_items if item.record is None]
        for item in open_items:
            if item.record is None:
                self.drop(item, reason)
            elif self._close(item):
                self.counters.kept += 1
                self.settle(item)
        return given_up, len(open_items) - len(given_up)

    def _close(self, item: Item) -> bool:
        self._working.discard(item)
        self._suspects.discard(item)
        item.is_waiting = False
        if self._release_probe(item):
            self.destination.drain_at = 0.0 if self.retry_queue.has_waiting else None
        was_open, item.is_open = item.is_open, False
        self.adopted_count -= was_open and item.is_adopted
        if was_open:
            self._settling.add(item)
        return was_open

    def settle(self, item: Item) -> None:
        """Whoever keeps a packet that has its fate knows of it. Follows everything above that gives one."""
        self._settling.discard(item)
        for barrier in item.barriers:
            barrier.pass_one()
        item.barriers = ()
