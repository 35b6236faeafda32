"""Delivery under random faults for minutes on end: the account must balance at every look, and at the end every packet has arrived."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import math
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fault_server import API_KEY, HEALTHY, Fault, FaultServer, Report
from payi_otel import Payi
from payi_otel.clients import to_target
from payi_otel.config import load_settings
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.delivery.spool import Spool
from payi_otel.delivery.stats import Stats
from payi_otel.exporters.http import HttpSink
from payi_otel.packets.model import IngestPacket

KINDS: tuple[Callable[[random.Random], Fault], ...] = (
    lambda rng: Fault("status", 503),
    lambda rng: Fault("status", 500),
    lambda rng: Fault("status", 429, retry_after_s=rng.randint(1, 5)),
    lambda rng: Fault("status", 401),
    lambda rng: Fault("refused"),
    lambda rng: Fault("reset"),
    lambda rng: Fault("lost_reply"),
    lambda rng: Fault("hang"),
    lambda rng: Fault("slow", delay_s=rng.uniform(0.1, 3.0)),
    lambda rng: Fault("html"),
)
FAULT_S = (1.0, 60.0)
CALM_S = (1.0, 10.0)
WARM_S = 10.0
"""Healthy at first, so that there is something to compare with."""
REST_S = 5
FLUSH_S = 180.0
TICK_S = 0.02
LOOK_S = 0.001
LINE_S = 10
QUIET_PACKETS = 50
"""With fewer than these on their way, memory and files are those of a queue at rest."""
BODY_CHARS = 4000
FLAT_FACTOR = 1.5
FLAT_MARGIN = {"rss_mb": 16.0, "fds": 8.0}
"""What an allocator and a connection pool may keep for themselves."""


@dataclass(frozen=True)
class Sample:
    """The process at one moment."""

    at_s: float
    rss_mb: float
    fds: float
    is_quiet: bool


class Soak:
    """One run: what is shared by the threads that submit, break, watch and measure."""

    def __init__(self, queue: DeliveryQueue, server: FaultServer, *, rate: float, rng: random.Random) -> None:
        self.queue, self.server, self.rate, self.rng = queue, server, rate, rng
        self.fault = HEALTHY
        self.faults_done: dict[str, int] = {}
        self.issued = 0
        self.looks = 0
        self.violations: list[str] = []
        self.samples: list[Sample] = []
        self.ended = threading.Event()
        self.unwatched = threading.Event()

    def submit(self) -> None:
        """Keeps to the rate on the whole, whatever a single tick took."""
        filler = "x" * BODY_CHARS
        began = time.monotonic()
        while not self.ended.wait(TICK_S):
            for _ in range(round((time.monotonic() - began) * self.rate) - self.issued):
                self.queue.submit(to_packet(self.issued, filler))  # type: ignore[arg-type]
                self.issued += 1

    def fail(self) -> None:
        """One fault after another, each kind once before any comes again."""
        self.ended.wait(WARM_S)
        while not self.ended.is_set():
            for make_fault in self.rng.sample(KINDS, len(KINDS)):
                if self.ended.wait(self.rng.uniform(*CALM_S)):
                    return
                self.fault = make_fault(self.rng)
                self.faults_done[str(self.fault)] = self.faults_done.get(str(self.fault), 0) + 1
                self.server.set_fault(self.fault)
                self.ended.wait(math.exp(self.rng.uniform(*map(math.log, FAULT_S))))
                self.server.set_fault(HEALTHY)
                self.fault = HEALTHY

    def watch(self) -> None:
        """Looks at the account all the time."""
        before = Stats()
        while not self.unwatched.wait(LOOK_S):
            now = self.queue.stats()
            self.looks += 1
            if not now.is_conserved or now.created < before.created or now.settled < before.settled:
                self.violations.append(f"after {before}: {now}")
            before = now

    def measure(self, seconds: float) -> None:
        """Runs in the main thread; a line every 10 s."""
        began = time.monotonic()
        for second in range(1, round(seconds) + 1):
            time.sleep(max(0.0, began + second - time.monotonic()))
            account = self.take_sample(second)
            if second % LINE_S == 0:
                print(to_line(second, self.fault, account, self.samples[-1]), flush=True)

    def settle(self, timeout_s: float) -> None:
        """Flushes, and measures what a queue at rest keeps. Begins when no more is submitted and the server is healthy."""
        began = time.monotonic()
        is_flushed = self.queue.flush(timeout_s)
        print(f"flushed in {time.monotonic() - began:.1f} s: {is_flushed}")
        for _ in range(REST_S):
            time.sleep(1)
            self.take_sample(self.samples[-1].at_s + 1)

    def take_sample(self, second: float) -> Stats:
        """Measures the process; the account at that moment."""
        account = self.queue.stats()
        is_quiet = self.fault is HEALTHY and account.queued + account.in_flight < QUIET_PACKETS
        if is_quiet:
            give_back()
        self.samples.append(Sample(second, rss_mb(), open_fds(), is_quiet))
        return account


def main() -> int:
    """Runs it and says what did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=200.0, help="packets a second (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the faults (default: a new one)")
    parser.add_argument("--spool", help="a directory that keeps packets on disk until they are delivered; it must be empty afterwards")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    os.environ["NO_PROXY"] = "*"
    logging.getLogger("payi.instrument").addHandler(logging.NullHandler())  # its lines are not what is looked at here
    with FaultServer() as server:
        threads_before = threading.active_count()
        queue = make_queue(server.url, arguments.spool)
        soak = Soak(queue, server, rate=arguments.rate, rng=random.Random(arguments.seed))
        with running(soak.watch, until=soak.unwatched):
            with running(soak.submit, soak.fail, until=soak.ended):
                soak.measure(arguments.minutes * 60)
            soak.settle(FLUSH_S)
            queue.shutdown()
        account, report = queue.stats(), server.report()
        print(to_line(round(arguments.minutes * 60), HEALTHY, account, Sample(0, rss_mb(), open_fds(), is_quiet=True)))
        threads_left = threading.active_count() - threads_before
    print(f"faults: {soak.faults_done}; {soak.looks} looks at the account; {report.duplicates} duplicates at the server")
    wrong = [*check_account(soak, account, report), *check_flat(soak.samples)]
    wrong += [f"{threads_left} threads are left after shutdown"] if threads_left else []
    wrong += [f"{name} is left in the spool" for name in (os.listdir(arguments.spool) if arguments.spool else ())]
    print("\n".join(wrong) or "all held")
    return 1 if wrong else 0


def make_queue(url: str, spool: str | None) -> DeliveryQueue:
    """The queue as `payi_instrument()` makes it, but that a packet is submitted as it is."""
    sink = HttpSink(to_target(Payi(api_key=API_KEY, base_url=url)))
    settings = load_settings({})
    return DeliveryQueue(
        sink,
        convert=lambda payload: payload,  # type: ignore[arg-type, return-value]
        retry=settings.ingest_retry,
        exit_timeout_s=settings.exit_timeout_s,
        spool=Spool(spool) if spool else None,
    )


def to_packet(number: int, filler: str) -> IngestPacket:
    """A packet of 0.3 to 4 kB, by its number."""
    return IngestPacket(
        {
            "category": "system.openai",
            "resource": "gpt-5",
            "units": {"text": {"input": 10, "output": 5}},
            "event_timestamp": "2026-01-01T00:00:00+00:00",
            "http_status_code": 200,
            "provider_response_id": f"event-{number}",
            "provider_response_json": filler[: number * 997 % BODY_CHARS],
        },
        module="openai/3.53.0",
        use_case_name="soak",
    )


def check_account(soak: Soak, account: Stats, report: Report) -> list[str]:
    """What does not hold of the packets."""
    issued = {f"event-{number}" for number in range(soak.issued)}
    missing, foreign = issued - report.arrivals.keys(), report.arrivals.keys() - issued
    checks = {
        f"the account did not balance at {len(soak.violations)} looks, first {soak.violations[:1]}": not soak.violations,
        f"{len(missing)} packets never arrived, e.g. {sorted(missing)[:5]}": not missing,
        f"{len(foreign)} packets nobody sent, e.g. {sorted(foreign)[:5]}": not foreign,
        f"{soak.issued} issued, but {account}": account.created == account.delivered == soak.issued,
        f"{report.duplicates} duplicates, more than {account.duplicates_possible} possible": report.duplicates
        <= account.duplicates_possible,
    }
    return [text for text, holds in checks.items() if not holds]


def check_flat(samples: list[Sample]) -> list[str]:
    """Compares the last quarter's quiet moments with the first quarter's."""
    if not samples:
        return ["nothing was measured"]
    end_s = samples[-1].at_s
    first = [sample for sample in samples if sample.is_quiet and sample.at_s <= end_s / 4]
    last = [sample for sample in samples if sample.is_quiet and sample.at_s > end_s * 3 / 4]
    if not first or not last:
        print(f"memory and files were not compared: {len(first)} quiet moments at first, {len(last)} at last")
        return []
    wrong = []
    for name, margin in FLAT_MARGIN.items():
        before, after = (statistics.mean(getattr(sample, name) for sample in quarter) for quarter in (first, last))
        print(f"{name}: {before:.1f} in the first quarter, {after:.1f} in the last")
        if after > FLAT_FACTOR * before + margin:
            wrong.append(f"{name} grew from {before:.1f} to {after:.1f}")
    return wrong


def to_line(second: int, fault: Fault, account: Stats, sample: Sample) -> str:
    """The account, memory and files, in one line."""
    given_up = {**account.dead_lettered, **account.dropped}
    return (
        f"{second:5d} s {fault!s:10} created {account.created} delivered {account.delivered} queued {account.queued} "
        f"in flight {account.in_flight} given up {given_up} retries {account.retries} "
        f"duplicates possible {account.duplicates_possible} reported {account.duplicates_reported} "
        f"RSS {sample.rss_mb:.0f} MB fds {sample.fds:.0f}"
    )


def give_back() -> None:
    """Makes the allocator return what is free: after a long queue it keeps tens of MB, which would look like a leak, or hide one."""
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def rss_mb() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_fds() -> float:
    """File descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def running(*targets: Callable[[], None], until: threading.Event) -> Iterator[None]:
    """Threads that end when the block does."""
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        until.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    sys.exit(main())
