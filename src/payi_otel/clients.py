"""`Payi` and `AsyncPayi`, which say where packets go and with which key; and the reading of them, and of the published SDK's clients,
into the one `IngestTarget` that the HTTP sink works with."""

from __future__ import annotations

import functools
import ipaddress
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from payi_otel._environ import variable
from payi_otel._http_library import http_library, names_of
from payi_otel.errors import ConfigurationError, MissingKeyError
from payi_otel.semconv import PayiHeaderNames

if TYPE_CHECKING:
    import httpx
    from typing_extensions import Self

__all__ = ["AsyncPayi", "IngestTarget", "Payi", "to_target"]

API_KEY_VARIABLE: Final = "PAYI_API_KEY"
BASE_URL_VARIABLE: Final = "PAYI_BASE_URL"
HEADERS_VARIABLE: Final = "PAYI_CUSTOM_HEADERS"
INSECURE_VARIABLE: Final = "PAYI_OTEL_ALLOW_INSECURE"
DEFAULT_BASE_URL: Final = "https://api.pay-i.com"
DEFAULT_TIMEOUT_S: Final = 60.0
DEFAULT_CONNECT_TIMEOUT_S: Final = 5.0
"""Both as in the published SDK 0.1.0a183."""
DEFAULT_MAX_RETRIES: Final = 2
MAX_CONNECTIONS, MAX_KEEPALIVE_CONNECTIONS = 100, 20
"""The published SDK's limits."""
HTTPX_DEFAULT_TIMEOUT_S: Final = 5.0
"""A client with another timeout than httpx's own default was given one on purpose."""

_KEY: Final = re.compile(r"[!-~]+")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_API_KEY_HEADER: Final = PayiHeaderNames.api_key.lower()
_PUBLISHED_WRAPPERS: Final = ("SyncHttpxClientWrapper", "AsyncHttpxClientWrapper")
"""The httpx clients the published SDK makes where the user gave none: nothing in them is the user's."""
_NO_KEY: Final = f"no Pay-i API key: set the environment variable {API_KEY_VARIABLE}, or pass payi=Payi(api_key=...) to payi_instrument"


@dataclass(frozen=True, slots=True)
class IngestTarget:
    """Where the HTTP sink sends packets, and how.

    Redirects are never followed, because a redirect would carry the key and the prompts elsewhere: clients that `make_client` makes
    do not follow them, and the sink sends each request with `follow_redirects=False`, because a shared client may.
    """

    base_url: str
    """Without a slash at its end."""
    api_key: str = field(repr=False)
    make_client: Callable[[], httpx.Client] = field(repr=False, compare=False)
    """Gives a new client at every call where `owns_client`, else the user's own one."""
    find_key: Callable[[], object] = field(repr=False, compare=False)
    """Looks for the key where it came from; asked when Pay-i refuses the one there is, for it may have been replaced."""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """The user's own default headers; the API key's is not among them."""
    timeout_s: float | None = DEFAULT_TIMEOUT_S
    """For one request's answer; None waits for ever."""
    connect_timeout_s: float | None = DEFAULT_CONNECT_TIMEOUT_S
    max_retries: int = DEFAULT_MAX_RETRIES
    owns_client: bool = True
    """False: the client is the user's and must never be closed."""


class _Client:
    """What `Payi` and `AsyncPayi` share: they carry settings and open no connection."""

    def __init__(
        self,
        *,
        api_key: str | Callable[[], str] | None = None,
        base_url: str | httpx.URL | None = None,
        timeout: float | httpx.Timeout | None = DEFAULT_TIMEOUT_S,
        max_retries: int = DEFAULT_MAX_RETRIES,
        default_headers: Mapping[str, str] | None = None,
        http_client: Any = None,
    ) -> None:
        self._find_key = api_key if callable(api_key) else None if api_key else _find_key_in_environment
        key = self._find_key() if self._find_key is not None else api_key
        if not key:
            raise MissingKeyError([_NO_KEY])
        self.api_key: str = str(key)
        self.base_url: str = str(base_url or variable(BASE_URL_VARIABLE) or DEFAULT_BASE_URL)
        self.timeout = timeout
        self.max_retries = max_retries
        self.default_headers: Mapping[str, str] = _merge_headers(_read_custom_headers(os.environ), default_headers)
        self.http_client = http_client

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={_without_user(self.base_url)!r})"


class Payi(_Client):
    """Says where packets go and with which key.

    Args:
        api_key: The Pay-i key, or a function that gives it; else the environment's `PAYI_API_KEY`. It is looked for again when Pay-i
            refuses it.
        base_url: Where Pay-i is; else `PAYI_BASE_URL`, else https://api.pay-i.com.
        timeout: Seconds for one request, or a `Timeout` of httpx or httpx2; None waits for ever.
        max_retries: Retries of one request.
        default_headers: Headers of every request, besides those of `PAYI_CUSTOM_HEADERS` (one `Name: value` a line).
        http_client: A `Client` of httpx or httpx2 to send with; it is used as it is, and never closed.

    Raises:
        MissingKeyError: There is no key.
    """

    def close(self) -> None:
        """Does nothing: no connection belongs to this object."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncPayi(_Client):
    """The same as `Payi`, for code that has an `httpx.AsyncClient`.

    Packets are sent from threads, through a client set up like that one: the same TLS context, proxies, limits, headers, cookies and
    auth. A transport that can only be awaited runs on an event loop of its own, so it must not hold on to the application's loop.
    """

    async def close(self) -> None:
        """Does nothing: no connection belongs to this object."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def to_target(payi: object = None, environ: Mapping[str, str] = os.environ) -> IngestTarget:
    """Reads where packets go out of what the user gave.

    Args:
        payi: None for the environment, a `Payi` or `AsyncPayi` of ours or of the published SDK, or a list of them, of which the
            first synchronous one is taken, else the first.
        environ: The environment to read.

    Raises:
        MissingKeyError: There is no key.
        ConfigurationError: It is none of these, or a key, URL, header, timeout or client of it cannot be used.
    """
    client = _choose(payi)
    if client is None:
        return _from_environment(environ)
    published = not isinstance(client, _Client)
    http_client = getattr(client, "_client", None) if published else client.http_client
    if type(http_client).__name__ in _PUBLISHED_WRAPPERS:
        http_client = None
    problems: list[str] = []
    _check_http_client(client, http_client, problems)
    timeouts = _read_timeouts(client.timeout, published, http_client, problems)
    return _to_target(
        key=client.api_key,
        find_key=functools.partial(_find_key, client),
        base_url=("base_url", str(client.base_url)),
        headers=getattr(client, "_custom_headers", {}) if published else client.default_headers,
        timeouts=timeouts,
        max_retries=client.max_retries,
        http_client=http_client,
        environ=environ,
        problems=problems,
    )


def _from_environment(environ: Mapping[str, str]) -> IngestTarget:
    key = variable(API_KEY_VARIABLE, environ)
    if not key:
        raise MissingKeyError([_NO_KEY])
    return _to_target(
        key=key,
        find_key=functools.partial(variable, API_KEY_VARIABLE, environ),
        base_url=(BASE_URL_VARIABLE, variable(BASE_URL_VARIABLE, environ) or DEFAULT_BASE_URL),
        headers=_read_custom_headers(environ),
        timeouts=(DEFAULT_TIMEOUT_S, DEFAULT_CONNECT_TIMEOUT_S),
        max_retries=DEFAULT_MAX_RETRIES,
        http_client=None,
        environ=environ,
        problems=[],
    )


def _to_target(
    *,
    key: object,
    find_key: Callable[[], object],
    base_url: tuple[str, str],
    headers: Mapping[str, Any],
    timeouts: tuple[float | None, float | None],
    max_retries: object,
    http_client: Any,
    environ: Mapping[str, str],
    problems: list[str],
) -> IngestTarget:
    """Checks all parts, says every problem at once, and puts them together."""
    if not is_key(key):
        problems.append("api_key: the key given (not shown) is not allowed, must be visible ASCII characters without spaces")
    _check_base_url(*base_url, environ, problems)
    kept = _check_headers(headers, problems)
    retries = _read_retries(max_retries, problems)
    if problems:
        raise ConfigurationError(problems)
    return IngestTarget(
        base_url=base_url[1].rstrip("/"),
        api_key=str(key),
        find_key=find_key,
        headers=MappingProxyType(kept),
        timeout_s=timeouts[0],
        connect_timeout_s=timeouts[1],
        max_retries=retries,
        make_client=_client_maker(http_client, timeouts, base_url[1]),
        owns_client="Client" not in names_of(http_client),
    )


def is_key(key: object) -> bool:
    """Whether this can be an API key."""
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


def _find_key_in_environment() -> str | None:
    return variable(API_KEY_VARIABLE)


def _find_key(client: Any) -> object:
    find_key = getattr(client, "_find_key", None)
    return find_key() if isinstance(client, _Client) and find_key is not None else client.api_key


def _choose(payi: object) -> Any:
    """The client to take of what was given; None where nothing was."""
    given: Sequence[object] = payi if isinstance(payi, list | tuple) else [] if payi is None else [payi]
    wrong = [type(one).__name__ for one in given if _flavour(one) is None]
    if wrong:
        raise ConfigurationError([f"payi: {name} is not allowed, must be Payi, AsyncPayi or a list of them" for name in wrong])
    return next((one for one in given if _flavour(one) == "Payi"), given[0] if given else None)


def _flavour(client: object) -> str | None:
    """`Payi` or `AsyncPayi`, ours or the published SDK's, which is known by its name and not imported for it."""
    for cls in type(client).__mro__:
        if cls.__name__ in ("Payi", "AsyncPayi") and cls.__module__.partition(".")[0] in ("payi", "payi_otel"):
            return cls.__name__
    return None


def _check_base_url(place: str, url: str, environ: Mapping[str, str], problems: list[str]) -> None:
    """Adds what is wrong with a URL: its form, or prompts and the key would go over the network in clear."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        right = right and not (parts.query or parts.fragment or parts.username or parts.password or re.search(r"[\x00- \x7f\\]", url))
    except ValueError:
        right = False
    shown = repr(_without_user(url))
    if not right:
        problems.append(f"{place}: {shown} is not allowed, must be an http(s) URL without user, query and fragment")
    elif parts.scheme == "http" and not _is_loopback(parts.hostname or "") and environ.get(INSECURE_VARIABLE) != "1":
        problems.append(f"{place}: {shown} is not allowed, must be https (http only for loopback hosts, or with {INSECURE_VARIABLE}=1)")


def _without_user(url: str) -> str:
    return re.sub(r"//[^/]*@", "//***@", url)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _read_custom_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """Reads `PAYI_CUSTOM_HEADERS`, one `Name: value` a line."""
    found: dict[str, str] = {}
    for number, line in enumerate((variable(HEADERS_VARIABLE, environ) or "").split("\n"), start=1):
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
        elif line.strip():
            raise ConfigurationError([f"{HEADERS_VARIABLE}: line {number} (not shown) is not allowed, must be 'Name: value'"])
    return found


def _check_headers(headers: Mapping[str, Any], problems: list[str]) -> dict[str, str]:
    """The headers to send: without the key's, and without those that the published SDK was told to omit."""
    kept = {name: value for name, value in headers.items() if name.lower() != _API_KEY_HEADER and type(value).__name__ != "Omit"}
    for name, value in kept.items():
        if not (_HEADER_NAME.fullmatch(name) and isinstance(value, str) and _HEADER_VALUE.fullmatch(value)):
            problems.append(f"default_headers: the header {name!r} (its value is not shown) is not allowed, must be a valid HTTP header")
    return kept


def _merge_headers(weak: Mapping[str, str], strong: Mapping[str, str] | None) -> Mapping[str, str]:
    """Joins headers; names that differ only in case are one."""
    strong = strong or {}
    if not isinstance(strong, Mapping) or not all(isinstance(name, str) for name in strong):
        raise ConfigurationError([f"default_headers: {type(strong).__name__} is not allowed, must be a mapping of str to str"])
    taken = {name.lower() for name in strong}
    return MappingProxyType({**{name: value for name, value in weak.items() if name.lower() not in taken}, **strong})


def _read_timeouts(timeout: Any, published: bool, http_client: Any, problems: list[str]) -> tuple[float | None, float | None]:
    """(whole, connect) in seconds. A user's http client with a timeout of its own gives it to our client as to the published one."""
    if not published and timeout == DEFAULT_TIMEOUT_S:
        own = getattr(http_client, "timeout", None)
        if own is None or own == type(own)(HTTPX_DEFAULT_TIMEOUT_S):
            return DEFAULT_TIMEOUT_S, DEFAULT_CONNECT_TIMEOUT_S
        timeout = own
    pair = (timeout.read, timeout.connect) if hasattr(timeout, "read") and hasattr(timeout, "connect") else (timeout, timeout)
    for value in pair:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf):
            problems.append(f"timeout: {value!r} ({type(value).__name__}) is not allowed, must be > 0 seconds, an httpx.Timeout or None")
            break
    return pair


def _read_retries(max_retries: Any, problems: list[str]) -> int:
    if max_retries == math.inf:  # the published SDK's word for "no limit"
        return sys.maxsize
    if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
        problems.append(f"max_retries: {max_retries!r} ({type(max_retries).__name__}) is not allowed, must be an int >= 0")
        return 0
    return max_retries


def _check_http_client(client: Any, http_client: Any, problems: list[str]) -> None:
    if http_client is None:
        return
    wanted = "Client" if _flavour(client) == "Payi" else "AsyncClient"
    if wanted not in names_of(http_client):
        problems.append(f"http_client: {type(http_client).__name__} is not allowed, must be an httpx.{wanted} or httpx2.{wanted}")


def _client_maker(http_client: Any, timeouts: tuple[float | None, float | None], base_url: str) -> Callable[[], httpx.Client]:
    """How the sink gets its client: the user's own, a twin of the user's asynchronous one, or a plain one.

    A plain one goes through the environment's proxies over https, where they see neither key nor packet; never for a loopback host, to
    which plain http is allowed because nothing leaves the machine.
    """
    parts = urlsplit(base_url)
    is_local = parts.scheme == "http" and _is_loopback(parts.hostname or "")

    def make() -> httpx.Client:
        http = http_library()
        client: httpx.Client = http.Client(
            timeout=http.Timeout(timeouts[0], connect=timeouts[1]),
            limits=http.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_KEEPALIVE_CONNECTIONS),
            follow_redirects=False,
            trust_env=not is_local,
        )
        return client

    def make_twin() -> httpx.Client:
        from payi_otel._sync_twin import make_sync_twin

        return make_sync_twin(http_client)

    if http_client is None:
        return make
    return (lambda: http_client) if "Client" in names_of(http_client) else make_twin
