"""Payloads of calls whose spans nobody saw end (sampled away, or still in a batch): they become packets all the same."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from payi_otel.delivery.intake import Intake
from payi_otel.payload import Payload, registry


def feed_unclaimed(intake: Intake) -> Callable[[], None]:
    """Has the registry give them to this intake, which is not kept alive for it; after its queue's shutdown they count as dropped there.

    Returns:
        A function that ends this.
    """
    reference = weakref.ref(intake)

    def take(payload: Payload) -> bool:
        taker = reference()
        if taker is not None:
            taker.offer_unseen(payload)
        return taker is not None

    registry.add_taker(take)
    weakref.finalize(intake, registry.remove_taker, take).atexit = False
    return lambda: registry.remove_taker(take)
