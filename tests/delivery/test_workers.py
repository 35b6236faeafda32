"""The pause of a worker that was called: as long as nobody waits, and no call is missed over it."""

from __future__ import annotations

import threading
import time
from collections import deque

import pytest
from delivery_fakes import wait_for

from payi_otel.delivery._workers import Workers

LONG_S = 3600.0


class Tasks:
    """What is to be done; a thread that takes a task stays with it until it may go on."""

    def __init__(self) -> None:
        self.open: deque[int] = deque()
        self.taken: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def turn(self) -> None:
        """Takes one."""
        try:
            self.taken.append(self.open.popleft())
        except IndexError:
            return
        self.may_go_on.wait(10)

    def rest_s(self) -> float | None:
        """None while there is nothing."""
        return 0.0 if self.open else None

    @property
    def is_idle(self) -> bool:
        """As above."""
        return not self.open


def start(workers: Workers, count: int) -> None:
    """So many threads, asleep."""
    for sleepers in range(1, count + 1):
        assert workers.add()
        wait_for(lambda sleepers=sleepers: len(workers._bells) == sleepers)  # type: ignore[misc]


def give(tasks: Tasks, workers: Workers, *numbers: int) -> None:
    """Adds tasks, and calls for each of them."""
    for number in numbers:
        tasks.open.append(number)
        workers.call()


@pytest.fixture
def tasks() -> Tasks:
    """None yet."""
    return Tasks()


def test_who_waits_ends_the_pause(tasks: Tasks) -> None:
    """`flush` and `shutdown` do; before that nothing begins."""
    workers = Workers(tasks, 2, pause_s=LONG_S)
    start(workers, 1)
    give(tasks, workers, 1)
    wait_for(lambda: workers._pausing)
    assert tasks.taken == []
    workers.hurry()
    wait_for(lambda: tasks.taken == [1])
    workers.stop()
    assert workers.join(time.monotonic() + 60)


def test_who_waits_before_the_pause_has_begun_leaves_it_out(tasks: Tasks) -> None:
    """A thread takes its time to wake up."""
    workers = Workers(tasks, 2, pause_s=LONG_S)
    start(workers, 1)
    workers.hurry()
    give(tasks, workers, 1)
    wait_for(lambda: tasks.taken == [1])
    workers.stop()
    assert workers.join(time.monotonic() + 60)


def test_calls_during_a_pause_wake_nobody(tasks: Tasks) -> None:
    """The thread that pauses finds what they are for."""
    workers = Workers(tasks, 3, pause_s=LONG_S)
    start(workers, 3)
    give(tasks, workers, 1)
    wait_for(lambda: workers._pausing)
    give(tasks, workers, 2, 3)
    assert len(workers._bells) == 2
    workers.hurry()
    wait_for(lambda: tasks.taken == [1, 2, 3])
    workers.stop()
    assert workers.join(time.monotonic() + 60)


def test_a_thread_that_leaves_is_relieved_at_once(tasks: Tasks) -> None:
    """By one that makes no pause."""
    workers = Workers(tasks, 2, pause_s=LONG_S)
    start(workers, 2)
    tasks.open.append(1)
    workers.relieve()
    wait_for(lambda: tasks.taken == [1])
    workers.stop()
    assert workers.join(time.monotonic() + 60)


def test_a_pause_ends_when_the_threads_are_to_end(tasks: Tasks) -> None:
    """Whatever was called for."""
    workers = Workers(tasks, 2, pause_s=LONG_S)
    start(workers, 2)
    give(tasks, workers, 1)
    wait_for(lambda: workers._pausing)
    workers.stop()
    assert workers.join(time.monotonic() + 60)
