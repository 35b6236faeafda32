"""The fault plan in its short form: every fault for a moment. `nox -s faults` is the whole of it."""

from __future__ import annotations

import pytest
from plan import ROWS, Row
from trial import Scale


@pytest.mark.parametrize("row", [row for row in ROWS if not row.is_test], ids=lambda row: f"{row.number} {row.fault}")
def test_no_promise_is_broken(row: Row) -> None:
    """Each row looks at both sides: what was issued, and what arrived."""
    row.run(Scale(seed=2))


def test_no_row_is_missing() -> None:
    """All thirty-two."""
    assert [row.number for row in ROWS] == sorted([*range(1, 33), 6])
