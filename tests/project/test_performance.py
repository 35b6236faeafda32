"""The figures of docs/performance.md are those that the bench wrote."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_tables_are_the_benchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench/calls.py --show` makes them of bench/results.json."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    calls = importlib.import_module("calls")
    made = "\n".join(calls.rows(json.loads((ROOT / "bench" / "results.json").read_text())))
    page = (ROOT / "docs" / "performance.md").read_text()
    (shown,) = re.findall(r"<!-- made by bench/calls.py --show -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert shown.strip() == made.strip()
