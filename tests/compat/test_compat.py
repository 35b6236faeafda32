"""`payi_otel.compat`: the imports of the published SDK lead here, beside it, before it, after it and without it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from pathlib import Path

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


def test_kpi_helpers_are_this_packages_own() -> None:
    """See tests/test_kpis.py."""
    from payi.lib import helpers

    assert helpers.increment_kpi_score is payi_otel.increment_kpi_score
    assert helpers.increment_kpi_score_async is payi_otel.increment_kpi_score_async
