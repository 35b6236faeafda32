"""`HttpSink`: one packet, one request to Pay-i's ingest API, one outcome."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from payi_otel._http_library import http_library, library_of, names_of
from payi_otel.clients import is_key
from payi_otel.delivery._fork import bring_through_fork
from payi_otel.delivery._log import LimitedLog
from payi_otel.delivery.outcome import Batching, EncodedPacket, Fate, Outcome
from payi_otel.exporters import _answers, _faults, _wire
from payi_otel.exporters._answers import Refused
from payi_otel.exporters._bulk import NOT_ENABLED, Bulk, Mode
from payi_otel.exporters._patience import Patience
from payi_otel.exporters._quiet_http import install, own_request
from payi_otel.packets.model import IngestPacket
from payi_otel.semconv import PayiHeaderNames

if TYPE_CHECKING:
    import httpx

_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""An answer is a few kB; what goes on for ever is none."""
_MIN_TIMEOUT_S: Final = 0.001
"""A timeout of 0 means non-blocking to a socket."""
_OVERDUE_S: Final = 1.0
"""So long after its deadline a request is ended by force."""
_KEY_REFUSED: Final = frozenset({401, 403})
_HEADERS_TOO_LARGE: Final = frozenset({414, 431})
_KEY_HEADER: Final = PayiHeaderNames.api_key.lower().encode()
_KEY_WINDOW_S: Final = 60.0
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
    def find_key(self) -> Callable[[], object]:
        """Called when the key is refused; gives the one that holds now."""
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

    def __init__(self, target: Target, *, bulk: Mode = "auto", is_limited: bool = True, logger: logging.Logger | None = None) -> None:
        """Opens nothing; the client is made at the first packet, in the process that sends it.

        Args:
            target: Where packets go, and with which key.
            bulk: The setting `ingest_bulk`.
            is_limited: What is very large is cut; see docs/delivery.md.
            logger: Where lines go; `payi.instrument.delivery` by default.
        """
        if target.owns_client:
            http_library()
        install()
        self._target = target
        self._is_limited = is_limited
        self.max_chars = _wire.MAX_CHARS if is_limited else None
        """Longer texts are cut."""
        self._base_url = target.base_url.rstrip("/")
        own = {PayiHeaderNames.api_key: target.api_key, "content-type": "application/json"}
        self._headers = {**_to_bytes(target.headers), **_to_bytes(own)}
        self._log = LimitedLog(logger or logging.getLogger("payi.instrument.delivery"))
        self._patience = Patience(target.timeout_s or math.inf)
        self._warned: set[str] = set()
        self._bulk = Bulk(bulk, exchange=self._exchange_bulk, send_single=self.send, log=self._log)
        self._exit_by = math.inf
        self._left_to_parent: list[object] = []
        self._reset()
        bring_through_fork(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._is_closed = False
        self._numbers = itertools.count()
        self._deadlines: dict[int, float] = {}
        """Of the requests in progress."""

    def deliver(self, packet: IngestPacket) -> Outcome:
        """Makes one attempt and says what came of it. Raises nothing."""
        return self.send(self.encode(packet))

    def encode(self, packet: IngestPacket) -> EncodedPacket:
        """The packet's JSON, whatever its values are."""
        return _wire.encode(packet, is_limited=self._is_limited)

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
        if outcome.fate is Fate.DELIVERED:
            self._bulk.note_single()
        self._warn(outcome)
        return outcome

    @property
    def batching(self) -> Batching | None:
        """How packets may go together at present."""
        return self._bulk.batching

    def send_batch(self, batch: Sequence[EncodedPacket]) -> list[Outcome] | Outcome:
        """One attempt for each; those that must not be stored go by themselves, for bulk cannot say so. Raises nothing."""
        try:
            private = {position for position, packet in enumerate(batch) if packet.packet.logging_disabled}
            together = [packet for position, packet in enumerate(batch) if position not in private]
            outcomes = iter(self._bulk.send(together) if together else ())
            each = [self.send(packet) if position in private else next(outcomes) for position, packet in enumerate(batch)]
        except Exception as fault:
            return _faults.to_outcome(fault)
        return each[0] if all(outcome is each[0] for outcome in each) and each[0].retries else each

    def find_result(self, category: str, response_id: str, timeout_s: float) -> Outcome:
        """Asks once, within so many seconds, for the result of a packet that was delivered before. Raises nothing."""
        try:
            status, content, _ = self._request(_wire.to_result_request(category, response_id), timeout_s)
        except Exception as fault:
            return _faults.to_outcome(fault)
        return _answers.to_found(status, content or b"")

    def ask(self, request: _wire.Request) -> tuple[int, bytes, str]:
        """Makes any request of Pay-i's API: the status (0: there was no answer), the body, and what was wrong. Raises nothing."""
        try:
            status, content, _ = self._request(request)
        except Exception as fault:
            outcome = _faults.to_outcome(fault)
            return 0, b"", f"{outcome.code} {outcome.message}".strip()
        return status, content or b"", _answers.to_outcome(status, content or b"").code

    @property
    def base_url(self) -> str:
        """Where Pay-i is, without a slash at its end."""
        return self._base_url

    @property
    def api_key(self) -> str:
        """The key that holds now."""
        return self._headers[_KEY_HEADER].decode()

    def renew_key(self, used: str) -> bool:
        """Looks for another key than the one that was refused; True where there is one."""
        return self._renew_key(used.encode())

    def note_result(self, result: Mapping[str, Any]) -> None:
        """Says what Pay-i warns of, each warning once."""
        self._warn(Outcome(Fate.DELIVERED, result=result))

    def hasten(self, deadline_s: float) -> None:
        """No request begun from now on lasts beyond this instant of `time.monotonic()`."""
        self._exit_by = deadline_s

    def watch(self) -> float | None:
        """Ends the attempts that last beyond their time; seconds until it is worth looking again, None: nothing is in progress.

        httpx ends a request in which nothing comes for too long. One that comes byte by byte, headers included, it would read for hours.
        """
        deadline_s = min(self._deadlines.copy().values(), default=None)
        if deadline_s is None:
            return None
        left_s = deadline_s + _OVERDUE_S - time.monotonic()
        if left_s <= 0:
            self.interrupt()
        return max(left_s, _OVERDUE_S)

    def interrupt(self) -> None:
        """Ends the requests in progress on connections of ours."""
        with self._lock:
            sockets = list(self._sockets)
        for connection in sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # closing alone does not wake a thread that reads from it

    def close(self) -> None:
        """Ends the requests in progress and closes our connections; a client of the user's is left as it is."""
        if not self._target.owns_client:
            return
        with self._lock:
            client, self._client, self._is_closed = self._client, None, True
        self.interrupt()
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
        refused: list[str] = []
        for path in self._bulk.paths_for(encoded):
            in_bulk = self._exchange(_wire.to_bulk([encoded], path))
            if in_bulk.status not in NOT_ENABLED:
                self._bulk.learn_refusal(refused)
                return in_bulk
            refused.append(path)
        outcome = outcome if outcome is not None and not refused else self._exchange(_wire.to_escaped_single(encoded))
        if outcome.status is not None and outcome.status not in NOT_ENABLED:  # else it is the address or the key that is refused
            self._bulk.learn_refusal(refused)
        return outcome

    def _exchange(self, request: _wire.Request) -> Outcome:
        """One packet's request and its answer."""
        status, content, retry_after = self._request(request)
        if content is None:
            return _answers.unverified(status)
        return _answers.to_outcome(status, content, is_bulk=request.is_bulk, retry_after=retry_after)

    def _exchange_bulk(self, request: _wire.Request, count: int) -> list[Outcome] | Outcome | Refused:
        """The same for several packets. Raises nothing: what has become of others by then must not be forgotten."""
        try:
            status, content, retry_after = self._request(request)
        except Exception as fault:
            return _faults.to_outcome(fault)
        return _answers.unverified(status) if content is None else _answers.to_outcomes(status, content, count, retry_after)

    def _request(self, request: _wire.Request, timeout_s: float = math.inf) -> tuple[int, bytes | None, str | None]:
        """Status, body (None: it is no answer at all) and `Retry-After`; with a new key once more, where the key was refused."""
        used = self._headers.get(_KEY_HEADER)
        answer = self._request_once(request, timeout_s)
        return self._request_once(request, timeout_s) if answer[0] in _KEY_REFUSED and self._renew_key(used) else answer

    def _renew_key(self, used: bytes | None) -> bool:
        """True when the key that was used has been replaced since."""
        try:
            key = self._target.find_key()
        except Exception as fault:  # a function of the application's
            self._log.write(logging.WARNING, "key", _KEY_WINDOW_S, "the function that gives the API key failed (%s)", type(fault).__name__)
            return False
        if not is_key(key) or used == str(key).encode():
            return False
        self._headers = {**self._headers, _KEY_HEADER: str(key).encode()}
        self._log.write(logging.INFO, "key", 0, "the API key was refused and has been replaced meanwhile: the new one is used")
        return True

    def _request_once(self, request: _wire.Request, timeout_s: float) -> tuple[int, bytes | None, str | None]:
        """Within one deadline."""
        began_s, patience_s = time.monotonic(), min(self._patience.seconds, timeout_s)
        deadline_s = min(self._exit_by, began_s + patience_s)
        client = self._get_client()
        message = client.build_request(
            request.method,
            self._base_url + request.path,
            content=request.content or None,
            headers={**self._headers, **_to_bytes(request.headers)},
            timeout=self._to_timeout(deadline_s),
            extensions={"trace": self._note_connection} if self._target.owns_client else None,
        )
        with own_request(), self._patience.tried(patience_s), self._watched(deadline_s):
            answer = client.send(message, stream=True, follow_redirects=False)
            try:
                content = _read(answer, deadline_s)
            finally:
                answer.close()
        return answer.status_code, content, answer.headers.get("retry-after")

    @contextlib.contextmanager
    def _watched(self, deadline_s: float) -> Iterator[None]:
        number = next(self._numbers)
        self._deadlines[number] = deadline_s
        try:
            yield
        finally:
            self._deadlines.pop(number, None)

    def _to_timeout(self, deadline_s: float) -> tuple[float | None, float | None, float | None, float | None]:
        """To connect, to read, to write and to wait for a connection."""
        left_s = deadline_s - time.monotonic()
        whole_s = None if left_s == math.inf else max(left_s, _MIN_TIMEOUT_S)
        connect_s = min((limit for limit in (whole_s, self._target.connect_timeout_s) if limit is not None), default=None)
        return connect_s, whole_s, whole_s, whole_s

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
    parts: list[bytes] = []
    size = 0
    try:
        for part in answer.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > _MAX_ANSWER_BYTES:
                return None
            if time.monotonic() > deadline_s:
                raise library_of(answer).ReadTimeout("the answer did not end in time")
    except Exception as fault:
        if "DecodingError" in names_of(fault):
            return None
        raise
    return b"".join(parts)
