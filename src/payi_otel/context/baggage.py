"""How a scope crosses to another service: chosen fields as W3C baggage entries `payi.<field>`, and back where that is trusted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

from msgspec import Struct
from opentelemetry import baggage
from opentelemetry.context import Context

from payi_otel._settings import Settings
from payi_otel.context import _notice
from payi_otel.context._fields import SWITCH_FIELDS, ScopeFields, is_use_case_name
from payi_otel.context._text import from_text, to_text
from payi_otel.errors import ConfigurationError

if TYPE_CHECKING:
    from payi_otel.context.scope import Scope

PREFIX: Final = "payi."
_USE_CASE, _USE_CASE_NAME = PREFIX + "use_case_", PREFIX + "use_case_name"
DEFAULT_FIELDS: Final = Settings().propagate

_MAX_BYTES = 4096
"""For all our entries together, as they stand in the header, a comma counted with each."""
_MAX_ENTRY_BYTES, _MAX_ALL_BYTES, _MAX_ALL_ENTRIES = 4096, 8192, 180
"""What OpenTelemetry's propagator sends of everyone's: it leaves an entry out that is longer, and all from the first that is too much."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class _Policy(Struct, frozen=True):
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
    if not context:
        return context
    entries = baggage.get_all(context)
    if not entries or not any(name.startswith(PREFIX) for name in entries):
        return context
    others = [(name, value) for name, value in entries.items() if not name.startswith(PREFIX)]
    context = baggage.clear(context)
    for name, value in others:
        context = baggage.set_baggage(name, value, context)
    return context


def with_entries(context: Context, entries: Mapping[str, object]) -> Context:
    """The context with these as our only entries, as far as they fit beside those of others, which stay."""
    context = without_payi_baggage(context)
    for name, value in _fitting(entries, baggage.get_all(context)).items():
        context = baggage.set_baggage(name, value, context)
    return context


def _fitting(entries: Mapping[str, object], others: Mapping[str, object]) -> Mapping[str, object]:
    """Those for which W3C leaves room. Where a use case's name finds none, what follows of it is left out: it would join another's."""
    if not entries or not others:
        return entries
    sizes = [size for name, value in others.items() if (size := _size(str(name), str(value))) <= _MAX_ENTRY_BYTES + len(",")]
    free, places = _MAX_ALL_BYTES + len(",") - sum(sizes), _MAX_ALL_ENTRIES - len(sizes)
    kept: dict[str, object] = {}
    is_nameless = False
    for name, value in entries.items():
        size = _size(name, str(value))
        if size > free or places <= len(kept) or (is_nameless and name.startswith(_USE_CASE)):
            is_nameless = is_nameless or name == _USE_CASE_NAME
            _warn_left_out(name.removeprefix(PREFIX))
            continue
        free -= size
        kept[name] = value
    return kept


def _size(name: str, text: str) -> int:
    """Bytes of an entry in the header, with its comma; of one that is too long in any case, without encoding it."""
    if len(text) > _MAX_ENTRY_BYTES:
        return len(name) + len(text) + len("=,")
    return len(quote_plus(name, errors="replace")) + len(quote_plus(text, errors="replace")) + len("=,")


def _warn_left_out(field: str) -> None:
    _notice.warn("%s does not fit into the baggage; the services called from here do not learn it", field)


def payi_entries(context: Context) -> dict[str, object]:
    """Our entries of a context, whoever wrote them."""
    return {name: value for name, value in baggage.get_all(context).items() if name.startswith(PREFIX)}


def to_entries(scope: Scope) -> dict[str, object]:
    """The chosen fields that the scope sets, as far as they fit among ours; use_case_name is the first and always does."""
    entries: dict[str, object] = {}
    free = _MAX_BYTES
    for name in _policy.fields:
        value = getattr(scope, name)
        if value is None or value == ():
            continue
        # a lone surrogate would raise in the propagator, in the middle of a request of the application
        text = to_text(value).encode("utf-8", "replace").decode()
        size = _size(PREFIX + name, text)
        if size > free:
            _warn_left_out(name)
            continue
        free -= size
        entries[PREFIX + name] = text
    return entries


def inbound(context: Context) -> dict[str, Any]:
    """What a trusted caller's baggage says, as values of a `ScopeChange`; {} where it is not trusted."""
    if not _policy.trust_inbound:
        return {}
    return trusted(lambda name: baggage.get_baggage(name, context))


def trusted(get: Callable[[str], object]) -> dict[str, Any]:
    """What entries `payi.<field>` say, wherever they stand: `get` gives one by its name, or None."""
    if not _policy.trust_inbound:
        return {}
    values: dict[str, Any] = {}
    for name in _policy.fields:
        value = get(PREFIX + name)
        if value is not None and value != "":
            try:
                values[name] = _read(name, str(value))
            except ValueError:
                _notice.warn("the baggage's %s cannot be read and is ignored", name)
    return _with_known_use_case(values)


def _read(name: str, text: str) -> Any:
    """A field's value, whoever wrote it.

    Raises:
        ValueError: no service of ours would have written that, or Pay-i would refuse it.
    """
    if len(text) > _MAX_BYTES or _CONTROL.search(text):
        raise ValueError("too long, or not text")
    if name in SWITCH_FIELDS and text.lower() not in ("true", "false"):
        raise ValueError("neither true nor false")
    return from_text(name, text)


def _with_known_use_case(values: dict[str, Any]) -> dict[str, Any]:
    """Without all of a use case whose name Pay-i refuses; and an instance the caller does not name is not invented here."""
    name = values.get("use_case_name")
    if name is None:
        return values
    if not is_use_case_name(name):
        _notice.warn("the baggage's %s is not allowed; its use case is ignored", "use_case_name")
        return {key: value for key, value in values.items() if not key.startswith("use_case_")}
    return {"use_case_id": "", **values}
