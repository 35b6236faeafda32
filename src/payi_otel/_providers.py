"""What each provider's folder says of itself in its `provider.toml`, which is read without any of its code.

The package's metadata is made of it, too, and the sessions of nox: this module is run there by its path, so it imports nothing of ours.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple


class Feature(NamedTuple):
    """A row of the README."""

    what: str
    shown_by: Sequence[str]


class ProviderFacts(NamedTuple):
    """One `provider.toml`; docs/adding-a-provider.md says what each field is for."""

    folder: str
    instrumentors: Mapping[str, str]
    modules: Sequence[str]
    versions: Sequence[str]
    features: Sequence[Feature]
    extra: str = ""
    requires: str = ""
    in_all: bool = True
    oldest: Sequence[str] = ()
    tests: Sequence[str] = ()
    environment: Sequence[str] = ()
    category: str = ""
    categories: Sequence[str] = ()
    hosts: Mapping[str, str] = {}
    span_names: Sequence[str] = ()
    own_operations: Sequence[str] = ()
    own_provider_names: Sequence[str] = ()


@cache
def providers() -> tuple[ProviderFacts, ...]:
    """Every provider's, in the order of their folders."""
    root = os.path.join(os.path.dirname(__file__), "instrumentors")
    folders = sorted(module.name for module in iter_modules([root]) if module.ispkg)
    return tuple(facts for folder in folders if (facts := _read(root, folder)) is not None)


def _read(root: str, folder: str) -> ProviderFacts | None:
    """None where a packager left the file out: such a program's calls are recorded all the same."""
    loader = globals().get("__loader__")  # of a zip file, perhaps; none in the build
    path = os.path.join(root, folder, "provider.toml")
    try:
        if loader is not None:
            text = loader.get_data(path).decode()
        else:
            with open(path, encoding="utf-8") as file:
                text = file.read()
    except OSError:
        return None
    parser = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    fields: dict[str, Any] = parser.loads(text)
    return ProviderFacts(folder, **{**fields, "features": [Feature(**one) for one in fields["features"]]})


@cache
def category_of_host(host: str) -> str | None:
    """The category of the models that a host serves by a provider's own word, by its name in lower case."""
    for facts in providers():
        for place, category in facts.hosts.items():
            if host == place or (place.startswith(".") and host.endswith(place)):
                return category
    return None


def category_of_class(cls: type) -> str | None:
    """What an SDK's response is most likely priced as, by the package of its class."""
    package = cls.__module__.partition(".")[0]
    packages = {module.partition(".")[0]: one.category for one in providers() if one.category for module in one.modules}
    return packages.get(package)


@cache
def category_of_span(provider: str) -> str | None:
    """The category of a provider as other instrumentations call it, in lower case."""
    return next((facts.category for facts in providers() if provider in facts.span_names), None)
