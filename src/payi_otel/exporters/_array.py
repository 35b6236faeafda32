"""The offline file's form: one JSON array, one record a line, whole after every append; and how a damaged end is found and mended.

    [            [             [
    ]            {...}         {...},
                 ]             {...}
                               ]

A record holds no raw line feed, so that a line feed before the last `]` marks the array's end and nothing inside a record can.
All functions work on an open file whose lock the caller holds.
"""

from __future__ import annotations

import os
from typing import Final

import orjson

EMPTY: Final = b"[\n]"
BETWEEN: Final = b",\n"
"""What stands between two records."""
_END: Final = b"\n]"
_OURS: Final = (b"[\n{", b"[\n", b"[")
"""How a file of ours begins, however short it was cut."""
_BLANK: Final = b" \t\r\n"
_TAIL_BYTES: Final = 64
_CHUNK_BYTES: Final = 1024 * 1024


class NotAnArrayError(Exception):
    """The file holds something else than a JSON array of records."""


def open_end(fd: int) -> int:
    """Finds where the closing line begins, mending the file's end where a writer was killed in the middle of a record.

    Raises:
        NotAnArrayError: It is not a file of ours, nor any JSON array of objects; nothing was changed.
        OSError: It cannot be read or mended.
    """
    size = os.fstat(fd).st_size
    if size == 0:
        write_all(fd, EMPTY, 0)
        return len(EMPTY) - len(_END)
    tail = read_at(fd, max(0, size - _TAIL_BYTES), _TAIL_BYTES)
    kept = tail.rstrip(_BLANK)
    head = read_at(fd, 0, _TAIL_BYTES)
    if kept.endswith(_END) and head[:1] == b"[" and head[1:].lstrip(_BLANK)[:1] in (b"{", b"]"):
        return size - len(tail) + len(kept) - len(_END)
    return _mend(fd, size)


def append(fd: int, end: int, records: bytes, size: int) -> tuple[int, int]:
    """Writes records over the closing line at `end`.

    Args:
        fd: The open file.
        end: Where its closing line begins.
        records: The JSON of one, or of several with `BETWEEN` between them.
        size: The file's size.

    Returns:
        Its size now, and where its closing line begins.

    Raises:
        OSError: The disk took none or a part of it; the file is as it was.
    """
    joint = b"\n" if end <= 1 else BETWEEN
    content = joint + records + _END
    try:
        write_all(fd, content, end)
    except OSError:
        _restore(fd, end)
        raise
    if size > end + len(content):  # a longer end than ours stood there
        os.ftruncate(fd, end + len(content))
    return end + len(content), end + len(content) - len(_END)


def write_all(fd: int, content: bytes, offset: int) -> None:
    """One write; a full disk may take a part of it without an error, which is one here."""
    if hasattr(os, "pwrite"):
        written = os.pwrite(fd, content, offset)
    else:
        os.lseek(fd, offset, os.SEEK_SET)
        written = os.write(fd, content)
    if written != len(content):
        raise OSError(f"only {written} of {len(content)} bytes were written")


def read_at(fd: int, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset`."""
    if hasattr(os, "pread"):
        return os.pread(fd, size, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, size)


def _restore(fd: int, end: int) -> None:
    try:
        write_all(fd, _END, end)
        os.ftruncate(fd, end + len(_END))
    except OSError:  # the next append finds the damage and mends it
        return


def _mend(fd: int, size: int) -> int:
    """Closes a torn file after its last whole record, or an array that somebody else wrote where it ends."""
    end = _find_last_record(fd, size) if read_at(fd, 0, 3) in _OURS else None
    if end is None:
        end = _find_foreign_end(fd, size)
    write_all(fd, _END, end)
    os.ftruncate(fd, end + len(_END))
    return end


def _find_last_record(fd: int, size: int) -> int | None:
    """Where the last line ends that is a whole record; None when what stands behind it does not look like a torn one of ours."""
    stop = size
    while stop > 1:
        start = _find_line_start(fd, stop)
        line = _read_range(fd, start, stop).rstrip(_BLANK + b",]")  # a record ends in a brace
        if start >= 2 and _is_record(line):
            return start + len(line)
        if start >= 2 and line.strip(b"\0") and not line.startswith(b"{"):
            return None
        stop = start - 1
    return 1


def _find_line_start(fd: int, stop: int) -> int:
    """The offset behind the last line feed before `stop`."""
    high = stop
    while high > 0:
        low = max(0, high - _CHUNK_BYTES)
        found = _read_range(fd, low, high).rfind(b"\n")
        if found >= 0:
            return low + found + 1
        high = low
    return 0


def _find_foreign_end(fd: int, size: int) -> int:
    """Where the closing bracket of any other valid array of objects stands, without the blanks before it."""
    content = _read_range(fd, 0, size)
    try:
        records = orjson.loads(content)
    except ValueError:
        raise NotAnArrayError from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise NotAnArrayError
    return len(content.rstrip(_BLANK)[:-1].rstrip(_BLANK))


def _read_range(fd: int, start: int, stop: int) -> bytes:
    parts: list[bytes] = []
    while start < stop:
        part = read_at(fd, start, min(stop - start, 64 * _CHUNK_BYTES))
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False
