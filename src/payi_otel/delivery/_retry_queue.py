"""Packets that wait for another attempt: in order, and within the limits of their number and of their bytes in memory."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain

from payi_otel.delivery import stats
from payi_otel.delivery._item import Item, RetrySettings
from payi_otel.delivery.outcome import EncodedPacket
from payi_otel.delivery.stats import Counters

_SLACK = 64
Slim = Callable[[EncodedPacket, str], EncodedPacket | None]


class RetryQueue:
    """`ready` goes as soon as somebody can send, `waiting` at the next drain. What is given up stays in its place until it is met there."""

    def __init__(self, retry: RetrySettings, slim: Slim | None, counters: Counters) -> None:
        self._retry = retry
        self._slim = slim
        self._counters = counters
        self._ready: deque[Item] = deque()
        self._waiting: deque[Item] = deque()
        self._oldest: deque[Item] = deque()
        """Those that take memory, the oldest first; some have gone since."""
        self._with_bodies: deque[Item] = deque()
        """Those whose bodies can be left out, the oldest first; some have gone since."""
        self._bytes = 0
        self.count = 0
        self.on_disk = 0
        """Those of them that are on disk only."""

    def __iter__(self) -> Iterator[Item]:
        return (item for item in chain(self._ready, self._waiting) if item.is_waiting)

    @property
    def ready_count(self) -> int:
        """How many are ready; those that were given up meanwhile are counted while they stand behind another one."""
        return len(self._ready) if self.peek() is not None else 0

    def peek(self) -> Item | None:
        """The next of those that are ready, which stays; None: there is none."""
        while self._ready and not self._ready[0].is_waiting:
            self._ready.popleft()
        return self._ready[0] if self._ready else None

    @property
    def has_waiting(self) -> bool:
        """Whether anything waits for a drain."""
        while self._waiting and not self._waiting[0].is_waiting:
            self._waiting.popleft()
        return bool(self._waiting)

    def push(self, item: Item, *, is_ready: bool = False, at_head: bool = False) -> None:
        """Takes one in; `make_room` keeps to the limits."""
        if self._is_full_with(item) and item.record is not None:
            item.held = None
        item.is_waiting = True
        queue = self._ready if is_ready else self._waiting
        if at_head:
            queue.appendleft(item)
        else:
            queue.append(item)
        self.count += 1
        self._bytes += item.size
        if item.held is None:
            self.on_disk += 1
            return
        if not item.is_aged:
            item.is_aged = True
            self._oldest.append(item)
        if not item.is_slim and not item.is_listed:
            item.is_listed = True
            self._with_bodies.append(item)
        self._forget_the_gone()

    def pop(self) -> Item:
        """The next of those that are ready, which there are."""
        self.peek()
        return self._leave(self._ready.popleft())

    def pop_waiting(self) -> Item:
        """The next of those that wait, which there are."""
        return self._leave(self._waiting.popleft())

    def remove(self, item: Item) -> None:
        """Takes one out, if it is there."""
        if item.is_waiting:
            self._leave(item)
            for queue in (self._ready, self._waiting):
                with contextlib.suppress(ValueError):
                    queue.remove(item)

    def release(self) -> int:
        """Everything that waits is ready; how many that are."""
        self._ready.extend(self._waiting)
        self._waiting.clear()
        return len(self._ready)

    def hold_back(self) -> None:
        """Everything waits for the next drain."""
        self._waiting.extendleft(reversed(self._ready))
        self._ready.clear()

    def clear(self) -> None:
        """Forgets everything."""
        for queue in (self._ready, self._waiting, self._oldest, self._with_bodies):
            queue.clear()
        self.count = self.on_disk = self._bytes = 0

    def make_room(self) -> list[Item]:
        """Keeps to the limits: what is on disk leaves memory, then bodies go before costs, then the oldest packets, which are returned."""
        most, most_bytes, given_up = self._retry.queue_max_size, self._retry.queue_max_bytes, list[Item]()
        while 0 < most_bytes < self._bytes and self._with_bodies:
            self._shrink(self._with_bodies.popleft())
        while (0 < most < self.count - self.on_disk or 0 < most_bytes < self._bytes) and self._oldest:
            item = self._oldest.popleft()
            item.is_aged = False
            if not item.is_waiting or item.held is None:
                continue
            if item.record is not None:
                self._leave_memory(item)
            else:
                given_up.append(self._leave(item))
        return given_up

    def _forget_the_gone(self) -> None:
        """What has left since must not be kept alive by its place in a list."""
        if len(self._oldest) > 2 * self.count + _SLACK:
            for item in self._oldest:
                item.is_aged = item.is_waiting and item.held is not None
            for item in self._with_bodies:
                item.is_listed = item.is_waiting and item.held is not None
            self._oldest = deque(item for item in self._oldest if item.is_aged)
            self._with_bodies = deque(item for item in self._with_bodies if item.is_listed)

    def _is_full_with(self, item: Item) -> bool:
        most, most_bytes = self._retry.queue_max_size, self._retry.queue_max_bytes
        return 0 < most <= self.count - self.on_disk or 0 < most_bytes < self._bytes + item.size

    def _shrink(self, item: Item) -> None:
        item.is_listed = False
        if not item.is_waiting or not isinstance(item.held, EncodedPacket):
            return
        if item.record is not None:
            self._leave_memory(item)
            return
        item.is_slim = True
        slim = self._slim(item.held, stats.QUEUE_FULL) if self._slim is not None else None
        if slim is not None:
            self._bytes -= item.size
            item.held = slim
            self._bytes += item.size
            self._counters.bodies_dropped += 1

    def _leave_memory(self, item: Item) -> None:
        self._bytes -= item.size
        item.held = None
        self.on_disk += 1

    def _leave(self, item: Item) -> Item:
        item.is_waiting = False
        self.count -= 1
        self._bytes -= item.size
        self.on_disk -= item.held is None
        return item
