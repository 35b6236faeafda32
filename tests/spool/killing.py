"""A process that is killed at a random moment, over and over: what reached the spool arrives. The short form is a test; 200 times: run it.

python tests/spool/killing.py [--times 200] [--sync always] [--seed 1]
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "delivery")]

from delivery_fakes import Target, running  # noqa: E402

from payi_otel.delivery.spool import Spool  # noqa: E402
from payi_otel.exporters.http import HttpSink  # noqa: E402
from payi_otel.testing import Answer, IngestServer  # noqa: E402

VICTIM = f"""
import os, sys, time
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent / "delivery")!r}]
from delivery_fakes import *
from payi_otel.delivery.spool import Spool
from payi_otel.exporters.http import HttpSink

url, directory, name, mode = sys.argv[1:]

class Telling(Spool):
    # Says what is on disk as soon as it is, and not before.
    def write(self, contents):
        records = super().write(contents)
        if records is not None:
            ids = [content.partition(b'"provider_response_id":"chatcmpl-')[2].partition(b'"')[0] for content in contents]
            waited = [time.monotonic() - float(one.rpartition(b"-")[2]) for one in ids]
            os.write(1, b"".join(b"%s %f\\n" % pair for pair in zip(ids, waited)))
        return records

spool = Telling(directory, sync_always=mode == "always")
queue = DeliveryQueue(HttpSink(Target(url)), convert=lambda payload: payload, retry=Retry(), spool=spool)
os.write(1, b"begin\\n")
number = 0
while True:
    began = time.monotonic()
    submit(queue, make_packet(f"{{name}}-{{number}}-{{began}}", {{"provider_request_json": "q" * 500}}))
    number += 1
    time.sleep(0.0005)
"""


@dataclass
class Killed:
    """What came of it."""

    times: int = 0
    written: int = 0
    lost: list[str] = field(default_factory=list)
    duplicates: int = 0
    adopted: int = 0
    waited_ms: list[float] = field(default_factory=list)
    """From the end of a call until its packet is on disk: what a kill may cost."""

    @property
    def window_ms(self) -> float:
        """The 99th percentile of that."""
        return sorted(self.waited_ms)[len(self.waited_ms) * 99 // 100] if self.waited_ms else 0.0


def kill_at_random(times: int, sync: str, seed: int) -> Killed:
    """Kills a process that delivers while the service comes and goes; then all that it left is delivered."""
    chance, killed = random.Random(seed), Killed(times)
    with IngestServer() as server, tempfile.TemporaryDirectory() as directory:
        server.decide(
            lambda request: Answer(503) if chance.random() < 0.3 else Answer(drop_after_commit=True) if chance.random() < 0.1 else None
        )
        written: set[str] = set()
        for turn in range(times):
            for line in _let_live(server.url, directory, f"{turn}", sync, chance.uniform(0.0, 0.3)):
                name, _, waited_s = line.partition(" ")
                written.add(name)
                killed.waited_ms.append(float(waited_s) * 1000)
        server.decide(None)
        with running(HttpSink(Target(server.url)), spool=Spool(directory)) as queue:
            assert queue.replay(60)
            killed.adopted = queue.stats().adopted
            assert queue.stats().corrupt_records <= times, "more than one torn record a process"
        arrived: dict[str, Any] = {packet["body"]["provider_response_id"].removeprefix("chatcmpl-"): packet for packet in server.packets}
        killed.written, killed.lost = len(written), sorted(written - set(arrived))
        killed.duplicates = len(server.duplicates)
        assert server.billed_twice == []
        assert all(packet["body"]["provider_request_json"] == "q" * 500 for packet in arrived.values())
        assert [path.name for path in Path(directory).iterdir() if path.name != "quarantine"] == []
    return killed


def _let_live(url: str, directory: str, name: str, sync: str, seconds: float) -> list[str]:
    """What it said was written before it was killed, and how long that took."""
    command = [sys.executable, "-c", VICTIM, url, directory, name, sync]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begin\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read()
    return [line.decode() for line in said.split(b"\n")[:-1]]


def main() -> int:
    """Prints what came of it; 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--sync", choices=("interval", "always"), default="interval")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    killed = kill_at_random(arguments.times, arguments.sync, arguments.seed)
    print(f"seed {arguments.seed}, sync {arguments.sync}: killed {killed.times} times, {killed.written} packets written, ", end="")
    print(f"{len(killed.lost)} lost, {killed.adopted} left to the next, {killed.duplicates} sent twice and recognised; ", end="")
    print(f"on disk after {killed.window_ms:.1f} ms (p99)")
    return 1 if killed.lost else 0


if __name__ == "__main__":
    sys.exit(main())
