"""Bedrock's event streams, instrumented in place: what they read frames from, and their `close`."""

from __future__ import annotations

import base64
import inspect
from typing import Any

from payi_otel._json import read_json
from payi_otel.instrumentors._hooks import TapHook, hook_close
from payi_otel.instrumentors._invocation import Answer, Invocation
from payi_otel.instrumentors._iterators import TappedAsyncIterator, TappedIterator
from payi_otel.instrumentors._results import NAME
from payi_otel.instrumentors._stream import Tap, settle, settle_async
from payi_otel.payload import ContentReader


class _Frames(TappedIterator):
    """A frame that says an error is handed on like any, and the SDK raises it: the call ends with it here."""

    def __next__(self) -> Any:
        frame = super().__next__()
        if is_exception(frame):
            settle(self._tap.end("completed"))
        return frame


class _AsyncFrames(TappedAsyncIterator):
    async def __anext__(self) -> Any:
        frame = await super().__anext__()
        if is_exception(frame):
            await settle_async(self._tap.end("completed"))
        return frame


class _AioCloseHook(TapHook):
    """`close` of an async stream is not awaited: nothing waits in it."""

    def __call__(self) -> None:
        try:
            self.original()
        finally:
            self._tap.closed()

    def __del__(self) -> None:
        self._tap.abandon()


def tap_event_stream(stream: Any, tap: Tap, *, is_async: bool) -> None:
    """Puts the tap between an `EventStream` and its frames, and into its `close`."""
    inner = stream._event_generator
    stream._event_generator = _AsyncFrames(inner, tap) if is_async else _Frames(inner, tap)
    if is_async:
        _AioCloseHook(stream, "close", tap)
    else:
        hook_close(stream, tap, is_async=False)


class _EventHook(TapHook):
    """What a frame is parsed into: the last event has the call's result, where the user asks for that."""

    def __call__(self, frame: Any) -> Any:
        return self.shown(self.original(frame))

    def shown(self, event: Any) -> Any:
        """With the result, if it is the last one."""
        ticket = self._tap.ticket
        if isinstance(event, dict) and ticket is not None and self._tap.is_complete():
            event[NAME] = ticket.result
        return event


class _AsyncEventHook(_EventHook):
    async def __call__(self, frame: Any) -> Any:
        return self.shown(await self.original(frame))


def show_result(stream: Any, tap: Tap) -> None:
    """Puts the call's result into the last event of an `EventStream`; aiobotocore's early versions parse it at once."""
    is_async = inspect.iscoroutinefunction(stream._parse_event)
    (_AsyncEventHook if is_async else _EventHook)(stream, "_parse_event", tap)


def is_exception(frame: Any) -> bool:
    """Whether a frame says that the stream failed."""
    return frame.headers.get(":message-type") in ("exception", "error")


def value_of(frame: Any) -> dict[str, Any]:
    """A frame's event: Converse's under its type, a chunk's own JSON."""
    payload = read_json(frame.payload or b"{}")
    if isinstance(payload, dict) and isinstance(payload.get("bytes"), str):
        payload = read_json(base64.b64decode(payload["bytes"]))
        return payload if isinstance(payload, dict) else {}
    return {str(frame.headers.get(":event-type")): payload}


class FrameReader:
    """A `StreamReader` of frames; subclasses say what their events mean."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.events: list[dict[str, Any]] = []
        self.output_seen = False
        self.failure: tuple[str, str] | None = None
        self.value: dict[str, Any] = {}
        """The last event."""

    def take(self, event: Any) -> bool:
        """Decodes one frame."""
        if is_exception(event):
            payload = read_json(event.payload or b"{}") if event.payload[:1] == b"{" else {}
            kind = event.headers.get(":exception-type") or event.headers.get(":error-code") or "error"
            self.failure = (str(kind), str(payload.get("message") or event.headers.get(":error-message") or ""))
            return False
        self.value = value = value_of(event)
        self.events.append(value)
        self.take_value(value)
        return False

    def take_value(self, value: dict[str, Any]) -> None:
        """Notes one event."""
        raise NotImplementedError

    def is_complete(self) -> bool:
        """True once the usage has come."""
        raise NotImplementedError

    def answer(self) -> Answer:
        """What has come so far."""
        raise NotImplementedError

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the events."""
        raise NotImplementedError
