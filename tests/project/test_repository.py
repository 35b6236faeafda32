"""What the repository holds besides code: nothing of the machines it was written on, and well-formed notes of change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.version import Version

from _source import ROOT
from payi_otel._providers import ProviderFacts, providers

BUILT = {"__pycache__", "build", "dist", "venv", "node_modules"}
FOREIGN_PARTS = ("/wor" + "k/", "/roo" + "t/", "/tm" + "p/w", "py" + "pi.org", "pythonhos" + "ted.org", "npm" + "js.org")
"""Paths of one machine and the hosts of package registries; written in two parts, so that this file holds none of them."""
FOREIGN = re.compile("|".join(map(re.escape, FOREIGN_PARTS)))
FRAGMENT = re.compile(r"\d+\.(added|changed|fixed)(\.\d+)?\.md")


def files() -> Iterator[Path]:
    """Every file of the repository, without what tools leave behind."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = [part for part in parts if part.startswith(".") and part not in (".ci", ".github", ".gitignore")]
        if path.is_file() and not hidden and not BUILT.intersection(parts) and not any(part.endswith(".egg-info") for part in parts):
            yield path


def test_no_machine_is_mentioned() -> None:
    """A path that exists on one machine, or a registry's host, is of no use to a reader elsewhere."""
    found = [(path.relative_to(ROOT), FOREIGN.search(path.read_text(errors="replace"))) for path in files()]
    assert [f"{path}: {match.group()}" for path, match in found if match] == []


def test_change_notes_are_well_formed() -> None:
    """One sentence or more for users, in a file named by issue and type."""
    notes = [path for path in (ROOT / "changelog").iterdir() if path.name != "README.md"]
    assert [path.name for path in notes if not FRAGMENT.fullmatch(path.name)] == []
    assert [path.name for path in notes if not re.fullmatch(r"[A-Z`].+\.\n", path.read_text(), re.DOTALL)] == []


def test_oldest_versions_are_the_floors() -> None:
    """The oldest sessions install the lowest version that is allowed of each dependency and of each extra's SDK."""
    pyproject = (ROOT / "pyproject.toml").read_text().split("[dependency-groups]")[0]
    constraints = (ROOT / "tests" / "constraints-oldest.txt").read_text()
    floors = dict(re.findall(r'^ *"([a-z-]+)>=([^,;"]+)', pyproject.split("[project]")[1], re.MULTILINE))
    pinned = {name: Version(version) for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)$", constraints, re.MULTILINE)}
    assert {name: pinned.get(name) for name in floors} == {name: Version(floor) for name, floor in floors.items()}


@pytest.mark.parametrize("facts", [facts for facts in providers() if facts.extra], ids=lambda facts: facts.folder)
def test_every_extra_has_a_floor(facts: ProviderFacts) -> None:
    """It names one SDK and the oldest version of it, which has a session of its own, and stands in the session of the oldest."""
    name, version = re.fullmatch(r"([a-z0-9-]+)>=([\d.]+)", facts.requires).groups()  # type: ignore[union-attr]  # fails here then
    assert re.fullmatch(r"[a-z]+", facts.extra)
    pins = [[part.partition("==") for part in sdk.split() if "==" in part] for sdk in (*facts.versions, " ".join(facts.oldest))]
    floor = (name, Version(version))
    found = [floor in {(pinned, Version(number)) for pinned, _, number in one} for one in pins]
    assert any(found[:-1])
    assert found[-1] or not facts.oldest
