"""Streams of `google-genai` are generators that ask at their first step, wherever that is: their scope is the one of their call."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isasyncgen, isgenerator
from typing import Any

from payi_otel.context._generators import Room, read_in, read_in_async
from payi_otel.instrumentors._wrapper import Binding


def keep_scope(binding: Binding) -> Callable[..., Any]:
    """A wrapper for a generator function: all it does is done in the context of its call."""

    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        room, stream = Room.here(), wrapped(*args, **kwargs)
        return read_in(stream, room) if binding.active and isgenerator(stream) else stream

    return call


def keep_scope_async(binding: Binding) -> Callable[..., Any]:
    """The same for a coroutine function that gives an async generator."""

    async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        room, stream = Room.here(), await wrapped(*args, **kwargs)
        return read_in_async(stream, room) if binding.active and isasyncgen(stream) else stream

    return call
