"""Sends one capture: every packet once, in its order, with a note of how far it came, and what was refused kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from payi_otel._environ import variable
from payi_otel._json import to_json
from payi_otel.captures.reading import Capture
from payi_otel.cli._errors import WrongUsage
from payi_otel.clients import BASE_URL_VARIABLE, DEFAULT_BASE_URL
from payi_otel.context.scope import Scope
from payi_otel.delivery._ticket import Ticket
from payi_otel.delivery.outcome import EncodedPacket, Fate
from payi_otel.exporters.file import FileSink
from payi_otel.packets.model import IngestPacket
from payi_otel.payload import ContentReader, Payload

if TYPE_CHECKING:
    from payi_otel.delivery.queue import DeliveryQueue

_WINDOW: Final = 500
"""Packets under way at once: enough for a bulk of every worker's, and all that is in memory of a file."""
_NOTE_S: Final = 1.0
"""So often it is noted how far the file was sent."""
_STEP_S: Final = 0.2
_NEED_SOMEBODY: Final = frozenset({"invalid_api_key", "tls_error"})
_NO_PACKET: Final = "not_a_packet"


@dataclass(slots=True)
class Report:
    """What became of a file's packets."""

    file: str
    url: str = ""
    accepted: int = 0
    duplicate: int = 0
    """Pay-i had them already."""
    rejected: dict[str, int] = field(default_factory=dict)
    """By Pay-i's reason."""
    left: int = 0
    """Not sent, or without an answer: the next run begins with them."""
    waiting: int = 0
    """A dry run's: what would be sent."""
    sent_before: int = 0
    rejected_file: str | None = None
    broken: str | None = None
    interrupted: bool = False

    @property
    def rejected_count(self) -> int:
        """Of all reasons."""
        return sum(self.rejected.values())

    @property
    def is_done(self) -> bool:
        """Nothing is left, and nothing was refused."""
        return not (self.left or self.rejected or self.broken or self.interrupted)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    record: Mapping[str, Any]
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class _Made:
    """A packet in the place of what one is made of."""

    packet: IngestPacket


class Replay:
    """One file on its way to Pay-i."""

    def __init__(self, file: Path, rejected: Path, *, rate: float | None, timeout_s: float, again: bool) -> None:
        """Reads nothing yet.

        Args:
            file: The capture.
            rejected: Where what is refused goes.
            rate: Packets a second at most; None: as fast as they are taken.
            timeout_s: Given up after so long without a packet that has its fate.
            again: From the file's beginning, whatever was sent before.
        """
        self._capture, self._file, self._rejected = Capture(file), file, rejected
        self._rate, self._timeout_s = rate, timeout_s
        self._note = _Note(file)
        self.report = Report(str(file), sent_before=0 if again else self._note.read())
        self._done = self.report.sent_before
        self._is_gapless = True
        self._moved_s = time.monotonic()
        """When a packet last had its fate."""
        self._under_way: deque[_UnderWay] = deque()
        self._reasons: Counter[str] = Counter()
        self._sink: FileSink | None = None

    def look(self) -> Report:
        """Counts what would be sent."""
        self.report.url = variable(BASE_URL_VARIABLE) or DEFAULT_BASE_URL
        for record in self._records():
            if _to_packet(record) is not None:
                self.report.waiting += 1
            else:
                self._reasons[_NO_PACKET] += 1
        return self._finished()

    def send(self) -> Report:
        """Sends it, and says what came of it.

        Raises:
            ConfigurationError: There is no key, or a setting is wrong.
        """
        from payi_otel.clients import to_target

        target = to_target(None)
        self.report.url = target.base_url
        queue = _to_queue(target)
        try:
            with _Progress(self._file) as show:
                self._send_all(queue, show)
        except KeyboardInterrupt:
            self.report.interrupted = True
        finally:
            logging.disable(logging.CRITICAL)  # the queue calls lost what it has not sent; it is in the file, and the report says so
            queue.shutdown(1.0)
            logging.disable(logging.NOTSET)
            self._settle(wait_s=0.0)
            self.report.left += len(self._under_way)
            self._note.write(self._done)
        return self._finished()

    def _records(self) -> Iterator[Mapping[str, Any]]:
        return islice(self._capture.records(), self.report.sent_before, None)

    def _finished(self) -> Report:
        report, broken = self.report, self._capture.broken
        report.rejected = dict(self._reasons)
        report.rejected_file = str(self._rejected) if self._sink is not None else None
        report.broken = f"at byte {broken.offset}: {broken.why}" if broken is not None else None
        return report

    def _send_all(self, queue: DeliveryQueue, show: Callable[[int], None]) -> None:
        began_s = noted_s = time.monotonic()
        for count, record in enumerate(self._records(), 1):
            self._submit(queue, record)
            while len(self._under_way) >= _WINDOW or (self._rate is not None and count > (time.monotonic() - began_s) * self._rate + 1):
                if not self._settle(wait_s=_STEP_S) and self._is_stuck(queue):
                    self._count_the_rest()
                    return
            self._settle(wait_s=0.0)
            show(self._capture.position)
            if time.monotonic() - noted_s >= _NOTE_S:
                noted_s = time.monotonic()
                self._note.write(self._done)
        while self._under_way:
            if not self._settle(wait_s=_STEP_S) and self._is_stuck(queue):
                return

    def _is_stuck(self, queue: DeliveryQueue) -> bool:
        """For too long; or at once, where it does not pass by itself."""
        return time.monotonic() - self._moved_s > self._timeout_s or not _NEED_SOMEBODY.isdisjoint(queue.stats().failures)

    def _count_the_rest(self) -> None:
        """They are left for the next time."""
        for _ in self._capture.records():
            self.report.left += 1
        self.report.left -= self._done + len(self._under_way)

    def _submit(self, queue: DeliveryQueue, record: Mapping[str, Any]) -> None:
        ticket, packet = Ticket(), _to_packet(record)
        if packet is None:
            ticket.settle(None)
        else:
            payload = Payload(scope=Scope(), category="", module="", content=cast("ContentReader", _Made(packet)))
            queue.submit(payload, ticket)
        if not self._under_way:
            self._moved_s = time.monotonic()
        self._under_way.append(_UnderWay(record, ticket))

    def _settle(self, *, wait_s: float) -> int:
        """Takes note of those at the front that have their fate; how many."""
        settled = 0
        while self._under_way:
            first = self._under_way[0]
            if not first.ticket.is_final and (settled or not wait_s or not _wait(first.ticket, wait_s)):
                break
            self._under_way.popleft()
            self._conclude(first)
            settled += 1
        if settled:
            self._moved_s = time.monotonic()
        return settled

    def _conclude(self, one: _UnderWay) -> None:
        outcome = one.ticket.outcome
        if outcome is not None and outcome.fate is Fate.RETRY:  # given up at shutdown
            self.report.left += 1
            self._is_gapless = False
            return
        self._done += self._is_gapless  # what is behind a gap is sent once more, and recognised
        if outcome is None or outcome.fate is Fate.DEAD:
            self._reasons[outcome.code if outcome is not None else _NO_PACKET] += 1
            self._keep(one.record)
        elif outcome.code == "duplicate":
            self.report.duplicate += 1
        else:
            self.report.accepted += 1

    def _keep(self, record: Mapping[str, Any]) -> None:
        if self._sink is None:
            self._sink = FileSink(self._rejected)
        self._sink.send(EncodedPacket(to_json(record), IngestPacket({})))


def _digest_of_first(file: Path) -> str:
    """What tells a file from another: its first packet stays where it is, for captures only grow."""
    first = next(Capture(file).records(), None)
    return hashlib.sha256(to_json(first)).hexdigest() if first is not None else ""


def _to_packet(record: Mapping[str, Any]) -> IngestPacket | None:
    try:
        return IngestPacket.from_offline_record(record)
    except ValueError:
        return None


def _wait(ticket: Ticket, wait_s: float) -> bool:
    """Until a fate is final: a packet in the retry queue has only a first answer."""
    if not ticket.is_settled:
        ticket.wait(wait_s)
    elif not ticket.is_final:
        time.sleep(wait_s)
    return ticket.is_final


def _to_queue(target: Any) -> DeliveryQueue:
    from payi_otel.config import load_settings
    from payi_otel.delivery.queue import DeliveryQueue
    from payi_otel.exporters.http import HttpSink

    settings = load_settings({"ingest_retry": {"queue_enabled": True}})
    logger = logging.getLogger("payi.instrument.delivery")
    logger.addFilter(lambda record: " lost" not in record.msg or "none lost" in record.msg)  # it is all still in the file
    return DeliveryQueue(
        HttpSink(target, bulk=settings.ingest_bulk, is_limited=False),
        convert=lambda payload: payload.content.packet if isinstance(payload.content, _Made) else None,
        retry=settings.ingest_retry,
        connection_error_logging_window_s=settings.connection_error_logging_window,
    )


class _Note:
    """How many packets of a file were sent, beside the file; and of which one, for another may come under its name (log rotation)."""

    def __init__(self, file: Path) -> None:
        self._path, self._has_failed = file.with_name(file.name + ".replayed"), False
        self._first = _digest_of_first(file)

    def read(self) -> int:
        """0 where nothing is noted of this file."""
        try:
            note = json.loads(self._path.read_bytes())
            sent, first = int(note["sent"]), note["first"]
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError):
            raise WrongUsage(f"{self._path} cannot be read: remove it to send the file from its beginning") from None
        if first == self._first:
            return sent
        if sent:
            click.echo(f"payi-otel replay: {self._path} is of another file of that name, so this one is sent whole", err=True)
        return 0

    def write(self, sent: int) -> None:
        """Whole or not at all."""
        new = self._path.with_name(self._path.name + ".new")
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({"sent": sent, "first": self._first}, file)
            os.replace(new, self._path)
        except OSError as fault:
            if not self._has_failed:
                self._has_failed = True
                click.echo(f"payi-otel replay: {self._path} cannot be written ({fault.strerror}): the next run begins anew", err=True)


class _Progress:
    """A bar on a terminal; nothing elsewhere."""

    def __init__(self, file: Path) -> None:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._bar = Progress(console=console, transient=True) if console.is_terminal else None
        self._size, self._name = file.stat().st_size, file.name

    def __enter__(self) -> Callable[[int], None]:
        bar = self._bar
        if bar is None:
            return lambda position: None
        bar.start()
        task = bar.add_task(self._name, total=self._size)
        return lambda position: bar.update(task, completed=position)

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()
