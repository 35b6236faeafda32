"""The fault plan in its short form: every fault for a moment. `nox -s faults` is the whole of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from delivery_fakes import Retry, running, wait_for
from plan import ROWS, Row
from trial import SEEN, SOMETIMES, Scale, make, trial

from payi_otel.delivery._backlog import Backlog
from payi_otel.delivery._item import Task
from payi_otel.delivery.outcome import EncodedPacket, Fate, Outcome
from payi_otel.exporters.http import HttpSink
from payi_otel.testing import CapturingSink


@pytest.mark.parametrize("row", [row for row in ROWS if not row.is_test], ids=lambda row: f"{row.number} {row.fault}")
def test_no_promise_is_broken(row: Row) -> None:
    """Each row looks at both sides: what was issued, and what arrived; and what it is about has happened."""
    SEEN.clear()
    row.run(Scale(seed=2))
    assert row.shows <= SEEN


def test_no_row_is_missing() -> None:
    """All thirty-two."""
    assert [row.number for row in ROWS] == sorted([*range(1, 33), 6])


def test_everything_happens_in_some_row() -> None:
    """A plan in which nothing was ever sent twice proves nothing about duplicates."""
    assert frozenset().union(*(row.shows for row in ROWS)) == SOMETIMES


class Lossy(HttpSink):
    """Says that it delivered one packet in ten thousand that it never sent."""

    numbers = itertools.count(1)

    def send(self, encoded: EncodedPacket) -> Outcome:
        """One."""
        return Outcome(Fate.DELIVERED) if next(self.numbers) % 10_000 == 0 else super().send(encoded)

    def send_batch(self, batch: Sequence[EncodedPacket]) -> list[Outcome] | Outcome:
        """Several."""
        kept = [packet for packet in batch if next(self.numbers) % 10_000]
        outcomes = super().send_batch(kept)
        return outcomes if isinstance(outcomes, Outcome) else outcomes + [Outcome(Fate.DELIVERED)] * (len(batch) - len(kept))


def test_a_planted_loss_of_one_in_ten_thousand_is_caught() -> None:
    """By the oracle's other side: the account alone would believe the sink."""
    with trial(Scale(), sink_class=Lossy) as one:
        one.offer(10_001)
        one.drain()
        assert one.queue.stats().delivered == 10_001
        with pytest.raises(AssertionError, match="lost, or invented"):
            one.check()


def test_a_packet_that_the_queue_itself_forgets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the law: it is in no term of it."""
    numbers, take = itertools.count(1), Backlog.take

    def forget(backlog: Backlog, now: float) -> Task | None:
        task = take(backlog, now)
        if task is not None and next(numbers) % 1000 == 0:
            backlog._working.difference_update(task.items)
            return None
        return task

    monkeypatch.setattr(Backlog, "take", forget)
    with running(CapturingSink(), Retry()) as queue:
        for number in range(1000):
            queue.submit(make(str(number)))  # type: ignore[arg-type]
        wait_for(lambda: not queue.stats().is_conserved)
