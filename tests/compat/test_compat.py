"""`payi_otel.compat`: the imports of the published SDK lead here, beside it, before it, after it and without it."""

from __future__ import annotations

import ast
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import payi_otel
from payi_otel import compat

Run = Callable[..., str]

SAME = """
import payi_otel
from payi.lib.instrument import payi_instrument, track, track_context, get_context, PayiInstrumentConfig
from payi.lib.helpers import PayiCategories, PayiHeaderNames, create_headers
print([name for name in payi_otel.__all__ if name in globals() and globals()[name] is not getattr(payi_otel, name)])
"""


def test_documented_imports_lead_to_this_package(run_beside: Run) -> None:
    """One line before them, and the imports of the published SDK give this package's own objects."""
    assert run_beside("import payi_otel.compat\n" + SAME) == "[]\n"


def test_published_sdk_keeps_everything_else(run: Run) -> None:
    """`payi` itself and its other modules are the published SDK's, whatever was imported first."""
    code = """
import payi_otel.compat
import payi.lib.instrument, payi.lib.ingest_retry, payi
assert payi.Payi is not payi_otel.Payi
print(payi.__title__, payi.lib.ingest_retry.__name__)
"""
    assert run(code) == "payi payi.lib.ingest_retry\n"


def test_payi_stands_in_where_the_published_sdk_is_missing(run_alone: Run) -> None:
    """`from payi import Payi, AsyncPayi` gives our clients; what we do not offer is still an ImportError."""
    code = """
import payi_otel.compat
from payi import Payi, AsyncPayi
assert Payi is payi_otel.Payi and AsyncPayi is payi_otel.AsyncPayi
try:
    import payi.resources
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert run_alone(code) == "payi.resources\n"


def test_nothing_is_replaced_without_the_import(run: Run) -> None:
    """`import payi_otel` alone leaves the published SDK as it is."""
    assert run("import payi_otel, payi.lib.helpers\nprint(payi.lib.helpers.PayiCategories is payi_otel.PayiCategories)") == "False\n"


def test_modules_imported_before_are_replaced_with_one_warning(run: Run) -> None:
    """Late is better than never: the modules are ours from then on, and the log says what was imported too early."""
    code = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")
import payi.lib.helpers
import payi_otel.compat
payi_otel.compat.install()
import payi.lib
assert payi.lib.helpers.PayiCategories is payi_otel.PayiCategories
assert sys.modules["payi.lib.helpers"] is payi.lib.helpers
"""
    lines = run(code).splitlines()
    assert [line.split("; ")[0] for line in lines] == [
        "WARNING payi.instrument payi_otel.compat: payi.lib.helpers was imported from the published SDK before"
    ]


@pytest.mark.parametrize("name", compat.REPLACED)
def test_no_public_name_of_the_published_module_is_missing(name: str) -> None:
    """Whatever a program imports from the two modules today, it can import from ours."""
    spec = importlib.util.find_spec("payi")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    source = Path(spec.submodule_search_locations[0], *name.split(".")[1:]).with_suffix(".py").read_text()
    defined = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    published = {node.name for node in ast.parse(source).body if isinstance(node, defined) and not node.name.startswith("_")}
    assert published <= set(vars(importlib.import_module(name)))


@pytest.mark.parametrize(
    ("function", "path"),
    [
        ("payi_openai_url", "openai/v1"),
        ("payi_anthropic_url", "anthropic"),
        ("payi_azure_openai_url", "azure.openai"),
        ("payi_azure_anthropic_url", "azure.anthropic"),
        ("payi_aws_bedrock_url", "aws.bedrock"),
    ],
)
def test_proxy_urls(function: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base URL given wins over the environment's, which wins over Pay-i's own."""
    make = getattr(compat, function)
    assert make() == f"https://api.pay-i.com/api/v1/proxy/{path}"
    monkeypatch.setenv("PAYI_BASE_URL", "https://env.example")
    assert make() == f"https://env.example/api/v1/proxy/{path}"
    assert make("https://given.example") == f"https://given.example/api/v1/proxy/{path}"


def test_constants_have_the_published_values() -> None:
    """Programs compare and store these texts."""
    from payi.lib.helpers import PayiPropertyNames, PayiResourceScopes

    assert PayiPropertyNames.failure_description == "system.failure.description"
    assert (PayiResourceScopes.global_scope, PayiResourceScopes.datazone_scope, PayiResourceScopes.region_scope) == (
        "global",
        "datazone",
        "region",
    )


class Kpis:
    """The part of the published SDK's client that keeps KPI scores."""

    def __init__(self, *scores: float | None) -> None:
        self.known = [SimpleNamespace(kpi_name="solved", score=score) for score in scores]
        self.updates: list[dict[str, Any]] = []

    def list(self, **place: str) -> list[SimpleNamespace]:
        """The KPIs of a use case."""
        return self.known

    def update(self, **values: Any) -> None:
        """Stores a score."""
        self.updates.append(values)


class AsyncKpis(Kpis):
    """The same, async: the list is awaited for a page, which is iterated."""

    async def list(self, **place: str) -> Any:  # type: ignore[override]
        """The KPIs of a use case."""

        async def page() -> Any:
            for kpi in self.known:
                yield kpi

        return page()

    async def update(self, **values: Any) -> None:  # type: ignore[override]
        """Stores a score."""
        self.updates.append(values)


@pytest.mark.parametrize(("scores", "total"), [((), 2.0), ((None,), 2.0), ((3.0,), 5.0)])
async def test_kpi_score_is_incremented(scores: tuple[float | None, ...], total: float) -> None:
    """A score that is not set yet counts as 0."""
    place = {"kpi_name": "solved", "use_case_name": "support", "use_case_id": "id-1"}
    sync, asynchronous = Kpis(*scores), AsyncKpis(*scores)
    assert compat.increment_kpi_score(SimpleNamespace(use_cases=SimpleNamespace(kpis=sync)), **place, increment=2)
    client = SimpleNamespace(use_cases=SimpleNamespace(kpis=asynchronous))
    assert await compat.increment_kpi_score_async(client, **place, increment=2)
    assert sync.updates == asynchronous.updates == [{**place, "score": total}]


async def test_kpi_failure_is_a_false_and_a_debug_line(caplog: pytest.LogCaptureFixture) -> None:
    """A client that cannot do it, ours among them, answers False."""
    caplog.set_level(logging.DEBUG, "payi.instrument")
    assert compat.increment_kpi_score(payi_otel.Payi(api_key="k"), "solved", "support", "id-1") is False
    assert await compat.increment_kpi_score_async(object(), "solved", "support", "id-1") is False
    assert [record.getMessage() for record in caplog.records] == ["KPI solved of use case support was not incremented: AttributeError"] * 2
