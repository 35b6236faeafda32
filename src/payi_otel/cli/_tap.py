"""`Tap`: Pay-i's ingest API on loopback, for `payi-otel watch`. It takes packets, hands them on and keeps none."""

from __future__ import annotations

import json
import os
import socketserver
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from payi_otel import _ingest_rules as rules
from payi_otel._ingest_server import to_error
from payi_otel.captures.following import Event
from payi_otel.exporters._wire import BULK_PATH, SINGLE_PATH, UPSERT_PATH
from payi_otel.semconv import PayiHeaderNames

HOST: Final = "127.0.0.1"
_OWN_NAMES: Final = frozenset({HOST, "localhost"})
"""A page in a browser that has a name lead to this machine asks for that name."""
_MAX_BYTES: Final = 32 * 1024 * 1024
"""A request of this package has at most 4 MiB."""
_MAX_WAITING: Final = 16
"""Requests that were taken and not yet looked at; further ones wait."""
_MAX_READING: Final = 8
"""Requests that are in memory before that."""
_MAX_IDS: Final = 10_000
"""Packets that are known again when they are sent once more."""
_MAX_DIGITS: Final = 20
"""Of a use case's version: a longer number takes Python its time."""
_MAX_SAID: Final = 10
"""More refusals are counted only."""
_IDLE_S: Final = 60
"""A connection without a request ends then."""
_BESIDE: Final[Mapping[str, str]] = {
    getattr(PayiHeaderNames, name).lower(): name
    for name in (
        "use_case_name",
        "use_case_id",
        "use_case_version",
        "use_case_step",
        "user_id",
        "account_name",
        "resource_scope",
        "limit_ids",
    )
}
"""What of a packet travels in headers, and its name in a record."""
_Answer = tuple[int, dict[str, Any]]


class Tap:
    """Listens at once.

    Attributes:
        broken: How many packets were refused, as Pay-i would have.
        reading: Held by a connection while its request is in memory.
        is_caught_up: There is nothing from before.
    """

    is_caught_up = True

    def __init__(self, port: int) -> None:
        """On this port of 127.0.0.1, or a free one where it is 0.

        Raises:
            OSError: It is not free.
        """
        self.broken = 0
        self._changed = threading.Condition()
        self._waiting: deque[list[Event]] = deque()
        self._is_closed = False
        self.reading = threading.BoundedSemaphore(_MAX_READING)
        self._ids: OrderedDict[int, None] = OrderedDict()
        """Hashes: an id may be of any length."""
        self._http = _Server((HOST, port), _Handler)
        self._http.tap = self
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    @property
    def url(self) -> str:
        """What a program is pointed at."""
        return f"http://{HOST}:{self._http.server_address[1]}"

    def take(self, timeout_s: float) -> Iterator[Event]:
        """What came with one request; nothing where none does for so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, timeout_s)
            events = self._waiting.popleft() if self._waiting else []
            self._changed.notify_all()
        yield from events

    def close(self) -> Iterator[Event]:
        """Takes nothing more; what was taken and not yet looked at."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for events in self._waiting:
            yield from events
        self._http.shutdown()
        self._http.server_close()

    def answer(self, path: str, headers: Mapping[str, str], content: bytes) -> _Answer:
        """As Pay-i does, but for costs, which only Pay-i knows. Called by the connections' threads.

        Args:
            path: Without its query.
            headers: With lower-case names.
            content: The body.
        """
        is_bulk = path != SINGLE_PATH
        problem = rules.check_headers(headers, is_bulk=is_bulk)
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError:
            problem = problem or ("invalid_json", "the body is not JSON")
            body = None
        if problem is None and is_bulk and not isinstance(body, list):
            problem = "invalid_json", "not an array"
        bodies = [] if problem else body if is_bulk else [body]
        problems: list[rules.Problem | None] = [problem] if problem else [rules.check_packet(one, is_bulk=is_bulk) for one in bodies]
        items = [to_record(one, headers) if isinstance(one, dict) else {} for one in bodies]
        return self._settle(path, items, problems, was_read=problem is None)

    def _settle(self, path: str, items: list[dict[str, Any]], problems: list[rules.Problem | None], *, was_read: bool) -> _Answer:
        """Hands on what is right, and says of each what became of it."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or len(self._waiting) < _MAX_WAITING)
            if self._is_closed:
                return 503, to_error(503, "http_503", "the tap was closed")
            good = [item for item, problem in zip(items, problems, strict=True) if problem is None] if was_read else []
            new = [item for item in good if path == BULK_PATH or self._is_new(item)]
            events: list[Event] = [*new, *self._complain([problem for problem in problems if problem])]
            if events:
                self._waiting.append(events)
                self._changed.notify_all()
        if not was_read or (path == SINGLE_PATH and problems[0]):
            return 400, to_error(400, *(problems[0] or ("", "")))
        return _to_single(items[0], is_new=bool(new)) if path == SINGLE_PATH else _to_bulk(problems)

    def _is_new(self, record: Mapping[str, Any]) -> bool:
        """Whether none of that id came lately: a resend is one packet."""
        response_id = record.get("provider_response_id")
        if response_id is None:
            return True
        key = hash(response_id)
        is_new = key not in self._ids
        self._ids[key] = None
        if len(self._ids) > _MAX_IDS:
            self._ids.popitem(last=False)
        return is_new

    def _complain(self, problems: list[rules.Problem]) -> Iterator[str]:
        for code, why in problems:
            self.broken += 1
            if self.broken <= _MAX_SAID:
                more = "; more of them are counted only" if self.broken == _MAX_SAID else ""
                yield f"a packet was refused, as Pay-i would: {code} ({why}){more}"


def to_record(body: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """A packet as it would stand in an offline file."""
    record = dict(body)
    if "scope" in record:
        record["resource_scope"] = record.pop("scope")
    for header, name in _BESIDE.items():
        value: Any = headers.get(header)
        if value is not None:
            record[name] = value.split(",") if name == "limit_ids" else int(value) if _is_version(name, value) else value
    return record


def _is_version(name: str, value: str) -> bool:
    return name == "use_case_version" and len(value) <= _MAX_DIGITS


def _to_single(record: Mapping[str, Any], *, is_new: bool) -> _Answer:
    request_id, now = str(uuid.uuid4()), datetime.now(timezone.utc).isoformat()
    result = {"request_id": request_id, "duplicate_request": not is_new}
    stamps = {"ingest_timestamp": now, "event_timestamp": record.get("event_timestamp") or now}
    return 200, {"request_id": request_id, **stamps, "xproxy_result": result}


def _to_bulk(problems: list[rules.Problem | None]) -> _Answer:
    errors = [{"item_index": index, "xproxy_result": to_error(400, *problem)} for index, problem in enumerate(problems) if problem]
    return 400 if errors else 200, {
        "request_id": str(uuid.uuid4()),
        "ingest_timestamp": datetime.now(timezone.utc).isoformat(),
        "ingest_count": len(problems) - len(errors),
        "total_count": len(problems),
        "error_count": len(errors),
        "item_error_count": len(errors),
        "errors": errors,
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = os.name == "posix"
    tap: Tap

    def server_bind(self) -> None:
        """Asks no name server for this machine's name."""
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE_S
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        """One ingest."""
        length = self.headers.get("content-length", "")
        path = urlsplit(self.path).path
        if urlsplit(f"//{self.headers.get('host', '')}").hostname not in _OWN_NAMES:
            self._refuse(403, "it is for programs on this machine")
        elif path not in (SINGLE_PATH, BULK_PATH, UPSERT_PATH):
            self._refuse(404, "a tap takes packets, and nothing else")
        elif not length.isascii() or not length.isdigit():
            self._refuse(411, "a Content-Length is needed")
        elif len(length) > len(str(_MAX_BYTES)) or int(length) > _MAX_BYTES:
            self._refuse(413, f"more than {_MAX_BYTES} bytes")
        else:
            with self.server.tap.reading:
                content = self.rfile.read(int(length))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = self.server.tap.answer(path, headers, content)
            self._send(*answer)

    def do_GET(self) -> None:
        """There is nothing to read: nothing is kept."""
        self._refuse(404, "a tap takes packets, and nothing else")

    do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's own names

    def _refuse(self, status: int, why: str) -> None:
        """The body is left unread, and the connection ends with it."""
        self.close_connection = True
        self._send(status, to_error(status, f"http_{status}", why))

    def _send(self, status: int, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
