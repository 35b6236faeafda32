"""From an ended call to a sink: conversion, attempts, retries and deadlines, all of it behind the caller's back."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan

from payi_otel._guard import guard, log_fault
from payi_otel.delivery import stats
from payi_otel.delivery._backlog import Backlog
from payi_otel.delivery._fork import bring_through_fork
from payi_otel.delivery._item import Barrier, Item, RetrySettings
from payi_otel.delivery._report import Reporter
from payi_otel.delivery._ticket import Ticket
from payi_otel.delivery._workers import Workers, quiet
from payi_otel.delivery.outcome import EncodedPacket, EncodingSink, Fate, Fault, Outcome, Sink
from payi_otel.delivery.stats import Stats
from payi_otel.packets.model import IngestPacket
from payi_otel.payload import Payload

_MAX_WORKERS: Final = 8
_MAX_INLINE_WORKERS: Final = 32
"""Where calls wait for their packet, a worker asleep between two inline retries must not hold up the other calls."""
_JOIN_S: Final = 0.1
"""Granted to threads beyond a shutdown's deadline; what they held has been given up by then."""
_FORK_WAIT_S: Final = 0.25
"""A fork waits so long for the first packet to be made."""

Convert = Callable[[ReadableSpan | None, Payload | None], IngestPacket | None]
"""Makes the packet of a call; None: the call is not billable. Runs in a worker."""


class DeliveryQueue:
    """Takes ended calls without ever blocking or raising, and sees to it that each one's packet reaches the sink.

    Every packet is always in exactly one place: `stats()` proves it. A packet that the destination cannot take now waits in
    the retry queue, as bytes; while the destination is down a single packet per interval probes it.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        convert: Convert,
        retry: RetrySettings,
        connection_error_logging_window_s: float = 60,
        exit_timeout_s: float = 5.0,
        inline: bool = False,
        before_shutdown: Callable[[], None] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        """Starts no thread: the first submission does. Shuts itself down when the process exits.

        Args:
            sink: Where packets go; closed by `shutdown`.
            convert: Makes a packet of a span and its payload; None for a call that is not billable.
            retry: The `ingest_retry` settings.
            connection_error_logging_window_s: Seconds between two log lines of one kind; 0: every line.
            exit_timeout_s: Seconds the process's exit may be held up by what is still unsent.
            inline: `submit` returns a `Ticket` to wait on; so it does where `max_inline_retries` > 0.
            before_shutdown: Run once when shutdown begins, while packets are still taken: ends what is open.
            logger: Where lines go; `payi.instrument.delivery` by default.
        """
        self._sink = sink
        self._encoding = sink if isinstance(sink, EncodingSink) else None
        self._convert = convert
        self._retry = retry
        self._exit_timeout_s = exit_timeout_s
        self._before_shutdown = before_shutdown
        self._inline = inline or retry.max_inline_retries > 0
        logger = logger or logging.getLogger("payi.instrument.delivery")
        self._reporter = Reporter(logger, window_s=connection_error_logging_window_s)
        self._workers = Workers(self, _MAX_INLINE_WORKERS if self._inline else _MAX_WORKERS)
        self._is_closed = False
        self._is_warm = False
        self._reset()
        self._at_exit = functools.partial(_shut_down, weakref.ref(self))
        atexit.register(self._at_exit)
        weakref.finalize(self, atexit.unregister, self._at_exit).atexit = False
        bring_through_fork(self)

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._warming = threading.Lock()
        """Held while the first packet is made."""
        self._busy = 0
        self._late: list[None] = []
        """One for each submission after shutdown: appending needs no lock."""
        self._stopping = threading.Event()
        self._finished = threading.Event()
        self._workers.reset()
        self._backlog = Backlog(self._retry, self._workers.call, self._encoding.slim if self._encoding is not None else None)
        self._slimmed = 0
        if self._is_closed:
            self._backlog.is_finished = True
            self._finished.set()

    # the caller's side

    def submit(self, span: ReadableSpan | None, payload: Payload | None) -> Ticket | None:
        """Takes an ended call; a ticket where delivery is inline, else None.

        Takes no lock: a garbage collection may end a span in the middle of anything this queue does.
        """
        try:
            if os.getpid() != self._pid:  # forked from C, where no hook runs (uWSGI)
                self.after_fork_in_child()
            item = Item(span, payload, Ticket() if self._inline else None)
            if self._is_closed:
                self._refuse(item)
                return item.ticket
            self._backlog.add(item)
            self._workers.call()
            if not self._workers.count:
                self._start(item)
            if self._backlog.is_finished:  # shut down since the check above; the packet counts as dropped
                self._settle(item, Outcome(Fate.RETRY, stats.SHUTDOWN))
            return item.ticket
        except Exception as fault:
            log_fault("taking a packet", fault)
            return None

    def stats(self) -> Stats:
        """The account at this instant."""
        with self._lock:
            return self._backlog.to_stats(late=len(self._late))

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Waits until every packet created before the call has its fate, the retry queue included; False: time ran out."""
        return self._drain(time.monotonic() + timeout_s, exit_by=None)

    def shutdown(self, timeout_s: float | None = None) -> None:
        """Flushes within the deadline, counts and logs what is left, closes the sink. A second call waits for the first."""
        deadline_s = time.monotonic() + (self._exit_timeout_s if timeout_s is None else timeout_s)
        self._end_what_is_open()
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            self._finished.wait(max(0.0, deadline_s - time.monotonic()))
            return
        self._stopping.set()
        if self._encoding is not None:
            self._encoding.hasten(deadline_s)
        self._drain(deadline_s, exit_by=deadline_s)
        self._finish()
        self._workers.stop()
        self._close_sink()
        self._workers.join(max(deadline_s, time.monotonic() + _JOIN_S))
        atexit.unregister(self._at_exit)

    def _end_what_is_open(self) -> None:
        before_shutdown, self._before_shutdown = self._before_shutdown, None
        if before_shutdown is not None:
            with guard("ending what is open"):
                before_shutdown()

    def _start(self, item: Item) -> None:
        """The first packet of a process."""
        if "multiprocessing.util" in sys.modules:
            self._follow_multiprocessing()
        if not self._workers.add() and item.ticket is not None:
            with quiet():  # no thread can be had, and somebody is going to wait
                while item.ticket.outcome is None and self._backlog.has_next:
                    self.turn()

    def _follow_multiprocessing(self) -> None:
        """A child of `multiprocessing` ends without running atexit before Python 3.13; its finalizers it does run."""
        from multiprocessing import process, util

        if process.parent_process() is not None:
            util.Finalize(None, self._at_exit, exitpriority=100)

    def _refuse(self, item: Item) -> None:
        self._late.append(None)
        self._settle(item, Outcome(Fate.RETRY, stats.SHUTDOWN))
        self._reporter.late()

    def _drain(self, deadline_s: float, *, exit_by: float | None) -> bool:
        with self._lock:
            if self._backlog.is_empty:
                return True
            barrier = self._backlog.begin_flush(time.monotonic(), exit_by=exit_by)
        if not self._workers.count and not self._workers.add():
            self._work_here(barrier, deadline_s)
        barrier.cleared.wait(max(0.0, deadline_s - time.monotonic()))
        with self._lock:
            self._backlog.end_flush()
            return barrier.remaining == 0

    def _work_here(self, barrier: Barrier, deadline_s: float) -> None:
        """The workers' work by the caller: at interpreter exit Python starts no threads."""
        with quiet():
            while not barrier.cleared.is_set() and time.monotonic() < deadline_s:
                self.turn()
                rest_s = self.rest_s()
                if rest_s is None:
                    return
                barrier.cleared.wait(min(rest_s, max(0.0, deadline_s - time.monotonic())))

    def _finish(self) -> None:
        with self._lock:
            left = self._backlog.sweep(stats.SHUTDOWN)
            self._finished.set()
        for item in left:
            self._settle(item, Outcome(Fate.RETRY, stats.SHUTDOWN))
        if left:
            self._reporter.lost_at_shutdown(len(left))

    def _close_sink(self) -> None:
        with guard("closing the sink"):
            self._sink.close()

    # the workers' side

    def turn(self) -> None:
        """Works on at most one packet. Called by the workers."""
        with self._lock:
            item = self._backlog.take(time.monotonic())
            self._busy += item is not None
            is_last = item is not None and self._busy >= self._workers.count
        if item is not None:
            if is_last:
                self._workers.add(wait=True)  # one that listens while this one sends
            try:
                self._work(item)
            finally:
                with self._lock:
                    self._busy -= 1
                    self._backlog.release_exit()

    def rest_s(self) -> float | None:
        """How long there is nothing to do; None: until something is submitted. Called by the workers."""
        with self._lock:
            return self._backlog.rest_s(time.monotonic())

    def _work(self, item: Item) -> None:
        try:
            if item.held is None and not self._make(item):
                return
            if not self._park(item):
                self._conclude(item, self._attempt(item))
        except BaseException:
            with self._lock:
                self._backlog.expel(item, stats.INTERNAL_ERROR)
            self._settle(item, Outcome(Fate.DEAD, stats.INTERNAL_ERROR))
            raise

    def _make(self, item: Item) -> bool:
        """Span and payload to a packet that can wait; False when there is none."""
        try:
            if isinstance(item.payload, Payload) and item.payload.parts is not None:
                self._split(item, [Item(None, part, None) for part in item.payload.parts()])
                return False
            packet = self._to_held(item)
            if packet is not None:
                item.hold(packet)
                return True
        except Exception as fault:
            with self._lock:
                self._backlog.drop(item, stats.CONVERSION_FAILED)
            self._reporter.not_made(fault)
            self._settle(item, Outcome(Fate.DEAD, stats.CONVERSION_FAILED))
            return False
        with self._lock:
            self._backlog.forget(item)
        self._settle(item, None)
        return False

    def _split(self, item: Item, parts: list[Item]) -> None:
        with self._lock:
            if item.is_open:
                self._backlog.split(item, parts)
            else:  # given up at shutdown meanwhile, and counted as one
                self._late.extend([None] * (len(parts) - 1))
        self._settle(item, None)
        self._workers.call(len(parts))

    def _to_held(self, item: Item) -> IngestPacket | EncodedPacket | None:
        if self._is_warm:
            return self._convert_and_encode(item)
        with self._warming:
            try:
                return self._convert_and_encode(item)
            finally:
                self._is_warm = True

    def _convert_and_encode(self, item: Item) -> IngestPacket | EncodedPacket | None:
        packet = self._convert(item.span, item.payload)
        return packet if packet is None or self._encoding is None else self._encoding.encode(packet)

    def _park(self, item: Item) -> bool:
        """While the destination is down, a packet nobody waits for is not tried by itself."""
        if self._inline or not self._retry.queue_enabled or item.was_queued:
            return False
        with self._lock:
            if not self._backlog.is_down or not item.is_open:
                return False
            dropped = self._backlog.park(item, time.monotonic())
        self._report_full(dropped)
        return True

    def _attempt(self, item: Item) -> Outcome:
        """One attempt, and for a new packet its inline retries."""
        outcome = self._send(item)
        delay_s = self._retry.inline_retry_initial_delay
        for _ in range(0 if item.was_queued else self._retry.max_inline_retries):
            is_too_soon = outcome.retry_after_s is not None and outcome.retry_after_s > delay_s
            if outcome.fate is not Fate.RETRY or is_too_soon or self._stopping.wait(delay_s):
                break
            outcome = self._send(item)
            delay_s *= 2
        return outcome

    def _send(self, item: Item) -> Outcome:
        with self._lock:
            self._backlog.begin_attempt(item)
        try:
            outcome = self._send_held(item.held)
        except Exception as fault:  # a sink must not raise; what it had sent by then, nobody knows
            outcome = Outcome(Fate.RETRY, "unexpected", type(fault).__name__, ambiguous=True, fault=Fault.PACKET)
        with self._lock:
            self._backlog.end_attempt(item, outcome)
        return outcome

    def _send_held(self, held: IngestPacket | EncodedPacket | None) -> Outcome:
        if isinstance(held, IngestPacket):
            return self._sink.deliver(held)
        if held is None or self._encoding is None:
            raise TypeError("a packet was sent before it was made")
        return self._encoding.send(held)

    def _conclude(self, item: Item, outcome: Outcome) -> None:
        came_back, dropped = False, []
        with self._lock:
            if not item.is_open:
                return  # given up at shutdown while this attempt was under way
            if outcome.fate is Fate.RETRY and self._backlog.is_poison(item, outcome):
                outcome = Outcome(Fate.DEAD, stats.POISON, f"{outcome.code} every time", status=outcome.status)
            is_lost = outcome.fate is Fate.RETRY and not self._retry.queue_enabled
            if outcome.fate is Fate.DELIVERED:
                came_back = self._backlog.deliver(item, duplicate=outcome.code == "duplicate")
            elif outcome.fate is Fate.DEAD:
                came_back = self._backlog.bury(item, outcome.code, is_answer=outcome.code != stats.POISON)
            elif is_lost:
                self._backlog.drop(item, stats.QUEUE_DISABLED)
            else:
                dropped = self._backlog.retry_later(item, outcome, time.monotonic())
            waiting = self._backlog.waiting_count
        self._settle(item, outcome)
        self._reporter.attempt(outcome, item.response_id, waiting=waiting, is_lost=is_lost, came_back=came_back)
        self._report_full(dropped)

    def _report_full(self, dropped: list[Item]) -> None:
        slimmed = self._backlog.counters.bodies_dropped
        if slimmed > self._slimmed:
            self._slimmed = slimmed
            self._reporter.bodies_dropped(slimmed, self._retry.queue_max_bytes)
        for item in dropped:
            self._reporter.queue_full(item.response_id, self._retry.queue_max_size, self._retry.queue_max_bytes)

    @staticmethod
    def _settle(item: Item, outcome: Outcome | None) -> None:
        if item.ticket is not None:
            item.ticket.settle(outcome)

    # forks

    def before_fork(self) -> None:
        """Holds the lock while the process forks, once nothing is half imported that a worker needs for its first packet."""
        if not self._is_warm and self._warming.acquire(timeout=_FORK_WAIT_S):
            self._warming.release()
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """A child begins with an empty queue, zero counters and no threads: the parent's packets are the parent's."""
        self._reset()
        self._sink.after_fork()


def _shut_down(reference: weakref.ref[DeliveryQueue]) -> None:
    """At the interpreter's exit."""
    queue = reference()
    if queue is not None:
        queue.shutdown()
