"""Streams that are generators: the call is tapped between each of its steps, and stays a generator for the caller.

Nothing of ours is current while the caller has the item: each step attaches and detaches by itself.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from payi_otel.context._generators import Room, read_in, read_in_async
from payi_otel.instrumentors._capture import current_exchange
from payi_otel.instrumentors._invocation import Invocation
from payi_otel.instrumentors._iterators import Unread
from payi_otel.instrumentors._operation import Operation
from payi_otel.instrumentors._stream import Tap, settle, settle_async
from payi_otel.instrumentors._wrapper import Binding, Prepared, failed, prepare


def wrap_generator(operation: Any) -> Callable[[Binding], Callable[..., Any]]:
    """A wrapper for a generator function, which calls the provider at its first step."""

    def bind(binding: Binding) -> Callable[..., Any]:
        def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not binding.active:
                return wrapped(*args, **kwargs)
            prepared = prepare(operation, binding, instance, args, kwargs, sys._getframe().f_back)
            if not isinstance(prepared, Prepared):
                return wrapped(*args, **prepared)
            return _steps(operation, prepared, wrapped)

        return call

    return bind


def wrap_async_generator(operation: Any) -> Callable[[Binding], Callable[..., Any]]:
    """A wrapper for a coroutine function that calls the provider and gives an async generator."""

    def bind(binding: Binding) -> Callable[..., Any]:
        async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not binding.active:
                return await wrapped(*args, **kwargs)
            prepared = prepare(operation, binding, instance, args, kwargs, sys._getframe().f_back)
            if not isinstance(prepared, Prepared):
                return await wrapped(*args, **prepared)
            started = prepared.begin()
            if started is None:
                return await wrapped(*args, **prepared.kwargs)
            request = started.request
            token, exchange = started.attach(), current_exchange.set(started.exchange)
            try:
                inner = await wrapped(*request.args, **request.kwargs)
            except BaseException as error:
                await _settle_failed(operation, started, error)
                raise
            finally:
                current_exchange.reset(exchange)
                started.detach(token)
            tap = Tap(started, operation.new_reader(started))
            return _async_steps(operation, started, inner.__aiter__(), tap, Unread(tap))

        return call

    return bind


async def _settle_failed(operation: Operation, started: Invocation, error: BaseException) -> None:
    ticket = failed(operation, started, error)
    if isinstance(error, Exception):
        await settle_async(ticket)


def _steps(operation: Any, prepared: Prepared, wrapped: Callable[..., Any]) -> Iterator[Any]:
    started = prepared.begin()
    if started is None:
        yield from wrapped(*prepared.request.args, **prepared.kwargs)
        return
    request = started.request
    inner, tap = iter(wrapped(*request.args, **request.kwargs)), None
    while True:
        token, exchange = started.attach(), current_exchange.set(started.exchange)
        try:
            item = next(inner)
        except StopIteration:
            tap = tap or Tap(started, operation.new_reader(started))
            settle(tap.end("completed"))
            return
        except BaseException as error:
            ticket = failed(operation, started, error) if tap is None else tap.fail(error)
            if isinstance(error, Exception):
                settle(ticket)
            raise
        finally:
            current_exchange.reset(exchange)
            started.detach(token)
        tap = tap or Tap(started, operation.new_reader(started))
        tap.note(item)
        tap.show(item)
        try:
            yield item
        except BaseException as error:  # closed, collected, or thrown into
            tap.fail(error)
            raise


async def _async_steps(operation: Any, started: Invocation, inner: AsyncIterator[Any], tap: Tap, unread: Unread) -> AsyncIterator[Any]:
    read = False
    while True:
        token, exchange = started.attach(), current_exchange.set(started.exchange)
        try:
            item = await inner.__anext__()
        except StopAsyncIteration:
            await settle_async(tap.end("completed"))
            return
        except BaseException as error:
            if read:
                ticket = tap.fail(error)
            else:
                ticket = failed(operation, started, error)
                tap.forget()
            if isinstance(error, Exception):
                await settle_async(ticket)
            raise
        finally:
            current_exchange.reset(exchange)
            started.detach(token)
        read = True
        tap.note(item)
        tap.show(item)
        try:
            yield item
        except BaseException as error:
            tap.fail(error)
            raise


def keep_scope(binding: Binding) -> Callable[..., Any]:
    """A wrapper for a generator function of the SDK's, sync or async, that asks at its first step, wherever that is.

    All it does is done in the context of its call.
    """

    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        room = Room.here()
        return _read_in(room, wrapped(*args, **kwargs)) if binding.active else wrapped(*args, **kwargs)

    return call


def keep_scope_async(binding: Binding) -> Callable[..., Any]:
    """The same for a coroutine function that gives an async generator."""

    async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        room = Room.here()
        return _read_in(room, await wrapped(*args, **kwargs)) if binding.active else await wrapped(*args, **kwargs)

    return call


def _read_in(room: Room, stream: Any) -> Any:
    """What another instrumentation made of the SDK's generator, and says to be one, stays as it is."""
    if type(stream) is GeneratorType:
        return read_in(stream, room)
    return read_in_async(stream, room) if type(stream) is AsyncGeneratorType else stream
