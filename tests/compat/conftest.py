"""Runs code in a new interpreter, with Pay-i's published SDK to be seen or hidden."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HIDE_PUBLISHED = """
import sys
from importlib.machinery import PathFinder

class Hiding:
    find_distributions = PathFinder.find_distributions
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] == "payi" else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""
TIMEOUT_S = 60

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function that runs Python code to its end in an empty folder and returns what it printed; it fails where the code fails."""

    def run_code(code: str, **environment: str) -> str:
        script = tmp_path / "app.py"
        script.write_text(code)
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            check=False,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_code


@pytest.fixture(params=["published", "alone"])
def run_beside(request: pytest.FixtureRequest, run: Run) -> Run:
    """`run`, once with the published SDK importable and once without."""
    return run if request.param == "published" else lambda code, **environment: run(HIDE_PUBLISHED + code, **environment)


@pytest.fixture
def run_alone(run: Run) -> Run:
    """`run`, without the published SDK."""
    return lambda code, **environment: run(HIDE_PUBLISHED + code, **environment)
