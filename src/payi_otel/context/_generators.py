"""Tracked generators: each runs in an OpenTelemetry context of its own, made when it is called and entered at every resume."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any

import wrapt
from opentelemetry.context import Context, attach, get_current

from payi_otel.context.scope import ScopeChange, scoped_context

if TYPE_CHECKING:
    _FunctionProxy = wrapt.FunctionWrapper[..., Any]
else:
    _FunctionProxy = wrapt.FunctionWrapper  # generic in its stubs only


class TrackedGenerator(_FunctionProxy):
    """A generator function whose scope is taken when it is called; a real one runs no line before its first resume.

    The proxy passes for the function in `inspect`, and binds as a method does.
    """

    def __reduce_ex__(self, protocol: Any) -> str:
        """By name, as a function is pickled."""
        return self.__qualname__


def calling(drive: Callable[[Any, Room], Any], change: ScopeChange) -> Callable[..., Any]:
    """What a call of the function does: `drive` its generator in a room of the scope that the change gives here and now."""

    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return drive(wrapped(*args, **kwargs), Room(scoped_context(change, object())))

    return call


class Room:
    """A generator's own OpenTelemetry context, entered at each resume.

    What the body attaches across a yield stays with it, and what its consumer attaches stays outside.
    """

    __slots__ = ("_inside", "_outside")

    def __init__(self, inside: Context) -> None:
        self._inside = inside
        self._outside = inside

    @classmethod
    def here(cls) -> Room:
        """Of the context that is current now."""
        return cls(get_current())

    def __enter__(self) -> None:
        self._outside = get_current()
        attach(self._inside)

    def __exit__(self, *_: object) -> None:
        self._inside = get_current()
        attach(self._outside)


def resumed(body: Generator[Any, Any, Any], room: Room) -> Generator[Any, Any, Any]:
    """Passes values and exceptions, also GeneratorExit, to a body and back, as `yield from` does, each resume in its room."""
    resume: Callable[[Any], Any] = body.send
    given: Any = None
    while True:
        try:
            with room:
                item = resume(given)
        except StopIteration as stop:
            return stop.value
        try:
            given = yield item
            resume = body.send
        except BaseException as error:
            resume, given = body.throw, error


async def resumed_async(body: AsyncGenerator[Any, Any], room: Room) -> AsyncGenerator[Any, Any]:
    """The same for an async generator; while it awaits, its task stands in the room."""
    resume: Callable[[Any], Any] = functools.partial(_first_resume, body)
    given: Any = None
    while True:
        try:
            with room:
                item = await resume(given)
        except StopAsyncIteration:
            return
        try:
            given = yield item
            resume = body.asend
        except BaseException as error:
            resume, given = body.athrow, error


def read_in(body: Generator[Any, Any, Any], room: Room) -> Generator[Any, None, None]:
    """Reads a body that takes nothing, each step in a room. It is closed, not thrown into: an error would hold what it has open."""
    try:
        while True:
            try:
                with room:
                    item = next(body)
            except StopIteration:
                return
            yield item
    finally:
        with room:
            body.close()


async def read_in_async(body: AsyncGenerator[Any, Any], room: Room) -> AsyncGenerator[Any, None]:
    """The same for an async generator."""
    resume: Callable[[Any], Any] = functools.partial(_first_resume, body)
    try:
        while True:
            try:
                with room:
                    item = await resume(None)
            except StopAsyncIteration:
                return
            resume = body.asend
            yield item
    finally:
        with room:
            await body.aclose()


def _first_resume(body: AsyncGenerator[Any, Any], given: None) -> Any:
    """Starts a body unseen by the event loop, which has its wrapper to close at shutdown.

    It would close both at once: the body outside its room, and the wrapper with "generator is already running".
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return body.asend(given)
    finally:
        sys.set_asyncgen_hooks(*hooks)
