"""Counters of the delivery queue, and the snapshot of them that users read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

QUEUE_FULL = "queue_full"
QUEUE_DISABLED = "queue_disabled"
CONVERSION_FAILED = "conversion_failed"
SHUTDOWN = "shutdown"
POISON = "poison"
INTERNAL_ERROR = "internal_error"
SPOOL_UNREADABLE = "spool_unreadable"


@dataclass(frozen=True, slots=True)
class HostCalls:
    """What one provider's host was asked for."""

    requests: int = 0
    """POST requests that this process made to it, each attempt of a call by itself. Counted for hosts that are known to serve models and
    those of `host_mappings`; none where a call's transport is a mock or gRPC, or where it went through Pay-i's proxy, another host."""
    packets: int = 0
    """Calls to it that were taken for a packet."""

    def __add__(self, other: HostCalls) -> HostCalls:
        """Both."""
        return HostCalls(self.requests + other.requests, self.packets + other.packets)


@dataclass(frozen=True, slots=True)
class Stats:
    """What became of every packet of this process, at one instant.

    At any instant `created` equals the sum of what was delivered, dead-lettered and dropped and what is queued, in flight
    and spooled. A call that proves not to be billable is taken out of `created` again.
    """

    created: int = 0
    delivered: int = 0
    dead_lettered: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Refused for good, by code (`http_402`, a Pay-i error code, `poison`)."""
    dropped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Given up by us, by reason: `queue_full`, `queue_disabled`, `conversion_failed`, `shutdown`, `internal_error`, `spool_unreadable`."""
    queued: int = 0
    """In memory, waiting for a worker or in the retry queue."""
    in_flight: int = 0
    spooled: int = 0
    """On disk only: waiting there, or left to the next process at shutdown."""
    attempts: int = 0
    retries: int = 0
    """Attempts beyond a packet's first."""
    duplicates_possible: int = 0
    """Resends after an attempt that the destination may have taken."""
    duplicates_reported: int = 0
    """Packets the destination said it had already; they count as delivered."""
    bodies_dropped: int = 0
    """Waiting packets whose request and answer were left out to save memory; their units are kept."""
    adopted: int = 0
    """Of those created: packets that an earlier process had left in the spool. That process counts them as created, too."""
    corrupt_records: int = 0
    """Damaged places in the spool; each may have been a packet."""
    failures: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Attempts that have to be made again, by code."""
    hosts: Mapping[str, HostCalls] = field(default_factory=lambda: MappingProxyType({}))
    """By provider's host, without its port: requests beside packets. A host with requests and no packet has calls that nobody records.
    A queue's own account has its packets only; requests are the process's."""

    def __add__(self, other: Stats) -> Stats:
        """The account of two queues of one process."""
        return Stats(**{name: _sum(getattr(self, name), getattr(other, name)) for name in self.__slots__})

    @property
    def settled(self) -> int:
        """Packets whose fate is final."""
        return self.delivered + sum(self.dead_lettered.values()) + sum(self.dropped.values())

    @property
    def is_conserved(self) -> bool:
        """True when no packet is missing from the account and none is counted twice."""
        return self.created == self.settled + self.queued + self.in_flight + self.spooled


class Counters:
    """The numbers behind `Stats`. Not thread-safe: the queue's one lock is held around every use."""

    __slots__ = (
        "adopted",
        "attempts",
        "bodies_dropped",
        "dead",
        "delivered",
        "dropped",
        "duplicates_possible",
        "duplicates_reported",
        "failures",
        "kept",
        "retries",
        "taken",
    )

    def __init__(self) -> None:
        self.taken = 0
        """Packets that left the inbox."""
        self.delivered = self.attempts = self.retries = self.duplicates_possible = self.duplicates_reported = 0
        self.bodies_dropped = self.adopted = self.kept = 0
        self.dead: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.failures: dict[str, int] = {}

    def to_stats(self, *, inbox: int, made: int, on_disk: int, in_flight: int, refused: Mapping[str, int], corrupt_records: int) -> Stats:
        """A snapshot.

        Args:
            inbox: Packets still to be made.
            made: Those that wait, `on_disk` of them on disk only.
            on_disk: See there.
            in_flight: Those that are worked on.
            refused: Submissions that were created and dropped at once, by reason.
            corrupt_records: Damaged places in the spool.
        """
        dropped = dict(self.dropped)
        for reason, count in refused.items():
            if count:
                dropped[reason] = dropped.get(reason, 0) + count
        return Stats(
            created=self.taken + inbox + sum(refused.values()),
            delivered=self.delivered,
            dead_lettered=MappingProxyType(dict(self.dead)),
            dropped=MappingProxyType(dropped),
            queued=inbox + made - on_disk,
            in_flight=in_flight,
            spooled=on_disk + self.kept,
            attempts=self.attempts,
            retries=self.retries,
            duplicates_possible=self.duplicates_possible,
            duplicates_reported=self.duplicates_reported,
            bodies_dropped=self.bodies_dropped,
            adopted=self.adopted,
            corrupt_records=corrupt_records,
            failures=MappingProxyType(dict(self.failures)),
        )


def increment(counts: dict[str, int], name: str) -> None:
    """Adds one to a named count."""
    counts[name] = counts.get(name, 0) + 1


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return MappingProxyType({**one, **other, **{key: one[key] + other[key] for key in one if key in other}})
    return one + other
