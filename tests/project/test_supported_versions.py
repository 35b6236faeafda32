"""docs/supported-versions.md says what is tested and what the metadata asks for: it is compared with both."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from _source import ROOT

PAGE = (ROOT / "docs" / "supported-versions.md").read_text()
FIRST_COLUMN = re.compile(r"^\| `?([^|`]+?)`? \|.*$", re.MULTILINE)


def section(title: str) -> list[str]:
    """The rows of the table below a heading, without its head."""
    _, _, text = PAGE.partition(f"\n## {title}\n")
    return [line for line in text.split("\n## ")[0].splitlines() if line.startswith("|")][2:]


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Message:
    """What the built wheel says, however pyproject.toml comes to it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with ZipFile(next(folder.glob("*.whl"))) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(path).decode())


@pytest.fixture(scope="module")
def sessions() -> list[dict[str, object]]:
    """Every session of noxfile.py that tests something on versions."""
    command = [sys.executable, "-m", "nox", "--list", "--json", "-f", str(ROOT / "noxfile.py"), "-s", "tests", "sdk_versions"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [session for session in told if isinstance(session, dict)]


def requirements(metadata: Message) -> Iterator[Requirement]:
    """What the wheel requires, its extras' too."""
    yield from map(Requirement, metadata.get_all("Requires-Dist", []))


def test_pythons_are_those_that_are_tested(metadata: Message, sessions: list[dict[str, object]]) -> None:
    """The page, the metadata, the sessions and both workflows name the same, from the oldest that pip installs on."""
    pythons = [row.split("|")[1].strip() for row in section("Python")]
    classified = re.findall(r"Python :: (3\.\d+)$", "\n".join(metadata.get_all("Classifier", [])), re.MULTILINE)
    assert classified == pythons
    assert metadata["Requires-Python"] == f">={pythons[0]}"
    assert [session["python"] for session in sessions if session["name"] == "tests"] == pythons
    for workflow in ("ci", "release"):
        (matrix,) = re.findall(r"python: (\[.+\])", (ROOT / ".github" / "workflows" / f"{workflow}.yml").read_text())
        assert json.loads(matrix) == pythons


def test_sdks_are_those_that_are_tested(metadata: Message, sessions: list[dict[str, object]]) -> None:
    """Every SDK with its extra, the oldest version that the extra allows and a session runs on, and all those sessions."""
    tried: dict[str, list[str]] = {}
    for session in sessions:
        if session["name"] == "sdk_versions":
            call = session["call_spec"]
            assert isinstance(call, dict)
            tried.setdefault(call["provider"], []).append(call["sdk"])
    extras = {
        one.name: (str(one.marker).split('"')[1], next(iter(one.specifier)).version)
        for one in requirements(metadata)
        if one.marker is not None and "extra ==" in str(one.marker) and '"all"' not in str(one.marker)
    }
    expected = []
    for wanted in tried.values():
        pins: dict[str, list[Version]] = {}
        for name, version in re.findall(r"([\w-]+)==([\w.]+)", " ".join(wanted)):
            pins.setdefault(name, []).append(Version(version))
        for name, versions in pins.items():
            extra, floor = extras.pop(name, (None, str(min(versions))))
            assert Version(floor) == min(versions), name
            ran = ", ".join(f"`{sdk}`" for sdk in wanted if re.search(rf"(^| ){name}\b(?!-)", sdk))
            expected.append(f"| `{name}` | {f'`{extra}`' if extra else 'none'} | {floor} | {ran} |")
    assert section("SDKs") == expected
    assert extras == {}


def test_opentelemetry_is_what_is_required(metadata: Message) -> None:
    """Its packages, with the versions that the metadata allows."""
    required = [one for one in requirements(metadata) if one.name.startswith("opentelemetry") and one.marker is None]
    bounds = {one.name: ", ".join(sorted(map(str, one.specifier), reverse=True)) for one in required}
    assert section("OpenTelemetry") == [f"| `{name}` | {bound} |" for name, bound in bounds.items()]


def test_policies_say_one_thing() -> None:
    """Who reads which versions are mended is sent to the page that says what they run on, and each table has rows."""
    assert "docs/supported-versions.md" in (ROOT / "SECURITY.md").read_text()
    assert all(FIRST_COLUMN.findall("\n".join(section(title))) for title in ("Python", "SDKs", "OpenTelemetry"))
