"""`payi_otel.__all__` is true, and it is the promise."""

from __future__ import annotations

import ast
import typing
from collections.abc import Iterator
from pathlib import Path

import payi_otel

PROMISED = {
    "AsyncPayi",
    "ConfigurationError",
    "Cost",
    "LimitExceeded",
    "Payi",
    "PayiCategories",
    "PayiFileSpanExporter",
    "PayiHeaderNames",
    "PayiInstrumentConfig",
    "PayiSpanExporter",
    "RetryQueueSpanProcessor",
    "Stats",
    "XproxyResult",
    "cost_of",
    "cost_of_async",
    "create_headers",
    "flush",
    "get_context",
    "increment_kpi_score",
    "increment_kpi_score_async",
    "instrumented",
    "payi_instrument",
    "shutdown",
    "stats",
    "track",
    "track_context",
}


def nested_types(thing: object) -> Iterator[str]:
    """The names of the typed dicts that a type is made of."""
    if typing.is_typeddict(thing):
        yield typing.cast("type", thing).__name__
        for part in typing.get_type_hints(thing).values():
            yield from nested_types(part)
    for part in typing.get_args(thing):
        yield from nested_types(part)


def test_all_is_what_is_promised() -> None:
    """The public names, with the types that a config is made of, and nothing else."""
    assert set(payi_otel.__all__) == PROMISED | set(nested_types(payi_otel.PayiInstrumentConfig))
    assert list(payi_otel.__all__) == sorted(payi_otel.__all__)


def test_every_name_is_there() -> None:
    """A name in `__all__` can be imported, and `dir` shows it."""
    assert all(getattr(payi_otel, name) is not None for name in payi_otel.__all__)
    assert set(payi_otel.__all__) <= set(dir(payi_otel))


def test_late_names_are_declared_to_checkers() -> None:
    """What `__getattr__` gives is imported for type checkers, from the same module."""
    tree = ast.parse(Path(payi_otel.__file__).read_text())
    (declared,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in declared.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in imports for alias in node.names} == payi_otel._LATE
