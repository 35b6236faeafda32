"""Work on large values in slices: a single step over ten megabytes would keep the interpreter, and with it every event loop, to itself."""

from __future__ import annotations

import codecs
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

SLICE: Final = 256 * 1024
"""Bytes or characters of one step: well below a millisecond of anything that is done with them."""
_FEW: Final = 100
"""Bytes for each quotation mark: prose has more, JSON of a stream's events has less."""
_SAMPLES: Final = 4
_SAMPLE: Final = 512
"""Bytes of each."""
_WORD: Final = re.compile(rb'"[^"]*"')
_BREATH_S: Final = 0.0002
"""Long enough that a thread which waits for the interpreter is awake and has it."""


_bell: ContextVar[threading.Lock | None] = ContextVar("payi_background", default=None)
"""A lock that is never free: to wait for it is to sleep."""


@contextmanager
def in_background() -> Iterator[None]:
    """Nobody waits for what this thread does: it lets others go first."""
    bell = threading.Lock()
    bell.acquire()
    token = _bell.set(bell)
    try:
        yield
    finally:
        _bell.reset(token)


def give_way() -> None:
    """Lets other threads run, in a thread that nobody waits for; in any other it does nothing."""
    bell = _bell.get()
    if bell is not None:
        bell.acquire(timeout=_BREATH_S)  # not `time.sleep`, which an application's tests may replace


def slices(length: int) -> Iterator[int]:
    """Where each slice of a value begins; between two of them others run."""
    for start in range(0, length, SLICE):
        if start:
            give_way()
        yield start


class Marks:
    """Some texts that are looked for in bytes."""

    def __init__(self, *marks: bytes) -> None:
        """These: ASCII words in quotation marks, and others."""
        self.all = frozenset(marks)
        self._words = frozenset(mark[1:-1] for mark in self.all if _WORD.fullmatch(mark))
        self._others = tuple(mark for mark in self.all if not _WORD.fullmatch(mark))
        self._texts = tuple(mark.decode("latin-1") for mark in self.all)
        self._overlap = max(map(len, marks), default=1) - 1

    def are_in(self, text: bytes) -> bool:
        """Whether one of them stands in it."""
        if len(text) <= SLICE:
            return self._are_in(text)
        for start in slices(len(text)):  # noqa: SIM110 - it is left in the middle
            if self._are_in(text[start : start + SLICE + self._overlap]):
                return True
        return False

    def _are_in(self, text: bytes) -> bool:
        """Where quotation marks are few, a text is split there: that goes through it once, however many words there are."""
        if self._words and _has_few_quotes(text):
            return not self._words.isdisjoint(text.split(b'"')[1:-1]) or self._are_others_in(text)
        read = text.decode("latin-1")  # `in` takes twice as long in `bytes`
        for mark in self._texts:  # noqa: SIM110 - `any` over a generator costs more than a short text
            if mark in read:
                return True
        return False

    def _are_others_in(self, text: bytes) -> bool:
        return any(text.find(mark) >= 0 for mark in self._others)


def _has_few_quotes(text: bytes) -> bool:
    """By samples from all of it: counting them takes as long as searching for four words. A short text is quickly searched."""
    step = len(text) // _SAMPLES
    if step <= _SAMPLE:
        return False
    counts = [text.count(b'"', start, start + _SAMPLE) for start in range(step // 2, len(text), step)]
    return sum(counts) * _FEW <= _SAMPLES * _SAMPLE


def find(mark: bytes, text: bytes, start: int = 0) -> int:
    """Where a mark stands next, or -1."""
    for offset in slices(len(text) - start):
        low = start + offset
        found = text.find(mark, low, low + SLICE + len(mark) - 1)
        if found >= 0:
            return found
    return -1


def holds_only(characters: bytes, text: str | bytes) -> bool:
    """Whether a text has none but these ASCII characters."""
    for start in slices(len(text)):
        part = text[start : start + SLICE]
        if isinstance(part, str):
            if not part.isascii():
                return False
            part = part.encode()
        if part.translate(None, characters):
            return False
    return True


def decode(data: bytes, max_chars: int | None = None) -> str:
    """The text of UTF-8.

    Args:
        data: All of it is looked at.
        max_chars: A longer text is cut somewhere behind so many characters.

    Raises:
        UnicodeDecodeError: It is none.
    """
    if len(data) <= SLICE:
        return data.decode()
    view, start, chars, parts = memoryview(data), 0, 0, []
    while start < len(data):
        text, used = codecs.utf_8_decode(view[start : start + SLICE], "strict", start + SLICE >= len(data))
        if max_chars is None or chars <= max_chars:
            parts.append(text)
        start, chars = start + used, chars + len(text)
        give_way()
    return "".join(parts)
