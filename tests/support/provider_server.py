"""A scripted provider on loopback: what each test wants a provider to answer, over real HTTP."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One answer. `body`: a JSON value, text or bytes; or with `events` a stream of server-sent events."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    events: Sequence[Any] | None = None
    """JSON values (with a `type`, it is also the event's name), raw text of whole events, or bytes (frames of another protocol)."""
    done: bool = True
    """Ends a stream of JSON values or text with `data: [DONE]`."""
    cut_body: bool = False
    """Resets the connection in the middle of a plain answer."""
    cut_after: int | None = None
    """Resets the connection after so many events."""
    held: bool = False
    """The last of `events` is held back until the server closes: the caller has left by then."""
    gate: threading.Event | None = None
    """A stream waits for it before its last event; a plain answer before it is sent."""
    head_first: bool = False
    """A plain answer's head is sent before the gate, its body behind it."""
    gzipped: bool = False
    piece: int | None = None
    """Writes a stream in pieces of so many bytes, wherever they fall."""


def sse(value: Any) -> str | bytes:
    """One event as it stands on the wire."""
    if isinstance(value, str | bytes):
        return value
    name = f"event: {value['type']}\n" if isinstance(value, dict) and "type" in value else ""
    return f"{name}data: {json.dumps(value)}\n\n"


class ProviderServer:
    """Answers requests in the order of `script`; keeps every request it got."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self._script: list[Reply] = []
        self._by_path: dict[str, Reply | Callable[[int], Reply]] = {}
        self._answered = 0
        self._lock = threading.Lock()
        self.left = threading.Event()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.provider = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def script(self, *replies: Reply) -> None:
        """Adds answers for the next requests."""
        with self._lock:
            self._script.extend(replies)

    def always(self, path_end: str, reply: Reply | Callable[[int], Reply]) -> None:
        """Answers every request whose path ends so; a callable gets the request's number."""
        self._by_path[path_end] = reply

    def next_reply(self, path: str) -> Reply:
        """The answer that is due."""
        if "/.well-known/" in path:  # an SDK looks around before its first call
            return Reply({}, status=404)
        with self._lock:
            for end, reply in self._by_path.items():
                if path.split("?")[0].endswith(end):
                    self._answered += 1
                    return reply if isinstance(reply, Reply) else reply(self._answered)
            return self._script.pop(0) if self._script else Reply({"error": {"message": "unscripted request"}}, status=500)

    def close(self) -> None:
        """Stops it."""
        self.left.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)


def _body_of(raw: bytes) -> Any:
    """JSON where it is JSON; the bytes where it is not (a form, a file)."""
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    provider: ProviderServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *args: Any) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        """Takes the request, gives the reply."""
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        provider = self.server.provider
        body = _body_of(raw)
        provider.requests.append(
            {"method": self.command, "path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body}
        )
        reply = provider.next_reply(self.path)
        try:
            self._stream(reply) if reply.events is not None else self._plain(reply)
        except OSError:
            self.close_connection = True

    do_GET = do_POST  # noqa: N815 - the name the standard library calls

    def _head(self, reply: Reply, extra: dict[str, str]) -> None:
        self.send_response(reply.status)
        for name, value in {**extra, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _plain(self, reply: Reply) -> None:
        if reply.gate is not None and not reply.head_first:
            reply.gate.wait(10)
        data = (
            reply.body
            if isinstance(reply.body, bytes)
            else (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
        )
        extra = {"content-type": "application/json", "x-request-id": "req_1"}
        if reply.gzipped:
            data, extra["content-encoding"] = gzip.compress(data), "gzip"
        self._head(reply, {**extra, "content-length": str(len(data))})
        if reply.gate is not None and reply.head_first:
            reply.gate.wait(10)
        if reply.cut_body:
            self.wfile.write(data[: len(data) // 2])
            self._reset()
            return
        self.wfile.write(data)

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _stream(self, reply: Reply) -> None:
        packed = zlib.compressobj(wbits=31) if reply.gzipped else None
        extra = {"content-encoding": "gzip"} if packed else {}
        self._head(reply, {"content-type": "text/event-stream", "x-request-id": "req_1", "transfer-encoding": "chunked", **extra})
        events: list[str | bytes] = [sse(event) for event in reply.events or ()]
        if reply.done and not any(isinstance(event, bytes) for event in events):
            events.append("data: [DONE]\n\n")
        for number, event in enumerate(events):
            if reply.cut_after == number:
                self._reset()
                return
            if reply.gate is not None and number == len(events) - 1:
                reply.gate.wait(10)
            if reply.held and number == len(reply.events or ()) - 1:
                self.server.provider.left.wait(10)
            data = event if isinstance(event, bytes) else event.encode()
            if packed is not None:
                data = packed.compress(data) + packed.flush(zlib.Z_SYNC_FLUSH if number < len(events) - 1 else zlib.Z_FINISH)
            step = reply.piece or len(data)
            for start in range(0, len(data), step):
                piece = data[start : start + step]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
