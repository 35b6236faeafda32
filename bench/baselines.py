"""What becomes of calls while the server fails for half a minute: this package, OpenTelemetry's batch exporter, the published SDK.

Figures are reported, not judged; but the exit status is 1 where this package lost a packet.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fault_server import HEALTHY, Fault, FaultServer, Report
from senders import SENDERS, Sender

FAULTS = {"503": Fault("status", 503), "500": Fault("status", 500), "refused": Fault("refused"), "hang": Fault("hang")}
USUAL = ("503", "500", "refused")
"""A hang is run on demand: it holds up the published SDK's callers for three minutes each."""
OWN = "payi-otel"
CALM_S = 5.0
"""Before the fault, so that connections stand when it comes."""
AFTER_S = 15.0
"""Calls go on so long after it."""
DRAIN_S = 60.0
QUIET_S = 15.0
"""When nothing has come for so long, the sender is shut down: all three try again at least every 10 s, but for requests that hang."""
COLUMNS = (
    "sender | fault | offered | in the fault | delivered % | in the fault % | lost | duplicates | "
    "blocked p50 / p99 / max ms | drained s | shutdown s"
)


@dataclass(frozen=True)
class Plan:
    """One run."""

    fault_s: float
    rate: float
    threads: int

    @property
    def events(self) -> int:
        """How many calls a caller that is never held up makes."""
        return round(self.rate * (CALM_S + self.fault_s + AFTER_S))


@dataclass(frozen=True)
class Call:
    """One call as its caller saw it."""

    event_id: str
    at: float
    """When it ended, by the monotonic clock."""
    blocked_s: float


@dataclass(frozen=True)
class Run:
    """What came of one sender under one fault."""

    sender: str
    fault: str
    calls: list[Call]
    report: Report
    began: float
    healed: float
    shutdown_s: float

    @property
    def lost(self) -> int:
        """Calls that never arrived."""
        return len(self.calls) - len(self.report.arrivals)

    def to_row(self) -> str:
        """A row of the table."""
        during = [call for call in self.calls if self.began <= call.at < self.healed]
        arrived = [self.report.arrivals[call.event_id] for call in during if call.event_id in self.report.arrivals]
        blocked = sorted(call.blocked_s * 1000 for call in self.calls)
        p99 = blocked[int(len(blocked) * 0.99)]
        cells = (
            self.sender,
            self.fault,
            len(self.calls),
            len(during),
            f"{100 * len(self.report.arrivals) / len(self.calls):.1f}",
            f"{100 * len(arrived) / max(1, len(during)):.1f}",
            self.lost,
            self.report.duplicates,
            f"{statistics.median(blocked):.2f} / {p99:.1f} / {blocked[-1]:.0f}",
            f"{max(0.0, max(arrived, default=self.healed) - self.healed):.1f}",
            f"{self.shutdown_s:.1f}",
        )
        return f"| {' | '.join(map(str, cells))} |"


def main() -> int:
    """Every sender under every fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the server fails (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=20, help="callers (default: %(default)s)")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=USUAL)
    parser.add_argument("--senders", nargs="+", choices=SENDERS, default=list(SENDERS))
    arguments = parser.parse_args()
    plan = Plan(arguments.seconds, arguments.rate, arguments.threads)
    os.environ["NO_PROXY"] = "*"  # the senders' processes inherit it
    print(f"| {COLUMNS} |\n|{'---|' * len(COLUMNS.split(' | '))}", flush=True)
    lost = 0
    for fault, sender in itertools.product(arguments.faults, arguments.senders):
        run = run_one(sender, fault, plan)
        print(run.to_row(), flush=True)
        lost += run.lost if sender == OWN else 0
    if lost:
        print(f"{OWN} lost {lost} packets", file=sys.stderr)
    return 1 if lost else 0


def run_one(sender: str, fault: str, plan: Plan) -> Run:
    """One sender under one fault, with a server and a process of its own."""
    with FaultServer() as server, offering(sender, server.url, plan) as child:
        child.recv()
        marks: list[float] = []
        breaking = threading.Thread(target=_fail, args=(server, FAULTS[fault], plan.fault_s, marks))
        breaking.start()
        child.send("go")
        calls = child.recv()
        breaking.join()
        _wait_for_rest(server, len(calls))
        child.send("close")
        shutdown_s = child.recv()
        return Run(sender, fault, calls, server.report(), marks[0], marks[1], shutdown_s)


def _fail(server: FaultServer, fault: Fault, fault_s: float, marks: list[float]) -> None:
    time.sleep(CALM_S)
    server.set_fault(fault)
    marks.append(time.monotonic())
    time.sleep(fault_s)
    marks.append(time.monotonic())
    server.set_fault(HEALTHY)


def _wait_for_rest(server: FaultServer, events: int) -> None:
    now = changed = time.monotonic()
    deadline = now + DRAIN_S
    count = 0
    while count < events and now < min(deadline, changed + QUIET_S):
        time.sleep(0.1)
        before, count = count, server.count()
        now = time.monotonic()
        changed = now if count != before else changed


@contextmanager
def offering(sender: str, url: str, plan: Plan) -> Iterator[Connection]:
    """A process that makes the calls; talked to by its pipe."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_offer, args=(theirs, sender, url, plan), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.join(DRAIN_S)
        process.kill()


def _offer(pipe: Connection, name: str, url: str, plan: Plan) -> None:
    logging.getLogger().addHandler(logging.NullHandler())  # else each failure's lines go to stderr
    sender = SENDERS[name](url)
    pipe.send("ready")
    pipe.recv()
    pipe.send(_call_all(sender, plan))
    pipe.recv()
    began = time.monotonic()
    sender.close()
    pipe.send(time.monotonic() - began)


def _call_all(sender: Sender, plan: Plan) -> list[Call]:
    calls: list[Call] = []
    numbers = iter(range(plan.events))
    callers = [threading.Thread(target=_call, args=(sender, plan, index, numbers, calls)) for index in range(plan.threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return calls


def _call(sender: Sender, plan: Plan, index: int, numbers: Iterator[int], calls: list[Any]) -> None:
    """Calls at its pace. A caller that is held up does not make up for it: neither would a program's thread."""
    period_s = plan.threads / plan.rate
    time.sleep(period_s * index / plan.threads)
    due = time.monotonic()
    for number in numbers:
        event_id = f"event-{number}"
        began = time.monotonic()
        sender.send(event_id)
        calls.append(Call(event_id, began, time.monotonic() - began))
        due = max(due + period_s, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    sys.exit(main())
