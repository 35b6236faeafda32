"""Packets that are made and wait for their first request, and how many of them go together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from payi_otel.delivery._item import Item, Task
from payi_otel.delivery.outcome import Batching

_MAX_BYTES: Final = 16 * 1024 * 1024
"""Packets made ahead take no more memory; what is on disk leaves memory beyond this."""


class Line(Protocol):
    """Packets in the order in which they go."""

    def peek(self) -> Item | None:
        """The next, which stays; None: there is none."""
        ...

    def pop(self) -> Item:
        """The next."""
        ...


class Staged:
    """In the order in which they were made."""

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self._bytes = 0
        self.on_disk = 0
        """Those of them that are on disk only."""

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def has_room(self) -> bool:
        """Whether more may be made."""
        return self._bytes < _MAX_BYTES

    def peek(self) -> Item | None:
        """The oldest, which stays."""
        return self.items[0] if self.items else None

    def push(self, item: Item) -> None:
        """Takes one in."""
        if self._bytes + item.size > _MAX_BYTES and item.record is not None:
            item.held = None
        self.items.append(item)
        self._bytes += item.size
        self.on_disk += item.held is None

    def pop(self) -> Item:
        """The oldest."""
        return self._leave(self.items.popleft())

    def remove(self, item: Item) -> None:
        """Takes one out, if it is there."""
        if item in self.items:
            self.items.remove(item)
            self._leave(item)

    def clear(self) -> None:
        """Forgets everything."""
        self.items.clear()
        self._bytes = self.on_disk = 0

    def _leave(self, item: Item) -> Item:
        self._bytes -= item.size
        self.on_disk -= item.held is None
        return item


def take_together(line: Line, batching: Batching | None) -> Task:
    """The first packet of a line, and those behind it that may go in the same request."""
    items = [line.pop()]
    if batching is None:
        return Task(items, sends=True)
    most, size = _limit(items[0], batching), items[0].length
    while len(items) < most and (following := line.peek()) is not None:
        most = min(most, _limit(following, batching))
        size += following.length
        if len(items) >= most or size > batching.max_bytes:
            break
        items.append(line.pop())
    return Task(items, sends=True, is_batch=_limit(items[0], batching) > 1 and len(items) >= min(batching.least, 2))


def _limit(item: Item, batching: Batching) -> int:
    """How many packets may go with this one, itself included."""
    if item.is_awaited or (item.ambiguous and not batching.takes_resends):
        return 1
    return min(item.batch_limit or batching.max_items, batching.max_items)
