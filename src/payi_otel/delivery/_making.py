"""Which worker makes packets: one at a time, for as long as it gets on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from payi_otel.delivery._item import Task

MAX_S: Final = 1.0
"""A worker that makes a packet for longer may hang, in a log handler of the application's for one: another one goes on."""


class Making:
    """Making a packet takes the interpreter and nothing else, so one worker makes as many as nine.

    Nine are worse in a process that is busy: each of them that waits for the queue's lock is given it while another thread has the
    interpreter, which may keep that for a tenth of a second; and all the others wait for the lock meanwhile.
    """

    def __init__(self, *, is_shared: bool) -> None:
        """Nobody does.

        Args:
            is_shared: As many as want to: somebody waits for each packet.
        """
        self._is_shared = is_shared
        self._workers = 0
        self._since_s = 0.0

    def begin(self, now: float) -> None:
        """A worker makes a packet from now on."""
        self._workers, self._since_s = self._workers + 1, now

    def end(self, task: Task) -> None:
        """Its packet is made, or there is none; for a task that makes none, or was ended before, nothing happens."""
        self._workers -= task.makes
        task.makes = False

    def is_at_hand(self, now: float) -> bool:
        """Whether a worker makes one, and will look for the next in a moment. Needs no lock."""
        return self._workers > 0 and not self._is_shared and now - self._since_s < MAX_S
