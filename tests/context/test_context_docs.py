"""The page about the scope says what is true: its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import payi_otel

PAGE = Path(__file__).parents[2] / "docs" / "context.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
NAMES = ("track", "track_context", "get_context", "create_headers")


@pytest.mark.skipif(not all(hasattr(payi_otel, name) for name in NAMES), reason="the package does not offer these names yet")
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_runs(block: str) -> None:
    """Each stands alone and asserts what it shows."""
    exec(compile(block, str(PAGE), "exec"), {"__name__": "__main__"})
