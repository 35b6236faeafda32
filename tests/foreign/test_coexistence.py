"""docs/coexistence.md: one packet a call, whatever else is at work, in whatever order it was switched on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from coexistence import BACKGROUND, CASES, ORDERS, apart, combinations
from record import installed

PAGE = (Path(__file__).parents[2] / "docs" / "coexistence.md").read_text()
LINE = re.compile(r"\| [a-z]+-|\| botocore")
SHOWN = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in PAGE.splitlines() if LINE.match(line)]


def is_shown(package: Any) -> bool:
    """Whether the page was made with the versions that are installed here."""
    return all(f"{name} {version}" in PAGE for name, version in (installed(package) or {}).items())


@pytest.mark.parametrize(
    "one",
    combinations() or [pytest.param(None, marks=pytest.mark.skip("no other instrumentation is installed"))],
    ids=lambda one: one and f"{one[0].name}-{one[1][0]}-{one[2].replace(' ', '-')}",
)
def test_one_call_is_one_packet(one: tuple[Any, tuple[str, ...], str]) -> None:
    """Exact wherever ours sees it; what the page says for these versions is what comes."""
    package, names, order = one
    for row in apart(package, names, order):
        assert row.packets == 1, row
        if order != "theirs alone":
            assert (row.spans_ours, row.units) == (len(package.case(row.case).replies), "exact"), row
        if is_shown(package):
            assert tuple(map(str, row)) in SHOWN, row


def test_the_page_is_whole() -> None:
    """Every package and case in every order."""
    expected = {(name, case, order) for table in (CASES, BACKGROUND) for name, cases in table.items() for case in cases for order in ORDERS}
    assert {row[:3] for row in SHOWN} == expected
    assert len(SHOWN) == len(expected)
