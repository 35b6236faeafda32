"""`HttpSink`: one packet, one request to Pay-i's ingest API, one outcome."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from payi_otel.delivery._fork import bring_through_fork
from payi_otel.delivery._log import LimitedLog
from payi_otel.delivery.outcome import EncodedPacket, Fate, Outcome
from payi_otel.exporters import _answers, _faults, _wire
from payi_otel.exporters._quiet_http import install, own_request
from payi_otel.packets.model import IngestPacket
from payi_otel.semconv import PayiHeaderNames

if TYPE_CHECKING:
    import httpx

_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""An answer is a few kB; what goes on for ever is none."""
_MIN_TIMEOUT_S: Final = 0.001
"""A timeout of 0 means non-blocking to a socket."""
_NO_BULK: Final = frozenset({403, 404, 405})
"""Answers of an account for which bulk is not enabled."""
_HEADERS_TOO_LARGE: Final = frozenset({414, 431})
_MAX_WARNINGS: Final = 256
_MAX_WARNING_CHARS: Final = 200


class Target(Protocol):
    """Where packets go; `clients.IngestTarget` is one."""

    @property
    def base_url(self) -> str:
        """Scheme, host and perhaps a path."""
        ...

    @property
    def api_key(self) -> str:
        """Sent as `xProxy-api-key`."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with every request."""
        ...

    @property
    def timeout_s(self) -> float | None:
        """Seconds for a whole request; None: no limit."""
        ...

    @property
    def connect_timeout_s(self) -> float | None:
        """Seconds for its connection."""
        ...

    @property
    def make_client(self) -> Callable[[], httpx.Client]:
        """Called at the first request of a process."""
        ...

    @property
    def owns_client(self) -> bool:
        """False: the client is the user's and is never closed."""
        ...


class HttpSink:
    """Sends packets to Pay-i. Redirects are never followed: they would carry the key and the prompt to another origin."""

    def __init__(self, target: Target, *, logger: logging.Logger | None = None) -> None:
        """Opens nothing; the client is made at the first packet, in the process that sends it."""
        install()
        self._target = target
        self._base_url = target.base_url.rstrip("/")
        own = {PayiHeaderNames.api_key: target.api_key, "content-type": "application/json"}
        self._headers = {**_to_bytes(target.headers), **_to_bytes(own)}
        self._log = LimitedLog(logger or logging.getLogger("payi.instrument.delivery"))
        self._warned: set[str] = set()
        self._is_bulk_refused = False
        self._exit_by = math.inf
        self._left_to_parent: list[object] = []
        self._reset()
        bring_through_fork(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._is_closed = False

    def deliver(self, packet: IngestPacket) -> Outcome:
        """Makes one attempt and says what came of it. Raises nothing."""
        return self.send(self.encode(packet))

    def encode(self, packet: IngestPacket) -> EncodedPacket:
        """The packet's JSON, whatever its values are."""
        return _wire.encode(packet)

    def slim(self, encoded: EncodedPacket, why: str) -> EncodedPacket | None:
        """The packet without request and answer, its units kept and the reason with them; None where it has neither."""
        return _wire.without_bodies(encoded, why)

    def send(self, encoded: EncodedPacket) -> Outcome:
        """One attempt; a packet that is too large or dated in the future is amended and sent once more. Raises nothing."""
        try:
            outcome = self._send(encoded)
            amended = _wire.amend(encoded, outcome)
            outcome = outcome if amended is None else self._send(amended)
        except Exception as fault:
            return _faults.to_outcome(fault)
        self._warn(outcome)
        return outcome

    def hasten(self, deadline_s: float) -> None:
        """No request begun from now on lasts beyond this instant of `time.monotonic()`."""
        self._exit_by = deadline_s

    def close(self) -> None:
        """Ends the requests in progress and closes our connections; a client of the user's is left as it is."""
        if not self._target.owns_client:
            return
        with self._lock:
            client, self._client, self._is_closed = self._client, None, True
            sockets = list(self._sockets)
        for connection in sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # closing alone does not wake a thread that reads from it
        if client is not None:
            with own_request():
                client.close()

    def after_fork(self) -> None:
        """The child makes its own client. The parent's is kept aside: to close or collect it would disturb shared connections."""
        self._left_to_parent.append(self._client)
        self._reset()

    def before_fork(self) -> None:
        """Waits for a client that is being made: in the child, a module half imported by another thread stays so for ever."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """The same as `after_fork`, for a sink without a queue."""
        self.after_fork()

    def _send(self, encoded: EncodedPacket) -> Outcome:
        single = _wire.to_single(encoded)
        outcome = self._exchange(single) if single is not None else None
        if outcome is not None and outcome.status not in _HEADERS_TOO_LARGE:
            return outcome
        if not self._is_bulk_refused:
            in_bulk = self._exchange(_wire.to_bulk(encoded))
            if in_bulk.status not in _NO_BULK:
                return in_bulk
        return outcome or self._send_escaped(encoded)

    def _send_escaped(self, encoded: EncodedPacket) -> Outcome:
        """For an account without bulk."""
        outcome = self._exchange(_wire.to_escaped_single(encoded))
        if outcome.status is not None and outcome.status not in _NO_BULK:  # else it is the address or the key that is refused
            self._is_bulk_refused = True
            text = "bulk ingest is not enabled for this account: values that cannot stand in a header are sent percent-encoded"
            self._log.write(logging.WARNING, "bulk", math.inf, text)
        return outcome

    def _exchange(self, request: _wire.Request) -> Outcome:
        """One request and its answer, within one deadline."""
        deadline_s = min(self._exit_by, time.monotonic() + (self._target.timeout_s or math.inf))
        client = self._get_client()
        message = client.build_request(
            "POST",
            self._base_url + request.path,
            content=request.content,
            headers={**self._headers, **_to_bytes(request.headers)},
            timeout=self._to_timeout(deadline_s),
            extensions={"trace": self._note_connection} if self._target.owns_client else None,
        )
        with own_request():
            answer = client.send(message, stream=True, follow_redirects=False)
            try:
                content = _read(answer, deadline_s)
            finally:
                answer.close()
        if content is None:
            return _answers.unverified(answer.status_code)
        retry_after = answer.headers.get("retry-after")
        return _answers.to_outcome(answer.status_code, content, is_bulk=request.is_bulk, retry_after=retry_after)

    def _to_timeout(self, deadline_s: float) -> httpx.Timeout:
        import httpx

        left_s = deadline_s - time.monotonic()
        whole_s = None if left_s == math.inf else max(left_s, _MIN_TIMEOUT_S)
        connect_s = min((limit for limit in (whole_s, self._target.connect_timeout_s) if limit is not None), default=None)
        return httpx.Timeout(whole_s, connect=connect_s)

    def _get_client(self) -> httpx.Client:
        with self._lock:
            if self._is_closed:
                raise ConnectionError("the sink is closed")
            if self._client is None:
                "".encode("idna")  # what the first connection would import, in a thread and outside the lock
                with own_request():  # httpx 0.27 logs how it sets up TLS
                    self._client = self._target.make_client()
            return self._client

    def _note_connection(self, event: str, info: Mapping[str, Any]) -> None:
        """Remembers each new connection, so that `close` can end what hangs on it. Called by httpcore (its `trace` extension)."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            connection = info["return_value"].get_extra_info("socket")
            if isinstance(connection, socket.socket):
                with self._lock:
                    self._sockets.add(connection)

    def _warn(self, outcome: Outcome) -> None:
        """Pay-i's own warnings, each once."""
        warnings = outcome.result.get("warnings") if outcome.result is not None else None
        for warning in warnings if isinstance(warnings, list) else ():
            text = ascii(warning)[:_MAX_WARNING_CHARS]
            if text not in self._warned and len(self._warned) < _MAX_WARNINGS and outcome.fate is Fate.DELIVERED:
                self._warned.add(text)
                self._log.write(logging.WARNING, ("warning", text), math.inf, "Pay-i warns: %s", text)


def _to_bytes(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Names in one case, so that the same header is not sent twice; values as UTF-8, which a user's own header may need."""
    return {name.lower().encode("ascii", "replace"): value.encode("utf-8", "replace") for name, value in headers.items()}


def _read(answer: httpx.Response, deadline_s: float) -> bytes | None:
    """The body; None when it is no answer at all. A body that drips is ended by the deadline, not by the pause between two drops."""
    import httpx

    parts: list[bytes] = []
    size = 0
    try:
        for part in answer.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > _MAX_ANSWER_BYTES:
                return None
            if time.monotonic() > deadline_s:
                raise httpx.ReadTimeout("the answer did not end in time")
    except httpx.DecodingError:
        return None
    return b"".join(parts)
