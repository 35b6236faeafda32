"""KPIs are incremented over real HTTP; none is lost within a process, and nothing is raised."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from opentelemetry import baggage, context
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled

import payi_otel
from payi_otel import AsyncPayi, Payi, increment_kpi_score, increment_kpi_score_async, kpis, track_context
from payi_otel.context import defaults

KEY = "kpi-key-1"
PLACE = ("support", "id-1")


class KpiServer:
    """Pay-i's two endpoints of KPIs, with pages of two."""

    def __init__(self) -> None:
        self.scores: dict[tuple[str, str], dict[str, Any]] = {PLACE: {}}
        self.headers: list[dict[str, str]] = []
        self.failures: list[int] = []
        """Statuses that the next requests get."""
        self.lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.kpis = self  # type: ignore[attr-defined]
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Ends it."""
        self._http.shutdown()
        self._http.server_close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """What Pay-i says."""
        parts, query = urlsplit(target), parse_qs(urlsplit(target).query)
        with self.lock:
            self.headers.append(headers)
            if self.failures:
                return self.failures.pop(0), {"statusCode": 500, "xproxy_error": {"code": "unexpected_error", "message": "no"}}
            if headers.get("xproxy-api-key") != KEY:
                return 401, {"xproxy_error": {"code": "invalid_api_key", "message": "no"}}
            path = [unquote(part) for part in parts.path.split("/")]
            assert path[1:5] == ["api", "v1", "use_cases", "instances"]
            assert path[7] == "kpis"
            known = self.scores.get((path[5], path[6]))
            if known is None:
                return 404, {"xproxy_error": {"code": "use_case_not_found", "message": "no"}}
            if method == "PUT":
                known[path[8]] = json.loads(body)["score"]
                return 200, {}
            names = sorted(known)
            start = int(query.get("cursor", ["0"])[0])
            items = [{"kpi_name": name, "score": known[name]} for name in names[start : start + 2]]
            return 200, {"items": items, "cursor": str(start + 2) if start + 2 < len(names) else None}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Any of them."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = self.server.kpis.answer(self.command, self.path, headers, body)  # type: ignore[attr-defined]
        content = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        head += f"Location: {self.path}\r\n\r\n" if 300 <= status < 400 else "\r\n"
        self.wfile.write(head.encode() + content)

    do_PUT = do_GET  # noqa: N815


@pytest.fixture
def server() -> Iterator[KpiServer]:
    """It."""
    one = KpiServer()
    yield one
    one.close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between tries."""
    monkeypatch.setattr("payi_otel.kpis._FIRST_PAUSE_S", 0.0)


@pytest.mark.parametrize(("score", "increment", "total"), [(None, 1, 1), (4, 1, 5), (0.5, 1, 1.5), (True, 2, 3), (3, -1.5, 1.5)])
async def test_a_score_is_incremented(score: Any, increment: float, total: float, server: KpiServer) -> None:
    """A fraction is not cut off, and a truth counts as one."""
    payi = Payi(api_key=KEY, base_url=server.url)
    server.scores[PLACE]["solved"] = score
    assert increment_kpi_score(payi, "solved", *PLACE, increment)
    assert server.scores[PLACE]["solved"] == total
    server.scores[PLACE]["solved"] = score
    assert await increment_kpi_score_async(AsyncPayi(api_key=KEY, base_url=server.url), "solved", *PLACE, increment=increment)
    assert server.scores[PLACE]["solved"] == total


def test_threads_lose_none(server: KpiServer) -> None:
    """Fifty at once."""
    payi = Payi(api_key=KEY, base_url=server.url)
    threads = [threading.Thread(target=increment_kpi_score, args=(payi, "solved", *PLACE)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert server.scores[PLACE]["solved"] == 50


async def test_tasks_lose_none_and_block_nobody(server: KpiServer) -> None:
    """Nor does the application's own pool of threads wait for them."""
    payi = AsyncPayi(api_key=KEY, base_url=server.url)
    server.lock.acquire()
    waiting = [asyncio.ensure_future(increment_kpi_score_async(payi, "solved", *PLACE)) for _ in range(50)]
    await asyncio.sleep(0.01)
    assert await asyncio.to_thread(lambda: "free") == "free"
    server.lock.release()
    assert await asyncio.gather(*waiting) == [True] * 50
    assert server.scores[PLACE]["solved"] == 50


def test_under_trio(server: KpiServer) -> None:
    """Another event loop."""
    trio = pytest.importorskip("trio")
    assert trio.run(increment_kpi_score_async, Payi(api_key=KEY, base_url=server.url), "solved", *PLACE)


def test_pages_are_read_to_the_end(server: KpiServer) -> None:
    """The KPI may be on the last."""
    server.scores[PLACE].update({name: number for number, name in enumerate("abcdefg")})
    assert increment_kpi_score(Payi(api_key=KEY, base_url=server.url), "g", *PLACE)
    assert server.scores[PLACE]["g"] == 7


def test_names_are_escaped(server: KpiServer) -> None:
    """Whatever is in them is one part of the path."""
    place = ("a/b", "x?y#z ü")
    server.scores[place] = {}
    assert increment_kpi_score(Payi(api_key=KEY, base_url=server.url), "100 %/day", *place)
    assert server.scores[place] == {"100 %/day": 1}


class TestWhose:
    """Use case and client by default."""

    def test_the_scopes(self, server: KpiServer) -> None:
        """A use case of another name has another instance."""
        payi = Payi(api_key=KEY, base_url=server.url)
        with track_context(use_case_name="support", use_case_id="id-1"):
            assert increment_kpi_score(payi, "solved")
            assert increment_kpi_score(payi, "solved", "support")
            assert not increment_kpi_score(payi, "solved", "sales")
        assert server.scores == {PLACE: {"solved": 2}}

    async def test_the_tasks(self, server: KpiServer) -> None:
        """Read where it is called, not in the thread."""
        with track_context(use_case_name="support", use_case_id="id-1"):
            assert await increment_kpi_score_async(Payi(api_key=KEY, base_url=server.url), "solved")

    def test_the_processs_client(self, server: KpiServer) -> None:
        """That of `payi_instrument`, without one; else the environment's."""
        payi_otel.payi_instrument(payi=Payi(api_key=KEY, base_url=server.url))
        try:
            assert increment_kpi_score(None, "solved", *PLACE)
        finally:
            payi_otel.shutdown(5)
        assert not increment_kpi_score(None, "solved", *PLACE)

    def test_the_environments(self, server: KpiServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """`PAYI_API_KEY` and `PAYI_BASE_URL`."""
        monkeypatch.setenv("PAYI_API_KEY", KEY)
        monkeypatch.setenv("PAYI_BASE_URL", server.url)
        assert increment_kpi_score(None, "solved", *PLACE)

    def test_an_exporters(self, server: KpiServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """While it is in use; after that the environment's again."""
        exporter = payi_otel.PayiSpanExporter(api_key=KEY, base_url=server.url)
        try:
            assert increment_kpi_score(None, "solved", *PLACE)
            exporter.shutdown()
            assert not increment_kpi_score(None, "solved", *PLACE)
            monkeypatch.setenv("PAYI_API_KEY", KEY)
            monkeypatch.setenv("PAYI_BASE_URL", server.url)
            assert increment_kpi_score(None, "solved", *PLACE)
        finally:
            exporter.shutdown()
            defaults.remove()
        assert server.scores[PLACE]["solved"] == 2

    @pytest.mark.parametrize("name", ["Payi", "AsyncPayi"])
    def test_the_published_sdks(self, name: str, server: KpiServer) -> None:
        """Either of its clients."""
        published = pytest.importorskip("payi._client")
        assert increment_kpi_score(getattr(published, name)(api_key=KEY, base_url=server.url), "solved", *PLACE)

    def test_one_of_a_list(self, server: KpiServer) -> None:
        """As `payi_instrument` takes it."""
        both = [AsyncPayi(api_key=KEY, base_url=server.url), Payi(api_key=KEY, base_url=server.url)]
        assert increment_kpi_score(both, "solved", *PLACE)
        assert increment_kpi_score(both[:1], "solved", *PLACE)


class TestRequests:
    """What they are made with, and who hears of them."""

    async def test_nobody_else_hears_of_them(self, server: KpiServer) -> None:
        """No HTTP instrumentation traces them, and they carry neither baggage nor a trace, whatever surrounds the call."""
        seen: list[tuple[bool, dict[str, object]]] = []

        def look(request: httpx.Request) -> None:
            seen.append((is_http_instrumentation_enabled(), dict(baggage.get_all())))

        with httpx.Client(event_hooks={"request": [look]}) as http, track_context(account_name="acme"):
            payi = Payi(api_key=KEY, base_url=server.url, http_client=http)
            token = context.attach(baggage.set_baggage("team", "blue"))
            assert increment_kpi_score(payi, "solved", *PLACE)
            assert await increment_kpi_score_async(payi, "solved", *PLACE)
            context.detach(token)
        assert seen == [(False, {})] * 4
        assert not {"baggage", "traceparent"} & {name for headers in server.headers for name in headers}

    def test_a_client_of_the_users_stays_open(self, server: KpiServer) -> None:
        """It is not ours to close."""
        with httpx.Client() as http:
            assert increment_kpi_score(Payi(api_key=KEY, base_url=server.url, http_client=http), "solved", *PLACE)
            assert not http.is_closed

    def test_the_key_follows_no_redirect(self, server: KpiServer) -> None:
        """Even where the user's client would."""
        server.failures = [307]
        with httpx.Client(follow_redirects=True) as http:
            assert not increment_kpi_score(Payi(api_key=KEY, base_url=server.url, http_client=http), "solved", *PLACE)
        assert len(server.headers) == 1

    def test_no_turn_is_kept(self, server: KpiServer) -> None:
        """The table of who waits for whom is as long as there are increments under way."""
        payi = Payi(api_key=KEY, base_url=server.url)
        for number in range(5):
            assert increment_kpi_score(payi, f"kpi-{number}", *PLACE)
        assert len(kpis._turns) == 0


class TestFailures:
    """False, and a line that says why and no secret."""

    def test_what_passes_is_tried_again(self, server: KpiServer) -> None:
        """Twice, as the published SDK does."""
        server.failures = [503, 429]
        assert increment_kpi_score(Payi(api_key=KEY, base_url=server.url), "solved", *PLACE)
        assert len(server.headers) == 4

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (("solved", "unknown", "id-1"), "use_case_not_found"),
            (("solved", None, None), "a KPI has a name, and belongs to a use case's name and id"),
            (("", *PLACE), "a KPI has a name, and belongs to a use case's name and id"),
            (("solved", "support", object()), "TypeError"),
            (("solved", "..", "id-1"), "a name or id is a dot or two"),
            (("..", *PLACE), "a name or id is a dot or two"),
        ],
    )
    async def test_it_is_said(self, arguments: Any, why: str, server: KpiServer, caplog: pytest.LogCaptureFixture) -> None:
        """In both forms."""
        payi = Payi(api_key=KEY, base_url=server.url)
        assert increment_kpi_score(payi, *arguments) is False
        assert await increment_kpi_score_async(payi, *arguments) is False
        assert [record.getMessage() for record in caplog.records] == [
            f"the KPI {arguments[0]} of the use case {arguments[1]} was not incremented: {why}"
        ] * 2
        assert KEY not in caplog.text

    @pytest.mark.parametrize("increment", [float("nan"), float("inf"), -float("inf")])
    def test_a_sum_that_is_no_number_is_not_written(self, increment: float, server: KpiServer) -> None:
        """The score there is stays."""
        server.scores[PLACE]["solved"] = 7
        assert increment_kpi_score(Payi(api_key=KEY, base_url=server.url), "solved", *PLACE, increment) is False
        assert server.scores[PLACE]["solved"] == 7

    async def test_no_thread_can_be_had(self, server: KpiServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is raised by that either."""

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert await increment_kpi_score_async(Payi(api_key=KEY, base_url=server.url), "solved", *PLACE) is False

    def test_whatever_is_given_for_a_client(self, server: KpiServer, caplog: pytest.LogCaptureFixture) -> None:
        """No key, a wrong one, a server that is gone, a stranger."""
        server.failures = [500] * 3
        assert increment_kpi_score(Payi(api_key=KEY, base_url=server.url), "solved", *PLACE) is False
        assert increment_kpi_score(Payi(api_key="another", base_url=server.url), "solved", *PLACE) is False
        assert increment_kpi_score(Payi(api_key=KEY, base_url="http://127.0.0.1:9"), "solved", *PLACE) is False
        assert increment_kpi_score(None, "solved", *PLACE) is False
        assert increment_kpi_score(object(), "solved", *PLACE) is False
        reasons = [record.getMessage().partition("was not incremented: ")[2].split()[0] for record in caplog.records]
        assert reasons == ["unexpected_error", "invalid_api_key", "connection_error", "MissingKeyError", "ConfigurationError"]
        assert KEY not in caplog.text
