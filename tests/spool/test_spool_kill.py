"""SIGKILL at random moments; `killing.py` does it two hundred times."""

from __future__ import annotations

import pytest
from killing import kill_at_random


@pytest.mark.parametrize("sync", ["interval", "always"])
def test_what_reached_the_disk_arrives(sync: str) -> None:
    """Not one packet less than the process said was written, and none twice."""
    killed = kill_at_random(5, sync, seed=5)
    assert killed.written > 0
    assert killed.lost == []
