"""Catches the HTTP request and response behind an SDK call, for SDKs that hand back parsed objects only.

The request's bytes are the exact and immutable record of what was sent: no snapshot of the caller's arguments is needed. The
holder travels in a context variable, so nothing is written onto the user's objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from operator import itemgetter
from typing import Any

from opentelemetry.context import attach, detach, get_current

from payi_otel._guard import guard, log_fault
from payi_otel.context.baggage import without_payi_baggage
from payi_otel.semconv import HEADER_PREFIX, PROXY_PATH

_PREFIX = HEADER_PREFIX.encode()
_NAME = itemgetter(0)


class HttpExchange:
    """The last HTTP request and response of one SDK call; with SDK-side retries, of its last attempt."""

    __slots__ = ("_head", "earlier", "instance", "proxied_body", "received", "request", "response", "route", "sent", "xproxy_result")

    def __init__(self, instance: Any = None) -> None:
        self.instance = instance
        """The resource object whose call it is."""
        self.request: Any = None
        self.response: Any = None
        self.earlier: list[Any] = []
        """Responses that the SDK processed before, and then asked again (a middleware of it does)."""
        self.sent: bytes | None = None
        """The body that was sent, where the SDK's transport has no request object."""
        self.received: bytes | None = None
        """The body that came, likewise."""
        self._head: tuple[Any, int | None] = (None, None)
        self.route: Any = None
        """The call's way through the proxy (`_proxy.ProxyRoute`); None where it goes to its provider."""
        self.proxied_body: bytes | None = None
        """What the proxy answered, where the SDK keeps only what it knows of an answer."""
        self.xproxy_result: Mapping[str, Any] | None = None
        """What the proxy said within a stream."""

    def put_head(self, headers: Any, status: int | None) -> None:
        """Notes an answer of a transport that has no response object."""
        self._head = (headers, status)

    def let_go(self) -> None:
        """Keeps of the response its request, status and headers only: whoever gets it to read decides how long it lives."""
        if self.request is None:  # an SDK that posts in one go
            self.request = getattr(self.response, "_request", None)
        self._head = (self.headers, self.status)
        self.response = self.instance = None

    @property
    def is_proxied(self) -> bool:
        """Whether the call has gone through the proxy."""
        return self.route is not None and self.route.is_taken

    @property
    def headers(self) -> Any:
        """The response's headers, or None where no answer came."""
        return self._head[0] if self.response is None else getattr(self.response, "headers", None)

    def request_body(self) -> bytes | None:
        """The bytes that were sent, or None where they were streamed or never built."""
        if self.sent is not None:
            return self.sent
        request: Any = self.request if self.request is not None else getattr(self.response, "_request", None)
        try:
            content = getattr(request, "content", None)
        except Exception:  # httpx.RequestNotRead: a body that was streamed out
            return None
        return content if isinstance(content, bytes) else None

    def response_body(self) -> bytes | None:
        """The bytes that came, or None while they have not been read."""
        content = self.received if self.received is not None else getattr(self.response, "_content", None)
        return content if isinstance(content, bytes) else None

    @property
    def status(self) -> int | None:
        """The HTTP status, or None where no answer came."""
        if self.response is None:
            return self._head[1]
        status = getattr(self.response, "status_code", None)
        return status if isinstance(status, int) else None


current_exchange: ContextVar[HttpExchange | None] = ContextVar("payi_http_exchange", default=None)


def is_inside(instance: Any) -> bool:
    """True within a call of the same resource object: an SDK method that calls another wrapped one is one call."""
    exchange = current_exchange.get()
    return exchange is not None and exchange.instance is instance and instance is not None


def capture_request(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps an SDK's `_build_request`."""
    request = wrapped(*args, **kwargs)
    drop_our_headers(request)
    exchange = current_exchange.get()
    if exchange is not None:
        exchange.request = request
        if exchange.response is not None:
            exchange.earlier.append(exchange.response)
            exchange.response = None
        if exchange.route is not None and not exchange.route.is_signed:
            with guard("sending a call to the proxy"):
                exchange.route.apply(request)
    return request


def capture_response(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps an SDK's `_process_response`, sync or async: the response is noted before it is parsed, which may raise."""
    exchange = current_exchange.get()
    if exchange is not None:
        exchange.response = kwargs.get("response")
    return wrapped(*args, **kwargs)


def drop_our_headers(request: Any) -> None:
    """Takes `xProxy-*` off a request to a provider, whatever way they got there (a client's default headers, say)."""
    try:
        headers = request.headers
        raw = getattr(headers, "raw", None)  # as httpx keeps them: looking through their texts takes ten times as long
        if raw is not None and _PREFIX not in b" ".join(map(_NAME, raw)).lower():
            return
        ours = [name for name in headers if name.lower().startswith(HEADER_PREFIX)]
        if ours and PROXY_PATH not in str(request.url):
            for name in ours:
                del headers[name]
    except Exception as fault:
        log_fault("reading a request's headers", fault)


def send_without_baggage(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps what an SDK sends every request with: a provider is asked for more than recorded calls (files, models, batches)."""
    token = _leave_baggage()
    try:
        return wrapped(*args, **kwargs)
    finally:
        if token is not None:
            detach(token)


async def send_without_baggage_async(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same where it is awaited."""
    token = _leave_baggage()
    try:
        return await wrapped(*args, **kwargs)
    finally:
        if token is not None:
            detach(token)


def send_and_capture(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same for what gives back the HTTP response, which is noted before the SDK parses it (`do_request` of SDKs made by Speakeasy)."""
    return noted(send_without_baggage(wrapped, instance, args, kwargs))


async def send_and_capture_async(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same where it is awaited."""
    return noted(await send_without_baggage_async(wrapped, instance, args, kwargs))


def noted(response: Any) -> Any:
    """The HTTP response, which the call that is being made is told."""
    exchange = current_exchange.get()
    if exchange is not None:
        exchange.response = response
    return response


def _leave_baggage() -> Any:
    """Takes our baggage out of the context; None where there is none, as within a recorded call."""
    try:
        current = get_current()
        context = without_payi_baggage(current)
        return None if context is current else attach(context)
    except Exception as fault:
        log_fault("taking our baggage off a request", fault)
        return None
