"""The delivery threads: started when there is work, asleep without polling otherwise, never the reason a queue stays alive."""

from __future__ import annotations

import itertools
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from opentelemetry.context import Context, attach, detach
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation

from payi_otel._guard import log_fault

_STOP: Final = False
_GO: Final = True
_MAX_SLEEP_S: Final = 3600.0
"""Far below `threading.TIMEOUT_MAX`, whatever the interval."""


class Work(Protocol):
    """What the threads do."""

    def turn(self) -> float | None:
        """Works on at most one packet; returns how long to sleep after it, None: until woken."""
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


class Workers:
    """Up to `limit` daemon threads that take turns at a `Work`."""

    def __init__(self, work: Work, limit: int) -> None:
        self._work = weakref.ref(work)
        self._limit = limit
        self._numbers = itertools.count(1)
        self.reset()
        # Threads hold the work weakly while they sleep; when it is collected, they end.
        weakref.finalize(work, Workers.stop, self).atexit = False

    def reset(self) -> None:
        """No threads: the state of a new object, and of a forked child, where none of them lives on."""
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._starting = threading.Lock()
        self._is_stopped = False

    @property
    def count(self) -> int:
        """Threads there are."""
        return len(self._threads)

    def call(self, times: int = 1) -> None:
        """Wakes so many sleepers, now or as soon as there are some. Safe at any point of any thread."""
        for _ in range(times):
            self._calls.put(_GO)

    def add(self, *, wait: bool = False) -> bool:
        """Starts a thread unless there are enough; False when Python starts none any more (at interpreter exit).

        Args:
            wait: Lets another thread that is starting one finish first. Only workers may: a garbage collection can put a caller
                inside this very method.
        """
        if self._is_stopped or len(self._threads) >= self._limit or not self._starting.acquire(blocking=wait):
            return bool(self._threads)
        if self._is_stopped or len(self._threads) >= self._limit:  # since the check above
            self._starting.release()
            return bool(self._threads)
        thread = threading.Thread(target=_run, args=(self, self._calls), name=f"payi-delivery-{next(self._numbers)}", daemon=True)
        self._threads.add(thread)
        try:
            with quiet():  # opentelemetry-instrumentation-threading gives a thread its starter's context
                thread.start()
        except RuntimeError:
            self._threads.discard(thread)
        finally:
            self._starting.release()
        return bool(self._threads)

    def stop(self) -> None:
        """Ends every thread after its present turn."""
        self._is_stopped = True
        for _ in range(self._limit):
            self._calls.put(_STOP)

    def join(self, deadline_s: float) -> bool:
        """Waits for the threads until this instant of `time.monotonic()`; True when none is left."""
        if self._starting.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
            self._starting.release()  # no thread is half started any more, and none will be
        for thread in list(self._threads):
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in list(self._threads))

    def leave(self) -> None:
        """Called by a thread as its last act."""
        self._threads.discard(threading.current_thread())

    def get_work(self) -> Work | None:
        """The work, while somebody still has it."""
        return self._work()


def _run(workers: Workers, calls: SimpleQueue[bool]) -> None:
    with quiet():
        try:
            _take_turns(workers, calls)
        finally:
            workers.leave()


def _take_turns(workers: Workers, calls: SimpleQueue[bool]) -> None:
    rest_s: float | None = None
    kept: Work | None = None  # while packets wait for a drain, the queue must not be collected
    while True:
        try:
            call = calls.get(timeout=None if rest_s is None else min(rest_s, _MAX_SLEEP_S))
        except Empty:
            call = _GO
        work = kept or workers.get_work()
        if call is _STOP or work is None:
            return
        try:
            rest_s = work.turn()
        except Exception as fault:
            log_fault("delivering a packet", fault)
        kept = work if rest_s is not None else None
        del work
