"""The one wrapper, sync and async, around every patched method, and the steps it is made of.

A provider whose calls do not begin where a method is called (a manager that sends on `__enter__`, a generator that sends on its
first `next`) uses the steps by themselves: `prepare`, `Prepared.begin`, `call_sync` or `call_async`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Tracer

from payi_otel._guard import guard, log_fault
from payi_otel.context.scope import Scope, current_scope
from payi_otel.errors import LimitExceeded
from payi_otel.instrumentors._capture import current_exchange, is_inside
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._operation import Operation, status_of
from payi_otel.instrumentors._proxy import can_route, route_of
from payi_otel.instrumentors._stream import settle, settle_async
from payi_otel.limits import limits
from payi_otel.payload import EndReason, Ticket

if TYPE_CHECKING:
    from payi_otel.config import Settings


class Binding:
    """What wrappers share: the tracer, the SDK's name, which clients are wanted, and whether any still is.

    An SDK caches bound methods (`with_raw_response`), so wrappers outlive `uninstrument`: inactive, they pass calls straight on,
    and they count again when the same instrumentor is started again.
    """

    tracer: Tracer
    module: str
    settings: Settings | None

    def __init__(self) -> None:
        self._categories: Collection[str] | None = None
        self.active = False
        self.settings = None

    def start(self, tracer: Tracer, module: str, categories: Collection[str] | None, settings: Settings | None = None) -> None:
        """From here on, calls are recorded."""
        self.tracer, self.module, self._categories, self.settings = tracer, module, categories, settings
        self.active = True

    def wants(self, category: str) -> bool:
        """Whether calls to this kind of client are recorded."""
        return self._categories is None or category in self._categories


class Prepared(Struct):
    """A call that was read and is to be recorded as soon as it is made."""

    operation: Operation
    binding: Binding
    request: Request
    scope: Scope
    instance: Any
    frame: FrameType | None
    kwargs: dict[str, Any]
    """The keyword arguments of the call if it were not recorded."""

    def begin(self) -> Invocation | None:
        """The provider is about to be called; None where a fault of ours keeps it from being recorded.

        The caller's frame is let go: it holds what is made of the call, perhaps its stream.
        """
        try:
            return self._begin()
        except Exception as fault:
            log_fault("starting a call", fault)
            return None

    def _begin(self) -> Invocation:
        request, binding = self.request, self.binding
        frame, self.frame = self.frame, None
        name = request.operation or self.operation.name
        invocation = Invocation(binding.tracer, name, request, self.scope, binding.module, self.instance, frame)
        if request.routes:
            client = request.client
            invocation.exchange.route = route_of(invocation.payload, client.base_path, is_pointed=client.is_proxied)
        return invocation


def prepare(
    operation: Operation, binding: Binding, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType | None
) -> Prepared | dict[str, Any]:
    """Reads a call; or gives the keyword arguments with which it is made when it is not to be recorded.

    Raises:
        LimitExceeded: A limit is blocked, and limits are enforced. Nothing else.
    """
    given = kwargs
    try:
        overrides, kwargs = operation.take_headers(given)
        scope = current_scope()
        if scope is None or is_inside(instance) or not is_instrumentation_enabled():
            return kwargs
        if overrides is not None:
            scope = scope.with_headers(overrides)
        request = operation.read_request(instance, args, dict(kwargs))
        if request.client.is_proxied:  # headers that the context does not know are its own, too
            request = operation.read_request(instance, args, dict(given))
        if not binding.wants(request.client.category):
            return kwargs
        if operation.is_inference and limits.enforces:
            limits.refuse_blocked(scope.limit_ids)
        routes = request.client.is_proxied or bool(scope.proxy)
        if routes and can_route(request.client.category, is_pointed=request.client.is_proxied):
            request.go_through_proxy()
        headers = kwargs.get("extra_headers")
        if headers is not None and isinstance(headers, Mapping):
            request.headers = headers
        return Prepared(operation, binding, request, scope, instance, frame, kwargs)
    except LimitExceeded:
        raise  # asked for by the user
    except Exception as fault:
        log_fault("starting a call", fault)
        return kwargs


def start(
    operation: Operation, binding: Binding, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType | None
) -> Invocation | dict[str, Any]:
    """An open invocation, or the keyword arguments with which an uninstrumented call is made."""
    prepared = prepare(operation, binding, instance, args, kwargs, frame)
    if not isinstance(prepared, Prepared):
        return prepared
    started = prepared.begin()
    return prepared.kwargs if started is None else started


def sync_wrapper(operation: Operation, binding: Binding) -> Callable[..., Any]:
    """A wrapper in wrapt's form for a method that calls the provider and returns."""

    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not binding.active:
            return wrapped(*args, **kwargs)
        started = start(operation, binding, instance, args, kwargs, sys._getframe().f_back)
        if not isinstance(started, Invocation):
            return wrapped(*args, **started)
        return call_sync(operation, started, wrapped)

    return call


def async_wrapper(operation: Operation, binding: Binding) -> Callable[..., Any]:
    """The same for a method that is awaited."""

    async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not binding.active:
            return await wrapped(*args, **kwargs)
        started = start(operation, binding, instance, args, kwargs, sys._getframe().f_back)
        if not isinstance(started, Invocation):
            return await wrapped(*args, **started)
        return await call_async(operation, started, wrapped)

    return call


def call_sync(operation: Operation, started: Invocation, wrapped: Callable[..., Any]) -> Any:
    """Calls the provider with the request as it was read, and ends the call unless its result is still to be read."""
    request, retried = started.request, False
    while True:
        token, exchange = started.attach(), current_exchange.set(started.exchange)
        try:
            result = wrapped(*request.args, **request.kwargs)
            break
        except BaseException as error:
            if retried or not _try_again(operation, started, error):
                settle(failed(operation, started, error))
                raise
            retried = True
        finally:
            current_exchange.reset(exchange)
            started.detach(token)
    settle(answered(operation, started, result, is_async=False))
    return result


async def call_async(operation: Operation, started: Invocation, wrapped: Callable[..., Any]) -> Any:
    """The same for a call that is awaited."""
    request, retried = started.request, False
    while True:
        token, exchange = started.attach(), current_exchange.set(started.exchange)
        try:
            result = await wrapped(*request.args, **request.kwargs)
            break
        except BaseException as error:
            if retried or not _try_again(operation, started, error):
                ticket = failed(operation, started, error)
                if isinstance(error, Exception):  # a cancelled task is not held up by our waiting
                    await settle_async(ticket)
                raise
            retried = True
        finally:
            current_exchange.reset(exchange)
            started.detach(token)
    await settle_async(answered(operation, started, result, is_async=True))
    return result


def _try_again(operation: Operation, invocation: Invocation, error: BaseException) -> bool:
    try:
        kwargs = operation.second_try(invocation, error)
    except Exception as fault:
        log_fault("reading a refusal", fault)
        return False
    if kwargs is None:
        return False
    invocation.request.kwargs = kwargs
    return True


def failed(operation: Operation, invocation: Invocation, error: BaseException) -> Ticket | None:
    """Ends a call by what it raised."""
    reason: EndReason = "error" if isinstance(error, Exception) else "cancelled"
    try:
        answer, result, status = operation.read_failure(invocation, error)
        return invocation.end(reason, answer, operation.content(invocation, result), error, status=status)
    except Exception as fault:
        log_fault("ending a failed call", fault)
        return _end_bare(invocation, reason, error, status_of(error))


def answered(operation: Operation, invocation: Invocation, result: Any, *, is_async: bool) -> Ticket | None:
    """Ends a call by its result, or has it ended when that has been read."""
    status = invocation.exchange.status or 200
    try:
        operation.accepted(invocation)
        if operation.adopt(invocation, result, is_async=is_async):
            operation.attach(result, invocation.payload.ticket)
            return None
        answer = operation.read_answer(operation.value_of(invocation, result))
        awaited = invocation.end("completed", answer, operation.content(invocation, result), status=status)
        operation.attach(result, invocation.payload.ticket)
        return awaited
    except Exception as fault:
        log_fault("ending a call", fault)
        return _end_bare(invocation, "completed", None, status)


def _end_bare(invocation: Invocation, reason: EndReason, error: BaseException | None, status: int | None) -> Ticket | None:
    """What is left when a reader of ours failed: a packet without units is seen and asked about, a missing one is not."""
    with guard("ending a call without its answer"):
        return invocation.end(reason, Answer(), None, error, status=status)
    return None
