"""The fault plan: what goes wrong, what became of each packet. Prints a table; exits with 1 where a promise was broken.

python tests/faults/plan.py [--short] [--row N ...] [--seed N]
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / name) for name in ("support", "delivery", "spool"))]

import rows_answers as answers  # noqa: E402
import rows_disk as disk  # noqa: E402
import rows_load as load  # noqa: E402
import rows_network as network  # noqa: E402
import rows_process as process  # noqa: E402
from trial import SEEN, SOMETIMES, Result, Scale  # noqa: E402


class Row(NamedTuple):
    """One fault."""

    number: int
    fault: str
    run: Callable[[Scale], Result]
    is_test: bool = False
    """The suite has it anyway."""
    shows: frozenset[str] = frozenset()
    """What happens in it whenever it is run: without that it would prove nothing."""


ROWS: Final = (
    Row(1, "connection refused", network.refused, shows=frozenset({"retry", "down", "back"})),
    Row(2, "name does not resolve", network.no_name),
    Row(3, "connection not answered", network.swallowed),
    Row(4, "reset before the request is read", network.reset),
    Row(5, "answers lost after commit", network.reply_lost, shows=frozenset({"possible duplicate"})),
    Row(6, "requests hang, answers drip", network.hang),
    Row(6, "answers that are no HTTP", network.not_http),
    Row(7, "500, 502, 503, 504", answers.failing),
    Row(8, "429 with Retry-After", answers.retry_after),
    Row(9, "key refused, then replaced", answers.key_replaced, shows=frozenset({"held", "key replaced"})),
    Row(10, "redirects to another server", network.redirected),
    Row(11, "200 that is none", answers.not_believed),
    Row(12, "poison in a batch of 100", answers.poison_in_a_batch, shows=frozenset({"refused", "halved"})),
    Row(13, "two items of a batch fail", answers.parts_of_a_batch),
    Row(14, "413 above 256 KiB", answers.too_large),
    Row(15, "409 and duplicate_request", answers.known_already, shows=frozenset({"duplicate"})),
    Row(16, "a packet that breaks the server", answers.breaks_the_server, shows=frozenset({"poison"})),
    Row(17, "TLS that cannot be trusted", network.tls),
    Row(18, "a flood with nothing to take it", load.flood, shows=frozenset({"dropped", "bodies left out"})),
    Row(19, "exit matrix, three modes", process.EXITS, is_test=True),
    Row(20, "SIGTERM under web servers", process.SERVERS, is_test=True),
    Row(21, "forks and multiprocessing", process.FORKS, is_test=True),
    Row(22, "kill -9", disk.killed),
    Row(23, "power cut", disk.power_cut),
    Row(24, "full, read-only, failing disk", disk.full_or_failing),
    Row(25, "damaged spool", disk.damaged),
    Row(26, "processes share a spool", disk.shared),
    Row(27, "the wall clock jumps", load.clock),
    Row(28, "threads refused at exit", process.LATE, is_test=True),
    Row(29, "hostile values", load.hostile),
    Row(30, "an event loop, large prompts", load.event_loop),
    Row(31, "a log that fails", load.broken_log),
    Row(32, "everything at once", load.everything),
)
_COUNTS: Final = ("created", "delivered", "duplicates", "dead", "dropped", "requests")
HEADER: Final = ("row", "fault", *_COUNTS, "MB", "drain s", "exit s", "p99 ms", "seed", "note")


def to_cells(row: Row, result: Result, seed: int) -> tuple[str, ...]:
    """A line of the table."""

    def by_name(counts: dict[str, int]) -> str:
        return " ".join(f"{name}:{count}" for name, count in counts.items()) or "0"

    counts = (result.created, result.delivered, result.duplicates)
    times = (f"{result.peak_mb:.1f}", f"{result.drain_s:.1f}", f"{result.exit_s:.1f}", f"{result.p99_ms:.3f}")
    dead, dropped = by_name(result.dead), by_name(result.dropped)
    return (str(row.number), row.fault, *map(str, counts), dead, dropped, str(result.requests), *times, str(seed), result.note)


def main() -> int:
    """Runs the rows one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="every fault for a moment only")
    parser.add_argument("--row", type=int, action="append", help="only these")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    scale = Scale(is_full=not arguments.short, seed=arguments.seed)
    lines, broken = [HEADER], 0
    for row in ROWS:
        if row.number not in arguments.row if arguments.row else row.is_test and arguments.short:
            continue
        began = time.monotonic()
        try:
            lines.append(to_cells(row, row.run(scale), scale.seed))
        except Exception:
            broken += 1
            lines.append(to_cells(row, Result(note="BROKEN"), scale.seed))
            traceback.print_exc()
            print(f"row {row.number} ({row.fault}), seed {scale.seed}: BROKEN", file=sys.stderr)
        print(f"row {row.number}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    if not arguments.row and (missing := SOMETIMES - SEEN):
        broken += 1
        print(f"never happened: {', '.join(sorted(missing))}", file=sys.stderr)
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    print(f"seed {scale.seed}; {len(lines) - 1} rows, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
