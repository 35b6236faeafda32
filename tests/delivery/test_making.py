"""Packets are made by one worker at a time, and never wait for one that hangs or sends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from delivery_fakes import Retry, ids, make_packet, running, submit, wait_for

from payi_otel.delivery import _backlog, _making
from payi_otel.delivery.outcome import Outcome
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.packets.model import IngestPacket
from payi_otel.testing import CapturingSink

NOTHING_S = 0.1
"""So long nothing happens."""


class Converter:
    """Makes a packet of a packet; that of the first call only when it may go on. (The very first one of a process is made alone.)"""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.may_go_on = threading.Event()

    def __call__(self, payload: IngestPacket) -> IngestPacket:
        """Notes it."""
        if payload.response_id.endswith("-0"):
            return payload
        self.begun.append(payload)
        if len(self.begun) == 1:
            assert self.may_go_on.wait(30)
        return payload


def warm(queue: DeliveryQueue) -> None:
    """Has the first packet made, and the threads that there are then."""
    submit(queue, make_packet(0))
    assert queue.flush(30)


@contextmanager
def making_the_first(sink: CapturingSink, convert: Converter) -> Iterator[DeliveryQueue]:
    """A queue of which a worker is at packet 1, until that may go on."""
    with running(sink, convert=convert) as queue:
        warm(queue)
        submit(queue, make_packet(1))
        wait_for(lambda: convert.begun)
        yield queue


def test_one_worker_makes_all_packets() -> None:
    """Others would only wait for the interpreter, and for each other."""
    sink, convert = CapturingSink(), Converter()
    with making_the_first(sink, convert) as queue:
        submit(queue, *map(make_packet, range(2, 9)))
        time.sleep(NOTHING_S)
        assert len(convert.begun) == 1
        convert.may_go_on.set()
        assert queue.flush(30)
    assert sorted(ids(sink.packets)) == [str(number) for number in range(9)]


def test_a_worker_that_hangs_holds_up_no_other_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log handler of the application's may: what is submitted a second later is made by another one."""
    for module in (_making, _backlog):
        monkeypatch.setattr(module, "MAX_S", NOTHING_S)
    sink, convert = CapturingSink(), Converter()
    with making_the_first(sink, convert) as queue:
        submit(queue, make_packet(2))
        time.sleep(2 * NOTHING_S)
        submit(queue, make_packet(3))
        wait_for(lambda: sorted(ids(sink.packets)) == ["0", "2", "3"])
        convert.may_go_on.set()
        assert queue.flush(30)
    assert sorted(ids(sink.packets)) == ["0", "1", "2", "3"]


def test_a_worker_that_is_ended_leaves_its_work_to_another() -> None:
    """By a log handler of the application's that raises `SystemExit`, for one."""

    class Ending(Converter):
        def __call__(self, payload: IngestPacket) -> IngestPacket:
            """The first thread is ended."""
            super().__call__(payload)
            if self.begun == [payload]:
                raise SystemExit
            return payload

    sink, convert = CapturingSink(), Ending()
    with making_the_first(sink, convert) as queue:
        submit(queue, make_packet(2))
        convert.may_go_on.set()
        wait_for(lambda: ids(sink.packets) == ["0", "2"])
        assert queue.flush(30)
    assert queue.stats().dropped == {"internal_error": 1}


def test_a_flush_waits_for_no_worker_that_hangs() -> None:
    """But for the packet that it makes: the log handler itself may flush."""
    sink, convert = CapturingSink(), Converter()
    with making_the_first(sink, convert) as queue:
        submit(queue, make_packet(2))
        assert not queue.flush(NOTHING_S)
        convert.may_go_on.set()
        assert queue.flush(30)
    assert sorted(ids(sink.packets)) == ["0", "1", "2"]


def test_calls_that_wait_for_their_packets_wait_for_no_others() -> None:
    """Inline delivery: as many are made at once as are waited for."""
    sink, convert = CapturingSink(), Converter()
    with running(sink, convert=convert, inline=True) as queue:
        warm(queue)
        first = queue.submit(make_packet(1))  # type: ignore[arg-type]
        wait_for(lambda: convert.begun)
        second = queue.submit(make_packet(2))  # type: ignore[arg-type]
        assert second is not None
        wait_for(lambda: ids(sink.packets) == ["0", "2"])
        convert.may_go_on.set()
        assert first is not None
        assert queue.flush(30)
    assert ids(sink.packets) == ["0", "2", "1"]


def test_while_a_packet_is_sent_others_are_made() -> None:
    """One that leaves to send wakes another worker in its place."""

    class Slow(CapturingSink):
        may_go_on = threading.Event()

        def deliver(self, packet: IngestPacket) -> Outcome:
            """The first waits for the third."""
            if packet.response_id.endswith("-1"):
                assert self.may_go_on.wait(30)
            elif packet.response_id.endswith("-3"):
                self.may_go_on.set()
            return super().deliver(packet)

    sink = Slow()
    with running(sink, Retry(max_inline_retries=0)) as queue:
        submit(queue, *map(make_packet, (1, 2, 3)))
        assert queue.flush(30)
    assert sorted(ids(sink.packets)) == ["1", "2", "3"]
