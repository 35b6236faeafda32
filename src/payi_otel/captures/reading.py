"""`Capture`: the packets of one offline file, one at a time, in memory that does not grow with the file."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from payi_otel._json import read_json

MAX_LINE_BYTES: Final = 256 * 1024 * 1024
"""A longer one is no packet."""
_MAX_HEAD_BYTES: Final = 64 * 1024
"""Of a file's beginning, by which its layout is told."""
_MAX_READ_BYTES: Final = 1024 * 1024
"""At once, of a layout that is not one packet a line."""
_BLANK: Final = b" \t\r\n"
_MARK: Final = b"\xef\xbb\xbf"
"""With which some programs begin UTF-8."""
_CUT: Final = "it ends in the middle of a packet"
_OTHER: Final = "the array holds something else than packets"
_ENCODINGS: Final = {
    b"\x1f\x8b": "it is compressed: unpack it first (gunzip)",
    b"\xff\xfe": "it is UTF-16: save it as UTF-8 first",
    b"\xfe\xff": "it is UTF-16: save it as UTF-8 first",
}
"""What is no text of ours, by its first bytes."""
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\]]', re.DOTALL)
"""A string, a bracket, or the begin of a string whose end is not read yet."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a file could not be read any further."""

    offset: int
    """In bytes."""
    why: str

    @property
    def is_cut(self) -> bool:
        """Whether it only ends too early, as a file does that is being written."""
        return self.why == _CUT

    def __str__(self) -> str:
        return f"at byte {self.offset}: {self.why}"


class Capture:
    """A file of packets: an array with one packet a line (ours), JSON lines, or any other layout (the published SDK's).

    It is read as far as it goes, also while it is written.

    Attributes:
        position: Behind the last packet that was read, in bytes.
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
            if not file.seekable():
                raise OSError(errno.ESPIPE, "it is a pipe: save what comes out of it first", str(self.path))
            head = file.read(_MAX_HEAD_BYTES)
            begin = len(_MARK) if head.startswith(_MARK) else 0
            self.is_by_line = start > 0 or _is_by_line(head[begin:])
            if head[:2] in _ENCODINGS:
                self.broken = Broken(0, _ENCODINGS[head[:2]])
            elif self.is_by_line:
                file.seek(start or begin)
                yield from self._read_lines(file)
            elif head[begin:].lstrip(_BLANK)[:1] not in (b"[", b"{"):
                self.broken = Broken(0, "it holds no JSON packets")
            else:
                file.seek(begin)
                yield from self._read_any(file, level=int(head[begin:].lstrip(_BLANK).startswith(b"[")))

    def _read_lines(self, file: IO[bytes]) -> Iterator[dict[str, Any]]:
        offset = file.tell()
        while line := file.readline(MAX_LINE_BYTES):
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
            record = read_json(text)
        except ValueError:
            self.broken = Broken(offset, "what stands there is no packet" if is_whole else _CUT)
            return None
        if not isinstance(record, dict):
            self.broken = Broken(offset, "what stands there is no packet")
            return None
        return record

    def _read_any(self, file: IO[bytes], level: int) -> Iterator[dict[str, Any]]:
        """Packets wherever they begin and end: only brackets and strings are looked at for that.

        Args:
            file: At its begin.
            level: How many brackets a packet stands in.
        """
        buffer, base, scanned, depth = b"", file.tell(), 0, 0
        begin, after = -1, 0  # of the packet that is open; behind what was read before it
        while chunk := file.read(max(_MAX_READ_BYTES, len(buffer))):  # so that a long packet is looked at a few times only
            buffer += chunk
            for token in _TOKEN.finditer(buffer, scanned):
                scanned, kind = token.end(), token.group()
                if kind == b'"':
                    scanned = token.start()
                    break
                if depth == level and kind != b"]" and buffer[after : token.start()].strip(_BLANK + b",") + kind != b"{":
                    self.broken = Broken(base + after, _OTHER)
                    return
                if kind in (b"{", b"["):
                    begin = token.start() if depth == level else begin
                    after = token.end() if depth < level else after
                    depth += 1
                elif kind in (b"}", b"]"):
                    depth -= 1
                    if depth == level:
                        record = self._parse(buffer[begin:scanned], base + begin, is_whole=True)
                        if record is None:
                            return
                        self.position, begin, after = base + scanned, -1, scanned
                        yield record
                    elif depth < level:
                        self._check_end(buffer[after : token.start()] + buffer[scanned:] + file.read(_MAX_HEAD_BYTES), base + after)
                        return
            else:
                scanned = len(buffer)
            done = after if begin < 0 else begin
            buffer, base, scanned, begin, after = buffer[done:], base + done, scanned - done, min(begin, 0), 0
            if len(buffer) > MAX_LINE_BYTES:
                break
        if depth or buffer.strip(_BLANK):
            self.broken = Broken(base, _CUT)

    def _check_end(self, rest: bytes, offset: int) -> None:
        if rest.strip(_BLANK + b","):
            self.broken = Broken(offset, _OTHER)


def to_identity(found: os.stat_result) -> tuple[int, int]:
    """What tells a file from another one that takes its name."""
    return found.st_dev, found.st_ino


def _is_by_line(head: bytes) -> bool:
    """Whether the first packet is a line of its own; so it is in an empty file. A head is enough: the line may be as long as the file."""
    head = head.lstrip(_BLANK)
    if head.startswith(b"["):
        line, newline, rest = head[1:].partition(b"\n")
        if line.strip(_BLANK) or not newline:
            return False
        head = rest.lstrip(_BLANK)
    return head[:1] in (b"", b"]") or (head.startswith(b"{") and head[1:].lstrip(b" \t\r")[:1] != b"\n")
