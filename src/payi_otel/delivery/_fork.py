"""Forking: a queue's lock is held across it, and the child's queue starts empty. Queues are known weakly."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from payi_otel.delivery._item import copy_while_changing


class Forkable(Protocol):
    """What has to be brought through a fork."""

    def before_fork(self) -> None:
        """Takes the lock, so that no other thread is in the middle of something."""
        ...

    def after_fork_in_parent(self) -> None:
        """Gives the lock back."""
        ...

    def after_fork_in_child(self) -> None:
        """Starts anew: the parent's packets are the parent's."""
        ...


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()
_held: list[Forkable] = []
"""Those whose lock is taken, between a fork's beginning and its end: of two threads that fork, the second waits for the first lock."""


def bring_through_fork(queue: Forkable) -> None:
    """Has the three methods called at every fork for as long as the queue lives."""
    _known.add(queue)


def _before() -> None:
    held = sorted(copy_while_changing(_known), key=id)  # one order for all threads that fork
    for queue in held:
        queue.before_fork()
    _held[:] = held


def _in_parent() -> None:
    held, _held[:] = list(_held), []
    for queue in held:
        queue.after_fork_in_parent()


def _in_child() -> None:
    held, _held[:] = list(_held), []
    for queue in held:
        queue.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
