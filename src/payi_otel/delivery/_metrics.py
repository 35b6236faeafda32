"""The account of packets as OpenTelemetry metrics, on the application's own meter provider."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from payi_otel._guard import guard, log_fault
from payi_otel._imports import after_import
from payi_otel.delivery.stats import Stats

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

_UNIT = "{packet}"
_SINGLE = ("created", "delivered", "attempts", "retries", "duplicates_possible", "duplicates_reported", "bodies_dropped")
_SPOOL = ("adopted", "corrupt_records")
_BY_NAME = {"dead_lettered": "code", "dropped": "reason", "failures": "code"}
"""Counters that are told apart by an attribute."""
_NOW = ("queued", "in_flight", "spooled")
"""What goes up and down."""
_DESCRIPTIONS = {
    "created": "Calls taken for a packet.",
    "delivered": "Packets that Pay-i took, duplicates included.",
    "attempts": "Requests made to Pay-i.",
    "retries": "Attempts beyond a packet's first.",
    "duplicates_possible": "Resends after an attempt that Pay-i may have taken.",
    "duplicates_reported": "Packets that Pay-i said it had already.",
    "bodies_dropped": "Waiting packets whose bodies were left out to save memory.",
    "dead_lettered": "Packets refused for good, by code.",
    "dropped": "Packets given up, by reason.",
    "failures": "Attempts that have to be made again, by code.",
    "queued": "Packets waiting for a worker, or in the retry queue.",
    "in_flight": "Packets being worked on.",
    "spooled": "Packets on disk only.",
    "adopted": "Packets taken over from the spool of an earlier process.",
    "corrupt_records": "Damaged places in the spool.",
}


class AccountMetrics:
    """Observes the account; an instrument cannot be taken back, so it is made once in a process and reads whoever counts now."""

    def __init__(self) -> None:
        self._read: Callable[[], Stats] | None = None

    def observe(self, read: Callable[[], Stats]) -> None:
        """Makes the instruments as soon as anybody has metrics, once; a meter provider that is set later gets them, too.

        Args:
            read: Gives the account at this instant.
        """
        first, self._read = self._read is None, read
        if first:
            after_import(self._make, "opentelemetry.metrics")

    def _make(self, api: Any) -> None:
        with guard("making metrics"):
            meter = api.get_meter("payi_otel.delivery")
            for name in (*_SINGLE, *_SPOOL, *_BY_NAME):
                meter.create_observable_counter(f"payi_otel.packets.{name}", [self._reader(name)], _UNIT, _DESCRIPTIONS[name])
            for name in _NOW:
                meter.create_observable_up_down_counter(f"payi_otel.packets.{name}", [self._reader(name)], _UNIT, _DESCRIPTIONS[name])

    def _reader(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> list[Observation]:
            from opentelemetry.metrics import Observation

            try:
                value = getattr(self._read(), name) if self._read is not None else 0
            except Exception as fault:
                log_fault("reading the account for a metric", fault)
                return []
            if isinstance(value, Mapping):
                return [Observation(count, {_BY_NAME[name]: key}) for key, count in value.items()]
            return [Observation(value)]

        return observe


metrics = AccountMetrics()
"""The process's one set of instruments."""
