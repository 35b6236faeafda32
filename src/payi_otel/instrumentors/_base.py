"""What every provider shares: the table of patches, and the one wrapper, sync and async, around each patched method."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Protocol

import orjson
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not in its `__all__`
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Tracer, get_tracer
from packaging.requirements import Requirement
from wrapt import FunctionWrapper, register_post_import_hook

from payi_otel._guard import guard, log_fault
from payi_otel.context.headers import split_headers
from payi_otel.context.scope import current_scope
from payi_otel.instrumentors._capture import current_exchange
from payi_otel.instrumentors._invocation import Answer, Invocation, Request, is_inside
from payi_otel.instrumentors._stream import settle, settle_async
from payi_otel.payload import ContentReader, EndReason, Ticket

logger = logging.getLogger("payi.instrument")


class Operation(Protocol):
    """How one kind of call of a provider is read. Pure, and shared by the sync and the async method."""

    name: str
    """`gen_ai.operation.name`."""

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Reads a call before it is made; `kwargs` is already a copy without our headers."""
        ...

    def read_answer(self, result: Any) -> Answer:
        """Reads a plain result (an SDK object or its JSON)."""
        ...

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view of a plain result."""
        ...

    def adopt(self, invocation: Invocation, result: Any, *, is_async: bool) -> bool:
        """Instruments a result that is still to be read (a stream, a raw response); False when it is a plain one."""
        ...

    def second_try(self, invocation: Invocation, error: BaseException) -> dict[str, Any] | None:
        """Other keyword arguments for a call that failed because of what we had added to it; None where it did not."""
        ...

    def accepted(self, invocation: Invocation) -> None:
        """The provider took the request as it was."""
        ...


@dataclass(frozen=True, slots=True)
class Patch:
    """One method to wrap. `is_async` is declared: `inspect.iscoroutinefunction` is False on decorated async methods."""

    module: str
    target: str
    """`Class.method`."""
    operation: Operation | None = None
    is_async: bool = False
    wrapper: Callable[..., Any] | None = None
    """Instead of an operation: a bare wrapper in wrapt's form (`wrapped, instance, args, kwargs`)."""
    optional: bool = False
    """True where some supported versions of the SDK do not have it."""


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an SDK's error, where it has one that says failure."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and status >= 400 else None


class ProviderInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # opentelemetry-instrumentation has no type marker
    """A `BaseInstrumentor` whose `instrument` and `uninstrument` walk the same table of patches."""

    name: ClassVar[str]
    """Entry-point name, e.g. `payi_openai`."""
    distribution: ClassVar[str]
    """The provider SDK on the package index."""
    module: ClassVar[str]
    """The provider SDK's import name."""
    supported: ClassVar[str]
    """A requirement, e.g. `openai >= 1.66`."""
    categories: ClassVar[frozenset[str]]
    """The Pay-i categories its clients may have."""
    patches: ClassVar[tuple[Patch, ...]]

    def instrumentation_dependencies(self) -> Collection[str]:
        """The SDK versions this instrumentor knows."""
        return (self.supported,)

    def _instrument(self, **kwargs: Any) -> None:
        """Patches the SDK, or arranges for it to be patched when it is imported: instrumenting alone imports no SDK.

        Args:
            **kwargs: `tracer_provider`, and `categories`: the Pay-i categories whose clients are wanted, None for all.
        """
        sdk = self.installed_version()
        if sdk is None:
            logger.debug("%s is not installed: its calls are not instrumented", self.distribution)
            return
        if not Requirement(self.supported).specifier.contains(sdk, prereleases=True):
            logger.warning("%s %s is installed, %s is supported: its calls are not recorded", self.distribution, sdk, self.supported)
            return
        tracer = get_tracer("payi_otel.instrumentors." + self.module, tracer_provider=kwargs.get("tracer_provider"))
        self._binding = getattr(self, "_binding", None) or Binding()
        self._binding.start(tracer, f"{self.module}/{sdk}", kwargs.get("categories"))
        self._undo: list[Callable[[], None]] = []
        self.wrapped: list[str] = []
        for patch in self.patches:
            register_post_import_hook(partial(self._apply, patch, self._binding), patch.module)

    def _uninstrument(self, **kwargs: Any) -> None:
        if binding := getattr(self, "_binding", None):
            binding.active = False
        for undo in reversed(getattr(self, "_undo", [])):
            undo()
        self._undo, self.wrapped = [], []

    def installed_version(self) -> str | None:
        """The provider SDK's version, or None where it is not installed."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None

    def _apply(self, patch: Patch, binding: Binding, module: Any) -> None:
        name = f"{patch.module}.{patch.target}"
        if not binding.active or name in self.wrapped:  # by the import hook of an earlier `instrument`
            return
        try:
            owner = module
            *path, attribute = patch.target.split(".")
            for part in path:
                owner = getattr(owner, part)
            original = owner.__dict__[attribute]
        except (AttributeError, KeyError):
            level = logging.DEBUG if patch.optional else logging.WARNING
            logger.log(level, "%s has no %s: calls to it are not recorded", self.distribution, name)
            return
        replacement = FunctionWrapper(original, _wrapper_of(patch, binding))
        setattr(owner, attribute, replacement)
        self.wrapped.append(name)
        self._undo.append(partial(_restore, owner, attribute, replacement))


def _restore(owner: Any, attribute: str, replacement: FunctionWrapper[Any, Any]) -> None:
    if owner.__dict__.get(attribute) is replacement:  # else another instrumentation wrapped ours: it stays, inert
        setattr(owner, attribute, replacement.__wrapped__)


class Binding:
    """What wrappers share: the tracer, the SDK's name, which clients are wanted, and whether any still is.

    An SDK caches bound methods (`with_raw_response`), so wrappers outlive `uninstrument`: inactive, they pass calls straight on,
    and they count again when the same instrumentor is started again.
    """

    tracer: Tracer
    module: str

    def __init__(self) -> None:
        self._categories: Collection[str] | None = None
        self.active = False

    def start(self, tracer: Tracer, module: str, categories: Collection[str] | None) -> None:
        """From here on, calls are recorded."""
        self.tracer, self.module, self._categories = tracer, module, categories
        self.active = True

    def wants(self, category: str) -> bool:
        """Whether calls to this kind of client are recorded."""
        return self._categories is None or category in self._categories


def _wrapper_of(patch: Patch, binding: Binding) -> Callable[..., Any]:
    if patch.operation is None:
        assert patch.wrapper is not None, patch
        return patch.wrapper
    return _async_wrapper(patch.operation, binding) if patch.is_async else _sync_wrapper(patch.operation, binding)


def _sync_wrapper(operation: Operation, binding: Binding) -> Callable[..., Any]:
    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not binding.active:
            return wrapped(*args, **kwargs)
        started = _start(operation, binding, instance, args, kwargs)
        if not isinstance(started, Invocation):
            return wrapped(*args, **started)
        request, retried = started.request, False
        while True:
            token, exchange = started.attach(), current_exchange.set(started.exchange)
            try:
                result = wrapped(*request.args, **request.kwargs)
                break
            except BaseException as error:
                if retried or not _try_again(operation, started, error):
                    settle(_failed(operation, started, error))
                    raise
                retried = True
            finally:
                current_exchange.reset(exchange)
                started.detach(token)
        settle(_answered(operation, started, result, is_async=False))
        return result

    return call


def _async_wrapper(operation: Operation, binding: Binding) -> Callable[..., Any]:
    async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not binding.active:
            return await wrapped(*args, **kwargs)
        started = _start(operation, binding, instance, args, kwargs)
        if not isinstance(started, Invocation):
            return await wrapped(*args, **started)
        request, retried = started.request, False
        while True:
            token, exchange = started.attach(), current_exchange.set(started.exchange)
            try:
                result = await wrapped(*request.args, **request.kwargs)
                break
            except BaseException as error:
                if retried or not _try_again(operation, started, error):
                    ticket = _failed(operation, started, error)
                    if isinstance(error, Exception):  # a cancelled task is not held up by our waiting
                        await settle_async(ticket)
                    raise
                retried = True
            finally:
                current_exchange.reset(exchange)
                started.detach(token)
        await settle_async(_answered(operation, started, result, is_async=True))
        return result

    return call


def _start(
    operation: Operation, binding: Binding, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Invocation | dict[str, Any]:
    """An open invocation, or the keyword arguments with which an uninstrumented call is made."""
    given = kwargs
    try:
        overrides, kwargs = _without_our_headers(given)
        scope = current_scope()
        if scope is None or is_inside(instance) or not is_instrumentation_enabled():
            return kwargs
        if overrides is not None:
            scope = scope.with_headers(overrides)
        request = operation.read_request(instance, args, dict(kwargs))
        if request.client.is_proxied:
            return given
        if not binding.wants(request.client.category):
            return kwargs
        request.headers = _mapping(kwargs.get("extra_headers"))
        return Invocation(binding.tracer, operation.name, request, scope, binding.module, instance, sys._getframe(1).f_back)
    except Exception as fault:
        log_fault("starting a call", fault)
        return kwargs


def _without_our_headers(kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    headers = kwargs.get("extra_headers")
    if not headers or not isinstance(headers, Mapping):
        return None, kwargs
    overrides, rest = split_headers(headers)
    if len(rest) == len(headers):
        return None, kwargs
    return overrides, {**kwargs, "extra_headers": rest}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


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


def _failed(operation: Operation, invocation: Invocation, error: BaseException) -> Ticket | None:
    reason: EndReason = "error" if isinstance(error, Exception) else "cancelled"
    try:
        answer, result, status = _read_failure(operation, invocation, error)
        return invocation.end(reason, answer, operation.content(invocation, result), error, status=status)
    except Exception as fault:
        log_fault("ending a failed call", fault)
        return _end_bare(invocation, reason, error, status_of(error))


def _read_failure(operation: Operation, invocation: Invocation, error: BaseException) -> tuple[Answer, bytes | None, int | None]:
    exchange, status = invocation.exchange, status_of(error)
    if exchange.response is None:
        exchange.response = getattr(error, "response", None)  # SDKs process answers that are errors in another place
    if status is not None:
        invocation.payload.error_body = _error_body(error, exchange.response_body())
        return Answer(response_id=_request_id(error)), None, status
    body = exchange.response_body()
    if isinstance(error, Exception) and body and (exchange.status or 500) < 400:
        # The provider answered, and billed; the SDK then failed on the answer (a length limit, an answer of another shape).
        return operation.read_answer(_json(body)), body, exchange.status
    return Answer(), None, None


def _answered(operation: Operation, invocation: Invocation, result: Any, *, is_async: bool) -> Ticket | None:
    status = invocation.exchange.status or 200
    try:
        operation.accepted(invocation)
        if operation.adopt(invocation, result, is_async=is_async):
            return None
        value = result
        if invocation.request.raw == "read":
            value = _json(invocation.exchange.response_body() or getattr(result, "content", b"{}"))
        return invocation.end("completed", operation.read_answer(value), operation.content(invocation, result), status=status)
    except Exception as fault:
        log_fault("ending a call", fault)
        return _end_bare(invocation, "completed", None, status)


def _end_bare(invocation: Invocation, reason: EndReason, error: BaseException | None, status: int | None) -> Ticket | None:
    """What is left when a reader of ours failed: a packet without units is seen and asked about, a missing one is not."""
    with guard("ending a call without its answer"):
        return invocation.end(reason, Answer(), None, error, status=status)
    return None


def _json(body: bytes | None) -> Any:
    try:
        return orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        return {}


def _request_id(error: BaseException) -> str | None:
    request_id = getattr(error, "request_id", None)
    return request_id if isinstance(request_id, str) and request_id else None


def _error_body(error: BaseException, body: bytes | None) -> str | None:
    if body is None:
        body = getattr(getattr(error, "response", None), "_content", None)
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else None
