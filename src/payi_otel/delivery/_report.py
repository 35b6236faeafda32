"""What the queue says in the log: what waits, what is lost and why; ids, codes and counts, never a body, never a key."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from payi_otel._guard import place_of
from payi_otel._requests import Unbilled
from payi_otel._words import counted
from payi_otel.delivery._log import LimitedLog
from payi_otel.delivery.outcome import Fate, Fault, Outcome
from payi_otel.delivery.stats import Stats

_ONCE_S: Final = float("inf")


class Reporter:
    """One method for each thing worth a line."""

    def __init__(self, logger: logging.Logger, *, window_s: float) -> None:
        self._log = LimitedLog(logger)
        self._window_s = window_s
        self._held: set[str] = set()

    def attempt(self, outcome: Outcome, response_id: str, *, waiting: int, is_lost: bool, came_back: bool) -> None:
        """What came of a packet."""
        if came_back:
            self._came_back(waiting)
        if outcome.fate is Fate.DEAD:
            self._dead(outcome, response_id)
        elif is_lost:
            text = "packet %s is lost: %s, and ingest_retry.queue_enabled is False"
            self._log.write(logging.WARNING, ("lost", outcome.code), self._window_s, text, response_id, _describe(outcome))
        elif outcome.fate is Fate.RETRY:
            self._retry(outcome, response_id, waiting)

    def queue_full(self, response_id: str, limit: int, max_bytes: int) -> None:
        """The oldest packet made room."""
        text = "packet %s is lost: the retry queue is full (ingest_retry.queue_max_size=%d, ingest_retry.queue_max_bytes=%d)"
        self._log.write(logging.WARNING, "full", self._window_s, text, response_id, limit, max_bytes)

    def bodies_dropped(self, count: int, max_bytes: int) -> None:
        """Requests and answers made room."""
        text = "the retry queue holds more than ingest_retry.queue_max_bytes=%d: of %s request and answer are lost, units are kept"
        self._log.write(logging.WARNING, "slim", self._window_s, text, max_bytes, counted(count, "packet"))

    def not_made(self, fault: Exception) -> None:
        """A packet could not be made of a call; the exception's text may hold a prompt, so its type and place must do."""
        place = place_of(fault)
        text = "a packet is lost: it could not be made of its call (%s at %s)"
        self._log.write(logging.ERROR, ("made", place), self._window_s, text, type(fault).__name__, place)

    def kept_at_shutdown(self, count: int, directory: str) -> None:
        """The deadline passed, and the spool has them."""
        kept = counted(count, "packet is", "packets are")
        self._log.write(logging.INFO, "kept", 0, "%s kept in %s and delivered by the next process", kept, directory)

    def unreadable(self, directory: str) -> None:
        """A packet was on disk only, and is not there any more."""
        text = "a packet is lost: it cannot be read back from the spool %s"
        self._log.write(logging.ERROR, "unreadable", self._window_s, text, directory)

    def at_end(self, account: Stats, unbilled: Sequence[Unbilled]) -> None:
        """One line at the end of a process that lost anything, or whose requests are hardly in any packet."""
        losses = (("refused", account.dead_lettered), ("dropped", account.dropped))
        reasons = [f"{kind} {count} ({name})" for kind, counts in losses for name, count in counts.items()]
        lost = sum(account.dead_lettered.values()) + sum(account.dropped.values())
        parts = []
        if reasons:
            verb = "was" if lost == 1 else "were"
            parts.append(f"{lost:,} of {counted(account.created, 'packet')} {verb} lost in this process: {', '.join(reasons)}")
        if unbilled:
            hosts = ", ".join(f"{one.host} {counted(one.requests, 'request')}, {counted(one.packets, 'packet')}" for one in unbilled)
            parts.append(f"calls may not be recorded: {hosts} (payi-otel doctor -- python ... says which SDKs are instrumented)")
        if parts:
            self._log.write(logging.WARNING, "account", 0, "%s", "; ".join(parts))

    def crowded_out(self, limit: int) -> None:
        """Calls end faster than packets can be made of them."""
        text = "a packet is lost: calls end faster than packets are made, %d are waiting for that"
        self._log.write(logging.WARNING, "crowd", max(self._window_s, 1.0), text, limit)

    def late(self) -> None:
        """A call ended after shutdown."""
        self._log.write(logging.WARNING, "late", max(self._window_s, 1.0), "a packet is lost: its call ended after shutdown")

    def _dead(self, outcome: Outcome, response_id: str) -> None:
        text = "packet %s is lost: refused for good (%s)"
        self._log.write(logging.ERROR, ("dead", outcome.code), self._window_s, text, response_id, _describe(outcome))

    def _retry(self, outcome: Outcome, response_id: str, waiting: int) -> None:
        if outcome.fault is Fault.PACKET:
            text = "packet %s is tried again later: %s"
            self._log.write(logging.WARNING, ("again", outcome.code), self._window_s, text, response_id, _describe(outcome))
        elif outcome.needs_somebody:
            text = "nothing can be delivered until this is put right: %s; %s waiting, none lost"
            self._held.add(outcome.code)
            self._log.write(logging.ERROR, ("held", outcome.code), _ONCE_S, text, _describe(outcome), counted(waiting, "packet"))
        else:
            text = "the destination cannot be reached: %s; %s waiting, none lost"
            self._log.write(logging.WARNING, "connection", self._window_s, text, _describe(outcome), counted(waiting, "packet"))

    def _came_back(self, waiting: int) -> None:
        while self._held:
            self._log.forget(("held", self._held.pop()))
        self._log.write(logging.INFO, "back", self._window_s, "the destination takes packets again; %d are being sent", waiting)


def _describe(outcome: Outcome) -> str:
    status = f"HTTP {outcome.status}" if outcome.status is not None and outcome.code != f"http_{outcome.status}" else ""
    return ", ".join(part for part in (outcome.code, status, outcome.message) if part)
