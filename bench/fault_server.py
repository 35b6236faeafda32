"""A server with faults on demand, in a process of its own: neither its memory nor its work is in a bench's figures.

It takes Pay-i's ingest and OTLP traces, and keeps nothing of them but ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import socket
import struct
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Literal

API_KEY = "test-key"
EVENT_ID = "event.id"
"""The attribute of a span that says which event it is."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing resets the connection."""
_START_S = 30
_END_S = 5


@dataclass(frozen=True)
class Fault:
    """What is wrong with the server. `status` answers so and takes nothing; `lost_reply` takes the packet, then resets."""

    kind: Literal["healthy", "status", "html", "refused", "reset", "lost_reply", "hang", "slow"] = "healthy"
    status: int = 0
    retry_after_s: int | None = None
    delay_s: float = 0.0

    def __str__(self) -> str:
        return str(self.status) if self.kind == "status" else self.kind


HEALTHY = Fault()


@dataclass(frozen=True)
class Report:
    """What has arrived."""

    arrivals: dict[str, float] = field(default_factory=dict)
    """By id, when it was first taken, by the monotonic clock that all processes of a Linux machine share."""
    duplicates: int = 0
    """How often an id was taken that had been taken before."""
    requests: int = 0


class FaultServer:
    """The parent's handle of the server's process. A context manager."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._lock = threading.Lock()
        self._process = context.Process(target=_run, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(_START_S):
            raise TimeoutError("the server did not start")
        self.url = f"http://127.0.0.1:{self._pipe.recv()}"

    def set_fault(self, fault: Fault) -> None:
        """Takes effect before this returns."""
        self._ask("fault", fault)

    def count(self) -> int:
        """How many ids have arrived."""
        return int(self._ask("count"))

    def report(self) -> Report:
        """Everything that has arrived."""
        return Report(*self._ask("report"))

    def _ask(self, *question: Any) -> Any:
        with self._lock:
            self._pipe.send(question)
            return self._pipe.recv()

    def __enter__(self) -> FaultServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self._pipe.close()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()


def _run(pipe: Connection) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_Server().serve(pipe))


class _Server:
    def __init__(self) -> None:
        self.port = 0
        self.fault = HEALTHY
        self.arrivals: dict[str, float] = {}
        self.duplicates = self.requests = 0
        self.listener: asyncio.Server | None = None
        self.connections: set[asyncio.StreamWriter] = set()

    async def serve(self, pipe: Connection) -> None:
        """Does what the parent says, until it goes away."""
        await self._listen()
        pipe.send(self.port)
        with contextlib.suppress(EOFError, OSError):
            while True:
                pipe.send(await self._do(*await asyncio.to_thread(pipe.recv)))
        self._reset_all()

    async def _do(self, what: str, fault: Fault = HEALTHY) -> Any:
        if what == "count":
            return len(self.arrivals)
        if what == "report":
            return self.arrivals, self.duplicates, self.requests
        self.fault = fault
        if fault.kind == "refused" and self.listener is not None:
            self.listener.close()
            self.listener = None
            self._reset_all()
        elif fault.kind != "refused" and self.listener is None:
            await self._listen()
        return None

    async def _listen(self) -> None:
        self.listener = await asyncio.start_server(self._converse, "127.0.0.1", self.port, backlog=256)
        self.port = self.listener.sockets[0].getsockname()[1]

    def _reset_all(self) -> None:
        for writer in self.connections:
            _reset(writer)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            while True:
                path, length = _read_head(await reader.readuntil(b"\r\n\r\n"))
                body = await reader.readexactly(length)
                self.requests += 1
                if not await self._answer(path, body, reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connections.discard(writer)
            writer.close()

    async def _answer(self, path: str, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """False: the connection is at its end."""
        fault = self.fault
        if fault.kind in ("reset", "lost_reply", "hang"):
            if fault.kind == "lost_reply":
                self._take(path, body)
            if fault.kind == "hang":
                await reader.read()  # until the client has had enough
            _reset(writer)
            return False
        if fault.kind == "slow":
            await asyncio.sleep(fault.delay_s)
        if fault.kind == "status":
            error = {"code": f"http_{fault.status}", "message": "a fault of the bench"}
            content = json.dumps({"statusCode": fault.status, "message": "a fault of the bench", "xproxy_error": error}).encode()
            extra = "" if fault.retry_after_s is None else f"Retry-After: {fault.retry_after_s}\r\n"
            _write(writer, content, status=fault.status, extra=extra)
        elif fault.kind == "html":
            _write(writer, b"<html><body>Please log in to the network.</body></html>", kind="text/html")
        else:
            _write(writer, *self._take(path, body))
        await writer.drain()
        return True

    def _take(self, path: str, body: bytes) -> tuple[bytes, int, str]:
        """Keeps the ids; content, status and type of the answer."""
        if path == "/v1/traces":
            self._keep_all(_event_ids(body))
            return b"", 200, "application/x-protobuf"
        packets = json.loads(body)
        is_bulk = path in ("/api/v1/ingest/bulk", "/api/v1/ingest/bulk-upsert")
        known = self._keep_all(packet["provider_response_id"] for packet in (packets if is_bulk else [packets]))
        answer: dict[str, Any] = {"request_id": f"request-{self.requests}", "ingest_timestamp": "2026-01-01T00:00:00Z"}
        if is_bulk:
            answer |= {"ingest_count": len(packets), "total_count": len(packets), "error_count": 0, "item_error_count": 0, "errors": []}
        else:
            answer["event_timestamp"] = packets.get("event_timestamp")
            answer["xproxy_result"] = {"request_id": answer["request_id"], "duplicate_request": known > 0}
        return json.dumps(answer).encode(), 200, "application/json"

    def _keep_all(self, event_ids: Iterable[str]) -> int:
        """How many of them were here already."""
        known = 0
        for event_id in event_ids:
            known += event_id in self.arrivals
            self.arrivals.setdefault(event_id, time.monotonic())
        self.duplicates += known
        return known


def _read_head(head: bytes) -> tuple[str, int]:
    """Path without its query, and the body's length."""
    request_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return request_line.split(" ")[1].partition("?")[0], int(headers.get("content-length", 0))


def _event_ids(body: bytes) -> list[str]:
    """The events of an OTLP request."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans = [
        span
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    return [attribute.value.string_value for span in spans for attribute in span.attributes if attribute.key == EVENT_ID]


def _write(writer: asyncio.StreamWriter, content: bytes, status: int = 200, kind: str = "application/json", extra: str = "") -> None:
    head = f"HTTP/1.1 {status} as asked\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n{extra}\r\n"
    writer.write(head.encode("latin-1") + content)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
