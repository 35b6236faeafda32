"""What may become of a packet that was sent, and the `Sink` that sends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from payi_otel.packets.model import IngestPacket


class Fate(Enum):
    """What the queue does with a packet after an attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    """Keep the packet, try again later; `Outcome.fault` says whom to wait for."""
    DEAD = "dead"
    """The packet is at fault: it will never be taken."""


class Fault(Enum):
    """Whose fault a `RETRY` is; it decides what waits."""

    DESTINATION = "destination"
    """Every packet would fare the same (refused, 503, wrong key): all of them wait, one at a time probes."""
    PACKET = "packet"
    """It may be this packet alone (500, an answer that is none): it goes to the tail, the others go on."""


_TRANSIENT: Final = frozenset({408, 425, 429})


class Outcome(msgspec.Struct, frozen=True):
    """One attempt's result.

    `code` is stable and goes into counters: a Pay-i error code, `http_<status>`, `connection_error`, `timeout`, `file_error`.
    `message` is for a log line and holds neither key nor prompt.
    """

    fate: Fate
    code: str = "ok"
    message: str = ""
    retry_after_s: float | None = None
    ambiguous: bool = False
    """The destination may have taken the packet although we saw no answer: a resend may be a duplicate."""
    result: Mapping[str, Any] | None = None
    """Pay-i's `xproxy_result`, where there is one."""
    fault: Fault = Fault.DESTINATION
    """Read only where the fate is `RETRY`."""
    status: int | None = None
    """The HTTP status, where there was an answer."""

    @property
    def retries(self) -> bool:
        """The packet is to be sent again."""
        return self.fate is Fate.RETRY

    @property
    def needs_somebody(self) -> bool:
        """A wrong key, address or certificate does not pass by itself."""
        return self.code == "tls_error" or (self.status is not None and 300 <= self.status < 500 and self.status not in _TRANSIENT)


class EncodedPacket(msgspec.Struct, frozen=True):
    """A packet as it waits: its JSON made once, the span and payload it came from let go."""

    json: bytes
    packet: IngestPacket
    """The fields beside the body; its own body holds only `provider_response_id`."""
    is_resend: bool = False
    """It may have been taken before: it must go in a way in which its id is recognised."""


class Sink(Protocol):
    """Where packets go. Called from several threads at once."""

    def deliver(self, packet: IngestPacket) -> Outcome:
        """Makes one attempt and says what came of it. Raises nothing."""
        ...

    def close(self) -> None:
        """Lets go of sockets and files, and ends what is in progress; safe to call twice."""
        ...

    def after_fork(self) -> None:
        """In a forked child: drops what it shares with its parent (sockets, file positions)."""
        ...


@runtime_checkable
class EncodingSink(Sink, Protocol):
    """A sink that takes a packet in two steps, so that what waits is held as bytes and encoded once."""

    def encode(self, packet: IngestPacket) -> EncodedPacket:
        """The packet's JSON, whatever its values are."""
        ...

    def slim(self, encoded: EncodedPacket, why: str) -> EncodedPacket | None:
        """The packet without request and answer, its units kept and the reason with them; None where it has neither."""
        ...

    def send(self, encoded: EncodedPacket) -> Outcome:
        """One attempt with an encoded packet. Raises nothing."""
        ...

    def hasten(self, deadline_s: float) -> None:
        """No attempt begun from now on may last beyond this instant of `time.monotonic()`; the process is ending."""
        ...

    def watch(self) -> float | None:
        """Ends the attempts that last beyond their time; seconds until it is worth looking again, None: nothing is in progress."""
        ...

    def interrupt(self) -> None:
        """Ends the attempts in progress: what hangs may yet be sent anew in the time that is left."""
        ...


class Batching(msgspec.Struct, frozen=True):
    """How packets may go together, as far as is known by now."""

    least: int
    """Fewer go one by one."""
    max_items: int
    max_bytes: int
    takes_resends: bool
    """A packet that may have been taken before is recognised by its id."""


@runtime_checkable
class BatchingSink(EncodingSink, Protocol):
    """A sink that can send several packets in one request."""

    @property
    def batching(self) -> Batching | None:
        """None: packets go one by one."""
        ...

    def send_batch(self, batch: Sequence[EncodedPacket]) -> list[Outcome] | Outcome:
        """One attempt for each: an outcome for each, or one that says nothing of any of them in particular. Raises nothing."""
        ...


@runtime_checkable
class FindingSink(Sink, Protocol):
    """A sink that can ask for the result of a packet that was delivered before."""

    def find_result(self, category: str, response_id: str, timeout_s: float) -> Outcome:
        """One look, within so many seconds; `Outcome.result` is None where there is none, or none yet. Raises nothing."""
        ...
