"""What is queued is delivered when the process gets a SIGTERM that nothing else handles: Python runs no exit hooks for it."""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from payi_otel._guard import guard

_GRACE_S = 0.5
"""Beyond the exit's own deadline, for what holds it up."""


class SigtermHandler:
    """Handles SIGTERM where it would end the process at once; the process then ends by it all the same, with the same exit status."""

    def __init__(self, drain: Callable[[], object], timeout_s: float) -> None:
        """Installs nothing yet.

        Args:
            drain: Delivers what is queued; run in a thread of its own, for the signal may have come in the middle of anything.
            timeout_s: Seconds it is given.
        """
        self._drain, self._timeout_s = drain, timeout_s
        self._is_done = threading.Event()

    def install(self) -> None:
        """Where nothing else handles the signal, and Python allows it (the main thread).

        Not in forked children: a handler in Python runs when the main thread comes back to Python, and the worker of a pool, which is
        sent the signal just as it begins to wait for work, may never do that.
        """
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._handle)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self.remove)

    def remove(self) -> None:
        """Puts the default back, unless somebody has put something in our place."""
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
        with guard("delivering at SIGTERM"):
            # Not a `Thread`: its `start` waits without limit, for a lock that the interrupted code may hold.
            _thread.start_new_thread(self._drain_and_say, ())
            self._is_done.wait(self._timeout_s + _GRACE_S)
        os.kill(os.getpid(), signal.SIGTERM)

    def _drain_and_say(self) -> None:
        with guard("delivering at SIGTERM"):
            self._drain()
        self._is_done.set()
