"""Payloads of calls whose spans nobody saw end (there is none, it was sampled away, it is still in a batch): packets all the same."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from payi_otel._guard import log_fault
from payi_otel.delivery._sightings import sightings
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.payload import Payload, registry


class _Taker:
    """A queue, which is not kept alive for it."""

    def __init__(self, queue: DeliveryQueue) -> None:
        self._queue = weakref.ref(queue)

    def take(self, payload: Payload, *, late: bool) -> bool:
        """Gives it a call; False where it takes none. After its shutdown it does, where nobody else is: to count it as lost."""
        queue = self._queue()
        if queue is None or (queue.is_closed and not late):
            return False
        try:
            sightings.note(payload)
        except Exception as fault:
            log_fault("remembering a call", fault)
        offer(queue, payload)
        return True


class _Mourner:
    """Takes no call, and says once that nobody did."""

    def __init__(self, say: Callable[[], None]) -> None:
        self._say: Callable[[], None] | None = say

    def take(self, payload: Payload, *, late: bool) -> bool:
        """Asked with `late` where nobody else has taken it."""
        if late and self._say is not None:
            say, self._say = self._say, None
            say()
        return False


def mourn_unclaimed(say: Callable[[], None]) -> Callable[[], None]:
    """Has the registry say when, for the first time, nobody takes a call.

    Args:
        say: Called then.

    Returns:
        A function that ends this.
    """
    mourner = _Mourner(say)
    registry.add_taker(mourner, first=False)
    return lambda: registry.remove_taker(mourner)


def offer(queue: DeliveryQueue, payload: Payload) -> None:
    """Gives a call of ours to a queue; where delivery is inline, it is waited for later."""
    payload.awaited = queue.submit(payload, payload.ticket)


def feed_unclaimed(queue: DeliveryQueue, *, first: bool) -> Callable[[], None]:
    """Has the registry give them to this queue.

    Args:
        queue: It.
        first: Before all that are not: the application's own `payi_instrument()` counts more than an exporter in some pipeline.

    Returns:
        A function that ends this.
    """
    taker = _Taker(queue)
    registry.add_taker(taker, first=first)
    weakref.finalize(queue, registry.remove_taker, taker).atexit = False
    return lambda: registry.remove_taker(taker)
