"""Requests to hosts that are known to serve models, counted beside the calls that became packets: an instrumentation that never
attached would otherwise look like an application that makes no calls.

Counted where every client of a kind passes, once each: httpx's and httpx2's transports, `http.client` (urllib3, requests, botocore) and
aiohttp's session. A client whose transport is a mock makes no request, and no difference.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import FunctionType
from typing import Any, Final

from msgspec import Struct
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from wrapt import register_post_import_hook

from payi_otel._guard import guard, log_fault
from payi_otel._hosts import categories_of, serves_more_than_models
from payi_otel._providers import providers
from payi_otel._tally import Tally

_MAX_PLACES: Final = 10_000
"""Hosts whose kind is remembered; a crawler meets more, and each of those is looked at anew."""
_MAX_REQUESTS_A_CALL: Final = 6
"""A call makes three requests with the two retries that the openai and anthropic SDKs make by themselves, five in botocore's legacy mode;
an outage in which every call is tried so often is no fault of ours. Beyond that calls are missing, or the user retries much."""
_MIN_REQUESTS: Final = 20
"""Of fewer requests, two or three calls with many retries of the user's own would be enough."""
_MARK: Final = "_payi_counts_requests"


class Unbilled(Struct, frozen=True):
    """A host whose requests are hardly in any packet."""

    host: str
    requests: int
    packets: int


class RequestCounter:
    """Counts a process's POST requests by host. Between `start` and `stop` the HTTP libraries that are imported are patched."""

    def __init__(self) -> None:
        self.calls = Tally()
        """Calls that were taken for a packet in this process, by host: those of every queue."""
        self._requests = Tally()
        self._adders: dict[Any, Callable[[], int] | None] = {}
        """By what a request names (host, port); None where it is not counted."""
        self._mapped: frozenset[str] = frozenset()
        self._own: str | None = None
        self._categories: frozenset[str] = frozenset()
        self._undo: list[Callable[[], None]] = []
        self.is_active = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def start(self, mapped: Iterable[str], categories: frozenset[str], own: str | None) -> None:
        """Counts from here on. Where it counts already, only what is given takes effect: the counts go on.

        Args:
            mapped: Hosts (`host` or `host:port`) that the user has named, beside those that are known.
            categories: Those whose calls are recorded: what is not wanted is not missed.
            own: Pay-i's own host, with its port: what goes there is none of the application's.
        """
        self._mapped, self._categories, self._own = frozenset(mapped), categories, own
        self._adders = {}
        if self.is_active:
            return
        self.forget()
        self.is_active = True
        providers()  # read now and not within a call: it imports, and a fork in the middle of that would hang
        for patch in _PATCHES:
            register_post_import_hook(partial(self._apply, patch), patch[0])

    def stop(self) -> None:
        """Takes the patches away; the counts stay until the next start."""
        self.is_active = False
        undo, self._undo = self._undo, []
        for take_away in reversed(undo):
            take_away()

    def forget(self) -> None:
        """All counts are zero."""
        self.calls.forget()
        self._requests.forget()
        self._adders = {}

    def note(self, host: str, port: int | None) -> None:
        """Counts a request, if it is one that counts. Called in the midst of it: a look-up and an increment."""
        place = host, port
        try:
            add = self._adders[place]
        except KeyError:
            add = self._meet(host, port)
        if add is not None and self.is_active and is_instrumentation_enabled():
            add()

    def read(self) -> Mapping[str, int]:
        """Requests by host, without ports."""
        return self._requests.read()

    def unbilled(self) -> list[Unbilled]:
        """The hosts to which many more requests were made than calls can explain.

        None at all of a host's requests in a packet: something is not instrumented, however few they are. Some: one for every six
        requests is enough, for failed attempts are requests, too. Calls of which nobody knows the host may have gone to any.
        """
        calls = by_host(self.calls.read())
        unknown = calls.get("", 0)
        found = []
        for host, requests in self.read().items():
            packets = calls.get(host, 0)
            is_missed = requests >= _MIN_REQUESTS and requests > (packets + unknown) * _MAX_REQUESTS_A_CALL
            if (packets + unknown == 0 or is_missed) and not serves_more_than_models(host) and self._is_wanted(host):
                found.append(Unbilled(host, requests, packets))
        return found

    def _is_wanted(self, host: str) -> bool:
        known = categories_of(host)
        return not known or not known.isdisjoint(self._categories)

    def _meet(self, host: str, port: int | None) -> Callable[[], int] | None:
        name = host.lower().rstrip(".")
        name = f"[{name}]" if ":" in name and not name.startswith("[") else name
        full = name if port is None else f"{name}:{port}"
        counts = (bool(categories_of(name)) or name in self._mapped or full in self._mapped) and full != self._own
        add = self._requests.adder(name) if counts else None
        if len(self._adders) < _MAX_PLACES:
            self._adders[host, port] = add
        return add

    def _apply(self, patch: tuple[str, str, str, Callable[..., None]], module: Any) -> None:
        """Wraps one method, once; by the import hook, also of an earlier start."""
        _, owner_name, attribute, count = patch
        with guard("preparing to count requests"):
            owner = getattr(module, owner_name, None)
            original = owner.__dict__.get(attribute) if owner is not None else None
            if not self.is_active or original is None or _is_within(original):
                return
            replacement = _counting(original, count)
            setattr(owner, attribute, replacement)
            self._undo.append(partial(_restore, owner, attribute, replacement, original))


def by_host(counts: Mapping[str | None, int]) -> dict[str, int]:
    """The same with the ports of one host in one; "" for what has none."""
    joined: dict[str, int] = {}
    for place, count in counts.items():
        host = without_port(place or "")
        joined[host] = joined.get(host, 0) + count
    return joined


def without_port(place: str) -> str:
    """`host` of `host:port`; an IPv6 address stands in brackets."""
    bare, separator, port = place.rpartition(":")
    if not separator or not port.isdecimal():
        return place
    return f"[{bare}]" if ":" in bare and not bare.startswith("[") else bare


def _restore(owner: Any, attribute: str, replacement: Any, original: Any) -> None:
    if owner.__dict__.get(attribute) is replacement:  # else somebody wrapped ours: it stays, and counts nothing
        setattr(owner, attribute, original)


def _is_within(method: Any) -> bool:
    """Whether a method counts already, perhaps below another instrumentation's wrapper."""
    while method is not None and not getattr(method, _MARK, False):
        method = getattr(method, "__wrapped__", None)
    return method is not None


def _counting(original: Any, count: Callable[..., None]) -> Callable[..., Any]:
    """The method, with a request counted first. A bare function: wrapt's own wrapper takes half a microsecond more, of two in all."""
    call = original if type(original) is FunctionType else _binding(original)  # a proxy says it is one

    @functools.wraps(original)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            count(self, *args, **kwargs)
        except Exception as fault:
            log_fault("counting a request", fault)
        return call(self, *args, **kwargs)

    setattr(counted, _MARK, True)
    if inspect.iscoroutinefunction(original) and sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(counted)
    return counted


def _binding(method: Any) -> Callable[..., Any]:
    """Calls another instrumentation's wrapper, which finds its instance by being bound to it."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method.__get__(self, type(self))(*args, **kwargs)

    return call


def _count_httpx(transport: Any, request: Any) -> None:
    """Of httpx and httpx2, sync and async: their requests have one form."""
    if request.method == "POST":
        url = request.url
        requests.note(url.host, url.port)


def _count_http_client(connection: Any, method: str, url: str, *args: Any, **kwargs: Any) -> None:
    """Behind a proxy's tunnel the connection's own host is the proxy."""
    if method == "POST":
        tunnel = getattr(connection, "_tunnel_host", None)
        host, port = (tunnel, connection._tunnel_port) if tunnel else (connection.host, connection.port)
        requests.note(host, None if port == connection.default_port else port)


def _count_aiohttp(session: Any, method: str, str_or_url: Any, **kwargs: Any) -> None:
    """A text may be a path below the session's own base."""
    if method == "POST" or method == "post":
        url = session._build_url(str_or_url) if isinstance(str_or_url, str) else str_or_url
        requests.note(url.host or "", None if url.is_default_port() else url.port)


_PATCHES: Final = (
    ("httpx", "HTTPTransport", "handle_request", _count_httpx),
    ("httpx", "AsyncHTTPTransport", "handle_async_request", _count_httpx),
    ("httpx2", "HTTPTransport", "handle_request", _count_httpx),
    ("httpx2", "AsyncHTTPTransport", "handle_async_request", _count_httpx),
    ("http.client", "HTTPConnection", "putrequest", _count_http_client),
    ("aiohttp", "ClientSession", "_request", _count_aiohttp),
)
"""Module, class, method, and what reads its arguments."""

requests = RequestCounter()
"""The process's one: its HTTP libraries are there once."""
