"""One file of the spool: records one after the other, each with its checksum and a byte that says whether it is done.

    PAYISEG1  record  record  ...          record = magic, length, CRC-32 of the content, state, content

A record is done when its state byte is overwritten: that needs no further space, so that a full disk can be emptied, and no second file
that could disagree with this one.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from payi_otel.delivery._files import Files

HEADER: Final = b"PAYISEG1"
UNFINISHED: Final = ".new"
_MAGIC: Final = b"\xf5PK\x01"
"""0xf5 stands in no UTF-8 text, and so in no record's content."""
_HEAD: Final = struct.Struct(">4sIIB")
_STATE_OFFSET: Final = _HEAD.size - 1
_OPEN: Final = 0x00
_DONE: Final = 0xFF
"""All eight bits differ from those of an open one, and anything between counts as open: a flipped bit loses no packet."""


class Record:
    """Where one packet is on disk."""

    __slots__ = ("is_done", "length", "offset", "segment")

    def __init__(self, segment: Segment, offset: int, length: int) -> None:
        self.segment: Segment = segment
        self.offset: int = offset
        self.length: int = length
        self.is_done: bool = False


class Segment:
    """An open, locked segment; it removes itself when it is sealed and all its records are done.

    Its numbers, and the closing of its file, are guarded by the spool's one lock; reading and writing are not, and a file that is in use is
    closed by its last user: another file of the process could be given the same descriptor.
    """

    def __init__(self, files: Files, path: str, fd: int, size: int, lock: threading.Lock, *, is_sealed: bool = False) -> None:
        self._files = files
        self.path: str = path
        self.fd: int = fd
        self._lock = lock
        self.size: int = size
        """Where the next record goes; what stands behind is none."""
        self.synced: int = 0
        """How much of it has been forced to disk."""
        self.open_count: int = 0
        self._users = 0
        self._is_sealed = is_sealed
        self._is_closing = False
        self.is_closed: bool = False

    def append(self, contents: Sequence[bytes]) -> list[Record]:
        """Writes records, all or none.

        Raises:
            OSError: The disk took none or a part of them; `cut` takes the part back.
        """
        records, parts, end = list[Record](), list[bytes](), self.size
        for content in contents:
            records.append(Record(self, end, len(content)))
            parts += (_HEAD.pack(_MAGIC, len(content), zlib.crc32(content), _OPEN), content)
            end += _HEAD.size + len(content)
        joined = b"".join(parts)
        with self._in_use():
            written = self._files.write(self.fd, self.size, joined)
        if written != len(joined):
            raise OSError(f"only {written} of {len(joined)} bytes were written")
        with self._lock:
            self.size = end
            self.open_count += len(records)
        return records

    def cut(self) -> None:
        """Takes back what a failed write left behind."""
        with self._in_use():
            self._files.truncate(self.fd, self.size)

    def read(self, record: Record) -> bytes | None:
        """A record's content; None when it is damaged."""
        with self._in_use():
            block = self._files.read(self.fd, record.offset, _HEAD.size + record.length)
        found = _parse(block, 0)
        return found[0] if found is not None else None

    def finish(self, record: Record) -> None:
        """Marks a record as done, once."""
        with self._in_use():
            with self._lock:
                if record.is_done:
                    return
                record.is_done = True
                self.open_count -= 1
            self._files.write(self.fd, record.offset + _STATE_OFFSET, bytes((_DONE,)))

    def sync(self) -> None:
        """Forces what has been written so far to disk."""
        size = self.size
        with self._in_use():
            self._files.sync(self.fd)
        self.synced = max(self.synced, size)

    def is_there(self) -> bool:
        """Whether its file is still the one of its name."""
        try:
            with self._in_use():
                return self._files.is_same(self.path, self.fd)
        except OSError:
            return False

    def seal(self) -> None:
        """Nothing is appended any more."""
        with self._in_use():
            self._is_sealed = True

    def close(self) -> None:
        """Gives the segment up as it is, to whoever takes it next."""
        with self._lock:
            self._is_closing = True
        self._close_when_idle()

    def close_in_child(self) -> None:
        """In a forked child: the file, and its lock, are the parent's."""
        if not self.is_closed:
            self.is_closed = self._is_closing = True
            self._files.close(self.fd)

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._lock:
            if self._is_closing:
                raise OSError("the segment is closed")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._is_closing = self._is_closing or (self._is_sealed and not self.open_count and not self._users)
            self._close_when_idle()

    def _close_when_idle(self) -> None:
        with self._lock:
            if self._users or self.is_closed or not self._is_closing:
                return
            self._users += 1  # one closes it
        try:
            if not self.open_count:
                self._files.remove(self.path)  # while it is locked
        finally:
            with self._lock:
                self.is_closed = True
                self._files.close(self.fd)


def create(files: Files, path: str, lock: threading.Lock) -> Segment:
    """A new segment; the caller holds the lock. It gets its name only when its file is locked: nobody may think that its owner is gone.

    Raises:
        OSError: It cannot be made.
    """
    unfinished = path + UNFINISHED
    fd = files.create(unfinished)
    try:
        # Whoever looks for files of processes that are gone may hold it for a moment, and then finds it begun and removes it.
        if files.write(fd, 0, HEADER) != len(HEADER) or not files.lock(fd):
            raise OSError("the segment could not be begun")
        files.sync(fd)
        files.rename(unfinished, path)
    except BaseException:
        files.close(fd)
        with suppress(OSError):
            files.remove(unfinished)
        raise
    return Segment(files, path, fd, len(HEADER), lock)


class Content:
    """What a segment of a process that is gone holds."""

    def __init__(self, content: bytes) -> None:
        self.open: list[tuple[int, int]] = []
        """Offset and length of the content of each record that is not done."""
        self.damaged: list[bytes] = []
        """What is no record, piece by piece."""
        self.size = len(content)
        self.is_segment = content.startswith(HEADER)
        if self.is_segment:
            self._read(content)

    def _read(self, content: bytes) -> None:
        end = len(HEADER)
        for offset, length, is_open in _find_records(content):
            if offset > end:
                self.damaged.append(content[end:offset])
            if is_open:
                self.open.append((offset, length))
            end = offset + _HEAD.size + length
        if content[end:].strip(b"\0"):  # a power cut may leave a tail of zeros, which was never anything
            self.damaged.append(content[end:])


def adopt(files: Files, path: str, fd: int, content: Content, lock: threading.Lock) -> tuple[Segment, list[Record]]:
    """A dead process's segment as one of ours: nothing is added to it. Its file is locked already."""
    segment = Segment(files, path, fd, content.size, lock, is_sealed=True)
    records = [Record(segment, offset, length) for offset, length in content.open]
    segment.open_count = len(records)
    return segment, records


def _find_records(content: bytes) -> Iterator[tuple[int, int, bool]]:
    """Offset, length and whether it is open, of each whole record; what is damaged is passed over up to the next magic."""
    offset = len(HEADER)
    while offset < len(content):
        found = _parse(content, offset)
        if found is not None:
            yield offset, len(found[0]), found[1]
            offset += _HEAD.size + len(found[0])
        else:
            offset = content.find(_MAGIC, offset + 1)
            if offset < 0:
                return


def _parse(content: bytes, offset: int) -> tuple[bytes, bool] | None:
    """A record's content and whether it is open; None when it is none, or damaged."""
    if offset + _HEAD.size > len(content):
        return None
    magic, length, checksum, state = _HEAD.unpack_from(content, offset)
    start = offset + _HEAD.size
    if magic != _MAGIC or start + length > len(content):
        return None
    record = content[start : start + length]
    return (record, state != _DONE) if zlib.crc32(record) == checksum else None
