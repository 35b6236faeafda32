"""Payloads of calls whose spans nobody saw end (there is none, it was sampled away, it is still in a batch): packets all the same."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from payi_otel.delivery.intake import Intake
from payi_otel.payload import Payload, registry


class _Taker:
    """An intake, which is not kept alive for it."""

    def __init__(self, intake: Intake) -> None:
        self._intake = weakref.ref(intake)

    def take(self, payload: Payload, *, late: bool) -> bool:
        """Gives it a call; False where it takes none. After its queue's shutdown it does, where nobody else is: to count it as lost."""
        intake = self._intake()
        if intake is None or (intake.is_closed and not late):
            return False
        intake.offer_unseen(payload)
        return True


def feed_unclaimed(intake: Intake, *, first: bool) -> Callable[[], None]:
    """Has the registry give them to this intake.

    Args:
        intake: It.
        first: Before all that are not: the application's own `payi_instrument()` counts more than an exporter in some pipeline.

    Returns:
        A function that ends this.
    """
    taker = _Taker(intake)
    registry.add_taker(taker, first=first)
    weakref.finalize(intake, registry.remove_taker, taker).atexit = False
    return lambda: registry.remove_taker(taker)
