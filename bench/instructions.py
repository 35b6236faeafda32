"""Instructions that a call costs, counted by valgrind's cachegrind: the same on every run, whatever else the machine does.

`--check` is what CI runs: it fails where a call costs far more than it is allowed, and says so and passes where there is no valgrind.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from subject import NAMES

HERE: Final = Path(__file__).parent
VALGRIND: Final = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
CALLS: Final = {"plain": (20, 120, 1), "stream": (2, 7, 200)}
"""By kind of call: how many are made, how many more, and of how many things in one its cost is told."""
IN_CALL: Final = "in the call"
WARM: Final = 2
ALLOWED: Final = {
    "payi-otel": {"plain": 1_300_000, IN_CALL: 550_000, "stream": 60_000},
    "payi-otel, traced": {"plain": 2_000_000, IN_CALL: 1_200_000, "stream": 60_000},
}
"""About twice what docs/performance.md says: a check is to find a call that walks the stack or copies its body, not a new Python."""


def count(name: str) -> dict[str, float]:
    """By kind of call, the instructions of one more of them, background work included; `in the call`: of a plain one, without it."""
    counts = [(call, times, True) for call, (few, many, _) in CALLS.items() for times in (few, many)]
    counts += [("plain", times, False) for times in CALLS["plain"][:2]]
    asked = [{"call": call, "times": WARM} for call in CALLS] + [{"apart": counts}]
    run = subprocess.run(
        [*VALGRIND, sys.executable, "-W", "ignore", str(HERE / "subject.py"), name],
        input="".join(json.dumps(one) + "\n" for one in asked),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    found = [int(number.replace(",", "")) for number in re.findall(r"I\s+refs:\s+([\d,]+)", run.stderr)]
    if len(found) != len(counts) + 1:  # each child's, and their parent's
        raise RuntimeError(run.stderr[-2000:])
    of = dict(zip(counts, found, strict=False))

    def one(call: str, *, behind: bool) -> float:
        few, many, _ = CALLS[call]
        return (of[call, many, behind] - of[call, few, behind]) / (many - few)

    return {**{call: one(call, behind=True) for call in CALLS}, IN_CALL: one("plain", behind=False)}


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
    columns = {"plain": ("a call, in all", 1), IN_CALL: ("in the call itself", 1), "stream": ("a chunk", CALLS["stream"][2])}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        counted = dict(zip(names, pool.map(count, names), strict=True))
    bare, is_right = counted.pop("bare"), True
    print("| instructions that are added to | " + " | ".join(column for column, _ in columns.values()) + " |")
    print("|---|" + "---|" * len(columns))
    for name, counts in counted.items():
        added = {kind: (counts[kind] - bare[kind]) / per for kind, (_, per) in columns.items()}
        print(f"| {name} | " + " | ".join(f"{number:,.0f}" for number in added.values()) + " |", flush=True)
        is_right = is_right and all(added[call] <= allowed for call, allowed in ALLOWED.get(name, {}).items())
    return 0 if is_right or not arguments.check else 1


if __name__ == "__main__":
    sys.exit(main())
