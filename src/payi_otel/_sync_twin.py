"""Makes a synchronous httpx client of an asynchronous one: the sink's threads deliver through it what an `AsyncPayi` was set up for.

httpx has no public way to read a client's transport; the names read here are those of httpx 0.27 and 0.28 with httpcore 1, and of httpx2.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import threading
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from payi_otel._http_library import library_of, names_of

if TYPE_CHECKING:
    import httpx
    from httpx import BaseTransport
    from typing_extensions import Self
else:
    BaseTransport = object  # httpx loads late, and looks at what a transport does, not at what it is

logger = logging.getLogger("payi.instrument.clients")

CLOSE_TIMEOUT_S: Final = 2.0
"""A transport that does not let itself be cancelled must not hold up the exit of the process."""
_loops: set[asyncio.AbstractEventLoop] = set()
"""Loops that run. A forked child keeps its parent's here: collecting one would take the parent's descriptors out of their shared epoll."""


def make_sync_twin(client: httpx.AsyncClient) -> httpx.Client:
    """Makes a new client with the same TLS context, proxies, mounts, limits, headers, cookies, parameters, auth and `trust_env`.

    Event hooks are left out: they are coroutines of the application's loop. Redirects are never followed.
    """
    http = library_of(client)
    if any(client.event_hooks.values()):
        logger.warning("payi-otel: event hooks of an AsyncClient are not run for ingest requests; use Payi with a Client")
    mounts = {pattern.pattern: _twin(transport, http) for pattern, transport in getattr(client, "_mounts", {}).items()}
    twin: httpx.Client = http.Client(
        transport=_twin(getattr(client, "_transport", None), http) or http.HTTPTransport(),
        mounts=mounts,
        headers=client.headers,
        cookies=client.cookies,
        params=client.params,
        auth=client.auth,
        timeout=client.timeout,
        trust_env=client.trust_env,
        follow_redirects=False,
    )
    return twin


def _twin(transport: Any, http: ModuleType) -> httpx.BaseTransport | None:
    """The same transport for threads: as it is where it can do both, rebuilt where it is httpx's own, else run on a loop of its own."""
    if transport is None:
        return None
    if "BaseTransport" in names_of(transport) and not inspect.iscoroutinefunction(getattr(transport, "handler", None)):
        return SharedTransport(transport)
    if type(transport) is http.AsyncHTTPTransport:
        return _rebuild(getattr(transport, "_pool", None), http)
    return SyncOverAsyncTransport(transport, http)


def _rebuild(pool: Any, http: ModuleType) -> httpx.HTTPTransport:
    """Makes httpx's own transport with the settings of an httpcore pool."""
    context = getattr(pool, "_ssl_context", None)
    transport: httpx.HTTPTransport = http.HTTPTransport(
        verify=True if context is None else context,
        http1=getattr(pool, "_http1", True),
        http2=getattr(pool, "_http2", False),
        limits=http.Limits(
            max_connections=getattr(pool, "_max_connections", 100),
            max_keepalive_connections=getattr(pool, "_max_keepalive_connections", 20),
            keepalive_expiry=getattr(pool, "_keepalive_expiry", 5.0),
        ),
        proxy=_read_proxy(pool, http),
        uds=getattr(pool, "_uds", None),
        local_address=getattr(pool, "_local_address", None),
        retries=getattr(pool, "_retries", 0),
        socket_options=getattr(pool, "_socket_options", None),
    )
    return transport


def _read_proxy(pool: Any, http: ModuleType) -> httpx.Proxy | None:
    """The proxy of a pool. An HTTP proxy's credentials stand in its headers already, a SOCKS proxy's apart."""
    url = getattr(pool, "_proxy_url", None)
    if url is None:
        return None
    auth = getattr(pool, "_proxy_auth", None)
    proxy: httpx.Proxy = http.Proxy(
        bytes(url).decode("ascii"),
        headers=getattr(pool, "_proxy_headers", None),
        ssl_context=getattr(pool, "_proxy_ssl_context", None),
        auth=None if auth is None else (auth[0].decode(), auth[1].decode()),
    )
    return proxy


class _Transport(BaseTransport):
    """What httpx asks of a transport besides requests."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None = None, fault: BaseException | None = None, trace: TracebackType | None = None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of nothing: the transport below is the user's."""


class SharedTransport(_Transport):
    """The user's transport as it is, except that closing this one leaves it open."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Passes the request on."""
        return self._transport.handle_request(request)


class SyncOverAsyncTransport(_Transport):
    """Runs a transport that can only be awaited on an event loop in a thread of its own. The transport itself stays the user's."""

    def __init__(self, transport: httpx.AsyncBaseTransport, http: ModuleType) -> None:
        self._transport, self._http = transport, http
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends a request and reads its whole answer, within the sum of the request's timeouts."""
        limits = [limit for limit in request.extensions.get("timeout", {}).values() if limit is not None]
        future = asyncio.run_coroutine_threadsafe(self._exchange(request), self._running_loop())
        try:
            return future.result(sum(limits) if limits else None)
        except concurrent.futures.TimeoutError as fault:
            future.cancel()
            raise self._http.ReadTimeout("no answer in time", request=request) from fault
        except concurrent.futures.CancelledError as fault:
            raise self._http.ReadError("the transport was closed", request=request) from fault

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        """One request and its answer, the body as it came, so that httpx decodes it once."""
        request.extensions = {name: value for name, value in request.extensions.items() if name != "trace"}  # it is to be awaited here
        response = await self._transport.handle_async_request(request)
        try:
            body = b"".join([part async for part in response.stream])  # type: ignore[union-attr]  # an async transport's stream is one
        finally:
            await response.aclose()
        extensions = {name: value for name, value in response.extensions.items() if name != "network_stream"}
        stream = self._http.ByteStream(body)
        whole: httpx.Response = self._http.Response(response.status_code, headers=response.headers, stream=stream, extensions=extensions)
        return whole

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._loop = asyncio.new_event_loop()
                _loops.add(self._loop)
                self._thread = threading.Thread(target=self._loop.run_forever, name="payi-otel-async-transport", daemon=True)
                self._thread.start()
            return self._loop

    def close(self) -> None:
        """Ends the loop and what still runs on it; the user's transport is not closed."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None or not thread.is_alive():  # a forked child has its parent's loop, but not the thread
            return
        concurrent.futures.wait([asyncio.run_coroutine_threadsafe(_cancel_others(), loop)], CLOSE_TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_TIMEOUT_S)
        if not thread.is_alive():
            loop.close()
            _loops.discard(loop)


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
