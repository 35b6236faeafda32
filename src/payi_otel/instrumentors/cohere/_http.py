"""How `cohere` sends: its HTTP client's `request`, which gives the response, and `stream`, which gives a manager of one."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from payi_otel._guard import guard
from payi_otel.context.headers import split_headers
from payi_otel.instrumentors._capture import (
    noted,
    send_and_capture,
    send_and_capture_async,
    send_without_baggage,
    send_without_baggage_async,
)
from payi_otel.instrumentors._operation import Operation
from payi_otel.instrumentors._wrapper import Binding, Prepared, async_wrapper, call_async, call_sync, prepare, sync_wrapper

_Wrapper = Callable[..., Any]


def without_ours(kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Our headers among the caller's in `request_options`, or None; and the arguments without them."""
    options = kwargs.get("request_options")
    headers = options.get("additional_headers") if isinstance(options, Mapping) else None
    if not headers or not isinstance(headers, Mapping):
        return None, kwargs
    overrides, rest = split_headers(headers)
    if len(rest) == len(headers):
        return None, kwargs
    return overrides, {**kwargs, "request_options": {**(options or {}), "additional_headers": rest}}


def send(wrapped: _Wrapper, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps `HttpClient.request`."""
    return send_and_capture(wrapped, instance, args, _cleared(kwargs))


async def send_async(wrapped: _Wrapper, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same where it is awaited."""
    return await send_and_capture_async(wrapped, instance, args, _cleared(kwargs))


def send_stream(wrapped: _Wrapper, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps `HttpClient.stream`, sync or async: it sends when its manager is entered."""
    manager = wrapped(*args, **_cleared(kwargs))
    return _sent_async(manager) if hasattr(manager, "__aenter__") else _sent(manager)


def _cleared(kwargs: dict[str, Any]) -> dict[str, Any]:
    with guard("reading a request's headers"):
        return without_ours(kwargs)[1]
    return kwargs


def _sent(manager: Any) -> Any:
    return _held(manager, lambda: noted(send_without_baggage(manager.__enter__, None, (), {})))


def _sent_async(manager: Any) -> Any:
    async def enter() -> Any:
        return noted(await send_without_baggage_async(manager.__aenter__, None, (), {}))

    return _held_async(manager, enter)


@contextmanager
def _held(manager: Any, enter: Callable[[], Any]) -> Iterator[Any]:
    """The manager, entered in another way."""
    entered = enter()
    try:
        yield entered
    except BaseException:
        if not manager.__exit__(*sys.exc_info()):
            raise
    else:
        manager.__exit__(None, None, None)


@asynccontextmanager
async def _held_async(manager: Any, enter: Callable[[], Awaitable[Any]]) -> AsyncIterator[Any]:
    entered = await enter()
    try:
        yield entered
    except BaseException:
        if not await manager.__aexit__(*sys.exc_info()):
            raise
    else:
        await manager.__aexit__(None, None, None)


def plain(operation: Operation, *, is_async: bool) -> Callable[[Binding], _Wrapper]:
    """A wrapper for a method of a raw client's that gives an `HttpResponse`."""

    def bind(binding: Binding) -> _Wrapper:
        inner = (async_wrapper if is_async else sync_wrapper)(operation, binding)

        def call(wrapped: _Wrapper, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return wrapped(*args, **kwargs) if _is_elsewhere(instance) else inner(wrapped, instance, args, kwargs)

        return call

    return bind


def streamed(operation: Operation) -> Callable[[Binding], _Wrapper]:
    """A wrapper for a method of a raw client's that gives a manager of an `HttpResponse`, sync or async."""

    def bind(binding: Binding) -> _Wrapper:
        def call(wrapped: _Wrapper, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not binding.active or _is_elsewhere(instance):
                return wrapped(*args, **kwargs)
            prepared = prepare(operation, binding, instance, args, kwargs, sys._getframe().f_back)
            if not isinstance(prepared, Prepared):
                return wrapped(*args, **prepared)
            manager = wrapped(*prepared.request.args, **prepared.request.kwargs)
            return (_opened_async if hasattr(manager, "__aenter__") else _opened)(operation, prepared, manager)

        return call

    return bind


def _is_elsewhere(instance: Any) -> bool:
    """Whether a client's requests are turned into another service's on their way (Bedrock, SageMaker, Oracle), which bills them."""
    with guard("reading a client"):
        client = instance._client_wrapper.httpx_client.httpx_client
        return any(getattr(hook, "__module__", "").startswith("cohere.") for hook in client.event_hooks.get("request", ()))
    return False


def _opened(operation: Operation, prepared: Prepared, manager: Any) -> Any:
    def enter() -> Any:
        started = prepared.begin()
        return manager.__enter__() if started is None else call_sync(operation, started, lambda *args, **kwargs: manager.__enter__())

    return _held(manager, enter)


def _opened_async(operation: Operation, prepared: Prepared, manager: Any) -> Any:
    async def enter() -> Any:
        started = prepared.begin()
        if started is None:
            return await manager.__aenter__()
        return await call_async(operation, started, lambda *args, **kwargs: manager.__aenter__())

    return _held_async(manager, enter)
