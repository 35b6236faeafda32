"""The fake ingest server behind `payi_otel.testing`: real HTTP on loopback, strict, with faults on demand. Standard library only."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from payi_otel import _ingest_rules as rules

if TYPE_CHECKING:
    from typing_extensions import Self

API_KEY: Final = "test-key"
_RESULTS: Final = "/api/v1/requests/provider/"
_UPSERT: Final = "/api/v1/ingest/bulk-upsert"
_PATHS: Final = {"/api/v1/ingest": False, "/api/v1/ingest/bulk": True, _UPSERT: True}
_DRIP_S: Final = 0.1
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing resets the connection."""


@dataclass(frozen=True)
class Answer:
    """How the server treats one request. Without any argument: as Pay-i would."""

    status: int | None = None
    """Answers so and takes nothing."""
    body: object = None
    """Bytes and text as they are, anything else as JSON; by default an error object of Pay-i's with `http_<status>`'s code."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Waits before it goes on."""
    hang: bool = False
    """Reads the request and never answers."""
    reset: bool = False
    """Resets the connection; nothing is taken."""
    drop_after_commit: bool = False
    """Takes the packet, then resets the connection: the sender cannot know."""
    garbage: bool = False
    """Answers something that is not HTTP."""
    drip: bool = False
    """Sends its headers, then one byte each 0.1 s, for ever."""


Decide = Callable[[Mapping[str, Any]], "Answer | None"]


class IngestServer:
    """Pay-i's ingest API on loopback, in a thread. A context manager; starts at once.

    Attributes:
        requests: Every request, in order of arrival: `path`, `query`, `headers` (lower-case names), `body` (JSON, or bytes).
        packets: What was taken, one a packet, of the same form; a bulk's items one by one.
        duplicates: What was taken before under the same `provider_response_id`; answered with `duplicate_request`.
        billed_twice: What came by plain bulk, which recognises nothing, and had been taken before under the same id.
        bulk_enabled: False: bulk of both kinds is answered with 404, as for an account that does not have it.
        upsert_enabled: False: `bulk-upsert` is.
    """

    def __init__(self, *, api_key: str = API_KEY, bulk_enabled: bool = True, upsert_enabled: bool = True) -> None:
        """Listens on a free port of 127.0.0.1."""
        self.api_key = api_key
        self.bulk_enabled: bool = bulk_enabled
        self.upsert_enabled: bool = upsert_enabled
        self.requests: list[dict[str, Any]] = []
        self.packets: list[dict[str, Any]] = []
        self.duplicates: list[dict[str, Any]] = []
        self.billed_twice: list[dict[str, Any]] = []
        self._ids: set[str | None] = set()
        self._script: list[Answer] = []
        self._decide: Decide | None = None
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._http = _HttpServer(self)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def script(self, *answers: Answer, times: int = 1) -> None:
        """The next requests are answered so, one after the other, the row `times` times; then as Pay-i would."""
        with self._changed:
            self._script.extend(answers * times)

    def decide(self, decide: Decide | None) -> None:
        """Every request that the script leaves is shown to this function; None from it means the ordinary answer."""
        with self._changed:
            self._decide = decide

    def wait_for_packets(self, count: int, timeout_s: float = 10.0) -> bool:
        """Waits until so many packets were taken."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.packets) >= count, timeout_s)

    def wait_for_requests(self, count: int, timeout_s: float = 10.0) -> bool:
        """Waits until so many requests have arrived."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.requests) >= count, timeout_s)

    def close(self) -> None:
        """Ends every connection, hanging ones too, and the thread."""
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        with self._changed:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # called by the connections' threads

    def take(self, request: dict[str, Any]) -> Answer:
        """Keeps a request and says how to treat it."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            scripted = self._script.pop(0) if self._script else None
            decide = self._decide
        return scripted or (decide(request) if decide is not None else None) or Answer()

    def judge(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Pay-i's own answer; keeps the packets that it takes."""
        is_bulk = _PATHS.get(request["path"])
        has_bulk = self.bulk_enabled and (self.upsert_enabled or request["path"] != _UPSERT)
        if request["path"].startswith(_RESULTS):
            is_known = request["headers"].get(rules.KEY_HEADER) == self.api_key
            return self._find_result(request["path"]) if is_known else (401, to_error(401, "invalid_api_key"))
        if is_bulk is None or (is_bulk and not has_bulk):
            return 404, to_error(404, "http_404")
        if request["headers"].get(rules.KEY_HEADER) != self.api_key:
            return 401, to_error(401, "invalid_api_key")
        problem = rules.check_headers(request["headers"], is_bulk=is_bulk)
        if problem is not None:
            return 400, to_error(400, *problem)
        return self._judge_bulk(request) if is_bulk else self._judge_single(request)

    def _judge_single(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        problem = rules.check_packet(request["body"], is_bulk=False)
        if problem is None and request["query"].get("id") != request["body"].get("provider_response_id"):
            problem = "request_processing_error", "?id= is not the packet's provider_response_id"
        if problem is not None:
            return 400, to_error(400, *problem)
        is_new = self._keep(request, request["body"])
        return 200, {
            "request_id": f"request-{len(self.requests)}",
            "ingest_timestamp": "2026-01-01T00:00:00Z",
            "event_timestamp": request["body"].get("event_timestamp"),
            "xproxy_result": {
                "request_id": f"request-{len(self.requests)}",
                "duplicate_request": not is_new,
                "cost": to_cost(request["body"]),
            },
        }

    def _find_result(self, path: str) -> tuple[int, dict[str, Any]]:
        """What a packet cost that was taken before, in whatever way."""
        category, response_id = (unquote(part) for part in path.removeprefix(_RESULTS).split("/")[:2])
        for number, packet in enumerate(self.packets, start=1):
            body = packet["body"]
            if (body.get("category"), body.get("provider_response_id")) == (category, response_id):
                return 200, {"xproxy_result": {"request_id": f"packet-{number}", "cost": to_cost(body)}}
        return 404, to_error(404, "http_404")

    def _judge_bulk(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not isinstance(request["body"], list):
            return 400, to_error(400, "invalid_json", "not an array")
        errors = []
        for index, item in enumerate(request["body"]):
            problem = rules.check_packet(item, is_bulk=True)
            if problem is not None:
                errors.append({"item_index": index, "xproxy_result": to_error(400, *problem)})
            else:
                if not self._keep(request, item) and request["path"] != _UPSERT:
                    self.billed_twice.append(item)
        total = len(request["body"])
        return 400 if errors else 200, {
            "request_id": f"request-{len(self.requests)}",
            "ingest_timestamp": "2026-01-01T00:00:00Z",
            "ingest_count": total - len(errors),
            "total_count": total,
            "error_count": len(errors),
            "item_error_count": len(errors),
            "errors": errors,
        }

    def _keep(self, request: dict[str, Any], body: dict[str, Any]) -> bool:
        """False when a packet of that id was taken before."""
        packet = {**request, "body": body}
        with self._changed:
            response_id = body.get("provider_response_id")
            is_new = response_id is None or response_id not in self._ids
            self._ids.add(response_id)
            (self.packets if is_new else self.duplicates).append(packet)
            self._changed.notify_all()
        return is_new

    def wait_closing(self, timeout_s: float | None = None) -> bool:
        """Waits for `close`; True when it was called."""
        return self._closing.wait(timeout_s)

    def note(self, connection: socket.socket, *, is_open: bool) -> None:
        """Keeps the open connections, so that `close` ends them."""
        with self._changed:
            (self._connections.add if is_open else self._connections.discard)(connection)


def to_cost(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a packet costs here: a millionth of a dollar for each unit that was asked, two for each that was answered."""
    counts = list(body["units"].values())
    asked, answered = sum(count.get("input", 0) for count in counts), sum(count.get("output", 0) for count in counts)
    return {
        "currency": "usd",
        "input": {"base": asked / 1_000_000},
        "output": {"base": answered * 2 / 1_000_000},
        "total": {"base": (asked + answered * 2) / 1_000_000},
    }


def to_error(status: int, code: str, message: str = "as the test asked for") -> dict[str, Any]:
    """An error object of Pay-i's."""
    return {"statusCode": status, "message": message, "xproxy_error": {"code": code, "message": message}}


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, ingest: IngestServer) -> None:
        self.ingest = ingest
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def setup(self) -> None:
        super().setup()
        self.server.ingest.note(self.connection, is_open=True)

    def finish(self) -> None:
        self.server.ingest.note(self.connection, is_open=False)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        """One ingest."""
        ingest = self.server.ingest
        request = self._read()
        answer = ingest.take(request)
        if (answer.delay_s and ingest.wait_closing(answer.delay_s)) or answer.hang:
            ingest.wait_closing()
            self.close_connection = True
        elif answer.reset:
            self._reset()
        elif answer.drop_after_commit:
            ingest.judge(request)
            self._reset()
        elif answer.garbage:
            self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")
            self.close_connection = True
        elif answer.drip:
            self._drip()
        else:
            self._answer(answer, request)

    do_PUT = do_GET = do_POST  # noqa: N815 - what a client makes of a redirect must be seen, too

    def _read(self) -> dict[str, Any]:
        parts = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(content, parse_constant=_refuse_constant)
        except ValueError:
            body = content
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        return {"path": parts.path, "query": query, "headers": headers, "body": body}

    def _answer(self, answer: Answer, request: dict[str, Any]) -> None:
        status, body = (answer.status, answer.body) if answer.status is not None else self.server.ingest.judge(request)
        if answer.status is not None and body is None:
            body = to_error(answer.status, f"http_{answer.status}")
        content = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self._send(status, {"Content-Type": "application/json", **answer.headers}, content)

    def _send(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        """In one write: two small ones would wait for each other."""
        lines = [f"HTTP/1.1 {status} as asked", *(f"{name}: {value}" for name, value in headers.items())]
        lines += [] if status == 204 else [f"Content-Length: {len(content)}"]
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
        self.wfile.write(head + (b"" if status == 204 else content))

    def _drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not self.server.ingest.wait_closing(_DRIP_S):
            self.wfile.write(b" ")
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.rfile.close()
        self.connection.close()
        self.close_connection = True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
