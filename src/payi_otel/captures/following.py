"""`Follower`: a capture while another process writes it, packet by packet as they come."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from payi_otel.captures.reading import MAX_LINE_BYTES, Broken, Capture, to_identity

Event = dict[str, Any] | str
"""A packet, or a text that says what became of the file."""
_MARK_BYTES: Final = 4096
"""So much of what was read is compared before it is gone on with."""
_MAX_SAID: Final = 10
"""More broken lines are counted only."""


class Follower:
    """Reads a file on from where it came to, as often as it is looked at; in memory that does not grow with it.

    A packet that is written half is left for the next look. A file that is replaced, truncated or written anew is read from its
    beginning. A line that is no packet is said, counted and left out.

    Attributes:
        broken: How many lines were no packets.
        is_caught_up: Whether all that was there at the first look has been read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens nothing yet."""
        self._path, self._capture = Path(path), Capture(path)
        self._is_missing = False
        self._begin()
        self.broken = 0
        self.is_caught_up = False

    def _begin(self) -> None:
        self._capture = Capture(self._path)
        self._identity: tuple[int, int] | None = None
        self._stamp: tuple[int, int] | None = None
        """Size and time of the last change, when it was last read."""
        self._position = self._count = 0
        self._mark: tuple[int, bytes] = (0, b"")
        """Something of what was read, and where it stands: there still, while the file is only added to."""
        self._is_given_up = False

    def look(self) -> Iterator[Event]:
        """What has come since the last look.

        Raises:
            OSError: It is there and cannot be read.
        """
        try:
            found = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            if not self._is_missing:
                yield f"{self._path} is not there{' any more' if self._identity else ' yet'}: waiting for it"
            self._is_missing = True
        else:
            if not stat.S_ISREG(found.st_mode):
                raise OSError(None, "it is no regular file")
            yield from self._look_at(found)
        self.is_caught_up = True

    def _look_at(self, found: os.stat_result) -> Iterator[Event]:
        self._is_missing = False
        stamp = found.st_size, found.st_mtime_ns
        why = self._find_break(found) if self._identity is not None else ""
        if why:
            yield f"{self._path} {why}: it is read from its beginning, and what was counted stays counted"
            self._begin()
        if stamp != self._stamp and not self._is_given_up:
            self._identity, self._stamp = to_identity(found), stamp
            try:
                yield from self._read()
                self._remember(found.st_size)
            except FileNotFoundError:  # gone since; the next look says so
                self._stamp = None

    def _find_break(self, found: os.stat_result) -> str:
        """Why it cannot be gone on with; empty where it can."""
        least = self._position if self._capture.is_by_line or self._stamp is None else self._stamp[0]
        if to_identity(found) != self._identity:
            return "was replaced"
        if found.st_size < least:
            return "was truncated"
        if (found.st_size, found.st_mtime_ns) == self._stamp:
            return ""
        offset, content = self._mark
        return "" if self._read_at(offset, len(content)) in (content, None) else "was written anew"

    def _remember(self, size: int) -> None:
        """Of lines the end of what was read, of another layout its beginning: a closing bracket moves."""
        if self._capture.is_by_line:
            offset = max(self._position - _MARK_BYTES, 0)
            length = self._position - offset
        else:
            offset, length = 0, min(_MARK_BYTES, size // 2)
        self._mark = offset, self._read_at(offset, length) or b""

    def _read_at(self, offset: int, length: int) -> bytes | None:
        """None where it is gone."""
        try:
            with open(self._path, "rb") as file:
                file.seek(offset)
                return file.read(length)
        except FileNotFoundError:
            return None

    def _read(self) -> Iterator[Event]:
        while True:
            yield from self._read_packets()
            broken = self._capture.broken
            if self._capture.identity != self._identity or broken is None or broken.is_cut:
                return
            if not self._capture.is_by_line:
                self._is_given_up = True
                yield from self._complain(broken, "it is watched for another one of that name")
                return
            end = self._find_line_end(broken.offset)
            if end is None:
                return
            self._position = end
            yield from self._complain(broken, "it is left out")

    def _read_packets(self) -> Iterator[Event]:
        """From where it came to; in an array of another layout, past as many packets as have been read."""
        by_line = self._capture.is_by_line
        records = self._capture.records(self._position if by_line else 0)
        for record in islice(records, 0 if by_line else self._count, None):
            if self._capture.identity != self._identity:  # replaced since it was looked at: the next look says so
                return
            self._position = self._capture.position
            self._count += 1
            yield record

    def _find_line_end(self, offset: int) -> int | None:
        """None where it has none yet."""
        with open(self._path, "rb") as file:
            file.seek(offset)
            line = file.readline(MAX_LINE_BYTES)
        return offset + len(line) if line.endswith(b"\n") else None

    def _complain(self, broken: Broken, what: str) -> Iterator[str]:
        self.broken += 1
        if self.broken <= _MAX_SAID:
            more = "; more of them are counted only" if self.broken == _MAX_SAID else ""
            yield f"{self._path} is broken {broken}; {what}{more}"
