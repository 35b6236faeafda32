"""Packets on disk, so that they outlive the process: written before they are sent, taken over by whoever runs next."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from payi_otel.delivery import _segment
from payi_otel.delivery._aside import QUARANTINE, Aside
from payi_otel.delivery._files import Files, OsFiles
from payi_otel.delivery._log import LimitedLog
from payi_otel.delivery._segment import Record, Segment

SEGMENT_BYTES: Final = 4 * 1024 * 1024
"""A segment that has grown to this is followed by the next one: it is removed as a whole, when its last packet is delivered."""
MAX_SEGMENT_BYTES: Final = 16 * SEGMENT_BYTES
"""A larger file is none of ours: a segment is at most one write longer than `SEGMENT_BYTES`."""
_IDLE_BYTES: Final = SEGMENT_BYTES // 16
"""A segment of which nothing is open any more is not kept for longer than this: it holds prompts."""
_SYNC_S: Final = 0.5
_LAST_SYNC_S: Final = 0.3
_RETRY_S: Final = 30.0
"""A disk that refused a write is asked again after this; other processes' segments are looked for as often."""
_SUFFIX: Final = ".seg"
_BEGUN: Final = _SUFFIX + _segment.UNFINISHED


class Spool:
    """One process's part of a spool directory. Safe to call from several threads; raises nothing once it is made.

    Each process writes to segments of its own, which it holds locked. A segment whose lock is free belongs to a process that is gone, and
    may be adopted. Where the directory or its disk cannot be used, `write` returns None, one line says so, and it is tried again later.
    """

    def __init__(
        self,
        directory: str,
        *,
        sync_always: bool = False,
        max_bytes: int = 0,
        logger: logging.Logger | None = None,
        files: Files | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes the directory, if need be; writes nothing yet.

        Args:
            directory: Where the segments are; several processes may share it.
            sync_always: Every packet is forced to disk before it counts as written; else what was written within half a second.
            max_bytes: All segments of the directory together, those of other processes included; 0: no limit.
            logger: Where lines go; `payi.instrument.delivery` by default.
            files: The file system.
            clock: Seconds, monotonic.
        """
        self.directory: str = os.path.abspath(directory)
        self._sync_always, self._max_bytes = sync_always, max_bytes
        self._files = files or OsFiles()
        self._clock = clock
        self._log = LimitedLog(logger or logging.getLogger("payi.instrument.delivery"))
        self._problem: str | None = None
        self._aside = Aside(self.directory, self._files, self._log)
        self._reset()
        problem = self._files.prepare(self.directory)
        if problem is not None:
            self._give_up(problem, math.inf)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        """For the numbers, and for opening and closing files: held across a fork."""
        self._writing = threading.Lock()
        self._syncing = threading.Lock()
        self._active: Segment | None = None
        self._segments: set[Segment] = set()
        self._retry_at = -math.inf
        self._dirty_since: float | None = None
        self._adopt_at = -math.inf
        self._number = 0
        self._prefix = f"{int(time.time()):010x}-{os.getpid()}-{secrets.token_hex(4)}"
        self._aside.reset(self._prefix)
        self._is_closed = False
        self._taking: set[int] = set()
        """Open files that are being adopted."""
        self.left_behind: int = 0
        """Files that could not be adopted when they were last looked for."""
        self.corrupt_records: int = 0
        """Damaged places found in other processes' segments: at least one packet each may be lost."""

    @property
    def has_orphans(self) -> bool:
        """Whether there may be packets of a process that is gone."""
        try:
            return any(name.endswith(_SUFFIX) for name in self._files.names(self.directory))
        except OSError:
            return False

    # our own packets

    def write(self, contents: Sequence[bytes]) -> list[Record] | None:
        """Puts packets on disk, all or none; None where that cannot be done now."""
        if self._is_closed or self._clock() < self._retry_at:
            return None
        records: list[Record] = []
        try:
            with self._writing:
                segment = self._get_segment()
                records = segment.append(contents)
                if self._dirty_since is None:
                    self._dirty_since = self._clock()
            if self._sync_always:
                self._sync(segment, segment.size)
        except OSError as fault:
            for record in records:  # they are there, but nobody counts on them
                with contextlib.suppress(OSError):
                    record.segment.finish(record)
            self._fail(fault)
            return None
        if self._problem is not None:
            self._problem = None
            self._log.write(logging.INFO, "spool", 0, "the spool %s is written to again", self.directory)
        return records

    def read(self, record: Record) -> bytes | None:
        """A packet; None when it is damaged.

        Raises:
            OSError: It cannot be read now.
        """
        return record.segment.read(record)

    def finish(self, record: Record) -> None:
        """The packet has its fate and need not be kept."""
        segment = record.segment
        try:
            segment.finish(record)
            if segment is self._active and not segment.open_count and segment.size > _IDLE_BYTES:
                with self._writing:
                    if segment is self._active and not segment.open_count:
                        self._leave_segment()
        except OSError as fault:
            if not self._is_closed:
                text = "the spool %s cannot be tidied up (%s): what is delivered may be sent once more"
                self._log.write(logging.WARNING, "finish", _RETRY_S, text, self.directory, _describe(fault))

    def keep_dead_letter(self, line: bytes) -> None:
        """Keeps what was refused for good; it is not sent again."""
        if not self._is_closed and self._retry_at != math.inf:
            self._aside.keep_dead_letter(line)

    def is_there(self, record: Record) -> bool:
        """Whether the next process would find it: somebody may have removed the file."""
        return record.segment.is_there()

    def sync_in_s(self) -> float | None:
        """Seconds until `sync` has something to do; None: nothing was written since."""
        dirty_since = self._dirty_since
        return None if dirty_since is None else max(0.0, dirty_since + _SYNC_S - self._clock())

    def sync(self) -> None:
        """Forces to disk what was written."""
        segment, self._dirty_since = self._active, None
        if segment is not None:
            try:
                self._sync(segment, segment.size)
            except OSError as fault:
                if not segment.is_closed:
                    self._fail(fault)

    def _sync(self, segment: Segment, size: int) -> None:
        with self._syncing:  # whoever waits here finds that the one before has done it for all
            if segment.synced < size:
                segment.sync()

    def _get_segment(self) -> Segment:
        if self._active is not None and (self._active.size >= SEGMENT_BYTES or not self._active.is_there()):
            self._leave_segment()
        if self._active is None:
            if self._max_bytes and self._used_bytes() + SEGMENT_BYTES > self._max_bytes:
                raise OSError(None, f"ingest_retry.spool_max_bytes={self._max_bytes} are in use")
            self._number += 1
            path = os.path.join(self.directory, f"{self._prefix}-{self._number}{_SUFFIX}")
            with self._lock:
                self._segments = {segment for segment in self._segments if not segment.is_closed}
                self._active = _segment.create(self._files, path, self._lock)
                self._segments.add(self._active)
            self._files.sync_directory(self.directory)
        return self._active

    def _leave_segment(self) -> None:
        segment, self._active = self._active, None
        if segment is not None:
            if segment.open_count:
                segment.sync()
            segment.seal()

    def _used_bytes(self) -> int:
        names = self._files.names(self.directory)
        return sum(self._files.size_of(os.path.join(self.directory, name)) for name in names if name.endswith(_SUFFIX))

    def _fail(self, fault: OSError) -> None:
        """The disk refused: what is in memory stays there."""
        if self._is_closed:
            return
        self._give_up(_describe(fault), _RETRY_S)
        with self._writing:
            segment, self._active, self._dirty_since = self._active, None, None
        if segment is not None:
            # What stands behind its last whole record is found damaged by whoever adopts it, where it cannot be cut off now.
            with contextlib.suppress(OSError):
                segment.cut()
            with contextlib.suppress(OSError):
                segment.seal()

    def _give_up(self, problem: str, retry_s: float) -> None:
        self._retry_at = self._clock() + retry_s
        if self._problem is None:
            text = "the spool %s cannot be used (%s): packets are kept in memory only"
            self._log.write(logging.WARNING, "spool", 0, text, self.directory, problem)
        self._problem = problem

    # packets of processes that are gone

    def adopt_in_s(self) -> float:
        """Seconds until it is worth looking for segments whose process is gone."""
        return max(0.0, self._adopt_at - self._clock())

    def adopt(self) -> list[Record]:
        """The open packets of one such segment, the oldest first; an empty list: there is none at present."""
        self._adopt_at = math.inf  # nobody else need look meanwhile
        records: list[Record] = []
        self.left_behind = 0
        try:
            for name in self._find_segments():
                records = self._try_to_adopt(os.path.join(self.directory, name))
                if records:
                    break
        finally:
            self._adopt_at = -math.inf if records else self._clock() + _RETRY_S
        self._leave_when_idle()
        return records

    def _leave_when_idle(self) -> None:
        """Delivered prompts do not stay on disk because little is written after them."""
        with self._writing, contextlib.suppress(OSError):
            if self._active is not None and not self._active.open_count and self._active.size > len(_segment.HEADER):
                self._leave_segment()

    def _find_segments(self) -> list[str]:
        if self._is_closed or self._retry_at == math.inf:
            return []
        try:
            return sorted(name for name in self._files.names(self.directory) if name.endswith((_SUFFIX, _BEGUN)))
        except OSError as fault:
            self.left_behind += 1
            text = "the spool %s cannot be searched for packets of earlier processes (%s)"
            self._log.write(logging.WARNING, "adopt", math.inf, text, self.directory, _describe(fault))
            return []

    def _try_to_adopt(self, path: str) -> list[Record]:
        with self._lock:
            fd = None if any(path == segment.path for segment in self._segments) else self._take(path)
        if fd is None:
            return []
        is_kept = False
        try:
            segment, records, damaged = self._read_segment(path, fd)
            is_kept = segment is not None
            self._quarantine(path, damaged)
            if segment is not None and not records:
                segment.seal()
            return records
        except OSError as fault:
            self.left_behind += 1
            text = "%s cannot be taken over (%s): what it holds is not delivered now"
            self._log.write(logging.WARNING, ("adopt", path), math.inf, text, path, _describe(fault))
            return []
        finally:
            with self._lock:
                self._taking.discard(fd)
                if not is_kept:
                    self._files.close(fd)

    def _read_segment(self, path: str, fd: int) -> tuple[Segment | None, list[Record], list[bytes]]:
        """A file that is ours alone now, as a segment; None where it is none, and is put aside."""
        size = self._files.size(fd)
        content = _segment.Content(self._files.read(fd, 0, size)) if size <= MAX_SEGMENT_BYTES else _segment.Content(b"")
        if content.is_segment and not path.endswith(_BEGUN):
            with self._lock:
                segment, records = _segment.adopt(self._files, path, fd, content, self._lock)
                self._segments.add(segment)
            if self._is_closed:  # since it was asked for
                segment.close()
                return segment, [], []
            return segment, records, content.damaged
        if size <= len(_segment.HEADER):  # begun, and never written to
            self._files.remove(path)
        else:
            self._aside.move(path)
            self.corrupt_records += 1
            text = "%s is no segment of a spool: it is kept in %s"
            self._log.write(logging.ERROR, ("aside", path), math.inf, text, path, QUARANTINE)
        return None, [], []

    def _take(self, path: str) -> int | None:
        """Opens and locks a segment; None where its process lives, or it is no file of ours."""
        try:
            fd = self._files.open(path)
        except OSError as fault:
            if self._files.size_of(path):
                self.left_behind += 1
                text = "the spool's %s cannot be read (%s): what it holds is not delivered"
                self._log.write(logging.WARNING, ("take", path), math.inf, text, path, _describe(fault))
            return None
        if self._files.lock(fd) and self._files.is_same(path, fd):
            self._taking.add(fd)
            return fd
        self._files.close(fd)
        return None

    def _quarantine(self, path: str, pieces: Sequence[bytes]) -> None:
        for number, piece in enumerate(pieces):
            if self._aside.keep_damaged(path, number, piece):
                self.corrupt_records += 1
                text = "%s is damaged: at least one packet may be lost; %d bytes are kept in %s"
                self._log.write(logging.ERROR, "damaged", _RETRY_S, text, path, len(piece), QUARANTINE)

    # the process

    def close(self) -> None:
        """Gives everything that is still open to whoever runs next."""
        self._is_closed = True
        with self._lock:
            segments = list(self._segments)
        for segment in segments:
            self._close_segment(segment)

    def _close_segment(self, segment: Segment) -> None:
        try:
            if segment is self._active and segment.open_count and not segment.is_closed:
                self._sync_in_time(segment)
            segment.close()
        except OSError as fault:
            self._log.write(logging.WARNING, "close", 0, "the spool %s: %s", self.directory, _describe(fault))

    def _sync_in_time(self, segment: Segment) -> None:
        """A disk that hangs must not hold up a process that ends; only a power cut makes a difference then."""

        def sync() -> None:
            with contextlib.suppress(OSError):
                segment.sync()

        syncing = threading.Thread(target=sync, name="payi-spool-sync", daemon=True)
        try:
            syncing.start()
        except RuntimeError:  # the interpreter is going, and starts no threads
            return
        syncing.join(_LAST_SYNC_S)

    def before_fork(self) -> None:
        """No file is just being opened or closed in a forked child's copy."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Goes on."""
        self._lock.release()

    def after_fork(self) -> None:
        """In the child: the parent's packets are the parent's; their files and locks are let go."""
        segments, taking, was_closed, retry_at = self._segments, self._taking, self._is_closed, self._retry_at
        self._reset()
        self._is_closed = was_closed
        if retry_at == math.inf:
            self._retry_at = retry_at
        for segment in segments:
            segment.close_in_child()
        for fd in taking - {segment.fd for segment in segments}:
            self._files.close(fd)


def _describe(fault: OSError) -> str:
    return fault.strerror or str(fault) or type(fault).__name__
