"""Finds the instrumentors: every folder beside this module is a provider, and its `__all__` names them."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from payi_otel import instrumentors
from payi_otel.instrumentors._base import ProviderInstrumentor


def all_instrumentors() -> tuple[ProviderInstrumentor, ...]:
    """One of each, in the order of their names; no provider's SDK is imported for it."""
    found: list[ProviderInstrumentor] = []
    for folder in sorted(module.name for module in iter_modules(instrumentors.__path__) if module.ispkg):
        provider = import_module(f"{instrumentors.__name__}.{folder}")
        found.extend(getattr(provider, name)() for name in provider.__all__)
    return tuple(found)
