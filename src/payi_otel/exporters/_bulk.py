"""Many packets in one request: what the account takes, as far as its answers have shown, and how a refusal is narrowed down."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

from msgspec.structs import replace

from payi_otel.delivery._log import LimitedLog
from payi_otel.delivery.outcome import Batching, EncodedPacket, Fault, Outcome
from payi_otel.exporters import _wire
from payi_otel.exporters._answers import Refused

Mode = Literal["auto"] | bool
"""`ingest_bulk`: whether packets go together, `auto` where there are many and the account takes it."""

_LEAST: Final = 8
"""Fewer packets go one by one: only a single ingest's answer has a result, and one by one they are under way sooner."""
_MAX_ITEMS: Final = 100
_MAX_BYTES: Final = 4 * 1024 * 1024
"""Pay-i's own limits are not documented; a 413 halves the second."""
_LEAST_BYTES: Final = 64 * 1024
_STRIKES: Final = 3
_PAUSE_S: Final = 300
"""Something on the way (a proxy, a body limit that resets the connection) that fails so often is asked again after this."""
_REFUSED_S: Final = 3600
"""What was refused may have been a passing trouble, or be enabled later: it is asked for again after this."""
_ABOUT_ALL: Final = frozenset({401, 429, 503})
"""Answers that have nothing to do with how many packets were asked for."""
NOT_ENABLED: Final = frozenset({403, 404, 405})
"""Answers of an account for which an endpoint is not enabled, or of a wrong key or address: a single ingest tells which."""


class Bulk:
    """Sends packets together. `bulk-upsert` knows a packet by its id, so that a resend may go that way; plain `bulk` does not."""

    def __init__(
        self,
        mode: Mode,
        *,
        exchange: Callable[[_wire.Request, int], list[Outcome] | Outcome | Refused],
        send_single: Callable[[EncodedPacket], Outcome],
        log: LimitedLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is known yet.

        Args:
            mode: The setting.
            exchange: Makes one request with so many packets.
            send_single: Sends one packet by itself.
            log: For what is learnt.
            clock: Seconds, monotonic.
        """
        self._mode = mode
        self._exchange = exchange
        self._send_single = send_single
        self._log = log
        self._all_paths = () if mode is False else (_wire.UPSERT_PATH, _wire.BULK_PATH)
        self._paths: tuple[str, ...] = self._all_paths
        self._asked_again_at = math.inf
        self._max_bytes = _MAX_BYTES
        self._clock = clock
        self._has_failed = False
        self._strikes = 0
        self._not_before = -math.inf

    def paths_for(self, packet: EncodedPacket) -> tuple[str, ...]:
        """Where it may go although its values cannot stand in headers."""
        return tuple(path for path in self._paths if path == _wire.UPSERT_PATH or not packet.is_resend)

    @property
    def batching(self) -> Batching | None:
        """How packets may go together at present."""
        if self._clock() >= self._asked_again_at:
            self._asked_again_at, self._paths = math.inf, self._all_paths
        if not self._paths or self._clock() < self._not_before:
            return None
        takes_resends = self._paths[0] == _wire.UPSERT_PATH
        return Batching(2 if self._mode is True else _LEAST, _MAX_ITEMS, self._max_bytes, takes_resends)

    def note_single(self) -> None:
        """A packet that went by itself was taken: where that happens between one failure of many together and the next, it is no outage."""
        if self._has_failed:
            self._has_failed = False
            self._strikes += 1
        if self._strikes >= _STRIKES:
            self._strikes = 0
            self._not_before = self._clock() + _PAUSE_S
            text = "requests with several packets fail, and those with one do not: packets go one by one for %d s"
            self._log.write(logging.WARNING, "strikes", _PAUSE_S, text, _PAUSE_S)

    def learn_refusal(self, paths: Sequence[str]) -> None:
        """The account does not have these endpoints."""
        if set(paths) & set(self._paths):
            self._paths = tuple(path for path in self._paths if path not in paths)
            self._asked_again_at = self._clock() + _REFUSED_S
            if not self._paths:
                text = "bulk ingest is not enabled for this account: packets go one by one, what cannot stand in a header percent-encoded"
                self._log.write(logging.WARNING, "bulk", math.inf, text)

    def send(self, batch: Sequence[EncodedPacket]) -> list[Outcome]:
        """One outcome for each; the same one for all where it is about none of them in particular."""
        path = next(iter(self._paths), None)
        if path is None or len(batch) == 1:
            return self._send_singles(batch)
        answer = self._exchange(_wire.to_bulk(batch, path), len(batch))
        if isinstance(answer, Refused):
            return self._narrow_down(batch, path, answer)
        self._has_failed = isinstance(answer, Outcome) and answer.status not in _ABOUT_ALL
        if isinstance(answer, Outcome):
            return [answer] * len(batch)
        self._strikes = 0
        # What may yet be taken in another form gets its second chance by itself.
        return [self._send_single(packet) if _wire.may_amend(outcome) else outcome for packet, outcome in zip(batch, answer, strict=True)]

    def _narrow_down(self, batch: Sequence[EncodedPacket], path: str, why: Refused) -> list[Outcome]:
        if why is Refused.NOT_ENABLED:
            outcomes = self._send_singles(batch)
            if outcomes[0].status is not None and outcomes[0].status not in NOT_ENABLED:
                self.learn_refusal([path])
            return outcomes
        if path == _wire.BULK_PATH and why is Refused.BY_CONTENT:  # a part of it may have been taken, which it would count twice
            return self._send_singles([replace(packet, is_resend=True) for packet in batch])
        if why is Refused.TOO_LARGE:
            self._max_bytes = max(_LEAST_BYTES, sum(len(packet.json) for packet in batch) // 2)
        middle = len(batch) // 2
        first = self.send(batch[:middle])
        return first + (_unsent(first[-1], len(batch) - middle) or self.send(batch[middle:]))

    def _send_singles(self, batch: Sequence[EncodedPacket]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for packet in batch:
            outcomes.append(self._send_single(packet))
            if unsent := _unsent(outcomes[-1], len(batch) - len(outcomes)):
                return outcomes + unsent
        return outcomes


def _unsent(last: Outcome, count: int) -> list[Outcome]:
    """The outcomes of those behind one: where the destination is at fault they would fare the same, and are not sent; else none."""
    return [replace(last, ambiguous=False)] * count if last.retries and last.fault is Fault.DESTINATION else []
