"""Makes the imports of Pay-i's published SDK resolve to this package: `payi.lib.instrument` and `payi.lib.helpers`.

Importing this module is enough, before or after the published SDK, with or without it installed. Where it is installed, `import payi`
and everything else below it stay the published SDK's; where it is not, `payi` itself stands in with `Payi` and `AsyncPayi`.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

import payi_otel
from payi_otel.clients import BASE_URL_VARIABLE, DEFAULT_BASE_URL
from payi_otel.context._fields import ScopeFields
from payi_otel.context.headers import create_limit_header_from_ids
from payi_otel.semconv import PROXY_PATH, PayiPropertyNames

logger = logging.getLogger("payi.instrument")

REPLACED: Final = ("payi.lib.instrument", "payi.lib.helpers")
"""Ours even where the published SDK is installed."""
VIRTUAL: Final = ("payi", "payi.lib")
"""Ours only where nothing else offers them."""


def install() -> None:
    """Puts the imports in place; a second call does nothing.

    Modules of the published SDK that were imported before are replaced, with one warning: names that were already taken from them
    still lead to the published SDK.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder(REPLACED))
    sys.meta_path.append(_Finder(VIRTUAL))
    taken = [name for name in REPLACED if name in sys.modules]
    for name in taken:
        del sys.modules[name]
    for name in taken:
        importlib.import_module(name)
    if taken:
        logger.warning(
            "payi_otel.compat: %s was imported from the published SDK before; names taken from there are not instrumented by payi-otel. "
            "Import payi_otel.compat first.",
            " and ".join(taken),
        )


def find_spec(name: str) -> ModuleSpec | None:
    """How to import one of the names this module stands in for; None for any other name."""
    if name not in (*REPLACED, *VIRTUAL):
        return None
    return ModuleSpec(name, _LOADER, origin=__file__, is_package=name in VIRTUAL)


class _Finder(MetaPathFinder):
    """Finds the names given to it, whatever the path."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return find_spec(fullname) if fullname in self._names else None


class _Loader(Loader):
    """Fills a module with this package's names."""

    def exec_module(self, module: ModuleType) -> None:
        contents = _CONTENTS[module.__name__]()
        vars(module).update(contents, __doc__=f"`{module.__name__}`, offered by payi-otel.", __all__=sorted(contents))


class PayiResourceScopes:
    """The kinds of `resource_scope`; a region may be named, as in `region.us-east-1`."""

    global_scope: Final = "global"
    datazone_scope: Final = "datazone"
    region_scope: Final = "region"


def payi_openai_url(payi_base_url: str | None = None) -> str:
    """Where an OpenAI client reaches Pay-i's proxy."""
    return _to_proxy_url(payi_base_url, "openai/v1")


def payi_anthropic_url(payi_base_url: str | None = None) -> str:
    """Where an Anthropic client reaches Pay-i's proxy."""
    return _to_proxy_url(payi_base_url, "anthropic")


def payi_azure_openai_url(payi_base_url: str | None = None) -> str:
    """Where an Azure OpenAI client reaches Pay-i's proxy."""
    return _to_proxy_url(payi_base_url, "azure.openai")


def payi_azure_anthropic_url(payi_base_url: str | None = None) -> str:
    """Where an Anthropic client for Azure reaches Pay-i's proxy."""
    return _to_proxy_url(payi_base_url, "azure.anthropic")


def payi_aws_bedrock_url(payi_base_url: str | None = None) -> str:
    """Where a Bedrock client reaches Pay-i's proxy."""
    return _to_proxy_url(payi_base_url, "aws.bedrock")


def _to_proxy_url(payi_base_url: str | None, path: str) -> str:
    return f"{payi_base_url or os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL}{PROXY_PATH}{path}"


def _instrument_names() -> dict[str, Any]:
    public = {name: getattr(payi_otel, name) for name in payi_otel.__all__}
    return {**public, "PayiContext": ScopeFields, "PayiInstanceDefaultContext": ScopeFields}


def _helper_names() -> dict[str, Any]:
    things: tuple[Any, ...] = (
        payi_otel.PayiCategories,
        payi_otel.PayiHeaderNames,
        PayiPropertyNames,
        PayiResourceScopes,
        payi_otel.create_headers,
        create_limit_header_from_ids,
        payi_openai_url,
        payi_anthropic_url,
        payi_azure_openai_url,
        payi_azure_anthropic_url,
        payi_aws_bedrock_url,
        payi_otel.increment_kpi_score,
        payi_otel.increment_kpi_score_async,
    )
    return {**{thing.__name__: thing for thing in things}, "PAYI_BASE_URL": DEFAULT_BASE_URL}


def _client_names() -> dict[str, Any]:
    return {"Payi": payi_otel.Payi, "AsyncPayi": payi_otel.AsyncPayi}


_LOADER = _Loader()
_CONTENTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "payi": _client_names,
    "payi.lib": dict,
    "payi.lib.instrument": _instrument_names,
    "payi.lib.helpers": _helper_names,
}

install()
