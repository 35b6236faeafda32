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
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from payi_otel._guard import guard, log_fault
from payi_otel._requests import Unbilled, by_host, requests
from payi_otel._tally import Tally
from payi_otel.delivery import _ticket, stats
from payi_otel.delivery._backlog import Backlog
from payi_otel.delivery._courier import Convert, Courier, OnResult
from payi_otel.delivery._fork import bring_through_fork
from payi_otel.delivery._item import Barrier, Item, RetrySettings
from payi_otel.delivery._report import Reporter
from payi_otel.delivery._workers import quiet
from payi_otel.delivery.outcome import EncodingSink, Fate, Outcome, Sink
from payi_otel.delivery.spool import Spool
from payi_otel.delivery.stats import HostCalls, Stats
from payi_otel.packets.model import IngestPacket
from payi_otel.payload import Payload, Ticket

OfProcess = Callable[[], object]
_MAX_INBOX: Final = 20_000
"""Calls of which no packet has been made yet; they take more memory than packets, and no setting can know how much."""
_JOIN_S: Final = 0.1
"""Granted to threads beyond a shutdown's deadline; what they held has been given up by then."""
_FORK_WAIT_S: Final = 0.25
"""A fork waits so long for the first packet to be made."""


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
        spool: Spool | None = None,
        has_owner: bool = False,
        on_result: OnResult | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        """Starts no thread: the first submission does. Shuts itself down when the process exits.

        Args:
            sink: Where packets go; closed by `shutdown`.
            convert: Makes a packet of a call; None for one that is not billable.
            retry: The `ingest_retry` settings.
            connection_error_logging_window_s: Seconds between two log lines of one kind; 0: every line.
            exit_timeout_s: Seconds the process's exit may be held up by what is still unsent.
            inline: `submit` returns a `Ticket` to wait on; so it does where `max_inline_retries` > 0.
            before_shutdown: Run once when shutdown begins, while packets are still taken: ends what is open.
            spool: Keeps packets on disk until they have their fate, and has those of earlier processes; closed by `shutdown`.
            has_owner: Somebody else shuts it down, perhaps after the process's exit has begun: a tracer provider that has spans to flush.
                At the exit it is only emptied.
            on_result: Told of Pay-i's `xproxy_result` of each packet that has one, in a worker.
            logger: Where lines go; `payi.instrument.delivery` by default.
        """
        self._sink = sink
        self._exit_timeout_s = exit_timeout_s
        self._endings: list[Callable[[], None]] = [before_shutdown] if before_shutdown is not None else []
        self._forgetting: list[Callable[[], None]] = []
        self._has_owner = has_owner
        self._inline = inline or retry.max_inline_retries > 0
        logger = logger or logging.getLogger("payi.instrument.delivery")
        self._reporter = Reporter(logger, window_s=connection_error_logging_window_s)
        self._spool = spool
        self._courier = Courier(
            sink, convert=convert, retry=retry, inline=self._inline, reporter=self._reporter, spool=spool, on_result=on_result
        )
        self._workers = self._courier.workers
        self._is_closed = False
        self._calls = Tally()
        """By host, as payloads have it."""
        self._account: OfProcess | None = None
        self._note_process()
        self._follow_process(spool)

    def _follow_process(self, spool: Spool | None) -> None:
        """To its exit, and through its forks."""
        self._at_exit = functools.partial(_shut_down, weakref.ref(self))
        atexit.register(self._at_exit)
        weakref.finalize(self, atexit.unregister, self._at_exit).atexit = False
        bring_through_fork(self)
        if spool is not None:
            weakref.finalize(self, spool.close).atexit = False
            if spool.has_orphans:
                self._workers.add()

    def _note_process(self) -> None:
        self._pid = os.getpid()
        self._finished = threading.Event()
        if self._is_closed:
            self._backlog.is_finished = True
            self._finished.set()

    @property
    def is_closed(self) -> bool:
        """True from its shutdown on."""
        return self._is_closed

    @property
    def sink(self) -> Sink:
        """Where packets go."""
        return self._sink

    @property
    def _backlog(self) -> Backlog:
        return self._courier.backlog

    @property
    def _lock(self) -> threading.Lock:
        return self._courier.lock

    # the caller's side

    def attend(self, before_shutdown: Callable[[], None], after_fork: Callable[[], None]) -> None:
        """Adds what is to be done once when shutdown begins, while packets are still taken, and in every forked child."""
        self._endings.append(before_shutdown)
        self._forgetting.append(after_fork)

    def account_for_process(self, account: OfProcess | None) -> None:
        """Has the end of this queue be told as the end of the process: its requests are set beside its packets, once.

        Args:
            account: Called when everything has its fate; None: another queue does this.
        """
        self._account = account

    def watch_packets(self, see: Callable[[IngestPacket], None]) -> None:
        """Shows each packet of a call when it is made, in a worker."""
        self._courier.on_packet = see

    def submit(self, payload: Payload, ticket: Ticket | None = None) -> Ticket | None:
        """Takes an ended call; a ticket to wait for where delivery is inline, else None.

        Takes no lock: a garbage collection may end a span in the middle of anything this queue does.

        Args:
            payload: The call.
            ticket: Is told what becomes of its packet.
        """
        try:
            if os.getpid() != self._pid:  # forked from C, where no hook runs (uWSGI)
                self.after_fork_in_child()
            item = Item(payload, ticket or (_ticket.Ticket() if self._inline else None), is_awaited=self._inline)
            awaited = item.ticket if self._inline else None
            host = getattr(payload, "host", None)  # a custom queue's payload may be anything its `convert` reads
            self._calls.add(host)
            requests.calls.add(host)
            backlog = self._courier.backlog
            if self._is_closed:
                self._refuse(item)
                return awaited
            if len(backlog.inbox) >= _MAX_INBOX:
                self._crowd_out(item)
                return awaited
            backlog.add(item)
            if not self._courier.is_at_hand:
                self._workers.call()
            if not self._workers.count:
                self._start(item)
            if backlog.is_finished:  # shut down since the check above; the packet counts as dropped
                self._courier.settle(item, Outcome(Fate.RETRY, stats.SHUTDOWN), is_refused=True)
            return awaited
        except Exception as fault:
            log_fault("taking a packet", fault)
            return None

    def stats(self) -> Stats:
        """The account at this instant."""
        with self._lock:
            damaged = self._spool.corrupt_records if self._spool is not None else 0
            courier = self._courier
            account = self._backlog.to_stats(late=len(courier.late), crowded_out=len(courier.crowded_out), corrupt_records=damaged)
        hosts = {host: HostCalls(packets=count) for host, count in by_host(self._calls.read()).items() if host}
        return replace(account, hosts=MappingProxyType(hosts)) if hosts else account

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Waits until every packet created before the call has its fate, the retry queue included; False: time ran out."""
        return self._drain(time.monotonic() + timeout_s, exit_by=None)

    def replay(self, timeout_s: float) -> bool:
        """Delivers what processes that are gone have left in the spool; False: time ran out, or something is left."""
        deadline_s = time.monotonic() + timeout_s
        keeper = self._courier.keeper
        while keeper is not None and time.monotonic() < deadline_s:
            if not keeper.adopt(self._backlog, self._lock, waits=True) and self.flush(0.0):
                return not keeper.spool.left_behind
            self.flush(max(0.0, deadline_s - time.monotonic()))
        return False

    def shutdown(self, timeout_s: float | None = None) -> None:
        """Flushes within the deadline, counts and logs what is left, closes the sink. A second call waits for the first."""
        deadline_s = time.monotonic() + (self._exit_timeout_s if timeout_s is None else timeout_s)
        self._end_what_is_open()
        self._endings = []
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            self._finished.wait(max(0.0, deadline_s - time.monotonic()))
            return
        self._courier.stopping.set()
        if isinstance(self._sink, EncodingSink):
            self._sink.hasten(deadline_s)
        self._drain(deadline_s, exit_by=deadline_s)
        self._finish()
        self._workers.stop()
        self._close_sink()
        self._workers.join(max(deadline_s, time.monotonic() + _JOIN_S))
        atexit.unregister(self._at_exit)

    def exit(self) -> None:
        """The process ends."""
        if not self._has_owner:
            self.shutdown()
            return
        self._end_what_is_open()
        if not self.flush(self._exit_timeout_s):
            self.shutdown(0)

    def _end_what_is_open(self) -> None:
        for end in self._endings:
            with guard("ending what is open"):
                end()

    def _start(self, item: Item) -> None:
        """The first packet of a process."""
        for package in ("multiprocessing", "billiard"):  # the second one is Celery's
            util = sys.modules.get(f"{package}.util")
            if util is not None:
                self._end_with(util, sys.modules[f"{package}.process"])
        signals = sys.modules.get("celery.signals")
        if signals is not None:  # the workers of its pool run no finalizers
            shut_down = self._at_exit
            signals.worker_process_shutdown.connect(lambda **kwargs: shut_down(), weak=False)
        if not self._workers.add() and item.ticket is not None and item.is_awaited:
            with quiet():  # no thread can be had, and somebody is going to wait
                while not item.ticket.is_settled and self._backlog.has_next:
                    self._courier.turn()

    def _end_with(self, util: Any, process: Any) -> None:
        """A child of `multiprocessing` ends without running atexit before Python 3.13; its finalizers it does run."""
        if type(process.current_process()).__name__ != "_MainProcess":
            util.Finalize(None, self._at_exit, exitpriority=100)

    def _refuse(self, item: Item) -> None:
        self._courier.late.append(None)
        self._courier.settle(item, Outcome(Fate.RETRY, stats.SHUTDOWN), is_refused=True)
        self._reporter.late()

    def _crowd_out(self, item: Item) -> None:
        self._courier.crowded_out.append(None)
        self._courier.settle(item, Outcome(Fate.RETRY, stats.QUEUE_FULL), is_refused=True)
        self._reporter.crowded_out(_MAX_INBOX)

    def _drain(self, deadline_s: float, *, exit_by: float | None) -> bool:
        with self._lock:
            if self._backlog.is_empty:
                return True
            barrier = self._backlog.begin_flush(time.monotonic(), exit_by=exit_by)
        self._workers.hurry()
        if not self._workers.count and not self._workers.add():
            self._work_here(barrier, deadline_s)
        if exit_by is not None and not barrier.cleared.wait(max(0.0, deadline_s - time.monotonic()) / 2):
            self._interrupt()
        barrier.cleared.wait(max(0.0, deadline_s - time.monotonic()))
        with self._lock:
            self._backlog.destination.end_flush()
            return barrier.remaining == 0

    def _work_here(self, barrier: Barrier, deadline_s: float) -> None:
        """The workers' work by the caller: at interpreter exit Python starts no threads."""
        with quiet():
            while not barrier.cleared.is_set() and time.monotonic() < deadline_s:
                self._courier.turn()
                rest_s = self._courier.rest_s()
                if rest_s is None:
                    return
                barrier.cleared.wait(min(rest_s, max(0.0, deadline_s - time.monotonic())))

    def _finish(self) -> None:
        keeper = self._courier.keeper
        with self._lock:
            self._backlog.takes_none = True
        if keeper is not None:
            with guard("keeping what is left on disk"):
                keeper.save(self._backlog, self._lock, self._courier.make_packet)
        with self._lock:
            left, kept = self._backlog.sweep(stats.SHUTDOWN)
            self._finished.set()
        for item in left:
            self._courier.settle(item, Outcome(Fate.RETRY, stats.SHUTDOWN))
        if keeper is not None:
            keeper.spool.close()
            if kept:
                self._reporter.kept_at_shutdown(kept, keeper.directory)
        unbilled: list[Unbilled] = []
        with guard("accounting for the process"):
            if self._account is not None:
                unbilled = requests.unbilled()
                self._account()
        self._reporter.at_end(self.stats(), unbilled)

    def _interrupt(self) -> None:
        if isinstance(self._sink, EncodingSink):
            with guard("ending the requests in progress"):
                self._sink.interrupt()

    def _close_sink(self) -> None:
        with guard("closing the sink"):
            self._sink.close()

    # forks

    def before_fork(self) -> None:
        """Holds the locks while the process forks, once nothing is half imported that a worker needs for its first packet."""
        warming = self._courier.warming.current()
        if not self._courier.is_warm and warming.acquire(timeout=_FORK_WAIT_S):
            warming.release()
        self._lock.acquire()
        if self._spool is not None:
            self._spool.before_fork()

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        if self._spool is not None:
            self._spool.after_fork_in_parent()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """A child begins with an empty queue, zero counters and no threads: the parent's packets are the parent's."""
        if self._spool is not None:
            self._spool.after_fork()
        self._courier.reset()
        self._calls.forget()
        for forget in self._forgetting:
            forget()
        self._note_process()
        self._sink.after_fork()


def _shut_down(reference: weakref.ref[DeliveryQueue]) -> None:
    """At the interpreter's exit."""
    queue = reference()
    if queue is not None:
        queue.exit()
