"""What the spool asks of a file system, and the real one; a test puts another in its place that is full, broken or crashes."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final, Protocol

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FLAGS: Final = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_PRIVATE_FILE: Final = 0o600
_PRIVATE_DIRECTORY: Final = 0o700
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class Files(Protocol):
    """A directory's files. Every method but `lock`, `is_same` and `size_of` may raise `OSError`."""

    def prepare(self, directory: str) -> str | None:
        """Makes the directory, for its owner only; what is wrong with it, or None."""
        ...

    def names(self, directory: str) -> list[str]:
        """What is in it."""
        ...

    def create(self, path: str) -> int:
        """A new file, open for reading and writing."""
        ...

    def open(self, path: str) -> int:
        """An existing regular file; a symbolic link is not followed."""
        ...

    def lock(self, fd: int) -> bool:
        """Takes the file for this process until it is closed or the process is gone; False when another one has it."""
        ...

    def is_same(self, path: str, fd: int) -> bool:
        """Whether the open file is still the one of that name."""
        ...

    def size(self, fd: int) -> int:
        """Bytes."""
        ...

    def size_of(self, path: str) -> int:
        """The same of a file that is not open; 0 where there is none."""
        ...

    def read(self, fd: int, offset: int, size: int) -> bytes:
        """All of these bytes, or fewer at the file's end."""
        ...

    def write(self, fd: int, offset: int, content: bytes) -> int:
        """How many of the bytes were written: a full disk may take a part without an error."""
        ...

    def truncate(self, fd: int, size: int) -> None:
        """Cuts the file."""
        ...

    def sync(self, fd: int) -> None:
        """Forces the file's content to disk."""
        ...

    def sync_directory(self, directory: str) -> None:
        """Forces its names to disk."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Atomically."""
        ...

    def remove(self, path: str) -> None:
        """The name; an open file lives on without one."""
        ...

    def close(self, fd: int) -> None:
        """And gives its lock back, unless a forked process holds it, too."""
        ...


class OsFiles:
    """The operating system's."""

    def prepare(self, directory: str) -> str | None:
        """Makes the directory, for its owner only; what is wrong with it, or None."""
        if fcntl is None:
            return "this system has no file locks"
        try:
            os.makedirs(directory, _PRIVATE_DIRECTORY, exist_ok=True)
            status = os.stat(directory)
        except OSError as fault:
            return fault.strerror or type(fault).__name__
        if status.st_uid != os.geteuid():
            return "it belongs to another user"
        if status.st_mode & _WRITABLE_BY_OTHERS:
            return "others may write to it"
        return None if os.access(directory, os.R_OK | os.W_OK | os.X_OK) else "it may not be written"

    def names(self, directory: str) -> list[str]:
        """What is in it."""
        return os.listdir(directory)

    def create(self, path: str) -> int:
        """A new file, open for reading and writing."""
        os.makedirs(os.path.dirname(path), _PRIVATE_DIRECTORY, exist_ok=True)
        return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)

    def open(self, path: str) -> int:
        """An existing regular file; a symbolic link is not followed."""
        fd = os.open(path, _FLAGS | getattr(os, "O_NONBLOCK", 0))  # a named pipe would wait for its other end
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(None, "is not a regular file")
        return fd

    def lock(self, fd: int) -> bool:
        """Takes the file for this process until it is closed or the process is gone; False when another one has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def is_same(self, path: str, fd: int) -> bool:
        """Whether the open file is still the one of that name."""
        try:
            return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
        except OSError:
            return False

    def size(self, fd: int) -> int:
        """Bytes."""
        return os.fstat(fd).st_size

    def size_of(self, path: str) -> int:
        """The same of a file that is not open; 0 where there is none."""
        try:
            return os.lstat(path).st_size
        except OSError:
            return 0

    def read(self, fd: int, offset: int, size: int) -> bytes:
        """All of these bytes, or fewer at the file's end."""
        return os.pread(fd, size, offset)

    def write(self, fd: int, offset: int, content: bytes) -> int:
        """How many of the bytes were written: a full disk may take a part without an error."""
        return os.pwrite(fd, content, offset)

    def truncate(self, fd: int, size: int) -> None:
        """Cuts the file."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Forces the file's content to disk."""
        getattr(os, "fdatasync", os.fsync)(fd)

    def sync_directory(self, directory: str) -> None:
        """Forces its names to disk."""
        fd = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, old: str, new: str) -> None:
        """Atomically."""
        os.rename(old, new)

    def remove(self, path: str) -> None:
        """The name; an open file lives on without one."""
        with contextlib.suppress(FileNotFoundError):  # somebody has tidied up
            os.unlink(path)

    def close(self, fd: int) -> None:
        """And gives its lock back, unless a forked process holds it, too."""
        os.close(fd)
