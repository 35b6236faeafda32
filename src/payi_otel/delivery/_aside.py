"""What a spool keeps and does not send: packets that were refused, and bytes that are no packets; each within a limit."""

from __future__ import annotations

import logging
import math
import os
import threading
from typing import Final

from payi_otel.delivery._files import Files
from payi_otel.delivery._log import LimitedLog

QUARANTINE: Final = "quarantine"
DEAD_LETTERS: Final = "dead_letters"
_MAX_BYTES: Final = 16 * 1024 * 1024
"""Of each kind, those of other processes included: both hold prompts, and nobody may ever look."""
_WINDOW_S: Final = 30.0


class Aside:
    """The two directories within a spool's. Raises nothing but where it says so."""

    def __init__(self, directory: str, files: Files, log: LimitedLog) -> None:
        self._directory, self._files, self._log = directory, files, log
        self.reset("")

    def reset(self, prefix: str) -> None:
        """The state of a new process; files of its own begin so."""
        self._prefix = prefix
        self._lock = threading.Lock()
        self._written = 0

    def keep_dead_letter(self, line: bytes) -> None:
        """Appends to this process's file of what was refused."""
        try:
            with self._lock:
                if not self._has_room(DEAD_LETTERS, len(line)):
                    return
                path = os.path.join(self._directory, DEAD_LETTERS, f"{self._prefix}.jsonl")
                fd = self._files.open(path) if self._written else self._files.create(path)
                try:
                    written = self._files.write(fd, self._written, line)
                finally:
                    self._files.close(fd)
                if written != len(line):
                    raise OSError(f"only {written} of {len(line)} bytes were written")
                self._written += written
        except OSError as fault:
            text = "the spool %s cannot keep what was refused (%s)"
            self._log.write(logging.WARNING, "dead", _WINDOW_S, text, self._directory, fault.strerror or fault)

    def keep_damaged(self, path: str, number: int, piece: bytes) -> bool:
        """Copies a piece of a segment that is no record; False where a process before us has done so."""
        try:
            fd = self._files.create(os.path.join(self._directory, QUARANTINE, f"{os.path.basename(path)}.{number}.damaged"))
        except FileExistsError:
            return False
        except OSError:
            return True
        try:
            if self._has_room(QUARANTINE, len(piece)):
                self._files.write(fd, 0, piece)
        except OSError:
            return True
        finally:
            self._files.close(fd)
        return True

    def move(self, path: str) -> None:
        """Puts a file that is no segment there.

        Raises:
            OSError: It cannot be moved.
        """
        self._files.prepare(os.path.join(self._directory, QUARANTINE))
        self._files.rename(path, os.path.join(self._directory, QUARANTINE, os.path.basename(path)))

    def _has_room(self, kind: str, more: int) -> bool:
        directory = os.path.join(self._directory, kind)
        try:
            names = self._files.names(directory)
        except FileNotFoundError:
            return True
        if sum(self._files.size_of(os.path.join(directory, name)) for name in names) + more <= _MAX_BYTES:
            return True
        text = "%s is full: nothing more is kept there until somebody has looked"
        self._log.write(logging.WARNING, ("full", kind), math.inf, text, directory)
        return False
