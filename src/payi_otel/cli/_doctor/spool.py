"""What `payi-otel doctor` finds in a spool directory. It reads only, and makes nothing: not even the directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from payi_otel._words import counted
from payi_otel.cli._doctor.check import NOTE, OK, PROBLEM, Check
from payi_otel.delivery._aside import DEAD_LETTERS, QUARANTINE
from payi_otel.delivery._segment import Content
from payi_otel.delivery.spool import MAX_SEGMENT_BYTES

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_READABLE_BY_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_NAME: Final = "spool"


@dataclass(slots=True)
class _Held:
    """What the segments hold, added up."""

    bytes: int = 0
    living: int = 0
    """Packets of processes that run."""
    left: int = 0
    """Packets of processes that are gone."""
    damaged: int = 0
    unreadable: int = 0


def look_at_spool(directory: str | None, max_bytes: int) -> Iterator[Check]:
    """Looks at the directory and all that is in it.

    Args:
        directory: `ingest_retry.spool_directory`.
        max_bytes: `ingest_retry.spool_max_bytes`; 0: no limit.
    """
    if directory is None:
        yield Check(_NAME, OK, "none: packets that wait are lost with the process (ingest_retry.spool_directory)")
        return
    path = Path(os.path.abspath(directory))
    try:
        status = path.stat()
    except OSError as fault:
        yield _missing(path, fault)
        return
    if wrong := list(_wrong_with(path, status)):
        yield from wrong
    elif status.st_mode & _READABLE_BY_OTHERS:
        yield Check(_NAME, NOTE, f"{path}: others may list it; its files are for their owner only", f"chmod 700 {path}")
    else:
        yield Check(_NAME, OK, f"{path}, for its owner only")
    try:
        yield from _contents(path, max_bytes)
    except OSError as fault:
        yield Check(_NAME, PROBLEM, f"{path} cannot be read ({fault.strerror})", "run the doctor as the user whose application writes it")


def _missing(path: Path, fault: OSError) -> Check:
    parent = next((one for one in path.parents if one.exists()), path)
    if not isinstance(fault, FileNotFoundError):
        return Check(_NAME, PROBLEM, f"{path} cannot be used ({fault.strerror})", "give a directory that this user may read and write")
    if not os.access(parent, os.W_OK | os.X_OK):
        return Check(_NAME, PROBLEM, f"{path} is not there, and {parent} may not be written", f"make it for this user, or allow {parent}")
    return Check(_NAME, OK, f"{path} is made when the first packet is")


def _wrong_with(path: Path, status: os.stat_result) -> Iterator[Check]:
    """Why the spool would keep packets in memory only."""
    if not stat.S_ISDIR(status.st_mode):
        yield Check(_NAME, PROBLEM, f"{path} is no directory", "give the name of a directory")
    elif fcntl is None:
        yield Check(_NAME, PROBLEM, "this system has no file locks: packets are kept in memory only", "unset ingest_retry.spool_directory")
    elif status.st_uid != os.geteuid():
        yield Check(
            _NAME, PROBLEM, f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}", "give each user a directory of their own"
        )
    elif status.st_mode & _WRITABLE_BY_OTHERS:
        yield Check(_NAME, PROBLEM, f"{path}: others may write to it, so it is not used", f"chmod 700 {path}")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Check(_NAME, PROBLEM, f"{path} may not be written, so it is not used", f"chmod 700 {path}")


def _contents(path: Path, max_bytes: int) -> Iterator[Check]:
    held = _Held()
    for segment in sorted(path.glob("*.seg")):
        _count(segment, held)
    size = f"{held.bytes / 1024:.0f} KiB"
    yield Check(_NAME, OK, f"waiting in it: {counted(held.living + held.left, 'packet')}, {size}")
    if held.left:
        text = f"left by processes that have ended: {held.left} of them"
        yield Check(_NAME, NOTE, text, f"the next process delivers them, or: payi-otel replay --spool {path}")
    if max_bytes and held.bytes >= max_bytes:
        text = f"ingest_retry.spool_max_bytes={max_bytes} are in use: new packets are kept in memory only"
        yield Check(_NAME, PROBLEM, text, f"payi-otel replay --spool {path}, or allow more")
    if held.damaged:
        text = f"damaged in it: {counted(held.damaged, 'place')}, each of which may have been a packet"
        yield Check(_NAME, PROBLEM, text, f"see to the disk; whoever takes them over keeps the bytes in {path / QUARANTINE}")
    if held.unreadable:
        yield Check(_NAME, PROBLEM, f"{counted(held.unreadable, 'file')} in it cannot be read", f"chown them to this user: {path}")
    yield from _aside(path / QUARANTINE, "what was damaged", "look at it and delete it: prompts may be in it")
    yield from _aside(path / DEAD_LETTERS, "packets that Pay-i refused for good", "read the reasons in it, put them right, and delete it")


def _count(segment: Path, held: _Held) -> None:
    """A segment that nobody holds locked belongs to a process that is gone. The look lasts a moment, in which nobody can take it over."""
    try:
        file = os.open(segment, _FLAGS)
    except FileNotFoundError:  # delivered meanwhile
        return
    except OSError:
        held.unreadable += 1
        return
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            held.unreadable += 1
            return
        held.bytes += status.st_size
        is_living = not _is_free(file)
        content = Content(os.read(file, min(status.st_size, MAX_SEGMENT_BYTES)))
    finally:
        os.close(file)
    if is_living:
        held.living += len(content.open)  # its end may be half written just now: that is no damage
    else:
        held.left += len(content.open)
        held.damaged += len(content.damaged) + (not content.is_segment and status.st_size > 0)


def _is_free(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _aside(path: Path, what: str, remedy: str) -> Iterator[Check]:
    """A directory of what is not sent."""
    try:
        sizes = [file.lstat().st_size for file in path.iterdir()]
    except OSError:
        return
    if sizes:
        yield Check(_NAME, NOTE, f"{what} is in {path}: {counted(len(sizes), 'file')}, {sum(sizes) / 1024:.0f} KiB", remedy)
