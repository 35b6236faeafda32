"""The result of the last call, of the context it was made in: what `get_context()["last_result"]` shows."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

from payi_otel.context.scope import Frame, current_frame


class HasResult(Protocol):
    """A call's ticket."""

    @property
    def result(self) -> Any:
        """What Pay-i says of the call."""
        ...


_last: ContextVar[tuple[HasResult, Frame | None] | None] = ContextVar("payi_last_result", default=None)


def note_last_result(ticket: HasResult | None) -> None:
    """Notes a call in the context that made it: another task, thread or request does not see it."""
    if ticket is not None:
        _last.set((ticket, current_frame()))


def last_result() -> Any:
    """The result of the last call made in this context; None where there was none.

    A thread of a pool keeps its context from one request to the next, so a scope sees what was called in it, in those inside it and in
    those around it; not what was called in another one before, or in none.
    """
    noted = _last.get()
    if noted is None:
        return None
    ticket, frame = noted
    here = current_frame()
    is_around = frame is not None and _is_within(here, frame)
    return ticket.result if is_around or _is_within(frame, here) else None


def _is_within(inner: Frame | None, outer: Frame | None) -> bool:
    while inner is not None and inner is not outer:
        inner = inner.outer
    return inner is outer
