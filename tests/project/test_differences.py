"""What docs/differences.md says is shown: every defect of our list is answered, by tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from _source import ROOT

ROWS = [
    [cell.strip() for cell in line[1:-1].split("|")]
    for line in (ROOT / "docs" / "differences.md").read_text().splitlines()
    if line.startswith("|") and not line.startswith(("| no.", "|---"))
]
DEFECTS = range(1, 31)


def exists(test: str) -> bool:
    """Whether `path.py::test`, or `path.py::Class::test`, is a function in that file."""
    path, *names = test.split("::")
    file = ROOT / path
    node: ast.AST | None = ast.parse(file.read_text()) if file.is_file() else None
    for name in names:
        node = next((child for child in getattr(node, "body", ()) if getattr(child, "name", None) == name), None)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def test_every_defect_is_answered() -> None:
    """And no number is invented."""
    assert {int(number) for row in ROWS for number in row[0].split(",") if number} == set(DEFECTS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:60])
def test_what_shows_a_difference_exists(row: list[str]) -> None:
    """Each row names tests, by file and function."""
    _, _, _, shown_by = row
    tests = re.findall(r"`([^`]+)`", shown_by)
    assert tests
    assert [test for test in tests if not exists(test)] == []
