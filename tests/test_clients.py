"""Where packets go: our clients, the published SDK's, and what is read out of both."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from payi_otel._sync_twin import SyncOverAsyncTransport
from payi_otel.clients import AsyncPayi, IngestTarget, Payi, to_target
from payi_otel.errors import ConfigurationError, MissingKeyError

published = pytest.importorskip("payi")

KEY = "key-0123456789"
NO_KEY = "no Pay-i API key: set the environment variable PAYI_API_KEY, or pass payi=Payi(api_key=...) to payi_instrument"
BAD_KEY = "api_key: the key given (not shown) is not allowed, must be visible ASCII characters without spaces"
INSECURE = "is not allowed, must be https (http only for loopback hosts, or with PAYI_OTEL_ALLOW_INSECURE=1)"
URL = "https://ingest.example"


def facts(target: IngestTarget) -> dict[str, Any]:
    """A target without its client."""
    names = ("base_url", "api_key", "headers", "timeout_s", "connect_timeout_s", "max_retries", "owns_client")
    return {name: getattr(target, name) for name in names}


def expected(**changed: Any) -> dict[str, Any]:
    """The facts of a target made with `KEY` and nothing else."""
    defaults = {
        "base_url": "https://api.pay-i.com",
        "api_key": KEY,
        "headers": {},
        "timeout_s": 60.0,
        "connect_timeout_s": 5.0,
        "max_retries": 2,
        "owns_client": True,
    }
    return {**defaults, **changed}


def problems_of(payi: object, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    """Every line of the error that reading this raises."""
    with pytest.raises(ConfigurationError) as caught:
        to_target(payi, environ or {})
    return caught.value.problems


class Recorder(BaseHTTPRequestHandler):
    """Answers every request with its own path and headers; `/redirect` points elsewhere."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Notes the request."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))  # type: ignore[attr-defined]
        redirected = self.path.startswith("/redirect")
        self.send_response(302 if redirected else 200)
        if redirected:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Any]:
    """A server on loopback; `seen` holds the (path, headers) of its requests."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as running:
        running.daemon_threads = True
        running.seen = []  # type: ignore[attr-defined]
        running.url = f"http://127.0.0.1:{running.server_port}"  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class AwaitedOnly:
    """A transport that no thread can call; it remembers the loops it ran on."""

    def __init__(self, http: Any, status: int = 200, wait_s: float = 0.0, fault: Exception | None = None) -> None:
        self.http = http
        self.status, self.wait_s, self.fault = status, wait_s, fault
        self.loops: set[int] = set()
        self.closed = False
        self.bodies: list[bytes] = []
        self.reached = threading.Event()

    async def handle_async_request(self, request: Any) -> Any:
        """Answers with a gzipped body, as the wire would carry it."""
        import gzip

        self.loops.add(id(asyncio.get_running_loop()))
        self.bodies.append(await request.aread())
        self.reached.set()
        await asyncio.sleep(self.wait_s)
        if self.fault is not None:
            raise self.fault

        async def body() -> AsyncIterator[bytes]:
            yield gzip.compress(b"answer")

        headers, extensions = {"Content-Encoding": "gzip"}, {"network_stream": object()}
        return self.http.Response(self.status, headers=headers, content=body(), extensions=extensions)

    async def aclose(self) -> None:
        """Notes that it was closed."""
        self.closed = True


# Our own clients


@pytest.mark.parametrize("client", [Payi, AsyncPayi])
def test_a_client_carries_what_it_was_given(client: Any) -> None:
    """Nothing of it is fetched or opened."""
    payi = client(api_key=KEY, base_url=f"{URL}/", timeout=7, max_retries=4, default_headers={"X-Team": "a"})
    assert facts(to_target(payi, {})) == expected(base_url=URL, timeout_s=7, connect_timeout_s=7, max_retries=4, headers={"X-Team": "a"})


@pytest.mark.parametrize("client", [Payi, AsyncPayi])
def test_a_client_falls_back_to_the_environment(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, base URL and headers; a header given to the client wins over the environment's."""
    monkeypatch.setenv("PAYI_API_KEY", KEY)
    monkeypatch.setenv("PAYI_BASE_URL", f"{URL}/")
    monkeypatch.setenv("PAYI_CUSTOM_HEADERS", "X-Team: environment\n\n X-Two :  a:b \r\nxProxy-Api-Key: other")
    target = to_target(client(default_headers={"x-team": "given"}))
    assert facts(target) == expected(base_url=URL, headers={"X-Two": "a:b", "x-team": "given"})


@pytest.mark.parametrize("client", [Payi, AsyncPayi])
@pytest.mark.parametrize("key", [None, ""])
def test_a_client_without_a_key_says_what_to_do(client: Any, key: str | None) -> None:
    """One line, when it is made."""
    with pytest.raises(MissingKeyError) as caught:
        client(api_key=key)
    assert str(caught.value) == NO_KEY


def test_a_key_is_looked_for_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment, a function, or the client's own attribute, of ours and of the published SDK's."""
    keys = iter(["first", "second", "third"])
    from_function = to_target(Payi(api_key=lambda: next(keys)))
    assert (from_function.api_key, from_function.find_key(), from_function.find_key()) == ("first", "second", "third")
    monkeypatch.setenv("PAYI_API_KEY", "before")
    targets = [to_target(), to_target(Payi())]
    monkeypatch.setenv("PAYI_API_KEY", "after")
    assert [(target.api_key, target.find_key()) for target in targets] == [("before", "after")] * 2
    for client in (Payi(api_key="before"), published.Payi(api_key="before")):
        target = to_target(client)
        client.api_key = "after"
        assert (target.api_key, target.find_key()) == ("before", "after")
    assert "before" not in repr(from_function) + repr(targets)


def test_a_function_that_gives_no_key_says_what_to_do() -> None:
    """At start-up, as without one."""
    with pytest.raises(MissingKeyError, match="no Pay-i API key"):
        Payi(api_key=lambda: "")


def test_no_repr_shows_a_key_or_a_header() -> None:
    """Clients and targets end up in logs."""
    payi = Payi(api_key=KEY, base_url="https://me:secret@host", default_headers={"Authorization": "secret"})
    assert repr(payi) == "Payi(base_url='https://***@host')"
    assert repr(AsyncPayi(api_key=KEY)) == "AsyncPayi(base_url='https://api.pay-i.com')"
    target = to_target(Payi(api_key=KEY, default_headers={"Authorization": "secret"}), {})
    assert repr(target) == (
        "IngestTarget(base_url='https://api.pay-i.com', timeout_s=60.0, connect_timeout_s=5.0, max_retries=2, owns_client=True)"
    )


def test_clients_can_be_closed_and_used_as_contexts() -> None:
    """As the published SDK's; a client of the user's stays open."""
    with httpx.Client(trust_env=False) as http_client:
        with Payi(api_key=KEY, http_client=http_client) as payi:
            payi.close()
        assert not http_client.is_closed

    async def scenario() -> None:
        async with AsyncPayi(api_key=KEY) as payi:
            await payi.close()

    asyncio.run(scenario())


def test_importing_the_module_loads_no_http_client() -> None:
    """`import payi_otel` stays light; a plain target is read without httpx too."""
    code = (
        "import sys; from payi_otel.clients import Payi, to_target; to_target(Payi(api_key='k'));"
        "print([name for name in ('httpx', 'httpx2', 'payi') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


# What to_target accepts


def test_nothing_given_means_the_environment() -> None:
    """An empty list is nothing, too."""
    environ = {"PAYI_API_KEY": KEY, "PAYI_BASE_URL": f"{URL}//", "PAYI_CUSTOM_HEADERS": "X-Team: a"}
    assert facts(to_target(None, environ)) == facts(to_target([], environ)) == expected(base_url=URL, headers={"X-Team": "a"})
    assert facts(to_target(environ={"PAYI_API_KEY": KEY, "PAYI_BASE_URL": ""})) == expected()


def test_no_key_anywhere_says_what_to_do() -> None:
    """One line, when instrumentation starts."""
    with pytest.raises(MissingKeyError) as caught:
        to_target(None, {"PAYI_API_KEY": ""})
    assert caught.value.problems == (NO_KEY,)


def test_of_a_list_the_first_synchronous_client_is_taken() -> None:
    """Else the first; ours and the published SDK's may be mixed."""
    urls = [f"{URL}/{number}" for number in range(4)]
    first, second = AsyncPayi(api_key=KEY, base_url=urls[0]), published.AsyncPayi(api_key=KEY, base_url=urls[1])
    third, fourth = published.Payi(api_key=KEY, base_url=urls[2]), Payi(api_key=KEY, base_url=urls[3])
    assert to_target([first, second, third, fourth], {}).base_url == urls[2]
    assert to_target((first, fourth, third), {}).base_url == urls[3]
    assert to_target([second, first], {}).base_url == urls[1]


def test_a_subclass_counts_as_what_it_extends() -> None:
    """Of ours and of the published ones."""

    class Own(published.Payi):  # type: ignore[misc, name-defined]
        pass

    class Ours(AsyncPayi):
        pass

    assert to_target([Ours(api_key=KEY, base_url=f"{URL}/a"), Own(api_key=KEY, base_url=f"{URL}/b")], {}).base_url == f"{URL}/b"


@pytest.mark.parametrize(
    ("payi", "names"),
    [("key", ["str"]), (Payi, ["type"]), (object(), ["object"]), ([3, None], ["int", "NoneType"]), ({"api_key": "x"}, ["dict"])],
)
def test_anything_else_is_refused_by_its_type(payi: object, names: list[str]) -> None:
    """Its value may be a key."""
    assert problems_of(payi) == tuple(f"payi: {name} is not allowed, must be Payi, AsyncPayi or a list of them" for name in names)


def test_every_problem_is_in_one_error() -> None:
    """A user mends them all in one go."""
    payi = Payi(
        api_key="two words",
        base_url="http://ingest.example",
        timeout=0,
        max_retries=-1,
        default_headers={"X-Team": "a\nb", "X Y": "c"},
        http_client=object(),  # type: ignore[arg-type]
    )
    assert problems_of(payi) == (
        "http_client: object is not allowed, must be an httpx.Client or httpx2.Client",
        "timeout: 0 (int) is not allowed, must be > 0 seconds, an httpx.Timeout or None",
        BAD_KEY,
        f"base_url: 'http://ingest.example' {INSECURE}",
        "default_headers: the header 'X-Team' (its value is not shown) is not allowed, must be a valid HTTP header",
        "default_headers: the header 'X Y' (its value is not shown) is not allowed, must be a valid HTTP header",
        "max_retries: -1 (int) is not allowed, must be an int >= 0",
    )


# Keys, URLs, headers, numbers


@pytest.mark.parametrize("key", ["key\n", " key", "a b", "schlüssel", "key\x00", "\N{ZERO WIDTH SPACE}key"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    """Most often a line break from a secret's file."""
    assert problems_of(None, {"PAYI_API_KEY": key}) == (BAD_KEY,)
    assert problems_of(published.Payi(api_key=key)) == (BAD_KEY,)


@pytest.mark.parametrize(
    "url",
    [
        "https://ingest.example",
        "https://ingest.example:8443/pay-i/",
        "http://localhost:8080",
        "http://sub.localhost",
        "http://127.0.0.1:1",
        "http://127.9.9.9",
        "http://[::1]:8080",
    ],
)
def test_https_and_loopback_are_allowed(url: str) -> None:
    """The slash at the end goes."""
    assert to_target(Payi(api_key=KEY, base_url=url), {}).base_url == url.rstrip("/")


@pytest.mark.parametrize("url", ["http://ingest.example", "http://10.0.0.1:8080", "http://localhost.example", "http://0.0.0.0"])
def test_plain_http_leaves_the_machine_only_where_that_is_asked_for(url: str) -> None:
    """Key and prompts would be readable on the way."""
    environ = {"PAYI_API_KEY": KEY, "PAYI_BASE_URL": url}
    assert problems_of(None, environ) == (f"PAYI_BASE_URL: {url!r} {INSECURE}",)
    assert to_target(None, {**environ, "PAYI_OTEL_ALLOW_INSECURE": "1"}).base_url == url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ingest.example", "ingest.example"),
        ("ftp://ingest.example", "ftp://ingest.example"),
        ("https://", "https://"),
        ("https://a b", "https://a b"),
        ("https://host/\n", "https://host/\n"),
        ("https://host:port", "https://host:port"),
        ("https://host:0", "https://host:0"),
        ("https://[::1", "https://[::1"),
        ("https://host/?a=b", "https://host/?a=b"),
        ("https://host/#x", "https://host/#x"),
        ("https://me:secret@host", "https://***@host"),
    ],
)
def test_what_is_no_base_url_is_refused(url: str, shown: str) -> None:
    """A password in it is not shown."""
    assert problems_of(Payi(api_key=KEY, base_url=url)) == (
        f"base_url: {shown!r} is not allowed, must be an http(s) URL without user, query and fragment",
    )


def test_a_line_of_custom_headers_that_is_none_is_refused() -> None:
    """By its number, because it may hold a secret."""
    line = "PAYI_CUSTOM_HEADERS: line 2 (not shown) is not allowed, must be 'Name: value'"
    assert problems_of(None, {"PAYI_API_KEY": KEY, "PAYI_CUSTOM_HEADERS": "X-Team: a\nsecret\n"}) == (line,)


@pytest.mark.parametrize("given", [["X-Team"], {3: "x"}])
def test_default_headers_that_are_no_mapping_are_refused(given: Any) -> None:
    """When the client is made."""
    with pytest.raises(ConfigurationError) as caught:
        Payi(api_key=KEY, default_headers=given)
    assert caught.value.problems == (f"default_headers: {type(given).__name__} is not allowed, must be a mapping of str to str",)


@pytest.mark.parametrize(
    ("timeout", "pair"),
    [
        (60.0, (60.0, 5.0)),
        (3, (3, 3)),
        (None, (None, None)),
        (httpx.Timeout(9.0, connect=1.0), (9.0, 1.0)),
        (httpx.Timeout(None, connect=2.0), (None, 2.0)),
    ],
)
def test_a_timeout_is_a_number_an_httpx_timeout_or_none(timeout: Any, pair: tuple[float | None, float | None]) -> None:
    """The default connects within 5 seconds; a number of the user's holds for connecting, too."""
    target = to_target(Payi(api_key=KEY, timeout=timeout), {})
    assert (target.timeout_s, target.connect_timeout_s) == pair
    if timeout != 60.0:
        from_published = to_target(published.Payi(api_key=KEY, timeout=timeout), {})
        assert (from_published.timeout_s, from_published.connect_timeout_s) == pair


@pytest.mark.parametrize(
    ("timeout", "shown"),
    [
        (0, "0 (int)"),
        (-1.0, "-1.0 (float)"),
        (math.nan, "nan (float)"),
        (math.inf, "inf (float)"),
        (True, "True (bool)"),
        ("5", "'5' (str)"),
    ],
)
def test_a_timeout_that_ends_nothing_is_refused(timeout: Any, shown: str) -> None:
    """None is the way to wait for ever."""
    line = f"timeout: {shown} is not allowed, must be > 0 seconds, an httpx.Timeout or None"
    assert problems_of(Payi(api_key=KEY, timeout=timeout)) == (line,)


@pytest.mark.parametrize(("given", "kept"), [(0, 0), (5, 5), (math.inf, sys.maxsize)])
def test_retries_are_a_number(given: Any, kept: int) -> None:
    """Infinity is the published SDK's word for no limit."""
    assert to_target(Payi(api_key=KEY, max_retries=given), {}).max_retries == kept
    assert to_target(published.Payi(api_key=KEY, max_retries=given), {}).max_retries == kept


@pytest.mark.parametrize(("given", "shown"), [(True, "True (bool)"), (1.5, "1.5 (float)"), (None, "None (NoneType)")])
def test_retries_that_are_no_number_are_refused(given: Any, shown: str) -> None:
    """With what was given."""
    assert problems_of(Payi(api_key=KEY, max_retries=given)) == (f"max_retries: {shown} is not allowed, must be an int >= 0",)


# The published SDK's clients


@pytest.mark.parametrize("name", ["Payi", "AsyncPayi"])
def test_a_published_client_is_read_as_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, base URL, headers of the client and of the environment, timeouts, retries."""
    monkeypatch.setenv("PAYI_CUSTOM_HEADERS", "X-Env: e")
    headers = {"X-Team": "a", "xProxy-API-Key": "other", "X-Gone": published._types.Omit()}
    client = getattr(published, name)(api_key=KEY, base_url=f"{URL}/p/", max_retries=3, default_headers=headers)
    assert facts(to_target(client, {})) == expected(base_url=f"{URL}/p", max_retries=3, headers={"X-Env": "e", "X-Team": "a"})
    copied = client.with_options(timeout=8)
    assert facts(to_target(copied, {}))["timeout_s"] == 8


@pytest.mark.parametrize(("make", "library"), [(published.Payi, "httpx"), (Payi, "httpx"), (Payi, "httpx2")])
def test_a_users_http_client_is_used_as_it_is(make: Any, library: str) -> None:
    """With its transport, hooks and all; it is never ours to close. Its own timeout holds, as in the published SDK."""
    http = pytest.importorskip(library)
    with http.Client(transport=http.MockTransport(lambda request: http.Response(204)), timeout=http.Timeout(11, connect=3)) as http_client:
        target = to_target(make(api_key=KEY, http_client=http_client), {})
        assert facts(target) == expected(owns_client=False, timeout_s=11, connect_timeout_s=3)
        assert target.make_client() is target.make_client() is http_client


def test_a_users_http_client_with_httpx_defaults_keeps_our_timeout() -> None:
    """httpx's own five seconds were not chosen by anyone."""
    with httpx.Client(trust_env=False) as http_client:
        assert facts(to_target(Payi(api_key=KEY, http_client=http_client), {})) == expected(owns_client=False)


@pytest.mark.parametrize(("client", "wanted"), [(Payi, "Client"), (AsyncPayi, "AsyncClient")])
def test_an_http_client_of_the_other_kind_is_refused(client: Any, wanted: str) -> None:
    """As the published SDK refuses it."""
    other = httpx.AsyncClient(trust_env=False) if wanted == "Client" else httpx.Client(trust_env=False)
    line = f"http_client: {type(other).__name__} is not allowed, must be an httpx.{wanted} or httpx2.{wanted}"
    assert problems_of(client(api_key=KEY, http_client=other)) == (line,)


@pytest.mark.parametrize("payi", [published.Payi(api_key=KEY), published.AsyncPayi(api_key=KEY), Payi(api_key=KEY), AsyncPayi(api_key=KEY)])
def test_a_client_of_ours_is_new_each_time_and_follows_no_redirect(payi: Any, server: Any) -> None:
    """A redirect would carry the key elsewhere; closing a client leaves the next one alone."""
    target = to_target(payi, {})
    with target.make_client() as one, target.make_client() as two:
        assert one is not two
        assert one.timeout.as_dict() == httpx.Timeout(60.0, connect=5.0).as_dict()
        assert one.post(f"{server.url}/redirect").status_code == 302
    assert [path for path, _ in server.seen] == ["/redirect"]
    assert not isinstance(getattr(payi, "_client", None), httpx.Client) or not payi._client.is_closed


# An AsyncPayi's client, for threads


@pytest.fixture(params=["httpx", "httpx2"])
def http(request: pytest.FixtureRequest) -> Any:
    """Either HTTP library; the oldest Python that is supported has no `httpx2`."""
    return pytest.importorskip(request.param)


def twin_of(client: Any, make: Any = AsyncPayi) -> Any:
    """The synchronous client that packets of an `AsyncPayi` with this client go through."""
    target = to_target(make(api_key=KEY, http_client=client), {})
    assert target.owns_client
    return target.make_client()


@pytest.mark.parametrize("make", [published.AsyncPayi, AsyncPayi])
def test_headers_cookies_parameters_and_auth_come_along(http: Any, make: Any, server: Any) -> None:
    """What a gateway wants of the one client it wants of the other."""
    if make is published.AsyncPayi and http is not httpx:
        pytest.skip("the published SDK takes httpx's clients only")
    client = http.AsyncClient(
        headers={"X-Gateway": "g", "User-Agent": "mine"},
        cookies={"session": "s"},
        params={"tenant": "t"},
        auth=("me", "pw"),
        timeout=4.0,
        trust_env=False,
        follow_redirects=True,
    )
    with twin_of(client, make) as twin:
        assert twin.post(f"{server.url}/redirect").status_code == 302
        assert (twin.trust_env, twin.timeout) == (False, http.Timeout(4.0))
    ((path, headers),) = server.seen
    assert path == "/redirect?tenant=t"
    names = ("x-gateway", "user-agent", "cookie", "authorization")
    assert [headers.get(name) for name in names] == ["g", "mine", "session=s", "Basic bWU6cHc="]


def test_tls_limits_and_socket_settings_come_along(http: Any) -> None:
    """The library's own transport is rebuilt for threads."""
    context = ssl.create_default_context()
    transport = http.AsyncHTTPTransport(
        verify=context,
        limits=http.Limits(max_connections=3, max_keepalive_connections=2, keepalive_expiry=9.0),
        local_address="127.0.0.1",
        retries=4,
        uds="/tmp/gateway.sock",
        socket_options=[(6, 1, 1)],
    )
    with twin_of(http.AsyncClient(transport=transport)) as twin:
        pool = twin._transport._pool  # type: ignore[attr-defined]
        assert pool._ssl_context is context
        names = ("_max_connections", "_max_keepalive_connections", "_keepalive_expiry", "_retries", "_local_address", "_uds")
        assert [getattr(pool, name) for name in names] == [3, 2, 9.0, 4, "127.0.0.1", "/tmp/gateway.sock"]
        assert pool._socket_options == [(6, 1, 1)]


def test_an_http_proxy_comes_along_with_its_credentials(http: Any, server: Any) -> None:
    """The request goes to the proxy, which is asked for the whole URL."""
    client = http.AsyncClient(proxy=f"http://me:pw@127.0.0.1:{server.server_port}", trust_env=False)
    with twin_of(client) as twin:
        assert twin.post("http://ingest.invalid/api").text == "ok"
    ((path, headers),) = server.seen
    assert (path, headers["proxy-authorization"]) == ("http://ingest.invalid/api", "Basic bWU6cHc=")


def test_proxies_of_the_environment_come_along_once(http: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And `NO_PROXY` holds."""
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("NO_PROXY", "direct.invalid")
    with twin_of(http.AsyncClient()) as twin:
        assert twin.post("http://ingest.invalid/").text == "ok"
        with pytest.raises((http.ConnectError, RuntimeError)):
            twin.post("http://direct.invalid/")
    assert [path for path, _ in server.seen] == ["http://ingest.invalid/"]


def test_mounts_come_along(http: Any) -> None:
    """By their pattern; None stands for no proxy."""
    mock = http.MockTransport(lambda request: http.Response(418))
    other = http.MockTransport(lambda request: http.Response(200))
    client = http.AsyncClient(transport=other, mounts={"https://ingest.example": mock, "all://plain.example": None})
    with twin_of(client) as twin:
        assert [twin.post(url).status_code for url in (URL, "https://plain.example", "https://x.example")] == [418, 200, 200]


def test_a_transport_for_both_worlds_is_shared_and_left_open(http: Any) -> None:
    """It is the user's."""

    class Both(http.MockTransport):
        closed = False

        def close(self) -> None:
            self.closed = True

    both = Both(lambda request: http.Response(200, json={"key": request.headers["x-key"]}))
    with twin_of(http.AsyncClient(transport=both)) as twin:
        assert twin.post(URL, headers={"X-Key": "k"}).json() == {"key": "k"}
    assert not both.closed


def test_a_mock_with_an_async_handler_is_awaited(http: Any) -> None:
    """It looks as if threads could call it."""

    async def handler(request: Any) -> Any:
        return http.Response(200, text=(await request.aread()).decode())

    with twin_of(http.AsyncClient(transport=http.MockTransport(handler))) as twin:
        assert twin.post(URL, content=b"packet").text == "packet"


def test_a_transport_that_can_only_be_awaited_runs_on_one_loop_of_its_own(http: Any) -> None:
    """For all threads; the body is decoded once; the user's transport is left open."""
    transport = AwaitedOnly(http)
    with twin_of(http.AsyncClient(transport=transport)) as twin:
        answers: list[str] = []
        threads = [threading.Thread(target=lambda: answers.append(twin.post(URL, content=b"packet").text)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (answers, transport.bodies, len(transport.loops), transport.closed) == (["answer"] * 4, [b"packet"] * 4, 1, False)
    assert "payi-otel-async-transport" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("name", ["httpx2", "httpcore2"])
def test_a_damaged_httpx2_is_not_used(name: str) -> None:
    """An application that does not need it goes on by httpx, and so do we."""
    code = f"""
import sys
class Damaged:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise RuntimeError("damaged")
sys.meta_path.insert(0, Damaged())
from payi_otel._http_library import http_library
print(http_library().__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("httpx\n", "")


def test_an_awaited_transport_can_be_used_inside_a_running_loop(http: Any) -> None:
    """The running loop waits, as for any synchronous call, and is not the one that is used."""

    async def scenario() -> list[int]:
        twin = twin_of(http.AsyncClient(transport=AwaitedOnly(http, 201)))
        with twin:
            return [twin.post(URL).status_code for _ in range(2)]

    assert asyncio.run(scenario()) == [201, 201]


def test_an_awaited_transports_fault_is_the_callers(http: Any) -> None:
    """So that the sink can tell a refused connection from a packet's fault."""
    with (
        twin_of(http.AsyncClient(transport=AwaitedOnly(http, fault=http.ConnectError("refused")))) as twin,
        pytest.raises(http.ConnectError),
    ):
        twin.post(URL)


def test_an_awaited_transport_that_hangs_is_given_up(http: Any) -> None:
    """Within the sum of the request's timeouts, whatever the transport makes of them; closing ends what still runs."""
    transport = AwaitedOnly(http, wait_s=60)
    with twin_of(http.AsyncClient(transport=transport)) as twin:
        started = time.monotonic()
        with pytest.raises(http.ReadTimeout, match=r"^no answer in time$"):
            twin.post(URL, timeout=0.02)
        transport.reached.clear()
        closer = threading.Thread(target=lambda: transport.reached.wait(5) and twin._transport.close())
        closer.start()
        with pytest.raises(http.ReadError, match=r"^the transport was closed$"):
            twin.post(URL, timeout=None)
        closer.join()
    assert time.monotonic() - started < 5


def test_an_awaited_transport_may_be_closed_unused_and_twice(http: Any) -> None:
    """No loop is started for it."""
    transport = SyncOverAsyncTransport(AwaitedOnly(http), http)
    transport.close()
    transport.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_touch_its_parents_loop() -> None:
    """The child closes what it inherited without waiting, and starts its own; the parent's goes on."""
    code = """
import os, sys, httpx, warnings
warnings.simplefilter("error")
from payi_otel.clients import AsyncPayi, to_target
class T(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request): return httpx.Response(200)
target = to_target(AsyncPayi(api_key="k", http_client=httpx.AsyncClient(transport=T())))
twin = target.make_client()
assert twin.post("https://x").status_code == 200
pid = os.fork()
if pid == 0:
    twin.close()
    with target.make_client() as own:
        os._exit(0 if own.post("https://x").status_code == 200 else 1)
assert os.waitpid(pid, 0)[1] == 0
assert twin.post("https://x").status_code == 200
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_event_hooks_of_an_async_client_are_left_out_with_a_line(http: Any, caplog: pytest.LogCaptureFixture) -> None:
    """They are coroutines of the application's loop."""

    async def hook(request: Any) -> None:
        raise AssertionError

    client = http.AsyncClient(transport=http.MockTransport(lambda request: http.Response(200)), event_hooks={"request": [hook]})
    with twin_of(client) as twin:
        assert twin.post(URL).status_code == 200
    assert [record.getMessage() for record in caplog.records if record.name.startswith("payi")] == [
        "payi-otel: event hooks of an AsyncClient are not run for ingest requests; use Payi with a Client"
    ]


def test_a_subclass_of_httpxs_transport_is_run_and_not_rebuilt(http: Any) -> None:
    """What it does besides sending would be lost."""

    class Signing(http.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            return http.Response(200, text="signed")

    with twin_of(http.AsyncClient(transport=Signing())) as twin:
        assert twin.post(URL).text == "signed"


def test_a_published_client_is_left_as_it_was() -> None:
    """Nothing of it is closed or changed by reading it."""
    client = published.Payi(api_key=KEY)
    before = dict(vars(client))
    with contextlib.closing(to_target(client, {}).make_client()):
        pass
    assert vars(client) == before
    assert not client.is_closed()
