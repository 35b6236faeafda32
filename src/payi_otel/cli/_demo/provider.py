"""A provider on loopback that speaks OpenAI's HTTP API: what the demo's calls reach instead of the internet."""

from __future__ import annotations

import hashlib
import json
import socketserver
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any

from payi_otel.cli._demo import answers

if TYPE_CHECKING:
    from typing_extensions import Self

OVER_QUOTA_KEY = "sk-demo-over-quota"
"""A call with this key is refused with status 429."""
THINKING_S = 0.05
"""Before the first byte of an answer, so that latencies are not all zero."""
CHUNK_INTERVAL_S = 0.004


class ProviderServer(ThreadingHTTPServer):
    """Serves `/v1/chat/completions`, `/v1/responses` and `/v1/embeddings` on a free port of 127.0.0.1 while its block runs.

    Args:
        thinking_s: Seconds before an answer begins.
    """

    daemon_threads = True

    def __init__(self, *, thinking_s: float = THINKING_S) -> None:
        self.thinking_s = thinking_s
        self.requests: list[dict[str, Any]] = []
        """What was asked: path, headers (lower case) and JSON body of each request, oldest first."""
        self._prefixes: set[str] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self) -> None:
        """Binds without `HTTPServer`'s look-up of the host's name, which may ask a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    @property
    def url(self) -> str:
        """The base URL for an OpenAI client."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def remember(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> bool:
        """Notes a request; True where an earlier one began with the same first message, which a provider would have cached."""
        first = body.get("messages") or body.get("input")
        digest = hashlib.sha256(json.dumps(first[0] if isinstance(first, list) else first).encode()).hexdigest()
        with self._lock:
            self.requests.append({"path": path, "headers": headers, "body": body})
            seen = digest in self._prefixes
            self._prefixes.add(digest)
        return seen

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a client that hung up: a stream closed early is no fault."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="payi-otel-provider", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: ProviderServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen_before = self.server.remember(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        time.sleep(self.server.thinking_s)
        if self.headers["Authorization"] == f"Bearer {OVER_QUOTA_KEY}":
            message = "You exceeded your current quota, please check your plan and billing details."
            return self._send(429, answers.to_error(message, "insufficient_quota", "insufficient_quota"))
        if self.path.endswith("/embeddings"):
            return self._send(200, answers.to_embeddings(body))
        named = self.path.endswith("/responses")
        if not named and not self.path.endswith("/chat/completions"):
            return self._send(404, answers.to_error(f"Unknown request URL: POST {self.path}", "invalid_request_error", "unknown_url"))
        if body.get("stream"):
            to_events = answers.to_response_events if named else answers.to_chat_chunks
            return self._send_events(to_events(body, seen_before), named=named)
        to_answer = answers.to_response if named else answers.to_chat_completion
        return self._send(200, to_answer(body, seen_before))

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self._send_head(status, "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_events(self, events: Iterable[dict[str, Any]], *, named: bool) -> None:
        """Server-sent events, one HTTP chunk each; chat ends with `[DONE]`, the named events of responses do not."""
        self._send_head(200, "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            name = f"event: {event['type']}\n" if named else ""
            self._send_chunk(f"{name}data: {json.dumps(event)}\n\n")
            time.sleep(CHUNK_INTERVAL_S)
        if not named:
            self._send_chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _send_chunk(self, text: str) -> None:
        content = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content))

    def _send_head(self, status: int, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("x-request-id", f"req_demo{len(self.server.requests):08d}")

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps the demo's screen free of access lines."""
