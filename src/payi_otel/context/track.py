"""What users write: `track` around a function, `track_context` around a block, `get_context` to look."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from payi_otel.context import _notice
from payi_otel.context._fields import ScopeFields, TrackFields, checked_fields, keywords
from payi_otel.context._generators import TrackedGenerator, calling, resumed, resumed_async
from payi_otel.context.last_result import last_result
from payi_otel.context.scope import SCOPE_FIELDS, ScopeChange, current_scope, enter, leave

if TYPE_CHECKING:
    from typing_extensions import Unpack

F = TypeVar("F", bound=Callable[..., Any])


class Decorator(Protocol):
    """Gives a function back with the type it had."""

    def __call__(self, func: F, /) -> F:
        """Wraps it."""
        ...


class PayiContext(ScopeFields, total=False):
    """The scope as `get_context` shows it; only what is set is there."""

    last_result: Any


@keywords(TrackFields.__annotations__)
def track(**fields: Unpack[TrackFields]) -> Decorator:
    """Runs every call of a function in a scope inside the one it is called from.

    Takes functions, coroutine functions, generator and async generator functions, methods, partials and callable objects.
    None inherits; "", [] and {} clear; see docs/context.md. A generator's scope is the one of its call, however late it is read.

    Args:
        **fields: use_case_name, use_case_id, use_case_version, use_case_step, use_case_properties, limit_ids, user_id,
            account_name, request_properties, price_as_category, price_as_resource, resource_scope,
            log_prompt_and_response, proxy. `request_tags` is accepted and ignored.

    Raises:
        TypeError: a value has a wrong type, or a keyword is unknown.
        ConfigurationError: Pay-i does not take the use-case name.
    """
    change = _to_change("track", fields)
    return lambda func, /: _tracked(func, change)


@keywords(TrackFields.__annotations__)
def track_context(**fields: Unpack[TrackFields]) -> TrackContext:
    """A scope for a block: `with track_context(user_id="u1"): ...`, also `async with`, also as a decorator.

    Takes what `track` takes. One instance can be entered again, also while it is entered, and in many tasks at once.

    Raises:
        TypeError: a value has a wrong type, or a keyword is unknown.
        ConfigurationError: Pay-i does not take the use-case name.
    """
    return TrackContext(_to_change("track_context", fields))


def get_context() -> PayiContext:
    """The current scope's values that are set; {} where nothing is tracked. Changing the answer changes nothing.

    `last_result` is the `xproxy_result` of the last call made in this context, where there was one.
    """
    scope = current_scope()
    if scope is None:
        return {}
    values = {name: _copied(getattr(scope, name)) for name in SCOPE_FIELDS}
    found = {name: value for name, value in values.items() if value is not None and value != []}
    result = last_result()
    return cast("PayiContext", found if result is None else {**found, "last_result": result})


class TrackContext:
    """What `track_context` returns. It keeps no state: the scopes entered stand in the OpenTelemetry context."""

    __slots__ = ("_change",)

    def __init__(self, change: ScopeChange) -> None:
        self._change = change

    def __enter__(self) -> TrackContext:
        enter(self._change, self)
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        leave(self)

    async def __aenter__(self) -> TrackContext:
        return self.__enter__()

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        leave(self)

    def __call__(self, func: F, /) -> F:
        """The function, each call of it in a scope of its own, as `track` does it."""
        return cast("F", _tracked(func, self._change))


def _to_change(caller: str, fields: Mapping[str, Any]) -> ScopeChange:
    given = dict(fields)
    if given.pop("request_tags", None) is not None:
        _notice.warn("%s: request_tags is deprecated and ignored; use request_properties", caller)
    return ScopeChange(**checked_fields(caller, given))


def _copied(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _tracked(func: Any, change: ScopeChange) -> Any:
    if isinstance(func, staticmethod | classmethod):
        return type(func)(_tracked(func.__func__, change))
    if isinstance(func, type) or not callable(func):
        raise TypeError(f"track() takes a function or a callable object, not {'the class ' if isinstance(func, type) else ''}{func!r}")
    routine = _routine_of(func)
    if inspect.iscoroutinefunction(routine):
        return _tracked_coroutine(func, change)
    if inspect.isasyncgenfunction(routine):
        return TrackedGenerator(func, calling(resumed_async, change))
    if inspect.isgeneratorfunction(routine):
        return TrackedGenerator(func, calling(resumed, change))
    return _tracked_function(func, change)


def _routine_of(func: Any) -> Any:
    """The function that says of what kind a partial or a callable object is."""
    while isinstance(func, functools.partial):
        func = func.func
    return func if inspect.isroutine(func) else func.__call__


def _tracked_function(func: Callable[..., Any], change: ScopeChange) -> Callable[..., Any]:
    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        token = enter(change)
        try:
            return func(*args, **kwargs)
        finally:
            leave(token)

    return call


def _tracked_coroutine(func: Callable[..., Any], change: ScopeChange) -> Callable[..., Any]:
    @functools.wraps(func)
    async def call(*args: Any, **kwargs: Any) -> Any:
        token = enter(change)
        try:
            return await func(*args, **kwargs)
        finally:
            leave(token)

    return call
