"""Streams instrumented in place: their type, their chunks and their errors stay what the SDK made them.

Two things are replaced on the stream object itself: the iterator it reads from, and the `close` of the HTTP response beneath it,
which every early exit goes through (the helper managers of the `openai` SDK close the response, not the stream).
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

from payi_otel._guard import guard, log_fault
from payi_otel.instrumentors._invocation import Answer, Invocation
from payi_otel.payload import ContentReader, EndReason, Ticket

HIDDEN = object()
"""Stands for an event that the caller did not ask for and does not get."""


class StreamReader(Protocol):
    """Takes a stream's events one by one and says, at any moment, what has been answered so far."""

    output_seen: bool
    """True once an event carried output of the model's own (text, a tool call, a refusal), reasoning not counted."""

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


open_taps: WeakSet[Tap] = WeakSet()
"""Streams that have not ended: at the process's exit they are ended as abandoned, so that what they cost is recorded."""


def end_open_streams() -> None:
    """Ends every stream that is still open, with what it has received."""
    with guard("ending open streams"):
        for tap in list(open_taps):
            tap.abandon()


class Tap:
    """Between a stream and its caller: notes what passes, and ends the invocation once."""

    __slots__ = ("__weakref__", "_first_pending", "_invocation", "_output_pending", "_reader", "reading")

    def __init__(self, invocation: Invocation, reader: StreamReader) -> None:
        self._invocation, self._reader = invocation, reader
        self._first_pending = self._output_pending = True
        self.reading = False
        """True while the SDK's own iterator runs: a close from inside it is the stream's end, not the caller's."""
        open_taps.add(self)

    def pass_on(self, item: Any) -> Any:
        """Notes an event; returns what the caller gets: the event itself, or `HIDDEN`."""
        return HIDDEN if self._note(item) else item

    def flush(self) -> Any:
        """What was held back and is due to the caller at the end."""
        return HIDDEN

    def _note(self, event: Any) -> bool:
        try:
            if self._first_pending:
                self._first_pending = False
                self._invocation.first_chunk()
            hide = self._reader.take(event)
            if self._output_pending and self._reader.output_seen:
                self._output_pending = False
                self._invocation.first_completion()
        except Exception as fault:
            log_fault("reading a stream event", fault)
            return False
        return hide

    def end(self, reason: EndReason, error: BaseException | None = None) -> Ticket | None:
        """Ends the call; safe to call again. Never raises into the caller's stream."""
        if not self._invocation.is_open:
            return None
        open_taps.discard(self)
        try:
            return self._end(reason, error)
        except Exception as fault:
            log_fault("ending a streamed call", fault)
            return self._end_bare(reason, error)

    def _end_bare(self, reason: EndReason, error: BaseException | None) -> Ticket | None:
        with guard("ending a streamed call without its answer"):
            return self._invocation.end(reason, Answer(), None, error, status=None if error is not None else 200)
        return None

    def _end(self, reason: EndReason, error: BaseException | None) -> Ticket | None:
        invocation, reader = self._invocation, self._reader
        answer = reader.answer()
        if reason in ("closed", "abandoned", "cancelled") and reader.is_complete():
            reason = "completed"
        elif reason == "abandoned" and self._first_pending:
            reason = "unread"
        status = invocation.exchange.status or 200
        failed = reason == "error"
        content = reader.content(invocation)
        return invocation.end(reason, answer, content, error if failed else None, status=None if failed else status)

    def fail(self, error: BaseException) -> Ticket | None:
        """Ends the call by what its iterator raised. A caller who leaves or is cancelled is not a failure of the provider."""
        if isinstance(error, GeneratorExit):
            return self.end("closed")
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
            return self.end("cancelled")
        return self.end("error", error)

    def closed(self) -> Ticket | None:
        """The response was closed: the caller left early, unless the iterator itself did it."""
        return None if self.reading else self.end("closed")

    def abandon(self) -> None:
        """The stream was garbage-collected."""
        self.end("abandoned")


class TappedIterator:
    """Stands in for a stream's own iterator."""

    def __init__(self, inner: Any, tap: Tap) -> None:
        self._inner, self._tap = inner, tap

    def __iter__(self) -> TappedIterator:
        return self

    def __next__(self) -> Any:
        tap = self._tap
        while True:
            tap.reading = True
            try:
                item = self._inner.__next__()
            except StopIteration:
                rest = tap.flush()
                settle(tap.end("completed"))
                if rest is not HIDDEN:
                    return rest
                raise
            except BaseException as error:
                settle(tap.fail(error))
                raise
            finally:
                tap.reading = False
            item = tap.pass_on(item)
            if item is not HIDDEN:
                return item

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def __del__(self) -> None:
        tap = self.__dict__.get("_tap")
        if tap is not None:
            tap.abandon()


class TappedAsyncIterator:
    """The same for an async stream."""

    def __init__(self, inner: Any, tap: Tap) -> None:
        self._inner, self._tap = inner, tap

    def __aiter__(self) -> TappedAsyncIterator:
        return self

    async def __anext__(self) -> Any:
        tap = self._tap
        while True:
            tap.reading = True
            try:
                item = await self._inner.__anext__()
            except StopAsyncIteration:
                rest = tap.flush()
                await settle_async(tap.end("completed"))
                if rest is not HIDDEN:
                    return rest
                raise
            except BaseException as error:
                ticket = tap.fail(error)
                if isinstance(error, Exception):
                    await settle_async(ticket)
                raise
            finally:
                tap.reading = False
            item = tap.pass_on(item)
            if item is not HIDDEN:
                return item

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def __del__(self) -> None:
        tap = self.__dict__.get("_tap")
        if tap is not None:
            tap.abandon()


class _Closable(Protocol):
    def closed(self) -> Ticket | None: ...

    def abandon(self) -> None: ...


class _CloseHook:
    """Replaces `close` on one HTTP response. Collected with it, so a response nobody closed or read ends its call, too."""

    def __init__(self, response: Any, tap: _Closable, name: str) -> None:
        # A weak reference: a strong one would make a cycle, and the response would wait for the collector.
        self._response, self._tap = weakref.ref(response), tap
        self._previous: Callable[[], Any] | None = vars(response).get(name)
        self._name = name

    def _close(self) -> Any:
        if self._previous is not None:
            return self._previous()
        response = self._response()
        return getattr(type(response), self._name)(response) if response is not None else None

    def __call__(self) -> None:
        try:
            self._close()
        finally:
            settle(self._tap.closed())

    def __del__(self) -> None:
        self._tap.abandon()


class _AsyncCloseHook(_CloseHook):
    async def __call__(self) -> None:  # type: ignore[override]  # the async twin of the same hook
        try:
            closing = self._close()
            if closing is not None:
                await closing
        finally:
            await settle_async(self._tap.closed())


def hook_close(response: Any, tap: _Closable, *, is_async: bool) -> None:
    """Ends the call when its HTTP response is closed or collected."""
    if is_async:
        response.aclose = _AsyncCloseHook(response, tap, "aclose")
    else:
        response.close = _CloseHook(response, tap, "close")


def tap_iterator(stream: Any, tap: Tap, *, is_async: bool) -> None:
    """Puts the tap between a stream and the iterator it reads from (`_iterator`, as the SDKs made by Stainless have it)."""
    stream._iterator = (TappedAsyncIterator if is_async else TappedIterator)(stream._iterator, tap)


def tap_stream(stream: Any, tap: Tap, *, is_async: bool) -> None:
    """Instruments an SDK stream in place."""
    tap_iterator(stream, tap, is_async=is_async)
    hook_close(stream.response, tap, is_async=is_async)
