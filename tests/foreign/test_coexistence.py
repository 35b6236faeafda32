"""docs/coexistence.md: one packet a call, whatever else is at work, in whatever order it was switched on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from coexistence import CASES, apart, combinations
from foreign_packages import PACKAGES
from record import installed

PAGE = (Path(__file__).parents[2] / "docs" / "coexistence.md").read_text()
LINE = re.compile(r"\| [a-z]+-|\| botocore")
SHOWN = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in PAGE.splitlines() if LINE.match(line)]


def is_shown(package: Any) -> bool:
    """Whether the page was made with the versions that are installed here."""
    return all(f"{name} {version}" in PAGE for name, version in (installed(package) or {}).items())


@pytest.mark.parametrize("one", list(combinations()), ids=lambda one: f"{one[0].name}-{one[1].name}-{one[2].replace(' ', '-')}")
def test_one_call_is_one_packet(one: tuple[Any, Any, str]) -> None:
    """Exact wherever ours sees it; what the page says for these versions is what comes."""
    package, case, order = one
    row = apart(package, case, order)
    assert row.packets == 1
    if order != "theirs alone":
        assert (row.spans_ours, row.units) == (len(case.replies), "exact")
    if is_shown(package):
        assert tuple(map(str, row)) in SHOWN


def test_the_page_is_whole() -> None:
    """Every package and case in every order."""
    assert [row[:3] for row in SHOWN] == [
        (package.name, case, order)
        for package in PACKAGES
        if package.name in CASES
        for case in CASES[package.name]
        for order in ("ours first", "theirs first", "theirs alone")
    ]
