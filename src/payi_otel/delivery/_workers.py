"""The delivery threads: started when there is work, asleep without polling otherwise, never the reason a queue stays alive."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from opentelemetry.context import Context, attach, detach
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation

from payi_otel._guard import log_fault
from payi_otel._large import in_background

_MAX_TURNS: Final = 16
"""After so many a thread asks for its rest all the same: it may be the only one left to look after what lasts too long."""
_MAX_SLEEP_S: Final = 3600.0
"""Far below `threading.TIMEOUT_MAX`, whatever the interval."""


class Work(Protocol):
    """What the threads do."""

    def turn(self) -> bool:
        """Works on at most one packet; False where there was none to work on."""
        ...

    def rest_s(self) -> float | None:
        """How long there is nothing to do; None: until somebody calls."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with it."""
        ...


@contextmanager
def quiet() -> Iterator[None]:
    """An empty OpenTelemetry context (no baggage, no parent span) in which no HTTP call is traced."""
    token = attach(Context())
    try:
        with suppress_instrumentation(), suppress_http_instrumentation():
            yield
    finally:
        detach(token)


class LateLock:
    """A lock as `threading` makes them when it is used. gevent may replace them after a set-up: who waits for one of before stops all
    greenlets of his thread, and with them the one that holds it."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = (threading.Lock, threading.Lock())

    def current(self) -> threading.Lock:
        """It, to be released by whoever asked for it."""
        if self._kept[0] is not threading.Lock:
            self._kept = (threading.Lock, threading.Lock())
        return self._kept[1]


class Workers:
    """Up to `limit` daemon threads that take turns at a `Work`."""

    def __init__(self, work: Work, limit: int, *, pause_s: float = 0.0) -> None:
        """Starts none yet.

        Args:
            work: What they do; it is not kept alive.
            limit: How many there may be.
            pause_s: One that is called waits so long before it begins, and takes what comes meanwhile with it: each awakening costs the
                caller, who has just returned from his call, a fight for the interpreter.
        """
        self._work = weakref.ref(work)
        self._limit, self._pause_s = limit, pause_s
        self._numbers = itertools.count(1)
        self.reset()
        # Threads hold the work weakly while they sleep; when it is collected, they end.
        weakref.finalize(work, Workers.stop, self).atexit = False

    def reset(self) -> None:
        """No threads: the state of a new object, and of a forked child, where none of them lives on."""
        self._bells: deque[threading.Lock] = deque()
        """Of the threads that sleep: locks that they wait to be released. `queue.SimpleQueue` would do the same, but its `get` with a
        timeout may wait for ever (CPython up to 3.13)."""
        self._threads: set[threading.Thread] = set()
        self._starting = LateLock()
        """Held while a thread is started, which runs in the same thread of the system under gevent."""
        self._urgent: deque[None] = deque()
        """One for each awakening without a pause."""
        self._pausing: deque[threading.Lock] = deque()
        """Bells of the threads that were called and wait a moment."""
        self.is_stopped = False

    @property
    def count(self) -> int:
        """Threads there are."""
        return len(self._threads)

    def call(self, times: int = 1) -> None:
        """Wakes so many sleepers, if there are and nobody is about to look for work. Takes no lock, and so is safe at any point of any
        thread. What there is to do must be there before it."""
        if not self._pausing:
            self._ring(times)

    def relieve(self) -> None:
        """Wakes one sleeper in the place of a thread that will be away for a while."""
        self._ring(1, is_urgent=True)

    def _ring(self, times: int, *, is_urgent: bool = False) -> None:
        for _ in range(min(times, self._limit)):
            try:
                bell = self._bells.pop()
            except IndexError:
                return
            if is_urgent:
                self._urgent.append(None)
            bell.release()

    def hurry(self) -> None:
        """Somebody waits for what there is: pauses end now, and one that has not begun is left out."""
        if not self._pausing and not self._urgent:
            self._urgent.append(None)
        with suppress(IndexError):
            while True:
                self._pausing.pop().release()

    def pause(self, bell: threading.Lock) -> None:
        """Called by a thread that was called, before it begins; `bell`: its own, which is down."""
        if not self._pause_s or self.is_stopped:
            return
        try:
            self._urgent.pop()
        except IndexError:
            self._pausing.append(bell)
            if self.is_stopped or not bell.acquire(timeout=self._pause_s):  # not `time.sleep`, which an application's tests may replace
                _take_back(bell, self._pausing)

    def add(self, *, wait: bool = False) -> bool:
        """Starts a thread unless there are enough; False when Python starts none any more (at interpreter exit).

        Args:
            wait: Lets another thread that is starting one finish first. Only workers may: a garbage collection can put a caller
                inside this very method.
        """
        starting = self._starting.current()
        if self.is_stopped or len(self._threads) >= self._limit or not starting.acquire(blocking=wait):
            return bool(self._threads)
        if self.is_stopped or len(self._threads) >= self._limit:  # since the check above
            starting.release()
            return bool(self._threads)
        thread = threading.Thread(target=_run, args=(self,), name=f"payi-delivery-{next(self._numbers)}", daemon=True)
        self._threads.add(thread)
        try:
            with quiet():  # opentelemetry-instrumentation-threading gives a thread its starter's context
                thread.start()
        except RuntimeError:
            self._threads.discard(thread)
        finally:
            starting.release()
        return bool(self._threads)

    def stop(self) -> None:
        """Ends every thread after its present turn."""
        self.is_stopped = True
        self._ring(self._limit)
        self.hurry()

    def join(self, deadline_s: float) -> bool:
        """Waits for the threads until this instant of `time.monotonic()`; True when none is left."""
        starting = self._starting.current()
        if starting.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
            starting.release()  # no thread is half started any more, and none will be
        for thread in list(self._threads):
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in list(self._threads))

    def leave(self) -> None:
        """Called by a thread as its last act."""
        self._threads.discard(threading.current_thread())

    def get_work(self) -> Work | None:
        """The work, while somebody still has it and there is more to do."""
        return None if self.is_stopped else self._work()

    def hang_up(self, bell: threading.Lock) -> None:
        """From here on a call may ring this bell, which is held; whoever hangs it up must look for work once more before sleeping."""
        self._bells.append(bell)

    def take_down(self, bell: threading.Lock) -> None:
        """The thread is up without having been called; a call that came just now is taken with it."""
        _take_back(bell, self._bells)


def _take_back(bell: threading.Lock, where: deque[threading.Lock]) -> None:
    """What nobody has rung; or waits for who is ringing it."""
    try:
        where.remove(bell)
    except ValueError:
        bell.acquire()


def _run(workers: Workers) -> None:
    with quiet(), in_background():
        try:
            _take_turns(workers)
        except SystemExit:  # of a log handler of the application's, or the like: this thread ends, and its work goes on
            workers.leave()
            workers.relieve()
            if not workers.count:
                workers.add()
        finally:
            workers.leave()


def _take_turns(workers: Workers) -> None:
    bell = threading.Lock()
    bell.acquire()
    work = workers.get_work()
    while work is not None:
        turns = 1
        while _take_turn(work) and turns < _MAX_TURNS and not workers.is_stopped:
            turns += 1
        workers.hang_up(bell)
        rest_s = work.rest_s()
        if rest_s is None or work.is_idle:
            work = None  # while nothing waits, the queue may be collected
        if rest_s == 0.0 or workers.is_stopped or not bell.acquire(timeout=-1 if rest_s is None else min(rest_s, _MAX_SLEEP_S)):
            workers.take_down(bell)
        else:
            workers.pause(bell)
        work = workers.get_work()


def _take_turn(work: Work) -> bool:
    try:
        return work.turn()
    except Exception as fault:
        log_fault("delivering a packet", fault)
        return False
