"""A file system in memory that can be full, fail, and crash: a process is killed, or the power goes."""

from __future__ import annotations

import errno
import os
import random
from dataclasses import dataclass, field


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    """What a power cut leaves at least."""
    holder: int | None = None
    """The descriptor that has the lock."""


class CrashingFiles:
    """`payi_otel.delivery._files.Files` for one directory; `start_process` before each new owner."""

    def __init__(self) -> None:
        self._names: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        self._open: dict[int, _File] = {}
        self._next = 1
        self.free_bytes: int | None = None
        """What the disk still takes; None: anything."""
        self.failing: set[str] = set()
        """Methods that fail with EIO."""

    # what happens to it

    def kill(self) -> None:
        """The process is gone; what it wrote is there, its locks are not."""
        for file in self._names.values():
            file.holder = None
        self._open.clear()

    def cut_power(self, chance: random.Random) -> None:
        """Only what was forced to disk is sure; of the rest a part of a file may be there, or a name."""
        names = dict(self._durable_names)
        for name in set(self._names) | set(names):
            now, then = self._names.get(name), names.get(name)
            if now is not then and chance.random() < 0.5:
                names.pop(name, None)
                if now is not None:
                    names[name] = now
        for file in names.values():
            if bytes(file.content) != file.durable:
                kept = chance.randint(0, len(file.content))
                base = bytearray(file.durable.ljust(kept, b"\0"))
                base[:kept] = file.content[:kept]
                if chance.random() < 0.5:
                    file.content = base if chance.random() < 0.5 else bytearray(file.durable)
                file.durable = bytes(file.content)
        self._names, self._durable_names = dict(names), dict(names)
        self.kill()

    def paths(self) -> list[str]:
        """Every file there is."""
        return sorted(self._names)

    def content(self, path: str) -> bytes:
        """What is in one."""
        return bytes(self._names[path].content)

    # the protocol

    def prepare(self, directory: str) -> str | None:
        """Any directory is there."""
        return None

    def names(self, directory: str) -> list[str]:
        """What is in it, and not in one below."""
        return [os.path.basename(path) for path in self._names if os.path.dirname(path) == directory]

    def create(self, path: str) -> int:
        """A new file."""
        self._may("create")
        if path in self._names:
            raise FileExistsError(errno.EEXIST, "there is one")
        self._names[path] = _File()
        return self.open(path)

    def open(self, path: str) -> int:
        """An existing one."""
        self._may("open")
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, "there is none")
        self._next += 1
        self._open[self._next] = self._names[path]
        return self._next

    def lock(self, fd: int) -> bool:
        """False when another descriptor has it."""
        file = self._file(fd)
        if file.holder not in (None, fd):
            return False
        file.holder = fd
        return True

    def is_same(self, path: str, fd: int) -> bool:
        """Whether it has that name."""
        return self._names.get(path) is self._file(fd)

    def size(self, fd: int) -> int:
        """Bytes."""
        return len(self._file(fd).content)

    def size_of(self, path: str) -> int:
        """Bytes."""
        return len(self._names[path].content) if path in self._names else 0

    def read(self, fd: int, offset: int, size: int) -> bytes:
        """Up to so many."""
        self._may("read")
        return bytes(self._file(fd).content[offset : offset + size])

    def write(self, fd: int, offset: int, content: bytes) -> int:
        """As much as there is room for."""
        self._may("write")
        file = self._file(fd)
        more = max(0, offset + len(content) - len(file.content))
        room = more if self.free_bytes is None else min(more, self.free_bytes)
        written = len(content) - (more - room)
        if written <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.free_bytes is not None:
            self.free_bytes -= room
        file.content[offset : offset + written] = content[:written]
        return written

    def truncate(self, fd: int, size: int) -> None:
        """Cuts it."""
        self._may("truncate")
        file = self._file(fd)
        if self.free_bytes is not None:
            self.free_bytes += max(0, len(file.content) - size)
        del file.content[size:]

    def sync(self, fd: int) -> None:
        """Its content is sure from here on."""
        self._may("sync")
        self._file(fd).durable = bytes(self._file(fd).content)

    def sync_directory(self, directory: str) -> None:
        """The names are sure from here on."""
        self._may("sync_directory")
        self._durable_names = dict(self._names)

    def rename(self, old: str, new: str) -> None:
        """Atomically."""
        self._may("rename")
        self._names[new] = self._names.pop(old)

    def remove(self, path: str) -> None:
        """The name."""
        self._may("remove")
        file = self._names.pop(path)
        if self.free_bytes is not None:
            self.free_bytes += len(file.content)

    def close(self, fd: int) -> None:
        """And the lock."""
        file = self._file(fd)
        del self._open[fd]
        if file.holder == fd:
            file.holder = None

    def _file(self, fd: int) -> _File:
        if fd not in self._open:
            raise OSError(errno.EBADF, "Bad file descriptor")
        return self._open[fd]

    def _may(self, method: str) -> None:
        if method in self.failing:
            raise OSError(errno.EIO, "Input/output error")
