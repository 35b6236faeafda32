"""The release: what stops a tag, and what the workflows may do. Their syntax is `nox -s lint`'s to check."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from _source import ROOT

CHANGES = """# Changes

<!-- releases -->

## 1.2.3 (2026-12-01)

### Added

- Added a thing. (#3)

## 1.2.30 (2026-11-01)

- Something older.
"""
FILES = [f"{name}-1.2.3{end}" for name in ("payi_otel", "payi_otel_compat") for end in (".tar.gz", "-py3-none-any.whl")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository that is ready for the tag v1.2.3, with what was built."""
    for folder in (".ci", "changelog", "dist"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / ".ci" / "check-release", tmp_path / ".ci")
    (tmp_path / "changelog" / "README.md").touch()
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    for name in FILES:
        (tmp_path / "dist" / name).touch()
    return tmp_path


def check(checkout: Path, tag: str) -> tuple[int, str, str]:
    """What the workflow's check says of a tag."""
    done = subprocess.run([".ci/check-release", tag, "dist"], cwd=checkout, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_release_notes_are_its_part_of_the_change_log(checkout: Path) -> None:
    """Where all is right, the check gives what CHANGELOG.md says of this version and of no other."""
    assert check(checkout, "v1.2.3") == (0, "\n### Added\n\n- Added a thing. (#3)\n", "")


@pytest.mark.parametrize("name", FILES)
def test_tag_is_the_version_of_every_file(checkout: Path, name: str) -> None:
    """A tag for which one of the four files was not built is no release."""
    (checkout / "dist" / name).unlink()
    assert check(checkout, "v1.2.3") == (1, "", f"the tag is v1.2.3, and there is no dist/{name}\n")


def test_fragments_are_gathered_first(checkout: Path) -> None:
    """A change that did not get into CHANGELOG.md stops the release."""
    (checkout / "changelog" / "10.added.6.md").touch()
    code, notes, problem = check(checkout, "v1.2.3")
    assert (code, notes) == (1, "")
    assert problem.endswith("(nox -s changes -- 1.2.3): changelog/10.added.6.md\n")


def test_change_log_tells_of_the_version(checkout: Path) -> None:
    """A version without a heading of its own stops the release; one that begins alike is another."""
    (checkout / "CHANGELOG.md").write_text(CHANGES.replace("## 1.2.3 ", "## 1.2.4 "))
    assert check(checkout, "v1.2.3") == (1, "", "CHANGELOG.md has nothing on 1.2.3\n")


def workflow(name: str) -> str:
    """The text of a workflow."""
    return (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()


def test_ci_runs_what_anyone_can_run() -> None:
    """The only thing that the workflow of a change does by itself is `.ci/run`."""
    assert re.findall(r"run: (.+)", workflow("ci")) == ["bash .ci/run"]


def test_published_files_are_the_tested_ones() -> None:
    """They are built once, and each job takes the files of the one before it, once that has passed."""
    text = workflow("release")
    jobs = dict(re.findall(r"^  (\w+):\n((?:(?:    .*)?\n)+)", text.partition("\njobs:\n")[2], re.MULTILINE))
    after = {name: re.findall(r"^    needs: (\w+)$", body, re.MULTILINE) for name, body in jobs.items()}
    assert after == {"build": [], "test": ["build"], "attest": ["test"], "publish": ["attest"], "announce": ["publish"]}
    assert text.count("nox -s build") == 1
    assert [name for name, body in jobs.items() if "actions/download-artifact@" not in body] == ["build"]


def test_no_secret_publishes() -> None:
    """The index is shown an identity, by the jobs that need one only; no password is stored anywhere."""
    text = workflow("release")
    assert "secrets." not in text
    assert "password" not in text.replace("there is no password", "")
    assert [name for name in ("ci", "release") if "\npermissions: {}\n" not in workflow(name)] == []
    assert text.count("id-token: write") == 2


def test_gathered_changes_have_the_types_of_fragments() -> None:
    """What towncrier takes is what the fragments may be called; its mark is in CHANGELOG.md."""
    settings = (ROOT / "pyproject.toml").read_text().partition("[tool.towncrier]")[2]
    assert re.findall(r'directory = "(\w+)", name', settings) == ["added", "changed", "fixed"]
    assert (ROOT / "CHANGELOG.md").read_text().count("<!-- releases -->\n") == 1
