"""`FileSink`: packets to one JSON array on disk that is whole after every packet, for tests, debugging and air-gapped machines."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from payi_otel._json import to_text
from payi_otel.delivery._encode import to_wire_body, to_wire_json
from payi_otel.delivery.outcome import Batching, EncodedPacket, Fate, Outcome
from payi_otel.errors import ConfigurationError
from payi_otel.exporters import _array
from payi_otel.exporters._wire import without_bodies
from payi_otel.packets.model import IngestPacket

try:
    import fcntl
except ImportError:  # Windows: several processes must not share one file there
    fcntl = None  # type: ignore[assignment]

_SETTING: Final = "offline_instrumentation.file_name"
_PRIVATE: Final = 0o600
"""The file holds prompts."""
_TOGETHER: Final = Batching(least=2, max_items=64, max_bytes=1024 * 1024, takes_resends=True)
"""A writer that is killed within a write leaves no more than so much to be mended."""
_CLOSE_WAIT_S: Final = 0.05
"""A shutdown is not held up by another process that keeps the file locked."""
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def default_file_name(now: datetime | None = None) -> str:
    """`payi_instrumentation_<YYYY-MM-DD-HH-MM-SS>.json`, in local time as the published SDK names it."""
    return f"payi_instrumentation_{now or datetime.now():%Y-%m-%d-%H-%M-%S}.json"


class FileSink:
    """Appends packets to an offline file. Threads, forked children and other processes may share it.

    An existing file of the same kind is continued; nothing that is recorded is ever overwritten.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """Opens or creates the file at once, so that a wrong path is a start-up error.

        Args:
            path: The file; by default `default_file_name()` in the working directory.

        Raises:
            ConfigurationError: The file cannot be created or continued.
        """
        self._path = os.path.abspath(os.fspath(path) if path is not None else default_file_name())
        self._reset()
        try:
            self._alone(lambda fd, size: _open_end(fd))
        except _array.NotAnArrayError:
            self.close()
            raise ConfigurationError([f"{_SETTING}: {self._path} holds something else than packets; give another name"]) from None
        except OSError as fault:
            self.close()
            raise ConfigurationError([f"{_SETTING}: {self._path} {_advise(self._path, fault)}"]) from None

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._file: tuple[int, int] | None = None
        """Device and number of the open file."""
        self._known: tuple[int, int] | None = None
        """(size, offset of the closing line) after our last write: another size means that somebody else wrote."""

    @property
    def path(self) -> str:
        """Where the packets are."""
        return self._path

    def deliver(self, packet: IngestPacket) -> Outcome:
        """Appends one packet. Raises nothing."""
        return self.send(self.encode(packet))

    def encode(self, packet: IngestPacket) -> EncodedPacket:
        """The packet's record, whatever its values are."""
        response_id = to_text(str(packet.body.get("provider_response_id", "")))
        record = to_wire_json(to_wire_body(packet.to_offline_record()))
        return EncodedPacket(record, packet.without_body(response_id))

    def slim(self, encoded: EncodedPacket, why: str) -> EncodedPacket | None:
        """The packet without request and answer, its units kept and the reason with them; None where it has neither."""
        return without_bodies(encoded, why)

    @property
    def batching(self) -> Batching:
        """Packets that wait are written together: each look at the file and each lock takes as long as making a packet."""
        return _TOGETHER

    def send(self, encoded: EncodedPacket) -> Outcome:
        """Appends one encoded packet. Raises nothing."""
        return self._write(encoded.json)

    def send_batch(self, batch: Sequence[EncodedPacket]) -> list[Outcome]:
        """Appends several at once; where a disk has no room for all of them, one by one until it is full. Raises nothing."""
        outcome = self._write(_array.BETWEEN.join([encoded.json for encoded in batch]))
        if outcome.fate is Fate.DELIVERED:
            return [outcome] * len(batch)
        outcomes: list[Outcome] = []
        for encoded in batch:
            outcome = self.send(encoded)
            outcomes.append(outcome)
            if outcome.fate is not Fate.DELIVERED:
                break
        return outcomes + [outcome] * (len(batch) - len(outcomes))

    def _write(self, records: bytes) -> Outcome:
        try:
            self._alone(partial(self._append, records))
        except _array.NotAnArrayError:
            return Outcome(Fate.RETRY, "file_error", f"{self._path} was changed by somebody else and is no array any more")
        except OSError as fault:
            return Outcome(Fate.RETRY, "file_error", f"{self._path}: {fault.strerror or fault}")
        return Outcome(Fate.DELIVERED)

    def hasten(self, deadline_s: float) -> None:
        """A write does not last."""

    def watch(self) -> float | None:
        """Nothing lasts."""
        return None

    def interrupt(self) -> None:
        """Nor can it be ended."""

    def close(self) -> None:
        """Closes the file; a later packet opens it again."""
        if not self._lock.acquire(timeout=_CLOSE_WAIT_S):
            return  # a writer waits for another process; the file is closed with ours
        try:
            fd, self._fd = self._fd, None
        finally:
            self._lock.release()
        if fd is not None:
            os.close(fd)

    def after_fork(self) -> None:
        """The child opens the file itself: a lock belongs to an open file, and it shares the parent's one."""
        fd = self._fd
        self._reset()
        if fd is not None:
            os.close(fd)

    def _append(self, records: bytes, fd: int, size: int) -> None:
        known, self._known = self._known, None
        if known is not None and known[0] == size:
            end = known[1]
        else:
            end, size = _open_end(fd), os.fstat(fd).st_size
        self._known = _array.append(fd, end, records, size)

    def _alone(self, work: Callable[[int, int], object]) -> None:
        """Works on the open file, of which it is given the size: in this thread and this process alone."""
        with self._lock:
            fd, size, has_lock = self._take()
            try:
                work(fd, size)
            finally:
                if has_lock:
                    fcntl.flock(fd, fcntl.LOCK_UN)

    def _take(self) -> tuple[int, int, bool]:
        """The open file, its size, and whether it is locked to this process now; with the lock held."""
        for _ in range(2):
            if self._fd is None:
                self._fd, self._file = _open(self._path)
            fd = self._fd
            has_lock = _lock(fd)
            with contextlib.suppress(OSError):
                found = os.stat(self._path, follow_symlinks=False)
                if (found.st_dev, found.st_ino) == self._file:
                    return fd, found.st_size, has_lock
            self._fd = self._known = None  # moved away or removed (log rotation): the packets go on under the name they were promised
            os.close(fd)
        self._fd, self._file = _open(self._path)  # somebody keeps on moving it, or a file system gives its files several numbers
        has_lock = _lock(self._fd)
        return self._fd, os.fstat(self._fd).st_size, has_lock


def _open(path: str) -> tuple[int, tuple[int, int]]:
    fd = os.open(path, _FLAGS, _PRIVATE)
    try:
        opened = os.fstat(fd)
        if not stat.S_ISREG(opened.st_mode):
            raise OSError(None, "is not a regular file; give another name")
    except BaseException:
        os.close(fd)
        raise
    return fd, (opened.st_dev, opened.st_ino)


def _open_end(fd: int) -> int:
    """Where the array goes on. A file that is ours is for its owner only, since it holds prompts; another one is left as it is."""
    end = _array.open_end(fd)
    if hasattr(os, "fchmod"):
        with contextlib.suppress(PermissionError):  # somebody else's file that we may write
            os.fchmod(fd, _PRIVATE)
    return end


def _lock(fd: int) -> bool:
    """Waits for the other processes; False on a file system without locks, where they must not share the file."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _advise(path: str, fault: OSError) -> str:
    """What is wrong with the path, and what to do."""
    folder = os.path.dirname(path)
    if os.path.islink(path):
        return "is a symbolic link, which is not followed; give the file's own name"
    if os.path.isdir(path):
        return "is a folder; give the name of a file in it"
    if not os.path.isdir(folder):
        return f"cannot be created: there is no folder {folder}; create it or give another name"
    return f"cannot be written ({fault.strerror or fault}); allow it or give another name"
