"""Raw responses that are still to be read: `with_raw_response` of a stream, and `with_streaming_response` of anything.

The caller may parse them into the SDK's stream, or read their bytes, lines or text. All of the latter go through the HTTP
response's `iter_bytes`, so that is where the bytes are noted; nothing is read that the caller does not read.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Any

import orjson

from payi_otel._guard import guard
from payi_otel.instrumentors._invocation import Answer, Invocation
from payi_otel.instrumentors._stream import HIDDEN, StreamReader, Tap, TappedAsyncIterator, TappedIterator, hook_close, tap_iterator
from payi_otel.payload import ContentReader, Ticket

_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class SseTap(Tap):
    """Notes the events in a byte stream of server-sent events, and leaves out the one the caller did not ask for."""

    __slots__ = ("_buffer", "_withhold")

    def __init__(self, invocation: Invocation, reader: StreamReader) -> None:
        super().__init__(invocation, reader)
        self._buffer = b""
        self._withhold = invocation.request.usage_injected

    def pass_on(self, item: Any) -> Any:
        """Bytes pass at once, except where an event may have to be hidden: then whole events pass."""
        shown: list[bytes] = []
        with guard("reading a byte stream"):
            self._buffer += item
            start = 0
            for end in _EVENT_END.finditer(self._buffer):
                event = self._buffer[start : end.end()]
                start = end.end()
                if not self._take(event):
                    shown.append(event)
            self._buffer = self._buffer[start:]
        if not self._withhold:
            return item
        return b"".join(shown) or HIDDEN

    def flush(self) -> Any:
        """The rest of a stream that did not end with an event's end."""
        rest, self._buffer = self._buffer, b""
        if rest:
            self._take(rest)
        return rest if rest and self._withhold else HIDDEN

    def _take(self, event: bytes) -> bool:
        lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
        data = b"\n".join(lines)
        if not data.startswith(b"{"):
            return False
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            return False
        return self._note(value)


class BodyTap(Tap):
    """Collects the bytes of a plain body that the caller reads for himself."""

    __slots__ = ()

    def pass_on(self, item: Any) -> Any:
        """Keeps the bytes and passes them on."""
        self._first_pending = False
        with guard("reading a body"):
            self._reader.take(item)
        return item


class BodyReader:
    """A `StreamReader` of a plain JSON body in pieces."""

    def __init__(self, read_answer: Callable[[Any], Answer], content: Callable[[Invocation, bytes], ContentReader]) -> None:
        self._read_answer, self._content = read_answer, content
        self._pieces: list[bytes] = []
        self.output_seen = False

    def take(self, event: Any) -> bool:
        """Keeps one piece."""
        self._pieces.append(event)
        return False

    def is_complete(self) -> bool:
        """True when what has come is one whole JSON value."""
        return self._value() is not None

    def answer(self) -> Answer:
        """Reads the body; an empty answer where it did not come whole."""
        value = self._value()
        return Answer() if value is None else self._read_answer(value)

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the body."""
        return self._content(invocation, b"".join(self._pieces))

    def _value(self) -> Any:
        try:
            return orjson.loads(b"".join(self._pieces))
        except orjson.JSONDecodeError:
            return None


class _Consumer:
    """Who reads a raw response: its bytes until it is parsed into the SDK's stream, that stream from then on."""

    def __init__(self, tap: Tap) -> None:
        self.tap = tap
        self.is_stream = False

    def closed(self) -> Ticket | None:
        """The response was closed."""
        return self.tap.closed()

    def abandon(self) -> None:
        """The response was collected."""
        self.tap.abandon()


def tap_raw(raw: Any, byte_tap: Tap, stream_tap: Tap | None, *, is_async: bool) -> None:
    """Instruments a raw response in place: `byte_tap` for its bytes, `stream_tap` for the stream it may be parsed into."""
    response, consumer = raw.http_response, _Consumer(byte_tap)
    _hook_bytes(response, consumer, is_async=is_async)
    hook_close(response, consumer, is_async=is_async)
    if stream_tap is not None:
        _hook_parse(raw, consumer, stream_tap, is_async=is_async)


def _hook_bytes(response: Any, consumer: _Consumer, *, is_async: bool) -> None:
    name = "aiter_bytes" if is_async else "iter_bytes"
    original, owner = getattr(type(response), name), weakref.ref(response)
    iterator = TappedAsyncIterator if is_async else TappedIterator

    def iter_bytes(chunk_size: int | None = None) -> Any:
        inner = original(owner(), chunk_size)
        return inner if consumer.is_stream else iterator(inner, consumer.tap)

    setattr(response, name, iter_bytes)


def _hook_parse(raw: Any, consumer: _Consumer, stream_tap: Tap, *, is_async: bool) -> None:
    original, owner = type(raw).parse, weakref.ref(raw)

    def adopt(result: Any) -> Any:
        if hasattr(result, "_iterator") and not consumer.is_stream:
            with guard("instrumenting a parsed stream"):
                consumer.tap, consumer.is_stream = stream_tap, True
                tap_iterator(result, stream_tap, is_async=is_async)
        return result

    def parse(*args: Any, **kwargs: Any) -> Any:
        result = original(owner(), *args, **kwargs)
        return _adopt_later(result, adopt) if hasattr(result, "__await__") else adopt(result)

    raw.parse = parse


async def _adopt_later(coming: Any, adopt: Callable[[Any], Any]) -> Any:
    return adopt(await coming)
