"""What is built: which files, and the same bytes whenever and wherever. How it installs is `nox -s package`'s to test."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import pytest

from _source import PACKAGE, ROOT

DATA = {".py", ".typed", ".html", ".css", ".js", ".toml"}
"""Kinds of files that the package has; whatever else lies in its folder was left there by a tool."""
IN_SDIST = ("compat", "docs", "examples", "src", "tests")
FRONT = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "pyproject.toml"}
MADE = {"PKG-INFO", ".gitignore"}
"""What hatchling adds: the metadata, and what tells it which files are none of the project's."""
STAYS = ("tests/project/", "tests/package/")
PICTURES = (".png", ".svg")
LEFT = {"__pycache__", "dist", "build"}
YEAR_2001_S = 1_000_000_000
ANOTHER_TIME_S = 1_234_567_890


@dataclass(frozen=True)
class Built:
    """An sdist and a wheel of one project."""

    sdist: Path
    wheel: Path

    @property
    def packed(self) -> list[str]:
        """The sdist's files, without its folder."""
        with tarfile.open(self.sdist) as archive:
            return sorted(member.name.partition("/")[2] for member in archive if member.isfile())

    @property
    def installed(self) -> list[str]:
        """The wheel's files."""
        with ZipFile(self.wheel) as archive:
            return sorted(archive.namelist())

    def read(self, end: str) -> str:
        """The text of the wheel's file with this end of its path."""
        with ZipFile(self.wheel) as archive:
            (path,) = (name for name in archive.namelist() if name.endswith(end))
            return archive.read(path).decode()


def build(project: Path, folder: Path, **environment: str) -> Built:
    """Builds as `python -m build` does, with the hatchling that is installed."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=project, env={**os.environ, **environment}, check=True, capture_output=True, text=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module", params=[".", "compat"])
def project(request: pytest.FixtureRequest) -> Path:
    """Each of the two."""
    return ROOT / str(request.param)


@pytest.fixture(scope="module")
def built(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built from the repository."""
    return build(project, tmp_path_factory.mktemp("dist"), SOURCE_DATE_EPOCH=str(ANOTHER_TIME_S))


def tree(folder: Path) -> Iterator[str]:
    """The project's files below a folder, by their paths from the root."""
    for path in folder.rglob("*"):
        if path.is_file() and not LEFT.intersection(path.parts) and not any(part.endswith(".egg-info") for part in path.parts):
            yield path.relative_to(ROOT).as_posix()


def dist_info(built: Built, *more: str) -> list[str]:
    """The files that every wheel has."""
    folder = "-".join(built.wheel.name.split("-")[:2]) + ".dist-info"
    return [f"{folder}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE", *more)]


def test_wheel_has_the_package_and_nothing_else(built: Built, project: Path) -> None:
    """Every file of the package, its data and `py.typed` among them, the licence and the metadata: no test, no script, no left-over."""
    if project == ROOT:
        package = [path.removeprefix("src/") for path in tree(PACKAGE)]
        assert built.installed == sorted([*package, *dist_info(built, "entry_points.txt")])
        assert "payi_otel/py.typed" in package
        assert {Path(path).suffix for path in package} <= DATA
    else:
        assert built.installed == sorted(["_payi_otel_compat.py", "payi_otel_compat.pth", *dist_info(built)])


def test_sdist_has_what_building_and_testing_need(built: Built, project: Path) -> None:
    """Source, tests and what they read; nothing of the machinery that keeps the repository in order."""
    if project == ROOT:
        files = {path for folder in IN_SDIST for path in tree(ROOT / folder) if not path.startswith(STAYS) and not path.endswith(PICTURES)}
        hook = {"hatch_build.py"} & {path.name for path in ROOT.iterdir()}
        assert built.packed == sorted(files | FRONT | MADE | hook)
    else:
        files = {"LICENSE", "README.md", "pyproject.toml", "src/_payi_otel_compat.py", "src/payi_otel_compat.pth"}
        assert built.packed == sorted(files | MADE)


def test_builds_are_reproducible(built: Built, tmp_path: Path) -> None:
    """From the unpacked sdist, elsewhere, with other times and permissions, come the same sdist and wheel, byte for byte."""
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(tmp_path)
    (source,) = tmp_path.iterdir()
    for path in source.rglob("*"):
        os.utime(path, (YEAR_2001_S, YEAR_2001_S))
        path.chmod(0o700 if path.is_dir() else 0o600)
    again = build(source, tmp_path / "dist", SOURCE_DATE_EPOCH=str(ANOTHER_TIME_S))
    assert again.sdist.read_bytes() == built.sdist.read_bytes()
    assert again.wheel.read_bytes() == built.wheel.read_bytes()


def test_metadata_says_what_it_is(built: Built) -> None:
    """Name, version, licence by its identifier and as a text, the oldest Python, and a description that is shown as it is written."""
    said = HeaderParser().parsestr(built.read(".dist-info/METADATA"))
    assert said["Name"].replace("-", "_") == built.wheel.name.split("-")[0]
    assert said["Version"] == built.wheel.name.split("-")[1]
    assert (said["License-Expression"], said.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert (said["Requires-Python"], said["Description-Content-Type"]) == (">=3.10", "text/markdown")
    assert built.read("licenses/LICENSE") == (ROOT / "LICENSE").read_text()


def test_metadata_says_that_it_is_typed() -> None:
    """Checkers look for `py.typed`, people for the classifier."""
    assert (PACKAGE / "py.typed").read_text() == ""
    assert '"Typing :: Typed"' in (ROOT / "pyproject.toml").read_text()
