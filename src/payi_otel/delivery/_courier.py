"""The workers' side of the queue: a call becomes a packet, the packet is kept on disk where there is a spool, sent, and given its fate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from payi_otel._guard import guard
from payi_otel.delivery import stats
from payi_otel.delivery._backlog import Backlog
from payi_otel.delivery._item import Item, RetrySettings, Task
from payi_otel.delivery._keeper import Keeper
from payi_otel.delivery._report import Reporter
from payi_otel.delivery._workers import LateLock, Workers
from payi_otel.delivery.outcome import BatchingSink, EncodedPacket, EncodingSink, Fate, Fault, FindingSink, Outcome, Sink
from payi_otel.delivery.spool import Spool
from payi_otel.packets.model import IngestPacket
from payi_otel.payload import Payload

_MAX_SENDERS: Final = 8
_MAX_INLINE_SENDERS: Final = 32
"""Where calls wait for their packet, a worker asleep between two inline retries must not hold up the other calls."""

_PAUSE_S: Final = 0.005
"""A packet may wait so long for a worker to begin: those of calls that follow are taken with it."""
_LOOK_S: Final = 1.0
"""While a worker is busy without an attempt in progress, one may begin unseen: it is looked for so often."""

OnResult = Callable[[Mapping[str, Any]], None]
Convert = Callable[[Payload], IngestPacket | None]
"""Makes the packet of a call; None: the call is not billable. Runs in a worker."""


class _Finding:
    """Asks for the result of a packet; a `partial` takes four times as much memory, and there is one for each that waits."""

    __slots__ = ("_category", "_find", "_response_id")

    def __init__(self, find: Callable[[str, str, float], Outcome], category: str, response_id: str) -> None:
        self._find, self._category, self._response_id = find, category, response_id

    def __call__(self, timeout_s: float) -> Outcome:
        return self._find(self._category, self._response_id, timeout_s)


class Courier:
    """What the workers do, one turn at a time. The lock is held around every use of the backlog, never while a packet is made or sent."""

    def __init__(
        self,
        sink: Sink,
        *,
        convert: Convert,
        retry: RetrySettings,
        inline: bool,
        reporter: Reporter,
        spool: Spool | None = None,
        on_result: OnResult | None = None,
    ) -> None:
        """Starts nothing; see `DeliveryQueue`."""
        self._sink = sink
        self._encoding = sink if isinstance(sink, EncodingSink) else None
        self._in_batches = sink if isinstance(sink, BatchingSink) else None
        self._find = sink.find_result if isinstance(sink, FindingSink) else None
        self._convert, self._on_result = convert, on_result
        self._retry = retry
        self._inline = inline
        self.on_packet: Callable[[IngestPacket], None] | None = None
        """Shown each packet that is made of a call."""
        self._reporter = reporter
        self.keeper = Keeper(spool, sink, retry) if spool is not None and isinstance(sink, EncodingSink) else None
        senders = _MAX_INLINE_SENDERS if inline else _MAX_SENDERS
        self._max_senders = senders
        # One worker is always free while the others wait for answers: to put on disk what comes in, and to end what lasts too long.
        is_awaited = inline or self.keeper is not None  # by callers, or by the promise that a spool makes
        self.workers = Workers(self, senders + 1, pause_s=0.0 if is_awaited else _PAUSE_S)
        self.is_warm = False
        self.reset()

    def reset(self) -> None:
        """A new, empty backlog, and no threads: the state of a new object and of a forked child."""
        self.lock = threading.Lock()
        self.warming = LateLock()
        """Held while the first packet is made, in slices: others run meanwhile."""
        self.stopping = threading.Event()
        self.late: list[None] = []
        """One for each submission after shutdown: appending needs no lock."""
        self.crowded_out: list[None] = []
        """One for each submission for which there was no room."""
        self._away = 0
        """Workers that send, or write to a disk."""
        self._slimmed = 0
        self.workers.reset()
        if self.keeper is not None:
            self.keeper.reset()
        self.backlog = Backlog(
            self._retry,
            self.workers.call,
            slim=self._encoding.slim if self._encoding is not None else None,
            max_senders=self._max_senders,
            makes_ahead=self.keeper is not None or (self._in_batches is not None and not self._inline),
            is_inline=self._inline,
            batching=(lambda: sink.batching) if (sink := self._in_batches) is not None else lambda: None,
        )

    def turn(self) -> bool:
        """Works on at most one task; False where there was none. Called by the workers."""
        if self.keeper is not None and not self.stopping.is_set() and self.keeper.is_due(self.backlog):
            self._keep(self.keeper)
        with self.lock:
            task = self.backlog.take(time.monotonic())
        if task is None:
            return False
        was_taken = is_away = False
        try:
            placed = task if task.items[0].is_made else self._make(task)
            if placed is not None:
                task, is_away = placed, True
                self._leave()
                was_taken = self._deliver(task)
        except BaseException:
            with self.lock:
                for item in task.items:
                    self.backlog.expel(item, stats.INTERNAL_ERROR)
            for item in task.items:
                self.settle(item, Outcome(Fate.DEAD, stats.INTERNAL_ERROR))
            raise
        finally:
            with self.lock:
                self._away -= is_away
                self.backlog.end(task, was_taken=was_taken)
        return True

    def _keep(self, keeper: Keeper) -> None:
        """A disk may take its time."""
        self._leave()
        try:
            with guard("keeping packets on disk"):
                keeper.keep(self.backlog, self.lock)
        finally:
            with self.lock:
                self._away -= 1

    def _leave(self) -> None:
        """A worker may be away for long: another one listens, and keeps the time of the next drain."""
        with self.lock:
            self._away += 1
            is_last = self._away >= self.workers.count
            has_more = self.backlog.has_next or self.backlog.retry_queue.count > 0
        if is_last:
            self.workers.add(wait=True)
        elif has_more:
            self.workers.relieve()

    @property
    def is_at_hand(self) -> bool:
        """Whether a worker looks for work in a moment: none has to be woken for what has been submitted."""
        return self.backlog.making.is_at_hand(time.monotonic())

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for its time: what is being worked on is in a worker's hands."""
        with self.lock:
            return self.backlog.rest_s(time.monotonic()) is None

    def rest_s(self) -> float | None:
        """How long there is nothing to do; None: until something is submitted. Called by the workers."""
        with self.lock:
            is_sending = self._away > 0
            rest_s = self.backlog.rest_s(time.monotonic())
            if self.keeper is not None and not (self.backlog.is_finished or self.stopping.is_set()):
                rest_s = _sooner(rest_s, self.keeper.rest_s(self.backlog))
        if self._encoding is None:
            return rest_s
        overdue_s = self._encoding.watch()
        return _sooner(rest_s, _LOOK_S if overdue_s is None and is_sending else overdue_s)

    # from call to packet

    def _make(self, task: Task) -> Task | None:
        """The task to send the packet at once; None where it waits, or there is none."""
        item = task.items[0]
        try:
            if not self.make_packet(item):
                return None
            if self.keeper is not None:
                self.keeper.write([item])
        finally:
            item.is_making = False
        with self.lock:
            placed, dropped = self.backlog.place(task, time.monotonic())
        self._report_full(dropped)
        return placed

    def make_packet(self, item: Item) -> bool:
        """A call to a packet that can wait; False when there is none."""
        try:
            if isinstance(item.payload, Payload) and item.payload.parts is not None:
                self._split(item, [Item(part) for part in item.payload.parts()])
                return False
            packet = self._to_held(item)
            if packet is not None:
                item.hold(packet)
                return True
        except Exception as fault:
            with self.lock:
                self.backlog.drop(item, stats.CONVERSION_FAILED)
            self.settle(item, Outcome(Fate.DEAD, stats.CONVERSION_FAILED))
            self._reporter.not_made(fault)
            return False
        with self.lock:
            self.backlog.forget(item)
        self.settle(item, None)
        return False

    def _split(self, item: Item, parts: list[Item]) -> None:
        with self.lock:
            if item.is_open:
                self.backlog.split(item, parts)
            else:  # given up at shutdown meanwhile, and counted as one
                self.late.extend([None] * (len(parts) - 1))
        self.settle(item, None)

    def _to_held(self, item: Item) -> IngestPacket | EncodedPacket | None:
        if self.is_warm:
            return self._convert_and_encode(item)
        with self.warming.current():
            try:
                return self._convert_and_encode(item)
            finally:
                self.is_warm = True

    def _convert_and_encode(self, item: Item) -> IngestPacket | EncodedPacket | None:
        packet = self._convert(item.payload) if item.payload is not None else None
        if packet is None:
            return None
        if self.on_packet is not None:
            with guard("showing a packet"):
                self.on_packet(packet)
        if item.ticket is not None and self._find is not None:
            item.ticket.find = _Finding(self._find, packet.body["category"], packet.response_id)
        return packet if self._encoding is None else self._encoding.encode(packet)

    # from packet to fate

    def _deliver(self, task: Task) -> bool:
        """True when the destination took something."""
        items = [item for item in task.items if item.held is not None or self._load(item)]
        if not items:
            return False
        if not task.is_batch:
            return self._conclude(items[0], self._attempt(items[0]))
        outcomes = self._send_together(items)
        if isinstance(outcomes, Outcome):
            for position, item in enumerate(items):
                if outcomes.fault is Fault.PACKET:  # which of them it was shows in smaller and smaller company
                    item.batch_limit = max(1, len(items) // 2)
                self._conclude(item, outcomes, is_suspect=position == 0, is_alone=len(items) == 1)
            return False
        taken = [self._conclude(item, outcome) for item, outcome in zip(items, outcomes, strict=True)]
        return any(taken)

    def _load(self, item: Item) -> bool:
        """Back from disk."""
        try:
            if self.keeper is not None and self.keeper.load(item):
                return True
        except OSError:  # a disk that fails may come back
            with self.lock:
                dropped = self.backlog.wait(item, time.monotonic())
            self._report_full(dropped)
            return False
        with self.lock:
            self.backlog.drop(item, stats.SPOOL_UNREADABLE)
        self.settle(item, Outcome(Fate.DEAD, stats.SPOOL_UNREADABLE))
        self._reporter.unreadable(self.keeper.directory if self.keeper is not None else "")
        return False

    def _attempt(self, item: Item) -> Outcome:
        """One attempt, and for a new packet its inline retries."""
        outcome = self._send(item)
        delay_s = self._retry.inline_retry_initial_delay
        for _ in range(0 if item.was_queued else self._retry.max_inline_retries):
            is_too_soon = outcome.retry_after_s is not None and outcome.retry_after_s > delay_s
            if not outcome.retries or is_too_soon or self.stopping.wait(delay_s):
                break
            outcome = self._send(item)
            delay_s *= 2
        return outcome

    def _send(self, item: Item) -> Outcome:
        with self.lock:
            item.begin_attempt(self.backlog.counters)
        try:
            outcome = self._send_held(_to_sent(item))
        except Exception as fault:
            outcome = _unexpected(fault)
        with self.lock:
            item.end_attempt(outcome, self.backlog.counters)
        return outcome

    def _send_held(self, held: IngestPacket | EncodedPacket | None) -> Outcome:
        if isinstance(held, IngestPacket):
            return self._sink.deliver(held)
        if held is None or self._encoding is None:
            raise TypeError("a packet was sent before it was made")
        return self._encoding.send(held)

    def _send_together(self, items: Sequence[Item]) -> list[Outcome] | Outcome:
        with self.lock:
            for item in items:
                item.begin_attempt(self.backlog.counters)
        try:
            batch = [held for item in items if isinstance(held := _to_sent(item), EncodedPacket)]
            if self._in_batches is None:
                raise TypeError("packets were put together for a sink that takes single ones")
            outcomes = self._in_batches.send_batch(batch)
        except Exception as fault:
            outcomes = _unexpected(fault)
        each = [outcomes] * len(items) if isinstance(outcomes, Outcome) else outcomes
        with self.lock:
            for item, outcome in zip(items, each, strict=True):
                item.end_attempt(outcome, self.backlog.counters)
        return outcomes

    def _conclude(self, item: Item, outcome: Outcome, *, is_suspect: bool = True, is_alone: bool = True) -> bool:
        """Gives the packet its fate, or a place in the retry queue; True when the destination took it."""
        came_back, dropped = False, []
        with self.lock:
            if not item.is_open:
                return False  # given up at shutdown while this attempt was under way
            if outcome.retries and is_alone and self.backlog.is_poison(item, outcome):
                outcome = Outcome(Fate.DEAD, stats.POISON, f"{outcome.code} every time", status=outcome.status)
            is_lost = outcome.retries and not self._retry.queue_enabled
            if outcome.fate is Fate.DELIVERED:
                came_back = self.backlog.deliver(item, duplicate=outcome.code == "duplicate")
            elif outcome.fate is Fate.DEAD:
                came_back = self.backlog.bury(item, outcome.code, is_answer=outcome.code != stats.POISON)
            elif is_lost:
                self.backlog.drop(item, stats.QUEUE_DISABLED)
            else:
                dropped = self.backlog.retry_later(item, outcome, time.monotonic(), is_suspect=is_suspect)
            waiting = self.backlog.retry_queue.count
        if outcome.fate is Fate.DEAD and self.keeper is not None:
            self.keeper.bury(item, outcome)
        response_id = item.response_id if outcome.fate is not Fate.DELIVERED else ""  # nothing is said of it by name
        self.settle(item, outcome)
        self._report_full(dropped)
        if self._on_result is not None and outcome.result is not None:  # a function of the application's may take its time
            with guard("reading a result"):
                self._on_result(outcome.result)
        self._reporter.attempt(outcome, response_id, waiting=waiting, is_lost=is_lost, came_back=came_back)
        return outcome.fate is Fate.DELIVERED

    def _report_full(self, dropped: list[Item]) -> None:
        response_ids = [item.response_id for item in dropped]
        for item in dropped:  # a handler of the application's may flush, which waits for them, or end this thread
            self.settle(item, Outcome(Fate.RETRY, stats.QUEUE_FULL))
        slimmed = self.backlog.counters.bodies_dropped
        if slimmed > self._slimmed:
            self._slimmed = slimmed
            self._reporter.bodies_dropped(slimmed, self._retry.queue_max_bytes)
        for response_id in response_ids:
            self._reporter.queue_full(response_id, self._retry.queue_max_size, self._retry.queue_max_bytes)

    def settle(self, item: Item, outcome: Outcome | None, *, is_refused: bool = False) -> None:
        """Tells who asks for it; a packet that has its fate need not be kept on disk."""
        if item.ticket is not None:
            item.ticket.settle(outcome, is_final=is_refused or not item.is_open)
        if not item.is_open:
            if self.keeper is not None and item.record is not None:
                self.keeper.spool.finish(item.record)
            item.let_go()
            with self.lock:
                self.backlog.settle(item)


def _sooner(one_s: float | None, other_s: float | None) -> float | None:
    """None is never."""
    if one_s is None or other_s is None:
        return other_s if one_s is None else one_s
    return min(one_s, other_s)


def _to_sent(item: Item) -> IngestPacket | EncodedPacket | None:
    return replace(item.held, is_resend=True) if item.ambiguous and isinstance(item.held, EncodedPacket) else item.held


def _unexpected(fault: Exception) -> Outcome:
    """A sink must not raise; what it had sent by then, nobody knows."""
    return Outcome(Fate.RETRY, "unexpected", type(fault).__name__, ambiguous=True, fault=Fault.PACKET)
