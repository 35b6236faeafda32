"""Rows 18, 27 and 29-32: floods, clocks, hostile values, an event loop, a broken log, and everything at once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import os
import threading
import time
from typing import Any
from unittest import mock

from delivery_fakes import Retry, wait_for
from trial import QUICK, Result, Scale, make, trial

from payi_otel.testing import Answer

HOSTILE: tuple[Any, ...] = (
    "line\r\nxProxy-User-ID: forged",
    "nul\0",
    "日本語" * 20,
    "lone \ud800 surrogate",
    "u" * 70_000,
    float("nan"),
    float("inf"),
    -(2**70),
    b"\xff\xfe",
    object(),
    {1: "a", "1": "b"},
)
_NAMES = {"xproxy-api-key", "xproxy-user-id", "xproxy-instrumented-module"}
"""Every header that any of these packets may have."""


def flood(scale: Scale) -> Result:
    """Far more than fits, with nothing to take it: memory is bounded, words go before costs, and what is dropped is counted."""
    limit = 8_000_000 if scale.is_full else 400_000
    body = {"provider_response_json": "a" * 3000}
    with trial(scale, retry=Retry(queue_interval=0.1, queue_max_bytes=limit)) as one:
        one.server.decide(lambda request: Answer(503))
        one.offer(1)
        wait_for(lambda: one.queue.stats().failures)
        for _ in range(scale.count(20_000)):
            one.offer(1, body=body)
        wait_for(lambda: not one.queue._backlog.inbox and one.queue.stats().in_flight <= 1, 60)
        account = one.queue.stats()
        assert account.is_conserved
        assert account.bodies_dropped > 0
        held = one.queue._backlog.retry_queue._bytes
        assert held <= limit
        one.heal()
        one.drain()
        account = one.queue.stats()
        assert account.delivered + account.dropped.get("queue_full", 0) == account.created
        assert {name["body"]["provider_response_id"] for name in one.server.packets} <= one.issued
        one.result.note = f"{held / 1e6:.1f} of {limit / 1e6:.1f} MB held, {account.bodies_dropped} without bodies"
        return one.finish()


def clock(scale: Scale) -> Result:
    """The wall clock jumps an hour and a month, forth and back: timers do not notice, time stamps are taken."""
    hour, month = 3600.0, 30 * 86400.0
    offset, real = [0.0], time.time

    with mock.patch("time.time", side_effect=lambda: real() + offset[0]), trial(scale) as one:
        for jump in (hour, -hour, month, -month):
            offset[0] = jump
            one.server.decide(lambda request: Answer(503))
            stamp = datetime.datetime.fromtimestamp(real() + jump, datetime.timezone.utc).isoformat()
            began = time.monotonic()
            one.offer(scale.count(100), body={"event_timestamp": stamp})
            wait_for(lambda: one.queue.stats().failures)
            one.heal()
            one.drain()
            assert time.monotonic() - began < 10
        one.check()
        one.result.note = "stamps of the future were dated anew"
        return one.finish()


def hostile(scale: Scale) -> Result:
    """Values that break JSON, headers and lines: each packet is valid, and no header is new."""
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]
    circular: list[Any] = []
    circular.append(circular)
    values = [*HOSTILE, deep, circular]
    with trial(scale) as one:
        for value in values:
            one.offer(1, user_id=value if isinstance(value, str) else "bob", body={"properties": {"hostile": str(type(value))}})
            name = f"odd-{len(one.issued)}"
            packet = make(name, body={"provider_response_json": value})
            one.queue.submit(packet)  # type: ignore[arg-type]
            one.issued.add(packet.response_id)
        one.offer(1, body={"provider_response_json": "x" * 10_000_000})
        assert one.queue.flush(60)
        account = one.queue.stats()
        # What is no text is refused by Pay-i, and by it alone: the JSON was valid.
        assert set(account.dead_lettered) <= {"invalid_json"}
        assert account.delivered + sum(account.dead_lettered.values()) == account.created
        for request in one.server.requests:
            assert not isinstance(request["body"], bytes), "not JSON"
            assert {name for name in request["headers"] if name.startswith("xproxy")} <= _NAMES
        while deep != "end":  # taken apart by hand: Python itself fails on it
            (deep,) = deep
        return one.finish()


def event_loop(scale: Scale) -> Result:
    """An application's event loop, with large prompts and a service that hangs."""
    size = 10_000_000 if scale.is_full else 1_000_000
    gaps: list[float] = []

    async def tick(stop: asyncio.Event) -> None:
        last = time.perf_counter()
        while not stop.is_set():
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - last - 0.001)
            last = time.perf_counter()

    async def application() -> None:
        stop = asyncio.Event()
        ticker = asyncio.ensure_future(tick(stop))
        for _ in range(scale.count(100)):
            one.offer(1, body={"provider_response_json": "日" * (size // 3)})
            await asyncio.sleep(0.02)
        stop.set()
        await ticker

    with trial(scale, timeout_s=30.0) as one:
        one.server.decide(lambda request: Answer(hang=True))
        asyncio.run(application())
        gaps.sort()
        assert one.queue.stats().is_conserved
        one.queue.shutdown(0.0)
        one.result.note = f"loop's gap p99 {gaps[len(gaps) * 99 // 100] * 1000:.1f} ms, longest {gaps[-1] * 1000:.1f} ms"
        return one.finish()


def broken_log(scale: Scale) -> Result:
    """A handler that raises, and one that ends a call itself: no recursion, and no exception reaches anybody."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            one.offer(1)
            raise RuntimeError("a handler of the application's")

    handler = Broken()
    with trial(scale, retry=Retry(queue_interval=0.05)) as one:
        logger = logging.getLogger("payi.faults")
        logger.addHandler(handler)
        one.server.decide(lambda request: Answer(503) if one.chance.random() < 0.5 else None)
        one.offer(scale.count(500), over_s=scale.seconds(5))
        logger.removeHandler(handler)
        one.heal()
        one.drain()
        one.check()
        return one.finish()


def everything(scale: Scale) -> Result:
    """Faults at random, from several threads; at the end all is well."""
    statuses = (500, 502, 503, 504, 401, 404, 302, 408)
    kinds = [
        *(Answer(status) for status in statuses),
        Answer(429, headers={"Retry-After": "0"}),
        Answer(reset=True),
        Answer(drop_after_commit=True),
        Answer(garbage=True),
        Answer(200, "<html>"),
        Answer(delay_s=0.05),
    ]
    with trial(scale, retry=QUICK) as one:
        fault: list[Answer | None] = [None]
        is_over = threading.Event()

        def change() -> None:
            while not is_over.wait(one.chance.uniform(0.02, 2.0 if scale.is_full else 0.1)):
                fault[0] = one.chance.choice([None, *kinds])

        one.server.decide(lambda request: fault[0] if one.chance.random() < 0.7 else None)
        changing = threading.Thread(target=change)
        changing.start()
        one.offer_from_threads(8, scale.count(1500), over_s=scale.seconds(60))
        is_over.set()
        changing.join()
        one.heal()
        one.drain()
        one.check(slim=set())
        with contextlib.suppress(OSError):
            one.result.note = f"{len(os.listdir('/proc/self/fd'))} descriptors; `nox -s soak` goes on for ten minutes"
        return one.finish()
