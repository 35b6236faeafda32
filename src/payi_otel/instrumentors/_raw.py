"""HTTP responses that are still to be read: under a stream, `with_raw_response` of one, `with_streaming_response` of anything.

The caller may read them through the SDK's stream, or read their bytes, lines or text. All of the latter go through the HTTP
response's `iter_bytes`, so that is where the bytes are noted; nothing is read that the caller does not read.
"""

from __future__ import annotations

import copy
import functools
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

from payi_otel._guard import guard
from payi_otel._json import read_json
from payi_otel.instrumentors._hooks import TapHook, hook_close
from payi_otel.instrumentors._invocation import Answer, Invocation
from payi_otel.instrumentors._iterators import tap_iterator
from payi_otel.instrumentors._results import attach
from payi_otel.instrumentors._stream import Tap, reader_codes, settle, settle_async
from payi_otel.payload import ContentReader

_EVENT_END = re.compile(rb"\n\r?\n|\r\r")
_PING = re.compile(r"[\r\n]*event: ?ping[\r\n]")
"""An event without content, which keeps a connection alive: SDKs give it to nobody."""
_PING_BYTES = re.compile(_PING.pattern.encode())
_MAX_END = 3
"""Bytes of the longest end of an event that may come in two pieces."""


class Sieve(Protocol):
    """Notes the bytes of a body, and holds some back."""

    withholds: bool
    """False: bytes pass as they come."""

    def pass_on(self, piece: bytes) -> bytes:
        """Notes a piece; what the caller gets of it now."""
        ...

    def flush(self) -> bytes:
        """What was held back and is due to the caller at the end."""
        ...


class SseSieve:
    """Notes the events among the bytes of server-sent events, and leaves out the one the caller did not ask for."""

    def __init__(self, tap: Tap, *, withholds: bool) -> None:
        self._tap, self.withholds = tap, withholds
        self._buffer = bytearray()
        self._scanned = 0

    def pass_on(self, piece: bytes) -> bytes:
        """Where an event may have to be hidden, whole events pass."""
        self._tap.keep(piece)
        buffer, start = self._buffer, 0
        buffer += piece
        shown: list[bytes] = []
        for end in _EVENT_END.finditer(buffer, self._scanned):
            event = bytes(buffer[start : end.end()])
            start = end.end()
            if not self._take(event):
                shown.append(event)
        if start:
            del buffer[:start]
        self._scanned = max(0, len(buffer) - _MAX_END)
        return b"".join(shown)

    def flush(self) -> bytes:
        """The rest of a stream that did not end with an event's end."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return b"" if rest and self._take(rest) else rest

    def _take(self, event: bytes) -> bool:
        value = _value_of(event)
        return value is not None and self._tap.note(value)


def read_events(data: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of recorded server-sent events, one an event."""
    for event in _EVENT_END.split(data):
        value = _value_of(event)
        if value is not None:
            yield value


def read_texts(data: bytes) -> list[str] | None:
    """The same as texts, none of them read; None where one of them is not plain text in one line."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        if b"\r" in data:
            return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return _usual_texts(text) or _other_texts(text)


def _usual_texts(text: str) -> list[str]:
    """Those of a stream of nothing but whole events of one line each, as OpenAI's are; [] where it is another one."""
    text = text.removesuffix("data: [DONE]\n\n")
    if not (text.startswith("data: {") and text.endswith("}\n\n")):
        return []
    texts = text[6:-2].split("\n\ndata: ")
    is_usual = len(texts) == text.count("}\n\ndata: {") + 1 and "\n" not in "".join(texts)  # a letter is counted slowly, and found fast
    return texts if is_usual else []


def _other_texts(text: str) -> list[str] | None:
    texts: list[str] = []
    for event in text.split("\n\n"):
        if event.startswith("data: {") and event.endswith("}") and "\n" not in event:  # the usual one
            texts.append(event[6:])
            continue
        lines = [line[5:].strip() for line in event.split("\n") if line.startswith("data:")]
        if lines and lines[0].startswith("{") and not _PING.match(event):
            if len(lines) > 1 or not lines[0].endswith("}"):
                return None
            texts += lines
    return texts


def _value_of(event: bytes) -> dict[str, Any] | None:
    data = b"\n".join([line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")])
    if not data.startswith(b"{") or _PING_BYTES.match(event):
        return None
    try:
        value: dict[str, Any] = read_json(data)
    except ValueError:
        return None
    return value


class BodySieve:
    """Collects the bytes of a plain body that the caller reads for himself."""

    withholds = False

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def pass_on(self, piece: bytes) -> bytes:
        """Keeps the piece."""
        self._tap.note(piece)
        return piece

    def flush(self) -> bytes:
        """Nothing is held back."""
        return b""


class BodyReader:
    """A `StreamReader` of a plain JSON body in pieces."""

    def __init__(self, read_answer: Callable[[Any], Answer], content: Callable[[Invocation, bytes], ContentReader]) -> None:
        self._read_answer, self._content = read_answer, content
        self.pieces: list[bytes] = []
        self.output_seen = False

    def take(self, event: Any) -> bool:
        """Keeps one piece."""
        self.pieces.append(event)
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
        return self._content(invocation, b"".join(self.pieces))

    def _value(self) -> Any:
        try:
            return read_json(b"".join(self.pieces))
        except ValueError:
            return None


class _Cutter:
    """Cuts what passes a sieve into pieces of the size the caller asked for."""

    def __init__(self, size: int | None) -> None:
        self._size, self._buffer = size, bytearray()

    def cut(self, piece: bytes) -> list[bytes]:
        """The whole pieces there are now."""
        if self._size is None:
            return [piece] if piece else []
        self._buffer += piece
        size, whole = self._size, len(self._buffer) // self._size * self._size
        pieces = [bytes(self._buffer[start : start + size]) for start in range(0, whole, size)]
        del self._buffer[:whole]
        return pieces

    def rest(self) -> list[bytes]:
        """The last piece."""
        return [bytes(self._buffer)] if self._buffer else []


class _Passage:
    """What the sync and the async way through a sieve share: which pieces the caller gets."""

    def __init__(self, sieve: Sieve, chunk_size: int | None) -> None:
        self._sieve, self._cutter = sieve, _Cutter(chunk_size)

    def pieces(self, piece: bytes) -> list[bytes]:
        with guard("reading a byte stream"):
            shown = self._sieve.pass_on(piece)
            return self._cutter.cut(shown) if self._sieve.withholds else [piece]
        return [piece]

    def held_back(self) -> list[bytes]:
        with guard("ending a byte stream"):
            rest = self._sieve.flush()
            return self._cutter.cut(rest) if self._sieve.withholds else []
        return []

    def last(self) -> list[bytes]:
        return [*self.held_back(), *self._cutter.rest()]


def _read(inner: Any, tap: Tap, passage: _Passage) -> Iterator[bytes]:
    while True:
        try:
            tap.reading.append(None)
            try:
                piece = next(inner)
            finally:
                tap.reading.pop()
        except StopIteration:
            break
        except BaseException as error:
            rest = passage.held_back()
            ticket = tap.fail(error)
            if isinstance(error, Exception):
                settle(ticket)
                yield from rest
            raise
        yield from passage.pieces(piece)
    rest = passage.last()
    settle(tap.end("completed"))
    yield from rest


async def _read_async(inner: Any, tap: Tap, passage: _Passage) -> AsyncIterator[bytes]:
    while True:
        try:
            tap.reading.append(None)
            try:
                piece = await inner.__anext__()
            finally:
                tap.reading.pop()
        except StopAsyncIteration:
            break
        except BaseException as error:
            rest = passage.held_back()
            ticket = tap.fail(error)
            if isinstance(error, Exception):
                await settle_async(ticket)
                for shown in rest:
                    yield shown
            raise
        for shown in passage.pieces(piece):
            yield shown
    rest = passage.last()
    await settle_async(tap.end("completed"))
    for shown in rest:
        yield shown


def _record(inner: Any, tap: Tap) -> Iterator[bytes]:
    """What the SDK's stream reads: its bytes are the record, and its events need not be kept."""
    for piece in inner:
        tap.keep(piece)
        yield piece


async def _record_async(inner: Any, tap: Tap) -> AsyncIterator[bytes]:
    async for piece in inner:
        tap.keep(piece)
        yield piece


reader_codes.update((_read.__code__, _read_async.__code__))


class _ReadHook(TapHook):
    """Replaces `iter_bytes` or `iter_raw`, of which the first calls the second, and an SDK's stream the first."""

    def __init__(
        self, response: Any, name: str, tap: Tap, sieve: Sieve, read: Callable[..., Any], record: Callable[..., Any] | None = None
    ) -> None:
        super().__init__(response, name, tap)
        self._sieve, self._read, self._record = sieve, read, record

    def __call__(self, chunk_size: int | None = None) -> Any:
        tap, sieve = self._tap, self._sieve
        if tap.reading or not tap.is_open:
            inner = self.original(chunk_size)
            return self._record(inner, tap) if tap.reading and self._record is not None else inner
        own_size = chunk_size if sieve.withholds else None
        return self._read(self.original(None if sieve.withholds else chunk_size), tap, _Passage(sieve, own_size))


def tap_response(response: Any, tap: Tap, sieve: Sieve, *, is_async: bool) -> None:
    """Instruments an HTTP response in place."""
    prefix, read, record = ("a", _read_async, _record_async) if is_async else ("", _read, _record)
    _ReadHook(response, prefix + "iter_bytes", tap, sieve, read, record)
    if response.headers.get("content-encoding") in (None, "identity"):  # else these bytes can be neither read nor left out
        _ReadHook(response, prefix + "iter_raw", tap, sieve, read)
    hook_close(response, tap, is_async=is_async)


def tap_raw(raw: Any, tap: Tap, *, is_async: bool) -> None:
    """Instruments the SDK's stream that a raw response may be parsed into."""
    # A twin, with the same HTTP response and the same cache of what was parsed: a reference to the raw response itself would be
    # a cycle, and with a weak one nothing is left to parse in `with_raw_response.create(...).parse()`.
    twin = copy.copy(raw)
    parse = twin.parse

    def adopt(result: Any) -> Any:
        if hasattr(result, "_iterator"):
            with guard("instrumenting a parsed stream"):
                tap_iterator(result, tap, is_async=is_async)
                attach(result, tap.ticket)
        return result

    @functools.wraps(parse)
    def parse_now(*args: Any, **kwargs: Any) -> Any:
        return adopt(parse(*args, **kwargs))

    @functools.wraps(parse)
    async def parse_later(*args: Any, **kwargs: Any) -> Any:
        return adopt(await parse(*args, **kwargs))

    raw.parse = parse_later if inspect.iscoroutinefunction(parse) else parse_now
