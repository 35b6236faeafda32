"""Queue and spool together, step by step, on a disk that fills up and a machine that crashes: is there a way to lose a packet?"""

from __future__ import annotations

import atexit
import itertools
import random
from typing import Any

import pytest
from crashing_files import CrashingFiles
from delivery_fakes import Retry, make_packet
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from payi_otel.delivery._item import Item
from payi_otel.delivery.outcome import Batching, EncodedPacket, Fate, Fault, Outcome
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.delivery.spool import Spool
from payi_otel.exporters import _wire
from payi_otel.packets.model import IngestPacket

STEPS = settings(max_examples=200, stateful_step_count=40, suppress_health_check=list(HealthCheck), database=None)
WRONG = settings(STEPS, max_examples=1000, derandomize=True, phases=[Phase.generate], print_blob=False, report_multiple_bugs=False)
DELIVERED = Outcome(Fate.DELIVERED)
ANSWERS = {
    "up": DELIVERED,
    "down": Outcome(Fate.RETRY, "http_503", status=503),
    "failing": Outcome(Fate.RETRY, "http_500", fault=Fault.PACKET, ambiguous=True, status=500),
    "reply lost": Outcome(Fate.RETRY, "connection_error", ambiguous=True),
}


class Service:
    """Pay-i as a sink: knows what it has taken."""

    def __init__(self) -> None:
        self.mode = "up"
        self.taken: list[str] = []

    @property
    def batching(self) -> Batching:
        """Three at a time."""
        return Batching(2, 3, 10**6, takes_resends=True)

    def encode(self, packet: IngestPacket) -> EncodedPacket:
        """As it is sent."""
        return _wire.encode(packet)

    def slim(self, encoded: EncodedPacket, why: str) -> EncodedPacket | None:
        """There is nothing to leave out."""
        return None

    def deliver(self, packet: IngestPacket) -> Outcome:
        """One packet."""
        return self.send(self.encode(packet))

    def send(self, encoded: EncodedPacket) -> Outcome:
        """One packet; its body must be what it was."""
        if self.mode in ("up", "reply lost"):
            name = encoded.packet.response_id
            assert encoded.json == _wire.encode(make_packet(name.removeprefix("chatcmpl-"))).json
            self.taken.append(name)
        return ANSWERS[self.mode]

    def send_batch(self, batch: Any) -> Any:
        """Several."""
        outcomes = [self.send(encoded) for encoded in batch]
        return outcomes if self.mode == "up" else outcomes[0]

    def hasten(self, deadline_s: float) -> None:
        """Nothing takes time."""

    def watch(self) -> float | None:
        """Nothing lasts."""
        return None

    def interrupt(self) -> None:
        """Nothing hangs."""

    def close(self) -> None:
        """Nothing is open."""

    def after_fork(self) -> None:
        """Nothing is shared."""


def name_of(item: Item) -> str:
    """Whose packet it is, or is going to be."""
    packet = item.held.packet if isinstance(item.held, EncodedPacket) else item.payload
    return packet.response_id if packet is not None else f"on disk {id(item)}"  # type: ignore[attr-defined]


class Machine(RuleBasedStateMachine):
    """One process after the other on one disk; no threads: a turn is a step."""

    sync_always = True
    spool_class = Spool

    def __init__(self) -> None:
        super().__init__()
        self.files = CrashingFiles()
        self.service = Service()
        self.numbers = itertools.count()
        self.issued: set[str] = set()
        self.may_be_lost: set[str] = set()
        """In memory only when a process was killed, and so promised to nobody."""
        self.now = 0.0

    @initialize()
    def start(self) -> None:
        """A process."""
        quiet = type("Quiet", (self.spool_class,), {"has_orphans": False})  # no thread starts by itself
        spool = quiet("/spool", sync_always=self.sync_always, files=self.files, clock=lambda: self.now)
        retry = Retry(queue_interval=1e-6)
        self.queue = DeliveryQueue(self.service, convert=lambda payload: payload, retry=retry, exit_timeout_s=0.0, spool=spool)  # type: ignore[arg-type,return-value]
        self.queue._workers.is_stopped = True  # nobody works but the rules
        self.spool = spool

    @rule(count=st.integers(1, 5))
    def submit(self, count: int) -> None:
        """Calls end."""
        for _ in range(count):
            name = str(next(self.numbers))
            self.issued.add(f"chatcmpl-{name}")
            self.queue.submit(make_packet(name))  # type: ignore[arg-type]

    @rule(count=st.integers(1, 8))
    def work(self, count: int) -> None:
        """A worker takes some turns."""
        for _ in range(count):
            self.now += 0.3
            self.queue._courier.turn()

    @rule(mode=st.sampled_from(sorted(ANSWERS)))
    def change(self, mode: str) -> None:
        """The service has other moods."""
        self.service.mode = mode

    @rule(room=st.one_of(st.none(), st.integers(0, 2000)))
    def fill(self, room: int | None) -> None:
        """Others use the disk, too."""
        self.files.free_bytes = room
        self.now += 31.0

    @rule(methods=st.sets(st.sampled_from(["write", "sync", "create", "read", "truncate", "rename", "sync_directory"])))
    def fail(self, methods: set[str]) -> None:
        """The disk is failing."""
        self.files.failing = methods
        self.now += 31.0

    @rule()
    def kill(self) -> None:
        """SIGKILL, and a new process."""
        self.note_unwritten()
        self.files.kill()
        self.forget()
        self.start()

    @precondition(lambda self: self.sync_always)
    @rule(seed=st.integers(0, 1000))
    def cut_power(self, seed: int) -> None:
        """And a new process."""
        self.note_unwritten()
        self.files.cut_power(random.Random(seed))
        self.forget()
        self.start()

    @rule(mode=st.sampled_from(["down", "failing"]), seed=st.integers(0, 1000))
    def crash_in_an_outage(self, mode: str, seed: int) -> None:
        """What a spool is for, and what steps at random seldom add up to."""
        self.change(mode)
        self.submit(3)
        self.work(6)
        if self.sync_always:
            self.cut_power(seed)
        else:
            self.kill()

    @rule()
    def stop(self) -> None:
        """A clean exit within no time, and a new process."""
        self.exit()
        self.files.kill()
        self.start()

    def exit(self) -> None:
        """What could not be put on disk is counted as dropped."""
        names = {name_of(item): item for item in self.queue._backlog.list_open()}
        self.queue.shutdown(0.0)
        account = self.queue.stats()
        assert account.queued == account.in_flight == 0
        assert account.is_conserved
        lost = {name for name, item in names.items() if item.record is None}
        assert account.dropped == ({"shutdown": len(lost)} if lost else {})
        self.may_be_lost |= lost

    def forget(self) -> None:
        """The process is gone, and its exit handlers with it."""
        atexit.unregister(self.queue._at_exit)
        self.queue._is_closed = True

    def note_unwritten(self) -> None:
        """What is not on disk is lost with the process."""
        self.may_be_lost |= {name_of(item) for item in self.queue._backlog.list_unwritten()}

    @invariant()
    def account_holds(self) -> None:
        """At every step."""
        if hasattr(self, "queue"):
            assert self.queue.stats().is_conserved

    def teardown(self) -> None:
        """At last all is well: everything that was promised arrives, and nothing that was never issued."""
        self.service.mode, self.files.free_bytes, self.files.failing = "up", None, set()
        for _ in range(2):
            for _ in range(300):
                self.now += 31.0
                self.queue._courier.turn()
            self.exit()
            self.files.kill()
            self.start()
        self.exit()
        assert set(self.service.taken) <= self.issued
        assert self.issued - self.may_be_lost <= set(self.service.taken)


class KillsOnly(Machine):
    """The mode "interval" promises the same but for power cuts."""

    sync_always = False


@pytest.mark.parametrize("machine", [Machine, KillsOnly])
def test_what_was_promised_arrives(machine: type[Machine]) -> None:
    """Whatever happens in between."""
    run_state_machine_as_test(machine, settings=STEPS)


class AcknowledgesBeforeSync(Spool):
    """Wrong on purpose."""

    def _sync(self, segment: Any, size: int) -> None:
        return


class ForgetsTheDirectory(Spool):
    """Wrong on purpose."""

    def _get_segment(self) -> Any:
        files, self._files = self._files, _Forgetful(self._files)
        try:
            return super()._get_segment()
        finally:
            self._files = files


class _Forgetful:
    def __init__(self, files: Any) -> None:
        self._files = files

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def sync_directory(self, directory: str) -> None:
        """Says that it did."""


class FinishesBeforeSending(Spool):
    """Wrong on purpose."""

    def read(self, record: Any) -> bytes | None:
        """Nobody needs it any more, it thinks."""
        content = super().read(record)
        self.finish(record)
        return content


@pytest.mark.parametrize("wrong", [AcknowledgesBeforeSync, ForgetsTheDirectory, FinishesBeforeSending])
def test_the_machine_finds_what_is_wrong(wrong: type[Spool]) -> None:
    """A test that cannot fail proves nothing."""

    class Broken(Machine):
        spool_class = wrong

    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=WRONG)
