"""Payloads of calls whose spans nobody saw end (sampled away, or still in a batch): they become packets all the same."""

from __future__ import annotations

import weakref

from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.payload import Payload, registry


def feed_unclaimed(queue: DeliveryQueue) -> None:
    """Has the registry give them to this queue, which is not kept alive for it; after its shutdown they count as dropped there."""
    reference = weakref.ref(queue)

    def take(payload: Payload) -> None:
        taker = reference()
        if taker is not None:
            payload.ticket = taker.submit(None, payload)

    registry.on_unclaimed(take)
