"""What a `provider.toml` says is so, and what is made of it is what users get."""

from __future__ import annotations

import importlib.metadata
import runpy
from pathlib import Path

import pytest
from made_pages import README, UNITS, VERSIONS, made_readme, made_units, made_versions
from packaging.requirements import Requirement

from _source import PACKAGE, ROOT
from payi_otel import PayiCategories
from payi_otel._hosts import categories_of
from payi_otel._providers import ProviderFacts, _read, providers
from payi_otel.config import validate_instruments
from payi_otel.instrumentors._base import ProviderInstrumentor
from payi_otel.instrumentors._discovery import all_instrumentors
from payi_otel.packets._span_service import service_of

every_provider = pytest.mark.parametrize("facts", providers(), ids=lambda facts: facts.folder)
UNNAMED = frozenset({"system.databricks"})
"""Categories that no user names: workspaces whose cloud cannot be told."""


def instrumentors_of(facts: ProviderFacts) -> list[ProviderInstrumentor]:
    """Those of one folder."""
    package = f"payi_otel.instrumentors.{facts.folder}"
    return [one for one in all_instrumentors() if type(one).__module__.startswith(package + ".")]


def test_every_folder_says_what_it_is() -> None:
    """Folders of provider, facts, contract: the same ones."""
    folders = {path.parent.name for path in (PACKAGE / "instrumentors").glob("*/__init__.py")}
    assert {facts.folder for facts in providers()} == folders
    contracts = ROOT / "tests" / "contract" / "providers"
    assert {path.parent.name for path in contracts.glob("*/contract.py")} == folders


@every_provider
def test_the_code_says_the_same(facts: ProviderFacts) -> None:
    """Names, the versions that are supported, and categories."""
    ours = instrumentors_of(facts)
    assert {one.name: type(one).__name__ for one in ours} == facts.instrumentors
    assert all(name.startswith("payi_") for name in facts.instrumentors)  # `openai` is taken by three other instrumentations
    assert bool(facts.extra) == bool(facts.requires)
    if facts.requires:
        wanted = Requirement(facts.requires)
        floors = {Requirement(one.supported).specifier for one in ours if one.distribution == wanted.name}
        assert floors <= {wanted.specifier}  # boto3 itself is not patched: botocore is
    known = {value for name, value in vars(PayiCategories).items() if not name.startswith("_")}
    assert {category for one in ours for category in one.categories} - known - UNNAMED == set(facts.categories)
    assert known.isdisjoint(facts.categories)
    assert {facts.category, *facts.hosts.values()} - {""} <= {category for one in ours for category in one.categories}


@every_provider
def test_what_is_said_of_hosts_and_names_holds(facts: ProviderFacts) -> None:
    """Requests to its hosts are counted, its categories can be chosen, its spans of others are billed alike; what it names is there."""
    for host, category in facts.hosts.items():
        assert categories_of(f"eu{host}" if host.startswith(".") else host) == {category}
        assert categories_of(f"{host}.example.org") == frozenset()
    assert validate_instruments(set(facts.categories)) == frozenset(facts.categories)
    assert all(service_of("theirs", {"gen_ai.provider.name": name}, "m").category == facts.category for name in facts.span_names)
    assert [path for path in facts.tests if not (ROOT / path).exists()] == []
    assert all(facts.features)


@every_provider
def test_the_installed_package_has_its_extra_and_entry_points(facts: ProviderFacts) -> None:
    """Built by hatch_build.py, of a wheel or an editable installation."""
    metadata = importlib.metadata.metadata("payi-otel")
    requirements = {Requirement(text) for text in importlib.metadata.requires("payi-otel") or ()}
    if facts.extra:
        assert facts.extra in metadata.get_all("Provides-Extra", [])
        assert Requirement(f"{facts.requires}; extra == '{facts.extra}'") in requirements
        assert (Requirement(f"{facts.requires}; extra == 'all'") in requirements) == facts.in_all
    points = {point.name: point.value for point in importlib.metadata.entry_points(group="opentelemetry_instrumentor")}
    assert {name: points.get(name) for name in facts.instrumentors} == {
        name: f"payi_otel.instrumentors.{facts.folder}:{cls}" for name, cls in facts.instrumentors.items()
    }


def test_the_pages_are_made_of_the_code() -> None:
    """Make them anew with `nox -s pages`."""
    assert UNITS.read_text() == made_units()
    assert README.read_text() == made_readme()
    assert VERSIONS.read_text() == made_versions()


def test_a_file_that_a_packager_left_out_is_no_fault(tmp_path: Path) -> None:
    """Its provider is recorded; only what the file says is not known."""
    (tmp_path / "acme").mkdir()
    assert _read(str(tmp_path), "acme") is None


def test_facts_are_read_without_the_package() -> None:
    """As the build does, in whose environment nothing of ours is installed."""
    assert runpy.run_path(str(PACKAGE / "_providers.py"))["providers"]() == providers()
