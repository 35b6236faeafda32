"""The README tells the truth: its commands are those that CI runs, its table names tests that exist.

Its code is run by `test_documentation_blocks.py`.
"""

from __future__ import annotations

import os
import re
import subprocess

from _source import ROOT

README = (ROOT / "README.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| (works|not yet) \| ([^|]*?) ?\|$", README, re.MULTILINE)


def command(name: str) -> str:
    """One of the README's marked commands."""
    (text,) = re.findall(rf"<!-- command: {name} -->\n```sh\n(.*?)\n```\n<!-- end -->", README, re.DOTALL)
    return str(text)


def test_commands_do_the_whole_job() -> None:
    """One line each, from nothing to the result, with Python and pip alone."""
    for name in ("demo", "tests"):
        assert command(name).startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert "\n" not in command(name)
    assert command("demo").endswith("payi-otel demo")
    assert command("tests").endswith(".venv/bin/python -m pytest -n auto --dist worksteal")


def test_ci_runs_the_readme_command() -> None:
    """`.ci/run` takes the command out of the README; what it takes is the line that people copy."""
    (extraction,) = re.findall(r"^test_command=\$\((.*)\)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    taken = subprocess.run(["bash", "-c", extraction], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert taken == command("tests") + "\n"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_what_works_is_shown_by_a_test() -> None:
    """Every row that says "works" names a test file that exists and has tests; the other rows name none."""
    assert ROWS
    for what, state, shown_by in ROWS:
        files = re.findall(r"`([^`]+)`", shown_by)
        assert bool(files) == (state == "works"), what
        assert all("\ndef test_" in (text := (ROOT / file).read_text()) or "\nasync def test_" in text for file in files), what


def test_links_lead_somewhere() -> None:
    """Every relative link of the front pages leads to a file of the repository."""
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
        assert [link for link in links if not (ROOT / link).exists()] == []
