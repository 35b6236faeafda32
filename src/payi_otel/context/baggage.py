"""How a scope crosses to another service: chosen fields as W3C baggage entries `payi.<field>`, and back where that is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

from opentelemetry import baggage
from opentelemetry.context import Context

from payi_otel._settings import Settings
from payi_otel.context import _notice
from payi_otel.context._fields import ScopeFields, is_use_case_name
from payi_otel.context._text import from_text, to_text
from payi_otel.errors import ConfigurationError

if TYPE_CHECKING:
    from payi_otel.context.scope import Scope

PREFIX: Final = "payi."
DEFAULT_FIELDS: Final = Settings().propagate

_MAX_BYTES = 4096
"""For all our entries together, as they stand in the header; W3C allows 8192 for everyone's."""


@dataclass(frozen=True, slots=True)
class _Policy:
    fields: tuple[str, ...] = ()
    trust_inbound: bool = False


_policy = _Policy()


def set_propagation(fields: tuple[str, ...] = DEFAULT_FIELDS, trust_inbound: bool = False) -> None:
    """Sets what scopes entered from now on write into baggage, and whether `payi.*` baggage of a request is believed.

    Until this is called nothing is written and nothing is believed.

    Args:
        fields: names of `Scope` fields; () writes nothing. Only these are believed, too.
        trust_inbound: the callers of this service are our own, or a gateway removes `payi.*` of others.

    Raises:
        ConfigurationError: a name is no field of a scope.
    """
    global _policy  # noqa: PLW0603 - the one setting of this module, replaced whole
    allowed = ScopeFields.__annotations__
    problems = [f"propagate: {name!r} is no field of a scope; allowed: {', '.join(allowed)}" for name in fields if name not in allowed]
    if problems:
        raise ConfigurationError(problems)
    _policy = _Policy(tuple(name for name in allowed if name in fields), trust_inbound)


def without_payi_baggage(context: Context) -> Context:
    """The context without our entries, others' left alone; the same object where there is none of ours."""
    entries = baggage.get_all(context)
    for name in entries:
        if name.startswith(PREFIX):
            break
    else:
        return context
    others = [(name, value) for name, value in entries.items() if not name.startswith(PREFIX)]
    context = baggage.clear(context)
    for name, value in others:
        context = baggage.set_baggage(name, value, context)
    return context


def with_entries(context: Context, entries: Mapping[str, object]) -> Context:
    """The context with these as our only entries."""
    context = without_payi_baggage(context)
    for name, value in entries.items():
        context = baggage.set_baggage(name, value, context)
    return context


def payi_entries(context: Context) -> dict[str, object]:
    """Our entries of a context, whoever wrote them."""
    return {name: value for name, value in baggage.get_all(context).items() if name.startswith(PREFIX)}


def to_entries(scope: Scope) -> dict[str, object]:
    """The chosen fields that the scope sets, as far as they fit; use_case_name is the first and always fits."""
    entries: dict[str, object] = {}
    free = _MAX_BYTES
    for name in _policy.fields:
        value = getattr(scope, name)
        if value is None or value == ():
            continue
        # a lone surrogate would raise in the propagator, in the middle of a request of the application
        text = to_text(value).encode("utf-8", "replace").decode()
        size = len(PREFIX) + len(name) + len(quote_plus(text)) + len("=,")
        if size > free:
            _notice.warn("%s does not fit into the baggage; the services called from here do not learn it", name)
            continue
        free -= size
        entries[PREFIX + name] = text
    return entries


def inbound(context: Context) -> dict[str, Any]:
    """What a trusted caller's baggage says, as values of a `ScopeChange`; {} where it is not trusted."""
    if not _policy.trust_inbound:
        return {}
    values: dict[str, Any] = {}
    for name in _policy.fields:
        text = baggage.get_baggage(PREFIX + name, context)
        if text:
            try:
                values[name] = from_text(name, str(text))
            except ValueError:
                _notice.warn("the baggage's %s cannot be read and is ignored", name)
    return _with_known_use_case(values)


def _with_known_use_case(values: dict[str, Any]) -> dict[str, Any]:
    """Without all of a use case whose name Pay-i refuses; and an instance the caller does not name is not invented here."""
    name = values.get("use_case_name")
    if name is None:
        return values
    if not is_use_case_name(name):
        _notice.warn("the baggage's %s is not allowed; its use case is ignored", "use_case_name")
        return {key: value for key, value in values.items() if not key.startswith("use_case_")}
    return {"use_case_id": "", **values}
