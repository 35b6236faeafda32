"""One packet on its way through the queue, and what waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from msgspec import Struct

from payi_otel.delivery._segment import Record
from payi_otel.delivery.outcome import EncodedPacket, Outcome
from payi_otel.delivery.stats import Counters, increment
from payi_otel.packets.model import IngestPacket
from payi_otel.payload import Payload, Ticket

T = TypeVar("T")
OVERHEAD_BYTES: Final = 1000
"""What a waiting packet takes beside its JSON, measured on 250,000 of them: its scope, its id, its place in the queue."""
_MAX_FAULTS: Final = 10
"""A packet that made the destination fail so often, with another one delivered between each two failures, is poison."""


class RetrySettings(Protocol):
    """The `ingest_retry` settings; `config.Settings.ingest_retry` is one."""

    @property
    def max_inline_retries(self) -> int:
        """Attempts beyond the first that a call waits for."""
        ...

    @property
    def inline_retry_initial_delay(self) -> float:
        """Seconds before the first inline retry; doubles with each."""
        ...

    @property
    def queue_enabled(self) -> bool:
        """Whether packets wait in the retry queue at all."""
        ...

    @property
    def queue_max_size(self) -> int:
        """Packets the retry queue holds; 0: no limit."""
        ...

    @property
    def queue_max_bytes(self) -> int:
        """Bytes of JSON the retry queue holds; 0: no limit."""
        ...

    @property
    def spool_content(self) -> bool:
        """Whether requests and answers are written to the spool, too."""
        ...

    @property
    def queue_interval(self) -> float:
        """Seconds between drains."""
        ...


class Task(Struct, eq=False):
    """What one worker does next."""

    items: list[Item]
    sends: bool
    """A request may be made for it at once."""
    is_batch: bool = False
    """They go in one request."""
    makes: bool = False
    """It is one that has yet to be made."""


class Barrier:
    """What a flush waits for: the packets that were open when it began."""

    __slots__ = ("cleared", "remaining")

    def __init__(self, remaining: int) -> None:
        self.remaining = remaining
        self.cleared = threading.Event()

    def pass_one(self) -> None:
        """One of the packets got its fate."""
        self.remaining -= 1
        if self.remaining == 0:
            self.cleared.set()


class Item:
    """One packet from its submission to its fate."""

    __slots__ = (
        "ambiguous",
        "attempts",
        "barriers",
        "batch_limit",
        "delivered_at_fault",
        "generation",
        "held",
        "is_adopted",
        "is_aged",
        "is_awaited",
        "is_listed",
        "is_making",
        "is_open",
        "is_probe",
        "is_slim",
        "is_waiting",
        "packet_faults",
        "payload",
        "record",
        "ticket",
        "was_queued",
    )

    def __init__(self, payload: Payload | None, ticket: Ticket | None = None, *, is_awaited: bool = False) -> None:
        self.payload, self.ticket = payload, ticket
        self.is_awaited = is_awaited
        """The call waits for it."""
        self.held: IngestPacket | EncodedPacket | None = None
        self.attempts = self.packet_faults = self.generation = 0
        self.ambiguous = self.is_probe = self.was_queued = False
        self.is_waiting = self.is_aged = self.is_listed = self.is_slim = False
        """In the retry queue; known to be among its oldest; among those whose bodies may be left out; without bodies."""
        self.record: Record | None = None
        """Where it is on disk; where `held` is None then, it is only there."""
        self.is_making = False
        """A worker is at it: it becomes a packet, and is put on disk where there is a spool."""
        self.is_adopted = False
        """Another process left it on disk."""
        self.batch_limit = 0
        """Goes with fewer than so many others from now on; 0: as many as there are."""
        self.is_open = True
        self.delivered_at_fault: int | None = None
        """How many packets had been delivered when this one last failed on its own account."""
        self.barriers: tuple[Barrier, ...] = ()

    def hold(self, packet: IngestPacket | EncodedPacket) -> None:
        """Keeps the packet and lets go of what it was made from."""
        self.held, self.payload = packet, None

    def let_go(self) -> None:
        """It has its fate: whoever still knows of it need not keep its content alive."""
        self.held = self.payload = None

    def begin_attempt(self, counters: Counters) -> None:
        """Counts an attempt before it is made."""
        counters.attempts += 1
        counters.retries += self.attempts > 0
        counters.duplicates_possible += self.ambiguous
        self.attempts += 1

    def end_attempt(self, outcome: Outcome, counters: Counters) -> None:
        """Counts what an attempt came to."""
        self.ambiguous = self.ambiguous or outcome.ambiguous
        if outcome.retries:
            increment(counters.failures, outcome.code)

    def fail(self, delivered: int) -> bool:
        """Counts a failure of its own; True: it is poison. `delivered` are the packets delivered so far."""
        if self.delivered_at_fault != delivered:
            self.packet_faults += 1
            self.delivered_at_fault = delivered
        return self.packet_faults >= _MAX_FAULTS

    @property
    def is_made(self) -> bool:
        """True once there is a packet, in memory or on disk."""
        return self.held is not None or self.record is not None

    @property
    def length(self) -> int:
        """Bytes of its JSON, wherever it is."""
        if self.record is not None:
            return self.record.length
        return len(self.held.json) if isinstance(self.held, EncodedPacket) else 0

    @property
    def size(self) -> int:
        """Bytes it takes in memory; 0 where it is not held as bytes."""
        if not isinstance(self.held, EncodedPacket):
            return 0
        packet = self.held.packet
        return len(self.held.json) + len(packet.user_id or "") + len(packet.account_name or "") + OVERHEAD_BYTES

    @property
    def response_id(self) -> str:
        """For log lines: cut, and with nothing in it that could break a line."""
        packet = self.held.packet if isinstance(self.held, EncodedPacket) else self.held
        if packet is None:
            return "(not made)" if self.record is None else "(on disk)"
        return ascii(packet.response_id)[1:100].rstrip("'\"")


def copy_while_changing(items: Iterable[T]) -> list[T]:
    """The members of a container to which another thread may add while it is read."""
    while True:
        copied = _try_copy(items)
        if copied is not None:
            return copied


def _try_copy(items: Iterable[T]) -> list[T] | None:
    try:
        return list(items)
    except RuntimeError:  # it changed
        return None
