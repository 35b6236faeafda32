"""The conservation law: at any instant, every packet is in exactly one place."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
from delivery_fakes import DEAD, DELIVERED, DOWN, FAILED, Retry, Target, make_packet, running, submit

from payi_otel.delivery.outcome import Fate, Outcome
from payi_otel.exporters.http import HttpSink
from payi_otel.packets.model import IngestPacket
from payi_otel.testing import Answer, CapturingSink, IngestServer

THREADS = 20
EACH = 100
OUTCOMES = (*[DELIVERED] * 6, DEAD, DOWN, FAILED, Outcome(Fate.RETRY, "http_429", retry_after_s=0.001, status=429))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [0, 50], ids=["unlimited", "limited"])
def test_the_law_holds_at_every_instant(seed: int, size: int) -> None:
    """20 threads submit, the sink fails at random, and a reader looks all the time."""
    chance = random.Random(seed)
    lock = threading.Lock()

    def decide(packet: IngestPacket) -> Outcome:
        with lock:
            return chance.choice(OUTCOMES)

    def convert(payload: object) -> IngestPacket | None:
        with lock:
            luck = chance.random()
        if luck < 0.01:
            raise ValueError
        return None if luck < 0.02 else payload

    broken = []
    done = threading.Event()
    with running(CapturingSink(decide), Retry(queue_interval=0.005, queue_max_size=size), convert=convert) as queue:

        def watch() -> None:
            while not done.is_set():
                stats = queue.stats()
                if not stats.is_conserved or min(stats.queued, stats.in_flight) < 0:
                    broken.append(stats)

        def call(part: int) -> None:
            for number in range(EACH):
                submit(queue, make_packet(f"{part}-{number}"))

        watcher = threading.Thread(target=watch)
        watcher.start()
        callers = [threading.Thread(target=call, args=(part,)) for part in range(THREADS)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert queue.flush(20)
        queue.shutdown(1)
        done.set()
        watcher.join()
        stats = queue.stats()
    assert broken == []
    assert (stats.queued, stats.in_flight, stats.settled) == (0, 0, stats.created)
    assert THREADS * EACH * 0.9 < stats.created < THREADS * EACH


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("bulk", "count"), [(False, 300), ("auto", 3000)])
def test_both_sides_agree_after_random_faults(seed: int, bulk: Any, count: int) -> None:
    """Over real HTTP: what the queue counts as delivered, the server has, once."""
    chance = random.Random(seed)
    lock = threading.Lock()
    faults = [
        Answer(503),
        Answer(500),
        Answer(429, headers={"Retry-After": "0"}),
        Answer(reset=True),
        Answer(drop_after_commit=True),
        Answer(garbage=True),
        Answer(200, b"<html>"),
        Answer(502, b""),
        Answer(401),
    ]

    def decide(request: object) -> Answer | None:
        with lock:
            return chance.choice(faults) if chance.random() < 0.2 else None

    with IngestServer() as server:
        server.decide(decide)
        with running(HttpSink(Target(server.url), bulk=bulk), Retry(queue_interval=0.005), exit_timeout_s=10.0) as queue:
            submit(queue, *(make_packet(number, user_id=chance.choice(["bob", "José"])) for number in range(count)))
            assert queue.flush(30)
            stats = queue.stats()
        assert (stats.created, stats.delivered) == (count, count)
        assert sorted(packet["body"]["provider_response_id"] for packet in server.packets) == sorted(f"chatcmpl-{n}" for n in range(count))
        assert len(server.duplicates) <= stats.duplicates_possible
        assert stats.duplicates_possible > 0
        assert server.billed_twice == []
        assert stats.attempts == count + stats.retries
