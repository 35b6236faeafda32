"""Tests of the distributions as a user gets them: `nox -s package` builds and installs them, and runs what stands here.

The session says by the environment where they are. Without it, as in the suite, nothing here is collected.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

DISTRIBUTIONS = "DISTRIBUTIONS"
"""The folder of the sdists and wheels."""
ALONE = "ALONE"
"""The Python of an environment that has the wheel, what it requires, and nothing else."""
WITH_COMPAT = "WITH_COMPAT"
"""The same with the wheel of `payi-otel-compat`."""
BILL_OF_MATERIALS = "BILL_OF_MATERIALS"
"""The file that says what ALONE has in it."""

collect_ignore_glob = [] if DISTRIBUTIONS in os.environ else ["test_*.py"]

Run = Callable[..., str]


@pytest.fixture(scope="session")
def dist() -> Path:
    """Where the distributions are."""
    return Path(os.environ[DISTRIBUTIONS])


@pytest.fixture(scope="session")
def alone() -> Path:
    """The environment's Python; its commands are beside it."""
    return Path(os.environ[ALONE])


@pytest.fixture(scope="session")
def with_compat() -> Path:
    """The Python of the environment with both distributions."""
    return Path(os.environ[WITH_COMPAT])


@pytest.fixture(scope="session")
def bill_of_materials() -> Path:
    """The CycloneDX file."""
    return Path(os.environ[BILL_OF_MATERIALS])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command in an empty folder and environment, and gives what it printed; `expected` is its exit code, None for any."""

    def run(*command: str | Path, expected: int | None = 0, path: Path | None = None) -> str:
        environment = {"PATH": os.pathsep.join([str(path), os.defpath] if path else [os.defpath]), "HOME": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert expected in (None, done.returncode), done.stdout + done.stderr
        return done.stdout

    return run
