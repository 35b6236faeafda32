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
