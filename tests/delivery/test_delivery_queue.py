"""The queue's promises, one by one, against a sink that answers as it is told."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref

import pytest
from delivery_fakes import DEAD, DELIVERED, DOWN, FAILED, Retry, delivery_threads, ids, make_packet, running, submit, wait_for

from payi_otel.context.scope import Scope
from payi_otel.delivery.outcome import Fate, Fault, Outcome
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.delivery.stats import Stats
from payi_otel.packets.model import IngestPacket
from payi_otel.payload import Payload
from payi_otel.testing import CapturingSink

LOGGER = "payi.instrument.delivery"


class Gate:
    """Outcomes that wait until the test lets them go."""

    def __init__(self, outcome: Outcome = DELIVERED) -> None:
        self.outcome = outcome
        self.opened = threading.Event()

    def __call__(self, packet: IngestPacket) -> Outcome:
        """Waits for it."""
        self.opened.wait(10)
        return self.outcome


def test_a_submitted_call_is_converted_and_delivered() -> None:
    """It goes to `convert`, its packet to the sink."""
    seen = []

    def convert(payload):
        seen.append(payload)
        return make_packet()

    sink = CapturingSink()
    with running(sink, convert=convert) as queue:
        assert queue.submit("payload") is None
        assert queue.flush(5)
        assert queue.stats() == Stats(created=1, delivered=1, attempts=1)
    assert seen == ["payload"]
    assert sink.packets == [make_packet()]


def test_a_call_that_is_not_billable_counts_as_nothing() -> None:
    """`convert` returned None."""
    sink = CapturingSink()
    with running(sink) as queue:
        submit(queue, None, make_packet(), None)
        assert queue.flush(5)
        assert queue.stats() == Stats(created=1, delivered=1, attempts=1)


def test_a_call_that_cannot_be_converted_is_dropped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """The line names the fault's type and place, not its text, which may hold a prompt."""

    def convert(payload):
        raise KeyError("my secret prompt")

    with running(CapturingSink(), convert=convert) as queue:
        submit(queue, 1)
        assert queue.flush(5)
        assert queue.stats() == Stats(created=1, dropped={"conversion_failed": 1})
    assert "KeyError" in caplog.text
    assert "secret" not in caplog.text


def test_submit_never_waits_for_the_sink() -> None:
    """A thousand calls are taken while every worker hangs."""
    gate = Gate()
    with running(CapturingSink(gate)) as queue:
        submit(queue, *map(make_packet, range(1000)))
        stats = queue.stats()
        assert (stats.created, stats.queued + stats.in_flight, stats.is_conserved) == (1000, 1000, True)
        gate.opened.set()
        assert queue.flush(10)
        assert queue.stats() == Stats(created=1000, delivered=1000, attempts=1000)


def test_submit_raises_nothing_whatever_it_is_given() -> None:
    """What is not a call is found out by the worker."""
    with running(CapturingSink(), convert=lambda payload: payload.nothing) as queue:
        submit(queue, object(), "", 1)
        assert queue.flush(5)
        assert queue.stats().dropped == {"conversion_failed": 3}


def test_workers_grow_to_eight_and_no_further() -> None:
    """Under backlog, each packet that can be sent at once is."""
    others = delivery_threads()
    gate = Gate()
    sink = CapturingSink(gate)
    with running(sink) as queue:
        submit(queue, *map(make_packet, range(50)))
        assert sink.wait_for_attempts(8)
        assert queue.stats().in_flight == 8
        gate.opened.set()
        assert queue.flush(10)
    assert not delivery_threads() - others


def test_no_thread_runs_before_the_first_packet() -> None:
    """Setting up costs nothing."""
    before = threading.active_count()
    with running(CapturingSink()) as queue:
        assert threading.active_count() == before
        assert queue.flush(5)
        assert threading.active_count() == before


def test_sending_is_not_traced_and_carries_no_baggage() -> None:
    """Instrumentation is suppressed around convert and deliver, and the caller's context is not there."""
    from opentelemetry import baggage, context
    from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled, is_instrumentation_enabled

    seen = []

    def look(packet: IngestPacket) -> Outcome:
        seen.append((is_instrumentation_enabled(), is_http_instrumentation_enabled(), dict(baggage.get_all())))
        return DELIVERED

    token = context.attach(baggage.set_baggage("user", "secret"))
    try:
        with running(CapturingSink(look)) as queue:
            submit(queue, make_packet())
            assert queue.flush(5)
    finally:
        context.detach(token)
    assert seen == [(False, False, {})]


def test_a_refused_packet_is_a_dead_letter(caplog: pytest.LogCaptureFixture) -> None:
    """It is counted by code and logged by code, status and id; it is not tried again."""
    sink = CapturingSink([DEAD])
    with running(sink) as queue:
        submit(queue, make_packet(1, {"provider_request_json": "secret"}))
        assert queue.flush(5)
        assert queue.stats() == Stats(created=1, dead_lettered={"category_not_found": 1}, attempts=1)
    assert [record.getMessage() for record in caplog.records] == [
        "packet chatcmpl-1 is lost: refused for good (category_not_found, HTTP 400)",
        "1 of 1 packet was lost in this process: refused 1 (category_not_found)",
    ]


def test_a_packet_that_cannot_be_sent_now_is_sent_later() -> None:
    """The retry queue."""
    sink = CapturingSink([DOWN, DOWN])
    with running(sink) as queue:
        submit(queue, make_packet())
        assert sink.wait_for_packets(1)
        assert queue.flush(5)
        assert queue.stats() == Stats(created=1, delivered=1, attempts=3, retries=2, failures={"connection_error": 2})


def test_while_the_destination_is_down_one_packet_at_a_time_probes() -> None:
    """New packets wait without an attempt of their own; when a probe passes, all go."""
    is_up = threading.Event()
    sink = CapturingSink(lambda packet: DELIVERED if is_up.is_set() else DOWN)
    with running(sink, Retry(queue_interval=0.05)) as queue:
        submit(queue, make_packet("first"))
        assert sink.wait_for_attempts(1)
        submit(queue, *map(make_packet, range(100)))
        assert sink.wait_for_attempts(4)
        assert set(ids(sink.attempts)) == {"first"}
        assert queue.stats().queued + queue.stats().in_flight == 101
        is_up.set()
        assert queue.flush(10)
        assert queue.stats().delivered == 101
        assert len(sink.packets) == 101


def test_a_packet_that_keeps_failing_holds_up_no_other() -> None:
    """No head-of-line blocking; after ten failures with others delivered between them it is poison."""
    sink = CapturingSink(lambda packet: FAILED if packet.response_id == "chatcmpl-bad" else DELIVERED)
    with running(sink, Retry(queue_interval=0.001)) as queue:
        submit(queue, make_packet("bad"))
        others = 0
        while not queue.stats().dead_lettered:
            submit(queue, make_packet(others))
            others += 1
            assert sink.wait_for_packets(others)
        assert queue.flush(10)
        stats = queue.stats()
    assert others >= 9
    assert (stats.created, stats.delivered, stats.dead_lettered) == (others + 1, others, {"poison": 1})


def test_a_single_packet_waits_out_an_outage_of_any_length() -> None:
    """A destination that fails everything it gets is down, however few packets there are to tell by."""
    is_up = threading.Event()
    sink = CapturingSink(lambda packet: DELIVERED if is_up.is_set() else FAILED)
    with running(sink, Retry(queue_interval=0.001)) as queue:
        submit(queue, make_packet(1), make_packet(2))
        assert sink.wait_for_attempts(60)
        assert queue.stats().dead_lettered == {}
        is_up.set()
        assert queue.flush(10)
        assert queue.stats().delivered == 2


def test_a_server_that_fails_every_packet_poisons_none() -> None:
    """Many different packets failing with no success between is the destination's fault, and is waited out."""
    is_up = threading.Event()
    sink = CapturingSink(lambda packet: DELIVERED if is_up.is_set() else FAILED)
    with running(sink, Retry(queue_interval=0.01)) as queue:
        submit(queue, *map(make_packet, range(30)))
        assert sink.wait_for_attempts(150)
        assert queue.stats().dead_lettered == {}
        is_up.set()
        assert queue.flush(10)
        assert (queue.stats().delivered, queue.stats().dead_lettered) == (30, {})


def test_retry_after_postpones_the_next_drain() -> None:
    """The destination asked for time; a flush does not override it."""
    busy = Outcome(Fate.RETRY, "http_429", retry_after_s=300.0, status=429)
    sink = CapturingSink([busy])
    with running(sink, Retry(queue_interval=0.001)) as queue:
        submit(queue, make_packet(1))
        assert sink.wait_for_attempts(1)
        submit(queue, make_packet(2))
        assert not queue.flush(0.1)
        assert ids(sink.attempts) == ["1"]
        assert queue.stats().queued == 2


def test_retry_after_is_overridden_once_at_shutdown() -> None:
    """Better one more request than everything lost."""
    busy = Outcome(Fate.RETRY, "http_429", retry_after_s=300.0, status=429)
    sink = CapturingSink([busy])
    with running(sink, exit_timeout_s=5.0) as queue:
        submit(queue, make_packet(1), make_packet(2))
        assert sink.wait_for_attempts(1)
        queue.shutdown()
        assert queue.stats().delivered == 2


def test_a_full_retry_queue_drops_its_oldest(caplog: pytest.LogCaptureFixture) -> None:
    """The limit is `queue_max_size`; each loss is counted, and the log says what is lost."""
    is_up = threading.Event()
    sink = CapturingSink(lambda packet: DELIVERED if is_up.is_set() else DOWN)
    with running(sink, Retry(queue_max_size=3, queue_interval=60), connection_error_logging_window_s=0) as queue:
        submit(queue, make_packet(0))
        wait_for(lambda: queue.stats().failures and queue.stats().queued == 1)
        submit(queue, *map(make_packet, range(1, 6)))
        wait_for(lambda: queue.stats().dropped == {"queue_full": 3})
        assert queue.stats().is_conserved
        is_up.set()
        assert queue.flush(5)
        assert sorted(ids(sink.packets)) == ["3", "4", "5"]
    assert "packet chatcmpl-0 is lost: the retry queue is full (ingest_retry.queue_max_size=3," in caplog.text


def test_calls_that_end_faster_than_packets_are_made_do_not_fill_memory(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond twenty thousand (here fewer), each is counted; the results of a batch are not in the way."""
    monkeypatch.setattr("payi_otel.delivery.queue._MAX_INBOX", 100)
    gate = threading.Event()

    def convert(payload):
        gate.wait(10)
        return payload

    with running(CapturingSink(), convert=convert) as queue:
        submit(queue, *map(make_packet, range(300)))
        account = queue.stats()
        assert account.created == 300
        assert 180 <= account.dropped["queue_full"] <= 200
        assert account.is_conserved
        gate.set()
        assert queue.flush(10)
        queue.submit(Payload(scope=Scope(), category="c", module="m/1", parts=lambda: [None] * 500))  # type: ignore[list-item]
        assert queue.flush(10)
        assert queue.stats().created == 300
    assert "a packet is lost: calls end faster than packets are made, 100 are waiting for that" in caplog.text


def test_without_a_retry_queue_a_failed_packet_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """And said."""
    sink = CapturingSink([DOWN])
    with running(sink, Retry(queue_enabled=False)) as queue:
        submit(queue, make_packet(1))
        assert queue.flush(5)
        submit(queue, make_packet(2))
        assert queue.flush(5)
        assert queue.stats() == Stats(created=2, delivered=1, dropped={"queue_disabled": 1}, attempts=2, failures={"connection_error": 1})
    assert "packet chatcmpl-1 is lost: connection_error, and ingest_retry.queue_enabled is False" in caplog.text


def test_what_a_sink_raises_is_a_retry() -> None:
    """A sink must not raise; if one does, no packet is lost for it."""
    calls = []

    def fail_once(packet: IngestPacket) -> Outcome:
        calls.append(packet)
        if len(calls) == 1:
            raise RuntimeError("a secret")
        return DELIVERED

    with running(CapturingSink(fail_once)) as queue:
        submit(queue, make_packet())
        assert queue.flush(5)
        assert queue.stats() == Stats(created=1, delivered=1, attempts=2, retries=1, duplicates_possible=1, failures={"unexpected": 1})


def test_a_duplicate_counts_as_delivered() -> None:
    """The destination has it; that is what was wanted."""
    with running(CapturingSink([Outcome(Fate.DELIVERED, "duplicate", status=409)])) as queue:
        submit(queue, make_packet())
        assert queue.flush(5)
        assert queue.stats() == Stats(created=1, delivered=1, attempts=1, duplicates_reported=1)


def test_flush_gives_up_when_its_time_is_over() -> None:
    """False, and delivery goes on."""
    gate = Gate()
    with running(CapturingSink(gate)) as queue:
        submit(queue, make_packet())
        assert not queue.flush(0.05)
        gate.opened.set()
        assert queue.flush(5)


def test_flush_starts_a_drain_at_once() -> None:
    """However long the interval is."""
    sink = CapturingSink([DOWN])
    with running(sink, Retry(queue_interval=3600)) as queue:
        submit(queue, make_packet())
        assert sink.wait_for_attempts(1)
        wait_for(lambda: queue.stats().in_flight == 0)
        assert queue.flush(10)
        assert queue.stats().delivered == 1


def test_flush_waits_only_for_what_came_before() -> None:
    """A packet submitted during the flush does not hold it up."""
    gates = {"chatcmpl-1": Gate(), "chatcmpl-2": Gate()}
    sink = CapturingSink(lambda packet: gates[packet.response_id](packet))
    with running(sink) as queue:
        submit(queue, make_packet(1))
        assert sink.wait_for_attempts(1)
        done: list[bool] = []
        flusher = threading.Thread(target=lambda: done.append(queue.flush(10)))
        flusher.start()
        wait_for(lambda: queue._backlog.destination._flushes == 1)
        submit(queue, make_packet(2))
        gates["chatcmpl-1"].opened.set()
        flusher.join(10)
        assert done == [True]
        gates["chatcmpl-2"].opened.set()
        assert queue.flush(5)


def test_shutdown_delivers_what_is_left_and_closes_the_sink() -> None:
    """Once; a second call does nothing."""
    sink = CapturingSink()
    with running(sink, exit_timeout_s=5.0) as queue:
        submit(queue, *map(make_packet, range(50)))
        queue.shutdown()
        assert queue.stats() == Stats(created=50, delivered=50, attempts=50)
        assert sink.closed
        queue.shutdown()


def test_a_process_that_lost_something_says_so_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """One line, by reason; a process that lost nothing says nothing."""
    sink = CapturingSink([DEAD, DOWN, DELIVERED])
    with running(sink, Retry(queue_enabled=False), exit_timeout_s=5.0) as queue:
        submit(queue, *map(make_packet, range(3)))
        assert queue.flush(5)
        queue.shutdown()
        queue.shutdown()
    lines = [record.getMessage() for record in caplog.records if "in this process" in record.getMessage()]
    assert lines == ["2 of 3 packets were lost in this process: refused 1 (category_not_found), dropped 1 (queue_disabled)"]
    caplog.clear()
    with running(CapturingSink()) as queue:
        submit(queue, make_packet())
        assert queue.flush(5)
    assert caplog.records == []


def test_shutdown_says_once_how_many_packets_it_loses(caplog: pytest.LogCaptureFixture) -> None:
    """Within its deadline, although requests hang; what comes back later changes no count."""
    gate = Gate()
    others = delivery_threads()
    sink = CapturingSink(gate)
    with running(sink) as queue:
        submit(queue, *map(make_packet, range(30)))
        assert sink.wait_for_attempts(8)
        began = time.monotonic()
        queue.shutdown(0.3)
        assert time.monotonic() - began < 0.3 + 0.2 + 0.3  # the last for a machine under load
        lost = queue.stats()
        assert (lost.created, lost.dropped, lost.queued, lost.in_flight) == (30, {"shutdown": 30}, 0, 0)
        gate.opened.set()
        wait_for(lambda: not delivery_threads() - others)
        assert queue.stats().dropped == {"shutdown": 30}
        assert queue.stats().is_conserved
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == ["30 of 30 packets were lost in this process: dropped 30 (shutdown)"]


def test_shutdown_ends_early_when_nothing_more_can_be_saved() -> None:
    """A destination that refuses four probes in a row is not waited for until the deadline."""
    sink = CapturingSink(lambda packet: DOWN)
    with running(sink) as queue:
        submit(queue, *map(make_packet, range(10)))
        assert sink.wait_for_attempts(1)
        began = time.monotonic()
        queue.shutdown(60)
        assert time.monotonic() - began < 10
        assert queue.stats().dropped == {"shutdown": 10}


def test_a_call_that_ends_after_shutdown_is_counted_as_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """It is neither sent nor forgotten."""
    sink = CapturingSink()
    with running(sink, inline=True) as queue:
        queue.shutdown()
        ticket = queue.submit(make_packet())
        assert ticket is not None
        assert ticket.wait(0)
        assert queue.stats() == Stats(created=1, dropped={"shutdown": 1})
        assert queue.flush(1)
    assert sink.attempts == []
    assert "its call ended after shutdown" in caplog.text


def test_what_is_open_may_end_itself_as_shutdown_begins() -> None:
    """`before_shutdown` runs once, and its packets are taken."""
    sink = CapturingSink()
    queues: list[DeliveryQueue] = []
    with running(sink, exit_timeout_s=5.0, before_shutdown=lambda: submit(queues[0], make_packet())) as queue:
        queues.append(queue)
        queue.shutdown()
        queue.shutdown()
        assert queue.stats() == Stats(created=1, delivered=1, attempts=1)


def test_an_applications_sleep_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests put something of theirs in place of `time.sleep`, and count its calls or have it fail: workers have no part in that."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        raise AssertionError("nothing here may sleep")

    sink = CapturingSink()
    with running(sink) as queue:
        submit(queue, make_packet())
        assert sink.wait_for_packets(1)
        wait_for(lambda: queue.stats().in_flight == 0)
        with monkeypatch.context() as patched:
            patched.setattr(time, "sleep", sleep)
            for count in range(2, 6):
                submit(queue, make_packet())
                assert sink.wait_for_packets(count)
    assert slept == []


def test_a_queue_nobody_has_any_more_is_collected_with_its_threads() -> None:
    """Neither fork hooks, nor exit hooks, nor idle workers keep it alive."""
    others = delivery_threads()
    queue = DeliveryQueue(CapturingSink(), convert=lambda payload: payload, retry=Retry())
    submit(queue, make_packet())
    assert queue.flush(5)
    reference = weakref.ref(queue)
    del queue
    wait_for(lambda: gc.collect() >= 0 and reference() is None)
    wait_for(lambda: not delivery_threads() - others)


def test_a_span_that_a_collection_ends_inside_the_queue_is_taken() -> None:
    """`submit` needs no lock: here the lock is held by the very thread that submits."""
    sink = CapturingSink()
    with running(sink) as queue:
        with queue._lock:
            submit(queue, make_packet())
        assert queue.flush(5)
        assert queue.stats().delivered == 1


def test_a_log_handler_that_flushes_does_not_wait_for_the_packet_it_is_told_of() -> None:
    """It has its fate, and the handler runs in the very thread that settles it."""

    class Flushing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            flushed.append(queue.flush(5))

    def refuse(payload):
        raise ValueError

    flushed: list[bool] = []
    logger = logging.Logger("of the application")
    logger.addHandler(Flushing())
    with running(CapturingSink(), convert=refuse, logger=logger) as queue:
        submit(queue, make_packet())
        wait_for(lambda: flushed)
    assert flushed[0]


def test_a_log_handler_that_ends_its_thread_leaves_no_flush_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those that made room, too, when the line is about another packet."""

    class Exiting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not over.is_set():
                raise SystemExit

    monkeypatch.setattr(threading, "excepthook", lambda args: None)  # pytest's fails the test
    over = threading.Event()
    logger = logging.Logger("of the application")
    logger.addHandler(Exiting())
    sink = CapturingSink(lambda packet: DELIVERED if over.is_set() else DOWN)
    with running(sink, Retry(queue_max_size=1), logger=logger) as queue:
        submit(queue, *map(make_packet, range(3)))
        wait_for(lambda: queue.stats().dropped.get("queue_full"))
        over.set()
        assert queue.flush(5)


def test_a_log_handler_that_fails_costs_nothing() -> None:
    """The application's handlers are not ours."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError

    logger = logging.getLogger("test.broken")
    logger.addHandler(Broken())
    try:
        sink = CapturingSink([DEAD, DOWN, FAILED])
        with running(sink, logger=logger) as queue:
            submit(queue, *map(make_packet, range(3)))
            assert queue.flush(5)
            assert (queue.stats().delivered, queue.stats().dead_lettered) == (2, {"category_not_found": 1})
    finally:
        logger.handlers.clear()


def test_a_delivered_packet_leaves_memory() -> None:
    """Whatever lists it stood in while it waited."""
    is_up = threading.Event()
    sink = CapturingSink(lambda packet: DELIVERED if is_up.is_set() else DOWN)
    with running(sink, Retry(queue_interval=60)) as queue:
        submit(queue, *map(make_packet, range(50)))
        wait_for(lambda: queue.stats().failures and not queue._backlog.inbox and not queue.stats().in_flight)
        items = queue._backlog.list_open()
        is_up.set()
        assert queue.flush(5)
        wait_for(lambda: not any(item.held or item.payload for item in items))
    assert len(items) == 50


class TestInline:
    """Where the user asked for it, a call waits for its packet."""

    def test_a_ticket_is_settled_with_the_outcome(self) -> None:
        """Delivered."""
        with running(CapturingSink([Outcome(Fate.DELIVERED, result={"request_id": "r"})]), inline=True) as queue:
            ticket = queue.submit(make_packet())
            assert ticket is not None
            assert ticket.wait(5)
            assert ticket.outcome == Outcome(Fate.DELIVERED, result={"request_id": "r"})

    def test_a_ticket_may_be_waited_for_in_vain(self) -> None:
        """False when the time ran out; the outcome is not known yet."""
        gate = Gate()
        with running(CapturingSink(gate), inline=True) as queue:
            ticket = queue.submit(make_packet())
            assert ticket is not None
            assert not ticket.wait(0.02)
            assert ticket.outcome is None
            gate.opened.set()
            assert ticket.wait(5)

    async def test_a_ticket_is_awaited_without_blocking_the_loop(self) -> None:
        """Also by many at once, and a cancelled waiter takes nothing with it."""
        import asyncio

        gate = Gate()
        with running(CapturingSink(gate), inline=True) as queue:
            tickets = [queue.submit(make_packet(number)) for number in range(10)]
            waits = [asyncio.ensure_future(ticket.wait_async()) for ticket in tickets if ticket is not None]
            await asyncio.sleep(0)
            waits[0].cancel()
            gate.opened.set()
            done = await asyncio.gather(*waits, return_exceptions=True)
            assert done[1:] == [True] * 9
            assert isinstance(done[0], asyncio.CancelledError)
            assert tickets[0] is not None
            assert tickets[0].wait(5)

    def test_inline_retries_come_before_the_queue(self) -> None:
        """The call waits for 1 + max_inline_retries attempts; then the packet waits in the queue and the call goes on."""
        sink = CapturingSink([DOWN, DOWN, DOWN, DOWN])
        with running(sink, Retry(max_inline_retries=2, queue_interval=3600)) as queue:
            ticket = queue.submit(make_packet())
            assert ticket is not None
            assert ticket.wait(5)
            assert ticket.outcome == DOWN
            assert len(sink.attempts) == 3
            assert queue.stats().queued == 1

    def test_an_outcome_that_is_final_is_not_retried(self) -> None:
        """Dead is dead."""
        sink = CapturingSink([DEAD])
        with running(sink, Retry(max_inline_retries=5)) as queue:
            ticket = queue.submit(make_packet())
            assert ticket is not None
            assert ticket.wait(5)
            assert ticket.outcome == DEAD
            assert len(sink.attempts) == 1

    def test_inline_packets_are_tried_although_the_destination_is_down(self) -> None:
        """Somebody waits for them; and one that passes shows that it is up again."""
        sink = CapturingSink([DOWN])
        with running(sink, Retry(queue_interval=3600), inline=True) as queue:
            for number in range(2):
                ticket = queue.submit(make_packet(number))
                assert ticket is not None
                assert ticket.wait(5)
            assert sink.wait_for_packets(2)

    def test_callers_do_not_wait_for_one_another(self) -> None:
        """While the destination is down, each has its own attempts, all at the same time."""
        sink = CapturingSink(lambda packet: DOWN)
        with running(sink, Retry(max_inline_retries=1, inline_retry_initial_delay=0.3, queue_interval=60)) as queue:
            for _ in range(2):
                began = time.monotonic()
                tickets = [queue.submit(make_packet(number)) for number in range(20)]
                assert all(ticket is not None and ticket.wait(30) for ticket in tickets)
                assert time.monotonic() - began < 20 * 0.3, "one after the other"

    def test_shutdown_interrupts_the_delay_between_two_retries(self) -> None:
        """A call does not wait out an hour because the process ends."""
        sink = CapturingSink(lambda packet: DOWN)
        with running(sink, Retry(max_inline_retries=3, inline_retry_initial_delay=3600)) as queue:
            ticket = queue.submit(make_packet())
            assert sink.wait_for_attempts(1)
            queue.shutdown(0.1)
            assert ticket is not None
            assert ticket.wait(5)
            assert queue.stats().dropped == {"shutdown": 1}

    def test_a_retry_after_longer_than_the_delay_ends_the_inline_retries(self) -> None:
        """The queue waits as long as the destination asked for; the call does not."""
        sink = CapturingSink([Outcome(Fate.RETRY, "http_429", retry_after_s=60.0, status=429)])
        with running(sink, Retry(max_inline_retries=3)) as queue:
            ticket = queue.submit(make_packet())
            assert ticket is not None
            assert ticket.wait(5)
            assert len(sink.attempts) == 1

    def test_a_call_that_is_not_billable_is_not_waited_for(self) -> None:
        """Its ticket is settled with no outcome."""
        with running(CapturingSink(), inline=True) as queue:
            ticket = queue.submit(None)
            assert ticket is not None
            assert ticket.wait(5)
            assert ticket.outcome is None


class TestLog:
    """What is said, and how often."""

    def test_connection_errors_are_said_once_in_a_window(self, caplog: pytest.LogCaptureFixture) -> None:
        """However many packets fail."""
        sink = CapturingSink([DOWN] * 5)
        with running(sink) as queue:
            submit(queue, make_packet())
            assert queue.flush(5)
        lines = [record.getMessage() for record in caplog.records]
        assert lines == ["the destination cannot be reached: connection_error; 1 packet waiting, none lost"]

    def test_a_window_of_zero_says_every_one(self, caplog: pytest.LogCaptureFixture) -> None:
        """The user asked for it."""
        sink = CapturingSink([DOWN] * 5)
        with running(sink, connection_error_logging_window_s=0) as queue:
            submit(queue, make_packet())
            assert queue.flush(5)
        assert sum("cannot be reached" in record.getMessage() for record in caplog.records) == 5

    def test_the_line_after_a_window_says_how_many_were_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing is silent for ever."""
        from payi_otel.delivery._log import LimitedLog

        now = [0.0]
        log = LimitedLog(logging.getLogger(LOGGER), clock=lambda: now[0])
        for now[0] in (0.0, 1.0, 59.0, 60.0):
            log.write(logging.WARNING, "kind", 60, "at %s", now[0])
        assert [record.getMessage() for record in caplog.records] == ["at 0.0", "at 60.0 (2 more lines like this were suppressed)"]

    def test_a_wrong_key_is_one_error_until_it_is_put_right(self, caplog: pytest.LogCaptureFixture) -> None:
        """It does not pass by itself, so it is an ERROR; said again only if it comes again."""
        wrong = Outcome(Fate.RETRY, "invalid_api_key", "check PAYI_API_KEY", status=401)
        sink = CapturingSink([wrong, wrong, wrong, DELIVERED, wrong])
        caplog.set_level(logging.INFO)
        with running(sink, connection_error_logging_window_s=0) as queue:
            submit(queue, make_packet(1))
            assert queue.flush(5)
            submit(queue, make_packet(2))
            assert queue.flush(5)
        lines = [(record.levelname, record.getMessage()) for record in caplog.records]
        held = "nothing can be delivered until this is put right: invalid_api_key, HTTP 401, check PAYI_API_KEY; "
        held += "1 packet waiting, none lost"
        back = "the destination takes packets again; 0 are being sent"
        assert lines == [("ERROR", held), ("INFO", back), ("ERROR", held), ("INFO", back)]

    def test_an_id_cannot_break_a_line(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nor fill the log."""
        with running(CapturingSink([DEAD])) as queue:
            submit(queue, make_packet(body={"provider_response_id": "a\nERROR forged\x1b[2J" + "x" * 10_000}))
            assert queue.flush(5)
        line, _ = [record.getMessage() for record in caplog.records]
        assert "\n" not in line
        assert len(line) < 250


def test_packet_faults_name_themselves_in_the_outcome() -> None:
    """A destination is blamed unless the outcome says otherwise."""
    assert Outcome(Fate.RETRY).fault is Fault.DESTINATION


def test_a_ticket_is_waited_for_under_trio_too() -> None:
    """Its event loop is not asyncio's; what stands behind both is anyio."""
    trio = pytest.importorskip("trio")
    sink = CapturingSink()
    with running(sink, inline=True) as queue:
        ticket = queue.submit(make_packet())  # type: ignore[arg-type]
        assert ticket is not None
        assert trio.run(ticket.wait_async)
    assert len(sink.packets) == 1
