"""What may become of a packet that was sent, and the `Sink` that sends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from payi_otel.packets.model import IngestPacket


class Fate(Enum):
    """What the queue does with a packet after an attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    """The destination is at fault: keep the packet, try again later."""
    DEAD = "dead"
    """The packet is at fault: it will never be taken."""


@dataclass(frozen=True, slots=True)
class Outcome:
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


class Sink(Protocol):
    """Where packets go. Called from several threads at once."""

    def deliver(self, packet: IngestPacket) -> Outcome:
        """Makes one attempt and says what came of it. Raises nothing."""
        ...

    def close(self) -> None:
        """Lets go of sockets and files; safe to call twice."""
        ...

    def after_fork(self) -> None:
        """In a forked child: drops what it shares with its parent (sockets, file positions)."""
        ...
