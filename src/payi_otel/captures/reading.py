"""`Capture`: the packets of one offline file, one at a time, in memory that does not grow with the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import ijson  # type: ignore[import-untyped]  # it has no types
import orjson

_MAX_LINE_BYTES: Final = 256 * 1024 * 1024
"""A longer one is no packet."""
_MAX_HEAD_BYTES: Final = 64 * 1024
_BLANK: Final = b" \t\r\n"
_CUT: Final = "it ends in the middle of a packet"


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a file could not be read any further."""

    offset: int
    """In bytes; in an array that is not one packet a line, of the piece that it is in."""
    why: str

    @property
    def is_cut(self) -> bool:
        """Whether it only ends too early, as a file does that is being written."""
        return self.why == _CUT

    def __str__(self) -> str:
        return f"at byte {self.offset}: {self.why}"


class Capture:
    """A file of packets: an array with one packet a line (ours), an array in any other layout (the published SDK's), or JSON lines.

    It is read as far as it goes, also while it is written.

    Attributes:
        position: Behind the last packet that was read, in bytes; in an array of another layout, of what was read ahead.
        broken: Where and why it could not be read further; None: it was read whole.
        is_by_line: Whether it has one packet a line, so that `records` may go on behind a `position`.
        identity: The device and the number of the file that was opened last, which another one of that name does not have.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens nothing yet."""
        self.path = Path(path)
        self.position = 0
        self.broken: Broken | None = None
        self.is_by_line = True
        self.identity: tuple[int, int] | None = None

    def records(self, start: int = 0) -> Iterator[dict[str, Any]]:
        """Each packet, in the file's order.

        Args:
            start: An earlier `position` to go on behind; only where there is one packet a line.

        Raises:
            OSError: It cannot be opened or read.
        """
        self.position, self.broken = start, None
        with open(self.path, "rb") as file:
            self.identity = to_identity(os.fstat(file.fileno()))
            self.is_by_line = start > 0 or _is_by_line(file)
            if not self.is_by_line:
                yield from self._read_array(file)
            else:
                file.seek(start)
                yield from self._read_lines(file)

    def _read_lines(self, file: IO[bytes]) -> Iterator[dict[str, Any]]:
        offset = file.tell()
        while line := file.readline(_MAX_LINE_BYTES):
            text = line.strip(_BLANK + b",")
            if text.startswith(b"]"):  # the end; or the old one, read just before a packet was written over it, and the packet behind it
                text = text[1:].lstrip(_BLANK)
            if text and text != b"[":
                record = self._parse(text, offset, is_whole=line.endswith(b"\n"))
                if record is None:
                    return
                self.position = offset + line.index(text) + len(text)
                yield record
            offset += len(line)

    def _parse(self, text: bytes, offset: int, *, is_whole: bool) -> dict[str, Any] | None:
        try:
            record = orjson.loads(text)
        except orjson.JSONDecodeError:
            self.broken = Broken(offset, "this line is no packet" if is_whole else _CUT)
            return None
        if not isinstance(record, dict):
            self.broken = Broken(offset, "this line is no packet")
            return None
        return record

    def _read_array(self, file: IO[bytes]) -> Iterator[dict[str, Any]]:
        file.seek(0)
        if not file.read(_MAX_HEAD_BYTES).lstrip(_BLANK).startswith(b"["):
            self.broken = Broken(0, "it is no JSON array of packets")
            return
        file.seek(0)
        try:
            for item in ijson.items(file, "item", use_float=True):
                if not isinstance(item, dict):
                    self.broken = Broken(self.position, "the array holds something else than packets")
                    return
                self.position = file.tell()
                yield item
        except ijson.JSONError:
            self.broken = Broken(self.position, _CUT)


def to_identity(found: os.stat_result) -> tuple[int, int]:
    """What tells a file from another one that takes its name."""
    return found.st_dev, found.st_ino


def _is_by_line(file: IO[bytes]) -> bool:
    """Whether the first packet is a line of its own; so it is in an empty file. Only its head is read: it may be as long as the file."""
    head = file.read(_MAX_HEAD_BYTES).lstrip(_BLANK)
    if head.startswith(b"["):
        line, newline, rest = head[1:].partition(b"\n")
        if line.strip(_BLANK) or not newline:
            return False
        head = rest.lstrip(_BLANK)
    return head[:1] in (b"", b"]") or (head.startswith(b"{") and head[1:].lstrip(b" \t\r")[:1] != b"\n")
