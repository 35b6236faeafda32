"""The `Scope`: whose call it is. Its one merge, and the place it has in the OpenTelemetry context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace
from opentelemetry.context import Context, attach, create_key, get_current, set_value

from payi_otel._guard import log_fault
from payi_otel.context import baggage
from payi_otel.context._fields import frozen_value

T = TypeVar("T")


class _Fields(Struct, frozen=True, kw_only=True):
    """What a scope and a change of it have alike. In a change, None inherits and an empty value clears."""

    use_case_name: str | None = None
    use_case_id: str | None = None
    use_case_step: str | None = None
    use_case_properties: Mapping[str, str | None] | None = None
    user_id: str | None = None
    account_name: str | None = None
    request_properties: Mapping[str, str | None] | None = None
    price_as_category: str | None = None
    price_as_resource: str | None = None
    resource_scope: str | None = None
    log_prompt_and_response: bool | None = None
    proxy: bool | None = None


class ScopeChange(_Fields, frozen=True, kw_only=True):
    """What `track`, `track_context`, a call's headers or a caller's baggage ask for."""

    use_case_version: int | Literal[""] | None = None
    """"" clears, as an empty header does."""
    limit_ids: tuple[str, ...] | None = None


UNCHANGED = ScopeChange()
"""Asks for nothing; merging it gives the very scope back."""


class Scope(_Fields, frozen=True, kw_only=True):
    """Whose call it is, resolved: None and () mean that nothing is set."""

    use_case_version: int | None = None
    limit_ids: tuple[str, ...] = ()

    def merged(self, change: ScopeChange) -> Scope:
        """The scope inside this one: limit ids are united and properties merge, the change's key wins."""
        return self._changed(change, _united, _mixed)

    def with_headers(self, overrides: ScopeChange) -> Scope:
        """The scope of one call: a header replaces, also limit ids and properties; an empty one clears."""
        return self._changed(overrides, _replaced, _replaced)

    def _changed(self, change: ScopeChange, join_limits: Callable[..., Any], join_properties: Callable[..., Any]) -> Scope:
        if change is UNCHANGED:
            return self
        plain = {name: _replaced(getattr(self, name), getattr(change, name)) for name in _PLAIN_FIELDS}
        return Scope(
            **plain,
            **self._use_case(change, join_properties),
            limit_ids=join_limits(self.limit_ids, change.limit_ids) or (),
            request_properties=join_properties(self.request_properties, change.request_properties),
        )

    def _use_case(self, change: ScopeChange, join_properties: Callable[..., Any]) -> dict[str, Any]:
        """The five fields of the use case. Without a name there is no use case, and its other values mean nothing."""
        name = _replaced(self.use_case_name, change.use_case_name)
        if name is None:
            return {}
        outer = self if name == self.use_case_name else Scope(use_case_id=str(uuid4()))
        return {
            "use_case_name": name,
            "use_case_id": _replaced(outer.use_case_id, change.use_case_id),
            "use_case_version": _replaced(outer.use_case_version, change.use_case_version),
            "use_case_step": _replaced(outer.use_case_step, change.use_case_step),
            "use_case_properties": join_properties(outer.use_case_properties, change.use_case_properties),
        }


SCOPE_FIELDS = Scope.__struct_fields__
_PLAIN_FIELDS = tuple(name for name in SCOPE_FIELDS if not name.startswith("use_case_") and name not in ("limit_ids", "request_properties"))


def _replaced(outer: T | None, given: T | Literal[""] | None) -> T | None:
    """0 and False are values; what is empty clears."""
    if given is None:
        return outer
    return None if given == "" or given == () or given == {} else given


def _united(outer: tuple[str, ...], given: tuple[str, ...] | None) -> tuple[str, ...]:
    return outer if given is None else tuple(dict.fromkeys((*outer, *given))) if given else ()


def _mixed(outer: Mapping[str, str | None] | None, given: Mapping[str, str | None] | None) -> Mapping[str, str | None] | None:
    return outer if given is None else {**(outer or {}), **given} if given else None


def from_defaults(
    *,
    use_case_name: str | None = None,
    use_case_id: str | None = None,
    use_case_version: int | None = None,
    use_case_properties: Mapping[str, str | None] | None = None,
    limit_ids: Sequence[str] | None = None,
    user_id: str | None = None,
    account_name: str | None = None,
    request_properties: Mapping[str, str | None] | None = None,
) -> Scope:
    """The scope that holds where none was entered. A use case without an id gets one, once, here."""
    given = {name: frozen_value(name, value) for name, value in locals().items() if value is not None}
    return Scope().merged(ScopeChange(**given))


class Frame(Struct, frozen=True, eq=False):
    """One scope entered, and those around it."""

    token: object
    scope: Scope
    outer: Frame | None
    inbound: Mapping[str, object]
    """The `payi.*` baggage that stood in the context before the outermost of these frames."""


_FRAME_KEY = create_key("payi.scope")


class _Defaults(Struct, frozen=True):
    scope: Scope | None = None
    is_set: bool = False
    base: Scope = Scope()
    """What a scope begins with where `scope` is None."""


_UNSET = _Defaults()
_defaults = _UNSET


def set_defaults(scope: Scope | None, base: Scope | None = None) -> None:
    """Sets the scope that holds in every thread and task where none was entered; None: no call is tracked there.

    Args:
        scope: That scope.
        base: What entered scopes begin with where there is none.
    """
    global _defaults  # noqa: PLW0603 - the one setting of this module, replaced whole
    _defaults = _Defaults(scope, is_set=True, base=base or Scope())


def unset_defaults() -> None:
    """As if none had ever been set."""
    global _defaults  # noqa: PLW0603 - as above
    _defaults = _UNSET


def are_defaults_set() -> bool:
    """Whether anybody said what holds where no scope was entered."""
    return _defaults.is_set


def track_by_default() -> None:
    """Calls are tracked, as nobody's, until somebody says otherwise: an instrumentor was started by itself."""
    global _defaults  # noqa: PLW0603 - as above
    if not _defaults.is_set:
        _defaults = _Defaults(Scope())


def current_scope() -> Scope | None:
    """The scope that a call made here and now has; None where nothing is tracked."""
    context = get_current()
    frame = context.get(_FRAME_KEY)
    if isinstance(frame, Frame):
        return frame.scope
    values = baggage.inbound(context)
    default = _defaults.scope
    return (default or _defaults.base).merged(ScopeChange(**values)) if values else default


def current_frame() -> Frame | None:
    """The innermost scope entered here; None where none was."""
    return _frame_of(get_current())


def scoped_context(change: ScopeChange, token: object) -> Context:
    """The current OpenTelemetry context with a scope inside the current one, not attached yet."""
    context = get_current()
    try:
        outer = _frame_of(context)
        inbound = baggage.payi_entries(context) if outer is None else outer.inbound
        return _with_frame(context, Frame(token, (current_scope() or _defaults.base).merged(change), outer, inbound), {})
    except Exception as fault:
        log_fault("entering a scope", fault)
        return context


def enter(change: ScopeChange, token: object = None) -> object:
    """Enters a scope inside the current one.

    Args:
        change: what the new scope says otherwise.
        token: what `leave` is given later; by default a new object.

    Returns:
        The token.
    """
    token = object() if token is None else token
    attach(scoped_context(change, token))
    return token


def leave(token: object) -> None:
    """Leaves the innermost scope entered with this token, in any order; does nothing where it was not entered.

    The outer state is attached again rather than detached to: OpenTelemetry's tokens fail, and log so, in a context other
    than their own, and an exit may run in another task or thread (a web framework's dependency, a collected generator).
    """
    try:
        context = get_current()
        above: list[Frame] = []
        frame = _frame_of(context)
        while frame is not None and frame.token is not token:
            above.append(frame)
            frame = frame.outer
        if frame is None:
            return
        rest = frame.outer
        for inner in reversed(above):
            rest = replace(inner, outer=rest)
        attach(_with_frame(context, rest, frame.inbound))
    except Exception as fault:
        log_fault("leaving a scope", fault)


def _frame_of(context: Context) -> Frame | None:
    frame = context.get(_FRAME_KEY)
    return frame if isinstance(frame, Frame) else None


def _with_frame(context: Context, frame: Frame | None, inbound: Mapping[str, object]) -> Context:
    """The context with this frame and its baggage, or with none and the baggage that was there before. Spans in it stay."""
    if frame is None:
        rest = Context({key: value for key, value in context.items() if key != _FRAME_KEY})
        return baggage.with_entries(rest, inbound)
    return set_value(_FRAME_KEY, frame, baggage.with_entries(context, baggage.to_entries(frame.scope)))
