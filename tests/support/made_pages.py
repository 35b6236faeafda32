"""The pages that are made of the code: docs/units.md, the providers' rows of the README, the SDKs of docs/supported-versions.md.

Run as a program, it writes them, and those of docs/providers.
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from payi_otel._providers import providers
from payi_otel.instrumentors._units_page import render, rows

ROOT = Path(__file__).parents[2]
README, UNITS, VERSIONS = ROOT / "README.md", ROOT / "docs" / "units.md", ROOT / "docs" / "supported-versions.md"
_SDKS = re.compile(r"(?<=\| SDK \| extra \| from \| tested with \|\n\|---\|---\|---\|---\|\n).*?(?=\n\n)", re.DOTALL)
_ROWS = re.compile(r"(?<=<!-- providers -->\n).*?(?=<!-- end -->)", re.DOTALL)


def readme_rows() -> str:
    """The table of what works of which provider, of every `provider.toml`'s features."""
    features = [feature for facts in providers() for feature in facts.features]
    table = [f"| {what} | works | {', '.join(f'`{file}`' for file in files)} |" for what, files in features]
    return "\n".join(["| | | shown by |", "|---|---|---|", *table]) + "\n"


def made_readme() -> str:
    """The README as it is, with these rows."""
    return _ROWS.sub(lambda _: readme_rows(), README.read_text())


def made_units() -> str:
    """The page of units."""
    return render(rows())


def sdk_rows() -> Iterator[str]:
    """Every SDK that a session pins, with its extra, the oldest version and all that it is tested with."""
    for facts in providers():
        pins = re.findall(r"([\w-]+)==([\w.]+)", " ".join(facts.versions))
        for name in dict.fromkeys(name for name, _ in pins):
            is_wanted = name == Requirement(facts.requires).name
            oldest = min((Version(version) for pinned, version in pins if pinned == name))
            floor = next(iter(Requirement(facts.requires).specifier)).version if is_wanted else str(oldest)
            ran = ", ".join(f"`{sdk}`" for sdk in facts.versions if re.search(rf"(^| ){name}\b(?!-)", sdk))
            yield f"| `{name}` | {f'`{facts.extra}`' if is_wanted else 'none'} | {floor} | {ran} |"


def made_versions() -> str:
    """The page of supported versions as it is, with these rows."""
    return _SDKS.sub(lambda _: "\n".join(sdk_rows()), VERSIONS.read_text())


if __name__ == "__main__":
    README.write_text(made_readme())
    UNITS.write_text(made_units())
    VERSIONS.write_text(made_versions())
    runpy.run_path(str(ROOT / "tests" / "project" / "provider_pages.py"), run_name="__main__")
