"""Streams instrumented in place: their type, their chunks and their errors stay what the SDK made them.

Two things are replaced on the stream object itself: the iterator it reads from, and the `close` of the HTTP response beneath it,
which every early exit goes through (the helper managers of the `openai` SDK close the response, not the stream).
"""

from __future__ import annotations

import os
import sys
import time
import weakref
from collections.abc import Callable
from functools import partial
from types import CodeType, FrameType
from typing import Any, Protocol

from payi_otel._guard import guard, log_fault
from payi_otel.instrumentors._invocation import Answer, Invocation
from payi_otel.instrumentors._proxy import result_in
from payi_otel.instrumentors._results import attach
from payi_otel.payload import ContentReader, EndReason, Ticket, registry

_MAX_OWN_DEPTH = 40
"""Frames between an SDK's iterator and the `close` it ends with; about ten are there today."""


class StreamReader(Protocol):
    """Takes a stream's events one by one and says, at any moment, what has been answered so far."""

    output_seen: bool
    """True once an event carried output of the model's own (text, a tool call, a refusal), reasoning not counted."""
    pieces: list[bytes]
    """The bytes beneath the events, where they pass by; an event is kept itself only where they do not."""

    def take(self, event: Any) -> bool:
        """Notes one event; True when it is to be hidden from the caller. Constant work, no copy."""
        ...

    def answer(self) -> Answer:
        """What has come so far."""
        ...

    def is_complete(self) -> bool:
        """True once nothing more of interest can come: the usage is known."""
        ...

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the events taken."""
        ...


def settle(ticket: Ticket | None) -> None:
    """Waits for a packet's fate where the user asked for inline delivery; a fault in waiting is ours alone."""
    if ticket is not None:
        with guard("waiting for inline delivery"):
            ticket.wait()


async def settle_async(ticket: Ticket | None) -> None:
    """The same without blocking the event loop."""
    if ticket is not None:
        with guard("waiting for inline delivery"):
            await ticket.wait_async()


_open_taps: set[weakref.ref[Tap]] = set()
"""Streams that have not ended: at the process's exit they are ended as abandoned, so that what they cost is recorded."""


def _all_open() -> list[Tap]:
    references = _open_taps.copy()  # in one step: other threads open and drop streams meanwhile
    return [tap for reference in references if (tap := reference()) is not None]


def end_open_streams() -> None:
    """Ends every stream that is still open, with what it has received."""
    with guard("ending open streams"):
        for tap in _all_open():
            tap.abandon()


registry.before_shutdown(end_open_streams)


def _forget_open_streams() -> None:
    """In a forked child: the parent's calls are the parent's to record."""
    for tap in _all_open():
        tap.forget()
    _open_taps.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_open_streams)


class Tap:
    """Between a stream and its caller: notes what passes, and ends the invocation once. A call has one, however it is read."""

    __slots__ = (
        "__weakref__",
        "_has_failed",
        "_invocation",
        "_is_left",
        "_is_over",
        "_is_read",
        "_last",
        "_output_pending",
        "_reader",
        "_seen_ns",
        "_shows",
        "_weakly",
        "is_drained",
        "reading",
    )

    def __init__(self, invocation: Invocation, reader: StreamReader, *, shows: bool = True) -> None:
        """Begins to listen.

        Args:
            invocation: The call.
            reader: Reads its events.
            shows: What it notes is what the caller is given.
        """
        self._invocation = invocation
        self._reader: StreamReader | None = reader  # let go at the end, and with it the events
        self._is_over: Callable[[], bool] | None = getattr(reader, "is_over", reader.is_complete)
        """Whether the last event has come that says what the call cost: a reader may know of more behind the usage."""
        self._is_read = self._has_failed = self._is_left = self.is_drained = False  # drained: the SDK's iterator is at its end
        self._output_pending = True
        self._seen_ns = time.perf_counter_ns()
        """When the last event came, or the response."""
        self.reading: list[None] = []
        """One for each thread or task that is in the SDK's own iterator: what that does to the response is not the caller's doing."""
        self._weakly = weakref.ref(self, _open_taps.discard)
        _open_taps.add(self._weakly)
        self._last: Any = None
        self._shows = shows
        if (ticket := invocation.payload.ticket) is not None:
            ticket.end = partial(_end_if_complete, self._weakly)

    @property
    def ticket(self) -> Ticket | None:
        """The call's."""
        return self._invocation.payload.ticket

    @property
    def is_open(self) -> bool:
        """False once the call has ended."""
        return self._reader is not None

    def note(self, event: Any) -> bool:
        """Notes an event; True when it is to be hidden from the caller."""
        reader = self._reader
        if reader is None:
            return False
        self._seen_ns = time.perf_counter_ns()
        try:
            if not self._is_read:
                self._is_read = True
                if self._invocation.request.stream:
                    self._invocation.first_chunk()
            hide = reader.take(event)
            if self._invocation.exchange.route is not None:
                self._look_for_result(reader, event)
            if self._output_pending and reader.output_seen:
                self._output_pending = False
                self._invocation.first_completion()
        except Exception as fault:
            self._note_fault(fault)
            return False
        return hide

    def _look_for_result(self, reader: StreamReader, event: Any) -> None:
        """The proxy's, which the last event has."""
        result = result_in(getattr(reader, "value", event))
        if result is not None:
            self._invocation.exchange.xproxy_result = result

    def _note_fault(self, fault: Exception) -> None:
        """Says it once, not again for every event to come."""
        if not self._has_failed:
            self._has_failed = True
            log_fault("reading a stream event", fault)

    def show(self, item: Any) -> None:
        """Notes what the caller is given: the last of it has the call's result."""
        if not self._shows:
            return
        self._last = item
        if self.is_complete():
            attach(item, self.ticket)

    def is_complete(self) -> bool:
        """Whether the last event has come that says what the call cost."""
        is_over = self._is_over
        try:
            return is_over is not None and is_over()
        except Exception as fault:
            self._note_fault(fault)
            return False

    def end_if_complete(self) -> None:
        """Ends the call for who asks what it cost before he has read the stream's end; what is to be hidden still is."""
        reader = self._reader
        if reader is not None and self.is_complete():
            self._end(reader, "completed", None)

    def keep(self, piece: bytes) -> None:
        """Keeps bytes of the stream for the worker."""
        reader = self._reader
        if reader is not None:
            reader.pieces.append(piece)

    def end(self, reason: EndReason, error: BaseException | None = None) -> Ticket | None:
        """Ends the call; safe to call again. Never raises into the caller's stream."""
        reader = self._reader
        if reader is None:
            return None
        try:
            return self._end(reader, reason, error)
        except Exception as fault:
            ticket = self._end_bare(reason, error)
            log_fault("ending a streamed call", fault)
            return ticket
        finally:
            self.forget()

    def forget(self) -> None:
        """Has nothing more to say of this call."""
        attach(self._last, self.ticket)
        self._reader = self._is_over = self._last = None
        _open_taps.discard(self._weakly)
        self._invocation.forget()

    def _end_bare(self, reason: EndReason, error: BaseException | None) -> Ticket | None:
        with guard("ending a streamed call without its answer"):
            return self._invocation.end(reason, Answer(), None, error, status=None if error is not None else 200)
        return None

    def _end(self, reader: StreamReader, reason: EndReason, error: BaseException | None) -> Ticket | None:
        invocation = self._invocation
        if invocation.exchange.route is not None and invocation.exchange.proxied_body is None:
            invocation.exchange.proxied_body = b"".join(reader.pieces)
        answer = reader.answer()
        if reason == "abandoned":  # long ago, perhaps
            invocation.last_event_ns = self._seen_ns
        if reason in ("closed", "abandoned", "cancelled") and reader.is_complete():
            reason = "completed"
        elif reason == "abandoned" and not self._is_read:
            reason = "unread"
        elif answer.refused:
            reason = "error"
        status = None if reason == "error" else invocation.exchange.status or 200
        return invocation.end(reason, answer, reader.content(invocation), error, status=status)

    def fail(self, error: BaseException) -> Ticket | None:
        """Ends the call by what its iterator raised. A caller who leaves or is cancelled is not a failure of the provider."""
        return self.end("error", error) if isinstance(error, Exception) else self.end(_left_by(error))

    def begin_close(self) -> None:
        """The response begins to be closed. A caller who leaves stays one, although a reader that he lets go of may be quicker."""
        self._is_left = self._is_left or not _closed_by_reader()

    def closed(self) -> Ticket | None:
        """The response was closed: by its reader at the end, by a reader that is collected, or else by a caller who leaves."""
        if self._is_left or not _closed_by_reader():
            return self.end(_left_by(sys.exc_info()[1]))
        return None if self.reading else self.end("abandoned")

    def abandon(self) -> None:
        """The stream was garbage-collected."""
        self.end("abandoned")


def _end_if_complete(reference: weakref.ref[Tap]) -> None:
    tap = reference()
    if tap is not None:
        tap.end_if_complete()


def _left_by(error: BaseException | None) -> EndReason:
    return "closed" if error is None or isinstance(error, Exception | GeneratorExit) else "cancelled"


reader_codes: set[CodeType] = set()
"""The code of what reads responses: ours, and the SDKs' generators, which close their response when they are collected."""


def _closed_by_reader() -> bool:
    """Whether this `close` comes from within an iterator; another thread or task may close what is just being read."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_MAX_OWN_DEPTH):
        if frame is None or frame.f_code in reader_codes:
            return frame is not None
        frame = frame.f_back
    return False
