"""What comes with an installation, under which licence; and the bill of materials that says so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., str]

ALLOWED = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "PSF-2.0"}
"""MPL-2.0 binds who changes the files that are under it; they are installed as they are."""
SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
}
"""What older metadata says, by the identifier."""
PAGE = Path(__file__).parents[2] / "docs" / "licences.md"
READ = """
import json
from importlib.metadata import distributions
told = {}
for one in distributions():
    said = one.metadata
    classifiers = [line for line in said.get_all("Classifier") or () if line.startswith("License ::")]
    told[said["Name"]] = [said.get("License-Expression"), said.get("License"), classifiers, one.requires or []]
print(json.dumps(told))
"""


def canonical(name: str) -> str:
    """A distribution's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(run: Run, python: Path) -> tuple[dict[str, str], set[str]]:
    """The licence of every distribution of an environment, and those that ours requires by itself."""
    told = json.loads(run(python, "-I", "-c", READ))
    licences = {canonical(name): licence(expression, text, classifiers) for name, (expression, text, classifiers, _) in told.items()}
    own = {canonical(re.split(r"[^\w.-]", line)[0]) for line in told["payi-otel"][3] if "extra ==" not in line}
    return licences, own & licences.keys()


def licence(expression: str | None, text: str | None, classifiers: list[str]) -> str:
    """As an SPDX expression where the metadata says one in any way; else what it says, which is not allowed."""
    said = expression or (SPDX.get(text, text) if text in SPDX or text in ALLOWED else None)
    return said or " AND ".join(sorted(SPDX.get(line, line) for line in classifiers)) or str(text)


def test_every_licence_is_allowed(run: Run, alone: Path) -> None:
    """Whatever an installation brings may be used in a company's closed service."""
    licences, _ = installed(run, alone)
    assert {name: text for name, text in licences.items() if not set(re.findall(r"[\w.+-]+", text)) - {"AND", "OR"} <= ALLOWED} == {}


def test_licences_of_requirements_are_listed(run: Run, alone: Path) -> None:
    """docs/licences.md names each requirement with the licence that its metadata has."""
    licences, own = installed(run, alone)
    listed = dict(re.findall(r"^\| `([a-z0-9-]+)` \| ([^|]+?) \|", PAGE.read_text(), re.MULTILINE))
    listed.pop("tomli", None)  # only before Python 3.11
    assert listed == {name: licences[name] for name in own - {"tomli"}}


def test_bill_of_materials_is_whole(run: Run, alone: Path, dist: Path, bill_of_materials: Path) -> None:
    """CycloneDX: our name and version at the root, its requirements, and every distribution of the environment with its version."""
    bill = json.loads(bill_of_materials.read_text())
    licences, own = installed(run, alone)
    root = bill["metadata"]["component"]
    assert (bill["bomFormat"], root["name"]) == ("CycloneDX", "payi-otel")
    assert root["version"] in {path.name.split("-")[1] for path in dist.glob("payi_otel-*.whl")}
    assert {canonical(part["name"]) for part in bill["components"]} == licences.keys() - {"payi-otel"}
    assert all(part["version"] and part["purl"] for part in bill["components"])
    (direct,) = (entry["dependsOn"] for entry in bill["dependencies"] if entry["ref"] == root["bom-ref"])
    assert {canonical(ref.split("==")[0]) for ref in direct} == own
    assert str(alone.parent) not in json.dumps(bill)
