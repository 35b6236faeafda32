"""What stands in for the iterators that streams read from: it tells their tap what passes, and whether they are being read."""

from __future__ import annotations

from collections.abc import Generator
from types import GeneratorType
from typing import Any

from payi_otel.instrumentors._stream import Tap, reader_codes, settle, settle_async


class Unread:
    """Held by a generator that may never be started, and then dies without a word."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap

    def __del__(self) -> None:
        self._tap.abandon()


def _tapped(inner: Generator[Any], tap: Tap, _: Unread) -> Generator[Any]:
    """Stands in for a generator, as one: resuming it takes a quarter of the time of a `__next__` of ours."""
    readers = tap.reading
    while True:
        readers.append(None)
        try:
            item = next(inner)
            is_hidden = tap.note(item)
        except StopIteration:
            break
        except BaseException as error:
            ticket = tap.fail(error)
            settle(ticket if isinstance(error, Exception) else None)
            raise
        finally:
            readers.pop()
        if not is_hidden:
            tap.show(item)
            yield item
    settle(tap.end("completed"))


class _Tapped:
    """What stands in for an iterator: several threads or tasks may read it at once, and its other attributes are the iterator's."""

    def __init__(self, inner: Any, tap: Tap) -> None:
        self._inner, self._tap = inner, tap

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_inner"], name)

    def __del__(self) -> None:
        tap = self.__dict__.get("_tap")
        if tap is not None:
            tap.abandon()


class TappedIterator(_Tapped):
    """Stands in for an iterator that is no generator."""

    def __iter__(self) -> TappedIterator:
        return self

    def __next__(self) -> Any:
        tap = self._tap
        readers = tap.reading
        while True:
            readers.append(None)
            try:
                item = self._inner.__next__()
                is_hidden = tap.note(item)
            except StopIteration:
                tap.is_drained = True
                raise
            except BaseException as error:
                if not _is_read_elsewhere(error):
                    ticket = tap.fail(error)
                    settle(ticket if isinstance(error, Exception) else None)
                raise
            finally:
                readers.pop()
                if tap.is_drained and not readers:  # whoever leaves last ends the call
                    settle(tap.end("completed"))
            if not is_hidden:
                tap.show(item)
                return item


class TappedAsyncIterator(_Tapped):
    """The same for an async stream."""

    def __aiter__(self) -> TappedAsyncIterator:
        return self

    async def __anext__(self) -> Any:
        tap = self._tap
        readers = tap.reading
        while True:
            readers.append(None)
            try:
                item = await self._inner.__anext__()
                is_hidden = tap.note(item)
            except StopAsyncIteration:
                tap.is_drained = True
                raise
            except BaseException as error:
                if not _is_read_elsewhere(error):
                    ticket = tap.fail(error)
                    await settle_async(ticket if isinstance(error, Exception) else None)
                raise
            finally:
                readers.pop()
                if tap.is_drained and not readers:
                    await settle_async(tap.end("completed"))
            if not is_hidden:
                tap.show(item)
                return item


def _is_read_elsewhere(error: BaseException) -> bool:
    """Whether a generator says, itself and not in its code, that it is just being read: that is no end of the stream."""
    trace = error.__traceback__
    return isinstance(error, ValueError | RuntimeError) and trace is not None and trace.tb_next is None and " already " in str(error)


reader_codes.update((_tapped.__code__, TappedIterator.__next__.__code__, TappedAsyncIterator.__anext__.__code__))


def tap_iterator(stream: Any, tap: Tap, *, is_async: bool) -> None:
    """Puts the tap between a stream and the iterator it reads from (`_iterator`, as the SDKs made by Stainless have it)."""
    inner = stream._iterator
    code = getattr(inner, "ag_code" if is_async else "gi_code", None)
    if code is _tapped.__code__ or isinstance(inner, _Tapped):
        return
    if code is not None:
        reader_codes.add(code)
    if is_async:
        stream._iterator = TappedAsyncIterator(inner, tap)
    else:
        stream._iterator = _tapped(inner, tap, Unread(tap)) if isinstance(inner, GeneratorType) else TappedIterator(inner, tap)
