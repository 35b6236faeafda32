"""Instructions that a call costs, counted by valgrind's cachegrind: whatever else the machine does, they are the same.

`--check` is what CI runs: it fails where a call costs far more than it is allowed, and says so and passes where there is no valgrind.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from subject import CHUNKS, NAMES

HERE: Final = Path(__file__).parent
VALGRIND: Final = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
CALLS: Final = {"plain": (20, 120), "stream": (2, 7)}
"""By kind of call: how many are made, and how many more."""
IN_CALL: Final = "in the call"
WARM: Final = 2
SEEDS: Final = 3
"""Python's hashes decide where things lie in its tables: a call takes 4 % more or less with other ones."""
ALLOWED: Final = {
    "payi-otel": {"plain": 1_300_000, IN_CALL: 550_000, "stream": 60_000},
    "payi-otel, traced": {"plain": 2_000_000, IN_CALL: 1_200_000, "stream": 60_000},
}
"""About twice what docs/performance.md says: a check is to find a call that walks the stack or copies its body, not a new Python."""


def count(name: str, seed: int) -> dict[str, float]:
    """The instructions of one more plain call, background work included; `in the call`: without it; `stream`: of one more chunk."""
    counts = [(call, times, True) for call, both in CALLS.items() for times in both]
    counts += [("plain", times, False) for times in CALLS["plain"]]
    asked = [{"call": call, "times": WARM} for call in CALLS] + [{"apart": counts}]
    run = subprocess.run(
        [*VALGRIND, sys.executable, "-W", "ignore", str(HERE / "subject.py"), name],
        input="".join(json.dumps(one) + "\n" for one in asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
    )
    found = [int(number.replace(",", "")) for number in re.findall(r"I\s+refs:\s+([\d,]+)", run.stderr)]
    if len(found) != len(counts) + 1:  # each child's, and their parent's
        raise RuntimeError(run.stderr[-2000:])
    of = dict(zip(counts, found, strict=False))

    def one(call: str, *, behind: bool) -> float:
        few, many = CALLS[call]
        return (of[call, many, behind] - of[call, few, behind]) / (many - few)

    plain, stream = one("plain", behind=True), one("stream", behind=True)
    return {"plain": plain, IN_CALL: one("plain", behind=False), "stream": (stream - plain) / CHUNKS}


def main() -> int:
    """Counts, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only this package, and fail where it costs far too much")
    parser.add_argument("--subjects", nargs="*", default=[name for name in NAMES if name != "bare"], help="default: %(default)s")
    arguments = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("no valgrind here: instructions are not counted")
        return 0
    names = ["bare", *(ALLOWED if arguments.check else arguments.subjects)]
    columns = {"plain": "a call, in all", IN_CALL: "in the call itself", "stream": "a chunk"}
    jobs = [(name, seed) for name in names for seed in range(1 if arguments.check else SEEDS)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        counted = dict(zip(jobs, pool.map(lambda job: count(*job), jobs), strict=True))
    is_right = True
    print("| instructions that are added to | " + " | ".join(columns.values()) + " |")
    print("|---|" + "---|" * len(columns))
    for name in names[1:]:
        pairs = [(counted[name, seed], counted["bare", seed]) for one, seed in jobs if one == name]
        added = {kind: statistics.mean(own[kind] - bare[kind] for own, bare in pairs) for kind in columns}
        print(f"| {name} | " + " | ".join(f"{number:,.0f}" for number in added.values()) + " |", flush=True)
        is_right = is_right and all(added[call] <= allowed for call, allowed in ALLOWED.get(name, {}).items())
    return 0 if is_right or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
