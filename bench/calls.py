"""What instrumentation adds to a call: this package, two others and the floors, each in a process of its own, measured in turns.

Every figure is the difference to the same call without instrumentation in the same round, and is given as a ratio to a floor: absolute
times differ from machine to machine and from minute to minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from drain import drain
from fault_server import HEALTHY, Fault, FaultServer
from subject import CHUNKS, NAMES

HERE = Path(__file__).parent
OWN, TRACED, PUBLISHED, BARE = "payi-otel", "payi-otel, traced", "payi", "bare"
TO_FILE = "payi-otel, into a file"
NOBODY = "http://127.0.0.1:9"
"""A Pay-i to which nothing is sent."""
FLOOR = ("span", "encode")
"""What a call cannot do without: its span, and its packet."""


@dataclass(frozen=True)
class Measure:
    """One kind of call."""

    name: str
    call: str
    times: int
    per: int = 1
    """Of what, in one call, the cost is told."""
    field: str = "call_us"


MEASURES = (
    Measure("CPU in a plain call", "plain", 200),
    Measure("CPU in all, plain call", "plain", 200, field="total_us"),
    Measure("the same, 20 calls at a time", "plain", 20, field="total_us"),
    Measure("CPU per chunk of a stream", "stream", 3, CHUNKS),
    Measure("CPU with a prompt of 200 KB", "large", 20),
    Measure("CPU per call, 100 at once", "concurrent", 1, 100),
)
ROUNDS_A_PROCESS = 3
"""Then another process takes its place: where things lie in the memory of one makes its calls a third cheaper or dearer."""
GAPS = {"text": "gaps_text", "an image": "gaps_image"}
"""What a prompt of 10 MB is made of, and the calls with it."""
LOOPS = (BARE, OWN, "genai-openai", PUBLISHED)
"""Whose event loops are looked at."""
BACKENDS: dict[str, Fault] = {
    "at once": HEALTHY,
    "in 50 ms": Fault("slow", delay_s=0.05),
    "in 200 ms": Fault("slow", delay_s=0.2),
    "refused": Fault("refused"),
    "never": Fault("hang"),
}
"""How Pay-i answers."""


class Subject:
    """A process of `subject.py`."""

    def __init__(self, name: str, url: str | None = None) -> None:
        command = [sys.executable, "-W", "ignore", str(HERE / "subject.py"), name, *([url] if url else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.name, self.start = name, json.loads(self._output.readline())

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def make(self, call: str, times: int, *, flush: bool = True) -> dict[str, float]:
        """Makes calls, and tells what one of them took."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"call": call, "times": times, "flush": flush}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, float] = json.loads(self._output.readline())
        return answer

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def subjects(names: Sequence[str], url: str | None = None) -> Iterator[list[Subject]]:
    """Processes of these names, each warmed up."""
    made = [Subject(name, url) for name in names]
    try:
        yield made
    finally:
        for one in made:
            one.close()


def measure_cpu(names: Sequence[str], rounds: int) -> dict[str, dict[str, float]]:
    """By measure and subject, the median of what it adds to a call, in µs; `bare` is the call itself."""
    taken: dict[str, dict[str, list[float]]] = {measure.name: {name: [] for name in names} for measure in MEASURES}
    for first in range(0, rounds, ROUNDS_A_PROCESS):
        with subjects(names) as made:
            for one in made:
                for call in ("plain", "stream", "large", "concurrent"):
                    one.make(call, 2)
            for number in range(first, min(first + ROUNDS_A_PROCESS, rounds)):
                turn = made[number % len(made) :] + made[: number % len(made)]
                for measure in MEASURES:
                    took = {one.name: one.make(measure.call, measure.times)[measure.field] / measure.per for one in turn}
                    for name, us in took.items():
                        taken[measure.name][name].append(us if name == BARE else us - took[BARE])
    return {measure: {name: statistics.median(each) for name, each in by_name.items()} for measure, by_name in taken.items()}


def measure_wall(rounds: int) -> dict[str, dict[str, float]]:
    """By Pay-i's behaviour and subject, the median of the wall time that it adds to a plain call, in µs."""
    found: dict[str, dict[str, float]] = {}
    for behaviour, fault in BACKENDS.items():
        with FaultServer() as server:
            server.set_fault(fault)
            names = (BARE, OWN, PUBLISHED) if behaviour != "never" else (BARE, OWN)
            with subjects(names, server.url) as made:
                took: dict[str, list[float]] = {one.name: [] for one in made}
                for _ in range(rounds):
                    for one in made:
                        took[one.name].append(one.make("plain", 3 if one.name == PUBLISHED else 20, flush=False)["wall_us"])
            median = {name: statistics.median(each) for name, each in took.items()}
            found[behaviour] = {name: us - median[BARE] for name, us in median.items() if name != BARE}
    return found


def measure_gaps(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """By prompt and subject, the medians of how much later an event loop is than with the bare SDK, in ms; `bare`: how late it is."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    with FaultServer() as server, subjects(LOOPS, server.url) as made:
        for one in made:
            one.make("plain", 2)
        for prompt, call in GAPS.items():
            taken: dict[str, dict[str, list[float]]] = {one.name: {"gap_made_ms": [], "gap_behind_ms": []} for one in made}
            for _ in range(rounds):
                took = {one.name: one.make(call, 1) for one in made}
                for name, fields in taken.items():
                    for field, each in fields.items():
                        each.append(took[name][field] - (took[BARE][field] if name != BARE else 0.0))
            found[prompt] = {name: {field: statistics.median(each) for field, each in by.items()} for name, by in taken.items()}
    return found


def measure_start(rounds: int) -> dict[str, dict[str, float]]:
    """By subject, the medians of its set-up: ms of wall time and MB. Nothing is sent yet."""
    starts: dict[str, list[dict[str, float]]] = {OWN: [], TO_FILE: [], "genai-openai": [], PUBLISHED: [], "wrapper": [], "span": []}
    for _ in range(rounds):
        for name, each in starts.items():
            one = Subject(OWN if name == TO_FILE else name, NOBODY if name == OWN else None)
            each.append(one.start)
            one.close()
    return {
        name: {field: statistics.median(start[field] for start in each) for field in ("setup_ms", "setup_mb")}
        for name, each in starts.items()
    }


def measure_queue(count: int) -> dict[str, float]:
    """The memory that packets take which wait for a Pay-i that is down."""
    with FaultServer() as server:
        server.set_fault(Fault("refused"))
        with subjects((OWN,), server.url) as (one,):
            before = one.make("waiting", 200, flush=False)["rss_mb"]
            after = one.make("waiting", count, flush=False)["rss_mb"]
    return {"packets": count, "kb": 4, "mb": after - before}


def rows(results: dict[str, Any]) -> Iterator[str]:
    """The tables, of figures that were measured by this."""
    cpu, shown = results["cpu"], (OWN, TRACED, "genai-openai", PUBLISHED)
    # One floor for all kinds of a call: its own would drown in the noise of the larger ones.
    floor = sum(max(cpu[MEASURES[0].name][name], 0.0) for name in FLOOR)
    yield "| CPU that is added, ÷ the floor | payi-otel | the same with spans | genai-openai | published SDK |"
    yield "|---|---|---|---|---|"
    for measure, added in cpu.items():
        if "chunk" not in measure:
            yield f"| {measure} | " + " | ".join(f"{added[name] / floor:.1f}" for name in shown) + " |"
    chunk = next(added for measure, added in cpu.items() if "chunk" in measure)
    yield (
        "| CPU per chunk of a stream, ÷ genai-openai's | "
        + " | ".join(f"{chunk[name] / chunk['genai-openai']:.2f}" for name in shown)
        + " |"
    )
    yield ""
    yield "| wall time that is added to a call, where Pay-i answers | payi-otel, ms | published SDK, ms |"
    yield "|---|---|---|"
    for behaviour, wall in results["wall"].items():
        other = f"{wall[PUBLISHED] / 1000:.1f}" if PUBLISHED in wall else "minutes: not run"
        yield f"| {behaviour} | {wall[OWN] / 1000:.1f} | {other} |"
    yield ""
    yield "| how much later an event loop is, prompt of 10 MB | bare SDK, ms | payi-otel, more | genai-openai, more | published SDK, more |"
    yield "|---|---|---|---|---|"
    for field, when in {"gap_made_ms": "at worst while the call is made", "gap_behind_ms": "p99 behind the call"}.items():
        for prompt, late in results["gaps"].items():
            yield (f"| {when}, {prompt} | " + " | ".join(f"{late[name][field]:.1f}" for name in LOOPS) + " |")
    yield ""
    yield "| set-up, beside importing the SDK | time, ÷ the span floor's | MB |"
    yield "|---|---|---|"
    for name, start in results["start"].items():
        yield f"| {name} | {start['setup_ms'] / results['start'][FLOOR[0]]['setup_ms']:.1f} | {start['setup_mb']:.0f} |"
    yield ""
    queue, drained = results["queue"], results["drained"]
    yield f"{queue['packets']:,} packets of {queue['kb']} KB that wait for a Pay-i that is down take {queue['mb']:.0f} MB."
    yield f"Where Pay-i answers in 5 ms, packets of 2 KB are drained at {drained['together']:.0f} a second together,"
    yield f"and at {drained['single']:.0f} one by one."


def main() -> int:
    """Measures, prints the table and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how often each subject has its turn (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=HERE / "results.json", help="where the figures go (default: %(default)s)")
    parser.add_argument("--show", action="store_true", help="only print the tables of the figures that are there")
    arguments = parser.parse_args()
    if arguments.show:
        print("\n".join(rows(json.loads(arguments.output.read_text()))))
        return 0
    results: dict[str, Any] = {"python": platform.python_version(), "rounds": arguments.rounds}
    results["cpu"] = measure_cpu(NAMES, arguments.rounds)
    results["wall"] = measure_wall(max(arguments.rounds // 3, 3))
    results["gaps"] = measure_gaps(max(arguments.rounds // 3, 3))
    results["start"] = measure_start(max(arguments.rounds // 3, 3))
    results["queue"] = measure_queue(10_000)
    results["drained"] = {"single": drain(False, 0.005, 2000), "together": drain("auto", 0.005, 2000)}
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    print("\n".join(rows(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
