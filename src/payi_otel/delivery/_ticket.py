"""A packet on its way, for whoever wants to know what becomes of it."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, Final

from payi_otel.delivery.outcome import Fate, Outcome

if TYPE_CHECKING:
    from payi_otel.delivery.result import XproxyResult

NOT_CONFIGURED: Final = "configuration_error"


class Ticket:
    """One call's packet from the call's start on. Settled first after its inline attempts, and again when it has another fate later."""

    __slots__ = ("_result", "_waiters", "again_s", "end", "find", "is_final", "is_open", "is_settled", "outcome")

    def __init__(self, *, is_open: bool = False) -> None:
        """Waits for nothing yet.

        Args:
            is_open: The call has not ended.
        """
        self.is_open: bool = is_open
        self.is_settled: bool = False
        """Something has become of the packet."""
        self.is_final: bool = False
        """It is no longer in the queue."""
        self.outcome: Outcome | None = None
        """What the last attempt came to; None while unknown, and for a call that is not billable."""
        self.end: Callable[[], object] | None = None
        """Called when somebody waits for a call that has not ended: a stream may have all that matters, and one step to go."""
        self.find: Callable[[float], Outcome] | None = None
        """Asked, with the seconds it may take, for the result of a packet that was delivered without one."""
        self.again_s: float = 0.0
        """When reading the result may wait the next time."""
        self._waiters: list[Future[None]] = []
        """One each, so that no lock is needed: a fork could leave it locked."""
        self._result: weakref.ref[XproxyResult] | None = None

    @property
    def result(self) -> XproxyResult:
        """What the caller reads; made when it is asked for."""
        from payi_otel.delivery.result import XproxyResult

        result = self._result() if self._result is not None else None
        if result is None:
            result = XproxyResult(self)
            self._result = weakref.ref(result)  # which holds this: no cycle is left to the collector
        return result

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until the packet's fate is known; False when the time ran out first."""
        if self.is_settled:
            return True
        try:
            self._new_waiter().result(timeout_s)
        except FutureTimeoutError:
            return False
        return True

    async def wait_async(self, timeout_s: float | None = None) -> bool:
        """The same without blocking the event loop."""
        if self.is_settled:
            return True
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # another event loop than asyncio's
            return bool(await in_thread(functools.partial(self.wait, timeout_s)))
        done, _ = await asyncio.wait({asyncio.wrap_future(self._new_waiter())}, timeout=timeout_s)
        return bool(done)

    def settle(self, outcome: Outcome | None, *, is_final: bool = True) -> None:
        """Wakes who waits. What is final stays so: a worker may still be at a packet that was given up.

        Args:
            outcome: What became of the packet; None: the call makes none.
            is_final: It is no longer in the queue.
        """
        if self.is_final:
            return
        self.outcome, self.is_final = outcome, is_final
        self.is_settled, self.is_open = True, False
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _resolve(waiter)

    def give_up(self) -> None:
        """Nobody takes packets: no exporter, no `payi_instrument()`."""
        self.settle(Outcome(Fate.DEAD, NOT_CONFIGURED, "no pipeline to Pay-i is set up"))

    def _new_waiter(self) -> Future[None]:
        future: Future[None] = Future()
        # A running future cannot be cancelled: a cancelled caller must not take the packet's fate with it.
        future.set_running_or_notify_cancel()
        self._waiters.append(future)
        if self.is_settled:  # since the caller looked
            _resolve(future)
        return future


def _resolve(future: Future[None]) -> None:
    if not future.done():
        try:
            future.set_result(None)
        except InvalidStateError:  # the other side was faster
            return


async def in_thread(work: Callable[[], Any]) -> Any:
    """Runs what blocks in a thread, under whatever event loop this is."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # another event loop than asyncio's (trio), which anyio knows
        from anyio import to_thread

        return await to_thread.run_sync(work)
    return await asyncio.to_thread(work)
