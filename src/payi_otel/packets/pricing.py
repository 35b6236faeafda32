"""What a call is priced as: category, resource and scope, each resolved on its own.

Order, first that says something wins: per-call header and context (both in the `Scope`), model mappings (first exact match on
model and, where given, host), host mappings, the client's own category.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from payi_otel.payload import Payload
from payi_otel.semconv import UNKNOWN_MODEL, PayiCategories


class ModelMapping(Protocol):
    """One entry of a `model_mappings` setting."""

    @property
    def model(self) -> str:
        """The requested model or deployment to match."""
        ...

    @property
    def host(self) -> str | None:
        """`host` or `host:port` to match; None matches any."""
        ...

    @property
    def price_as_category(self) -> str | None:
        """The category, or None."""
        ...

    @property
    def price_as_resource(self) -> str | None:
        """The resource, or None."""
        ...

    @property
    def resource_scope(self) -> str | None:
        """The scope, or None."""
        ...


logger = logging.getLogger("payi.instrument")

_AZURE = frozenset({PayiCategories.azure, PayiCategories.azure_openai})
_MAX_WARNED = 1000
"""Deployments that are named in a warning, each once; a program that has more knows by then."""
_warned: set[tuple[str | None, str | None]] = set()


class PriceAs(NamedTuple):
    """What goes into the packet."""

    category: str
    resource: str
    resource_scope: str | None


class PriceSaid(NamedTuple):
    """What somebody has said of it; None for what nobody has."""

    category: str | None
    resource: str | None
    resource_scope: str | None
    is_mapped: bool
    """A model mapping says something."""


def price_as(payload: Payload, model_mappings: Mapping[str, Sequence[ModelMapping]], host_mappings: Mapping[str, str | None]) -> PriceAs:
    """Resolves a call's price.

    Args:
        payload: The call.
        model_mappings: By provider SDK (`openai`, `anthropic`, ...), the settings' entries in their order.
        host_mappings: `host` or `host:port` to category.
    """
    said, model = price_said(payload, model_mappings, host_mappings), payload.model or payload.response_model
    category, resource = said.category or payload.category, said.resource
    if not resource:
        prefix = payload.resource_prefix if category == payload.category else ""
        resource = prefix + model if model else UNKNOWN_MODEL
        if category in _AZURE and not said.is_mapped and category == payload.category:
            _warn_of_unmapped(payload, model)
    return PriceAs(category, resource, said.resource_scope or payload.resource_scope)


def price_said(
    payload: Payload, model_mappings: Mapping[str, Sequence[ModelMapping]], host_mappings: Mapping[str, str | None]
) -> PriceSaid:
    """What the user has said of a call's price; the arguments are those of `price_as`."""
    scope, model = payload.scope, payload.model or payload.response_model
    mapping = _find(model_mappings.get(payload.priced_by or payload.module.partition("/")[0], ()), model, payload.host)
    category, resource, resource_scope = scope.price_as_category, scope.price_as_resource, scope.resource_scope
    if mapping is not None:
        category, resource = category or mapping.price_as_category, resource or mapping.price_as_resource
        resource_scope = resource_scope or mapping.resource_scope
    return PriceSaid(category or _by_host(host_mappings, payload.host), resource, resource_scope, is_mapped=mapping is not None)


def _warn_of_unmapped(payload: Payload, deployment: str | None) -> None:
    """Once for each deployment: its name is the customer's own, and no price list has it."""
    key = (payload.host, deployment)
    if key in _warned or len(_warned) >= _MAX_WARNED:
        return
    _warned.add(key)
    sdk = payload.priced_by or payload.module.partition("/")[0]
    logger.warning(
        "the Azure deployment %r has no model mapping: Pay-i can price its calls only if it is named like a model; "
        "set %s_config.model_mappings with its price_as_resource",
        deployment,
        sdk,
    )


def _find(mappings: Sequence[ModelMapping], model: str | None, host: str | None) -> ModelMapping | None:
    if not mappings:
        return None
    return next((m for m in mappings if m.model == model and (m.host is None or m.host in _names_of(host))), None)


def _by_host(mappings: Mapping[str, str | None], host: str | None) -> str | None:
    if not mappings:
        return None
    return next((category for name in _names_of(host) if (category := mappings.get(name))), None)


def _names_of(host: str | None) -> tuple[str, ...]:
    """A host as a mapping may name it: with its port, and without; an IPv6 address in brackets."""
    if not host:
        return ()
    bare, separator, port = host.rpartition(":")
    if not separator:
        return (host,)
    if ":" in bare and not bare.startswith("["):
        return (f"[{bare}]:{port}", f"[{bare}]", f"[{host}]")
    return (host, bare)
