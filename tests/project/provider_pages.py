"""Makes the generated part of docs/providers: `python tests/project/provider_pages.py` writes it, a test holds it.

What an instrumentor says of itself (its SDK, its patches, its units), and what its `provider.toml` does (what is installed, and tested).
A provider that has no page yet gets one. The rest of a page is written by hand and left as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

from payi_otel._providers import ProviderFacts
from payi_otel._providers import providers as all_facts

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = ROOT / "docs" / "providers"
BEGIN: Final = "<!-- made by python tests/project/provider_pages.py -->\n"
END: Final = "<!-- end -->\n"


@dataclass(frozen=True)
class Provider:
    """One folder of instrumentors, and all of its SDKs."""

    folder: str
    instrumentors: tuple[Any, ...]

    @property
    def title(self) -> str:
        """The page's own, where it has one."""
        page = self.page
        return page.read_text().partition("\n")[0].removeprefix("# ") if page.exists() else self.folder.replace("_", " ").title()

    @property
    def page(self) -> Path:
        """Where it is told of."""
        return PAGES / f"{self.folder}.md"

    @property
    def facts(self) -> ProviderFacts:
        """What its `provider.toml` says."""
        return next(facts for facts in all_facts() if facts.folder == self.folder)

    @property
    def extra(self) -> str:
        """The extra that installs the SDK."""
        return self.facts.extra

    @property
    def versions(self) -> tuple[str, ...]:
        """With what `nox -s sdk_versions` installs."""
        return tuple(self.facts.versions)

    @property
    def is_newest(self) -> bool:
        """Whether the SDK that is installed is of the newest line, and none of the old versions that are pinned."""
        sdk = next((version for one in self.instrumentors if (version := one.installed_version())), None)
        newest = self.versions[0].split()[0] if self.versions else ""
        pinned = {version.partition("==")[2].split()[0] for version in self.versions if "==" in version}
        return sdk is not None and sdk not in pinned and bool(newest) and Requirement(newest).specifier.contains(sdk)

    @property
    def tests(self) -> list[str]:
        """Where its calls are tested."""
        contract = f"tests/contract/providers/{self.folder}"
        return [path for path in (contract, *self.facts.tests) if (ROOT / path).exists()]


def providers() -> list[Provider]:
    """By their folders' names; a gateway has no units of its own, and stands in docs/frameworks.md."""
    from payi_otel.instrumentors._discovery import all_instrumentors

    by_folder: dict[str, list[Any]] = {}
    for one in (each for each in all_instrumentors() if each.table.units):
        by_folder.setdefault(type(one).__module__.split(".")[2], []).append(one)
    return [Provider(folder, tuple(found)) for folder, found in by_folder.items()]


def operations_of(provider: Provider) -> list[str]:
    """Of an SDK all of whose calls go through one method: the names of those that are recorded."""
    return sorted(getattr(import_module(f"payi_otel.instrumentors.{provider.folder}._patches"), "_OPERATIONS", ()))


def recorded(patches: Iterable[Any]) -> dict[tuple[str, str, str], list[str]]:
    """Methods by module, since and until; an async twin stands for its own."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for patch in patches:
        if patch.operation is not None or patch.bound_wrapper is not None:
            found.setdefault((patch.module, patch.since, patch.until), []).append(patch.target)
    return found


def to_part(provider: Provider) -> str:
    """The generated part of a page."""
    return "\n".join([*_sdks(provider), *_methods(provider), *_units(provider), *_shown(provider)]) + "\n"


def _sdks(provider: Provider) -> Iterator[str]:
    yield from ("## SDKs and versions", "", "| SDK | supported | instrumentor |", "|---|---|---|")
    for one in provider.instrumentors:
        yield f"| {one.distribution} | `{one.supported}` | `{one.name}` |"
    if provider.versions:
        yield from ("", f"Each tested in an environment of its own: {_listed(provider.versions)}.")
    yield ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _methods(provider: Provider) -> Iterator[str]:
    yield from ("## What is recorded", "")
    if names := operations_of(provider):
        yield from (f"Operations of the service: {_listed(names)}.", "")
        return
    yield from ("A method stands for its `Async` twin, too.", "", "| module | methods | SDK versions |", "|---|---|---|")
    for one in provider.instrumentors:
        for (module, since, until), targets in recorded(one.table.patches).items():
            span = " ".join(filter(None, (f"from {since}" if since else "", f"before {until}" if until else ""))) or "all supported"
            shown = [target for target in targets if target.removeprefix("Async") == target or target.removeprefix("Async") not in targets]
            yield f"| `{module}` | {_listed(shown)} | {span} |"
    yield ""


def slug(heading: str) -> str:
    """An anchor, as the site and repository browsers make it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def _units(provider: Provider) -> Iterator[str]:
    apis = dict.fromkeys(row.api for one in provider.instrumentors for row in one.table.units)
    yield from ("## Units", "")
    yield "Which field becomes which unit: " + ", ".join(f"[{api}](../units.md#{slug(api)})" for api in apis) + "."
    yield ""


def _shown(provider: Provider) -> Iterator[str]:
    yield from ("## Shown by", "", _listed(provider.tests) + ".")


def to_index(all_providers: Iterable[Provider]) -> str:
    """The table of all."""
    lines = ["| | install | SDKs | tested with |", "|---|---|---|---|"]
    for one in all_providers:
        install = f"`payi-otel[{one.extra}]`"
        sdks = _listed(instrumentor.supported for instrumentor in one.instrumentors)
        lines.append(f"| [{one.title}]({one.folder}.md) | {install} | {sdks} | {_listed(one.versions) or '-'} |")
    return "\n".join(lines) + "\n"


def replace_part(text: str, part: str) -> str:
    """A page with another generated part."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no generated part")
    return before + BEGIN + part + END + after


def made() -> Iterator[tuple[Path, str]]:
    """Every page as it should be."""
    found = providers()
    for one in found:
        doc = (type(one.instrumentors[0]).__doc__ or "").strip().partition("\n")[0]
        text = one.page.read_text() if one.page.exists() else f"# {one.title}\n\n{doc}\n\n{BEGIN}{END}"
        yield one.page, replace_part(text, to_part(one))
    index = PAGES / "index.md"
    yield index, replace_part(index.read_text(), to_index(found))


if __name__ == "__main__":
    for path, text in made():
        path.write_text(text)
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
