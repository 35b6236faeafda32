"""The retry queue's limit in bytes: words go before costs, the oldest first, and each loss is counted and said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from delivery_fakes import DOWN, Retry, Target, break_down, make_packet, running, submit, wait_for

from payi_otel.delivery._backlog import Backlog
from payi_otel.delivery._item import OVERHEAD_BYTES, Item, Task
from payi_otel.delivery.outcome import EncodedPacket
from payi_otel.exporters.http import HttpSink
from payi_otel.testing import IngestServer

BODIES = {"provider_request_json": "q" * 4000, "provider_response_json": "a" * 4000}
FULL = len(json.dumps(make_packet(0, BODIES).body)) + OVERHEAD_BYTES
SLIM = 400 + OVERHEAD_BYTES
"""More than a packet without bodies takes, and far less than one with them."""


def words_of(server: IngestServer) -> dict[str, Any]:
    """By packet, whether its words came along; each has its units."""
    assert all(packet["body"]["units"] == {"text": {"input": 10, "output": 5}} for packet in server.packets)
    return {
        packet["body"]["provider_response_id"].removeprefix("chatcmpl-"): (
            "provider_request_json" in packet["body"],
            (packet["body"].get("properties") or {}).get("payi_otel.bodies_dropped"),
        )
        for packet in server.packets
    }


@pytest.fixture
def server() -> Iterator[IngestServer]:
    """Pay-i."""
    with IngestServer() as running_server:
        yield running_server


@pytest.fixture
def outage(server: IngestServer) -> Callable[[], None]:
    """A Pay-i that answers 503 until this is called."""
    return break_down(server)


def test_the_oldest_packets_lose_their_words_and_none_its_units(
    server: IngestServer, outage: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Until what waits fits again."""
    with running(HttpSink(Target(server.url)), Retry(queue_max_bytes=5 * FULL, queue_interval=60)) as queue:
        submit(queue, *(make_packet(f"old-{number}", BODIES) for number in range(5)))
        wait_for(lambda: queue.stats().bodies_dropped == 0 and queue.stats().failures and queue.stats().queued == 5)
        submit(queue, *(make_packet(f"new-{number}", BODIES) for number in range(4)))
        wait_for(lambda: queue.stats().bodies_dropped == 5)
        assert queue.stats().is_conserved
        outage()
        assert queue.flush(10)
        assert (queue.stats().delivered, queue.stats().dropped) == (9, {})
    assert sorted(words_of(server).values(), key=str) == [(False, "queue_full")] * 5 + [(True, None)] * 4
    lines = [record.getMessage() for record in caplog.records if "queue_max_bytes" in record.getMessage()]
    assert lines
    assert re.search(r"of \d packets? request and answer are lost, units are kept", lines[0])


def test_the_oldest_are_first_whatever_happens_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is being sent is not touched; it is in line again when it comes back."""
    monkeypatch.setattr("payi_otel.delivery._item.OVERHEAD_BYTES", 0)
    packet = make_packet()
    backlog = Backlog(
        Retry(queue_max_bytes=420),
        lambda times: None,
        slim=lambda held, why: EncodedPacket(held.json[:10], held.packet),
    )

    def take() -> Item:
        task = backlog.take(0.0)
        assert task is not None
        backlog.end(task, was_taken=False)
        return task.items[0]

    items = [Item(None, None) for _ in range(7)]
    for item in items:
        item.held = EncodedPacket(b"x" * 100, packet)
        backlog.add(item)
        assert take() is item
        if item is items[0]:
            backlog.retry_later(item, DOWN, 0.0)
        elif item is items[3]:
            assert backlog.place(Task([item], sends=False), 0.0) == (None, [])
            backlog.begin_flush(0.0)
            assert take() is items[0], "the probe"
        else:
            assert backlog.place(Task([item], sends=False), 0.0) == (None, [])
    assert [item.size for item in items] == [100, 10, 10, 100, 100, 100, 100]
    backlog.retry_later(items[0], DOWN, 1.0)
    assert [item.size for item in items] == [100, 10, 10, 10, 10, 100, 100]
    assert backlog.counters.bodies_dropped == 4


def test_packets_go_when_no_words_are_left(server: IngestServer, outage: Callable[[], None]) -> None:
    """Counted, as with `queue_max_size`."""
    with running(HttpSink(Target(server.url)), Retry(queue_max_bytes=3 * SLIM, queue_interval=60)) as queue:
        submit(queue, *(make_packet(number, BODIES) for number in range(10)))
        wait_for(lambda: queue.stats().bodies_dropped == 10 and not queue.stats().in_flight)
        account = queue.stats()
        assert account.is_conserved
        assert account.queued + account.dropped["queue_full"] == 10
        assert 3 <= account.queued < 10
        outage()
        assert queue.flush(10)
        assert queue.stats().delivered == account.queued
    assert list(words_of(server).values()) == [(False, "queue_full")] * account.queued


def test_no_limit_keeps_everything(server: IngestServer, outage: Callable[[], None]) -> None:
    """As it was."""
    with running(HttpSink(Target(server.url)), Retry(queue_max_bytes=0, queue_interval=60)) as queue:
        submit(queue, *(make_packet(number, BODIES) for number in range(20)))
        wait_for(lambda: queue.stats().queued == 20)
        outage()
        assert queue.flush(10)
        assert queue.stats().bodies_dropped == 0
    assert set(words_of(server).values()) == {(True, None)}
