"""Rows 19-21 and 28: a process's life has tests of its own; here they are run, and counted."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from trial import Result, Scale

ROOT = Path(__file__).parents[2]


def run_of(*paths: str, only: str = "") -> Callable[[Scale], Result]:
    """A row that is a run of these tests."""

    def run(scale: Scale) -> Result:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths, *(("-k", only) if only else ())]
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
        found = re.search(r"(\d+) passed", done.stdout)
        assert found is not None
        return Result(note=f"{found[1]} tests passed in {time.monotonic() - began:.0f} s: {', '.join(paths)}")

    return run


EXITS = run_of("tests/delivery/test_delivery_exits.py", "tests/spool/test_spool_delivery.py", only="arrives or next_one_delivers")
SERVERS = run_of("tests/delivery/test_delivery_sigterm.py")
FORKS = run_of("tests/delivery/test_delivery_process.py", "tests/delivery/test_delivery_exits.py", only="fork or child or pool")
LATE = run_of("tests/delivery/test_delivery_process.py", only="exit_handler")
