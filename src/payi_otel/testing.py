"""Fakes for tests: an ingest server on loopback that is as strict as Pay-i, and a sink that keeps what it is given.

with IngestServer() as server:
    payi_instrument(payi=Payi(api_key=server.api_key, base_url=server.url))
    ...
    assert server.wait_for_packets(1)
    assert server.packets[0]["body"]["units"] == {"text": {"input": 10, "output": 5}}
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from payi_otel._ingest_server import API_KEY, Answer, IngestServer
from payi_otel.delivery.outcome import Fate, Outcome
from payi_otel.packets.model import IngestPacket

__all__ = ["API_KEY", "Answer", "CapturingSink", "IngestServer"]


class CapturingSink:
    """A `Sink` that keeps every packet and answers as it is told.

    Attributes:
        packets: Those that were delivered, in order.
        attempts: Every packet of every attempt, in order.
        closed: True after `close`.
        forks: How often `after_fork` was called in this process.
    """

    def __init__(self, outcomes: Iterable[Outcome] | Callable[[IngestPacket], Outcome] = ()) -> None:
        """Delivers everything, but for the outcomes given.

        Args:
            outcomes: One for each of the first attempts; or a function that decides about every attempt. What it raises, `deliver`
                raises.
        """
        self._decide = outcomes if callable(outcomes) else None
        self._outcomes = [] if callable(outcomes) else list(outcomes)
        self._changed = threading.Condition()
        self.packets: list[IngestPacket] = []
        self.attempts: list[IngestPacket] = []
        self.closed: bool = False
        self.forks: int = 0

    def deliver(self, packet: IngestPacket) -> Outcome:
        """Keeps the packet if its outcome says so."""
        with self._changed:
            self.attempts.append(packet)
            scripted = self._outcomes.pop(0) if self._outcomes else Outcome(Fate.DELIVERED)
            self._changed.notify_all()
        outcome = scripted if self._decide is None else self._decide(packet)
        with self._changed:
            if outcome.fate is Fate.DELIVERED:
                self.packets.append(packet)
            self._changed.notify_all()
        return outcome

    def wait_for_packets(self, count: int, timeout_s: float = 10.0) -> bool:
        """Waits until so many packets are delivered."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.packets) >= count, timeout_s)

    def wait_for_attempts(self, count: int, timeout_s: float = 10.0) -> bool:
        """Waits until so many attempts have begun."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.attempts) >= count, timeout_s)

    def close(self) -> None:
        """Remembers that it was closed."""
        self.closed = True

    def after_fork(self) -> None:
        """A child begins with nothing."""
        self._changed = threading.Condition()
        self.packets, self.attempts = [], []
        self.forks += 1
