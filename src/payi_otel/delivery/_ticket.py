"""A packet on its way, for a caller that asked to wait for it."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

from payi_otel.delivery.outcome import Outcome


class Ticket:
    """Settled once, after a packet's inline attempts; a packet that then waits in the retry queue is settled as `RETRY`."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: Future[Outcome | None] = Future()
        # A running future cannot be cancelled: a cancelled caller must not take the packet's outcome with it.
        self._future.set_running_or_notify_cancel()

    @property
    def outcome(self) -> Outcome | None:
        """What the last attempt came to; None while unknown, and for a call that is not billable."""
        return self._future.result() if self._future.done() else None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until the packet's fate is known; False when the time ran out first."""
        try:
            self._future.result(timeout_s)
        except FutureTimeoutError:
            return False
        return True

    async def wait_async(self) -> bool:
        """The same without blocking the event loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # another event loop than asyncio's (trio), which anyio knows
            from anyio import to_thread

            return await to_thread.run_sync(self.wait)
        await asyncio.wrap_future(self._future)
        return True

    def settle(self, outcome: Outcome | None) -> None:
        """Wakes who waits; a second call changes nothing."""
        if not self._future.done():
            self._future.set_result(outcome)
