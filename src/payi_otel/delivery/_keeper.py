"""Between the queue and its spool: packets to records and back, what a worker does for it between two tasks, and the last look at exit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Final

from payi_otel.delivery._backlog import Backlog
from payi_otel.delivery._item import Item, RetrySettings
from payi_otel.delivery._record import from_record, to_dead_letter, to_record
from payi_otel.delivery.outcome import EncodedPacket, EncodingSink, Outcome
from payi_otel.delivery.spool import SEGMENT_BYTES, Spool

_MAX_ADOPTED: Final = 1_000
"""While so many packets of other processes are open, no more are taken over: whoever has time may have them."""
_MAX_RECORD_BYTES: Final = 8 * SEGMENT_BYTES
"""A larger packet is kept without its words: whoever reads a segment reads it whole."""
_PAUSE_S: Final = 0.005
_MAX_MAKING_S: Final = 0.4
"""At exit, calls that no worker came to are made packets of for so long at most."""


class Keeper:
    """Keeps packets on disk."""

    def __init__(self, spool: Spool, sink: EncodingSink, retry: RetrySettings) -> None:
        self.spool = spool
        self._sink = sink
        self._with_content = retry.spool_content
        self.reset()

    def reset(self) -> None:
        """The state of a new object, and of a forked child."""
        self._adopting = threading.Lock()

    @property
    def directory(self) -> str:
        """Where they are."""
        return self.spool.directory

    def write(self, items: Iterable[Item]) -> None:
        """Puts packets on disk, where that can be done now."""
        chosen, contents, size = list[Item](), list[bytes](), 0
        for item in items:
            content = self._to_content(item)
            if content is None:
                continue
            if size + len(content) > SEGMENT_BYTES and contents:
                self._write(chosen, contents)
                chosen, contents, size = [], [], 0
            chosen.append(item)
            contents.append(content)
            size += len(content)
        if contents:
            self._write(chosen, contents)

    def load(self, item: Item) -> bool:
        """Back into memory; False when it is damaged.

        Raises:
            OSError: It cannot be read now.
        """
        content = self.spool.read(item.record) if item.record is not None else None
        packet = from_record(content) if content is not None else None
        if packet is not None:
            item.hold(packet)
        return packet is not None

    def bury(self, item: Item, outcome: Outcome) -> None:
        """A packet that is refused for good is kept for whoever wants to know why."""
        held = item.held
        if isinstance(held, EncodedPacket):
            held = held if self._with_content else self._without_words(held)
            self.spool.keep_dead_letter(to_dead_letter(held, outcome, datetime.now(timezone.utc).isoformat()))

    def is_due(self, backlog: Backlog) -> bool:
        """Whether `keep` has something to do."""
        return self.rest_s(backlog) == 0.0

    def keep(self, backlog: Backlog, lock: threading.Lock) -> None:
        """What is due: forcing to disk what was written, and looking for packets of processes that are gone."""
        if self.spool.sync_in_s() == 0.0:
            self.spool.sync()
        if self.spool.adopt_in_s() == 0.0 and backlog.adopted_count < _MAX_ADOPTED:
            self.adopt(backlog, lock)

    def adopt(self, backlog: Backlog, lock: threading.Lock, *, waits: bool = False) -> int:
        """Takes over one segment of a process that is gone; how many packets it held. Where another thread does, it waits or not."""
        if not self._adopting.acquire(blocking=waits):
            return 0
        try:
            records = self.spool.adopt()
            items = []
            for record in records:
                item = Item(None)
                item.record = record
                items.append(item)
            with lock:
                if not backlog.is_finished:
                    backlog.adopt(items, time.monotonic())
            return len(items)
        finally:
            self._adopting.release()

    def rest_s(self, backlog: Backlog) -> float:
        """How long nothing is due."""
        sync_s = self.spool.sync_in_s()
        adopt_s = self.spool.adopt_in_s() if backlog.adopted_count < _MAX_ADOPTED else float("inf")
        return adopt_s if sync_s is None else min(sync_s, adopt_s)

    def save(self, backlog: Backlog, lock: threading.Lock, make: Callable[[Item], bool]) -> None:
        """The last look: what is open and not on disk is put there. Workers take nothing any more."""
        self._rescue(backlog, lock)
        with lock:
            unwritten = backlog.list_unwritten()
        deadline_s = time.monotonic() + _MAX_MAKING_S
        while any(item.is_making for item in unwritten) and time.monotonic() < deadline_s:
            time.sleep(_PAUSE_S)
        unwritten = [item for item in unwritten if item.record is None and not item.is_making and item.is_open]
        for item in unwritten:
            if item.held is None and time.monotonic() < deadline_s:
                make(item)
        self.write(item for item in unwritten if item.held is not None and item.is_open)
        with lock:
            done = [item for item in unwritten if item.record is not None and not item.is_open]
        for item in done:  # it was delivered meanwhile
            if item.record is not None:
                self.spool.finish(item.record)

    def _rescue(self, backlog: Backlog, lock: threading.Lock) -> None:
        """Packets whose file was removed under us are not on disk; while it is open, they can still be read from it."""
        with lock:
            written = [item for item in backlog.list_open() if item.record is not None]
        segments = {item.record.segment: item.record for item in written if item.record is not None}
        gone = {segment for segment, record in segments.items() if not self.spool.is_there(record)}
        for item in written:
            if item.record is not None and item.record.segment in gone and (item.held is not None or self._can_load(item)):
                item.record = None

    def _can_load(self, item: Item) -> bool:
        try:
            return self.load(item)
        except OSError:
            return False

    def _write(self, items: list[Item], contents: list[bytes]) -> None:
        records = self.spool.write(contents)
        for item, record in zip(items, records or (), strict=False):
            item.record = record

    def _to_content(self, item: Item) -> bytes | None:
        held = item.held
        if not isinstance(held, EncodedPacket) or item.record is not None:
            return None
        if not self._with_content or len(held.json) > _MAX_RECORD_BYTES:
            held = self._without_words(held)
        return to_record(held)

    def _without_words(self, held: EncodedPacket) -> EncodedPacket:
        return self._sink.slim(held, "spool") or held
