"""Packets that go together: when they do, what the account's answers teach, and that each still gets its own fate."""

from __future__ import annotations

import itertools
import json
import logging
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from delivery_fakes import SCOPE, Retry, Target, make_packet, running, submit, wait_for

from payi_otel.delivery._log import LimitedLog
from payi_otel.delivery.outcome import Fate, Fault, Outcome
from payi_otel.exporters import _answers, _wire
from payi_otel.exporters._bulk import Bulk
from payi_otel.exporters.http import HttpSink
from payi_otel.packets.model import IngestPacket
from payi_otel.testing import Answer, IngestServer

FULL = {"provider_request_json": "q" * 3000, "provider_response_json": "a" * 3000}
NAMES = {"/api/v1/ingest": "single", "/api/v1/ingest/bulk": "bulk", "/api/v1/ingest/bulk-upsert": "upsert"}


def asked(server: IngestServer) -> list[str]:
    """The requests, by their kind and the number of packets in them."""
    return [f"{NAMES[request['path']]} {len(request['body']) if isinstance(request['body'], list) else 1}" for request in server.requests]


@contextmanager
def sink_for(server: IngestServer) -> Iterator[HttpSink]:
    """By itself, closed at the end."""
    sink = HttpSink(Target(server.url))
    try:
        yield sink
    finally:
        sink.close()


def send_to(server: IngestServer, batch: list[Any]) -> list[Outcome]:
    """One batch, whose packets each get an outcome of their own."""
    with sink_for(server) as sink:
        outcomes = sink.send_batch(batch)
    assert isinstance(outcomes, list)
    return outcomes


def encoded(count: int, **scope: Any) -> list[Any]:
    """So many packets."""
    return [_wire.encode(make_packet(number, FULL, **scope)) for number in range(count)]


def item_ids(request: Mapping[str, Any]) -> set[str]:
    """Whose packets are in a request."""
    items = request["body"] if isinstance(request["body"], list) else [request["body"]]
    return {item["provider_response_id"].removeprefix("chatcmpl-") for item in items}


class TestWhen:
    """`ingest_bulk`."""

    def delivered(self, mode: Any, count: int, retry: Retry | None = None, **scope: Any) -> list[str]:
        """What is asked of a server that was down while so many packets came in."""
        with IngestServer() as server:
            is_up = threading.Event()
            server.decide(lambda request: None if is_up.is_set() else Answer(503))
            with running(HttpSink(Target(server.url), bulk=mode), retry or Retry(queue_interval=60)) as queue:
                submit(queue, make_packet("first", **scope))
                wait_for(lambda: queue.stats().failures)
                submit(queue, *(make_packet(number, **scope) for number in range(count)))
                wait_for(lambda: not queue._backlog.inbox and not queue.stats().in_flight)
                before = len(server.requests)
                is_up.set()
                assert queue.flush(10)
                assert queue.stats().delivered == count + 1
            assert server.duplicates == []
            return asked(server)[before:]

    def test_many_go_together(self) -> None:
        """A hundred at most in one request; the first one is by itself, the probe."""
        kinds = self.delivered("auto", 250)
        assert kinds[0] == "single 1"
        assert sorted(kinds[1:]) == ["upsert 100", "upsert 100", "upsert 50"]

    def test_few_go_one_by_one(self) -> None:
        """Only a single ingest's answer has a result."""
        assert set(self.delivered("auto", 7)) == {"single 1"}

    def test_never(self) -> None:
        """False."""
        assert set(self.delivered(False, 50)) == {"single 1"}

    def test_always(self) -> None:
        """True, as soon as there are two; but for a probe."""
        kinds = self.delivered(True, 3)
        assert kinds[0] == "single 1"
        assert set(kinds[1:]) <= {"single 1", "upsert 2", "upsert 3"}

    def test_those_that_must_not_be_stored_go_by_themselves(self) -> None:
        """Bulk has no header for that."""
        assert set(self.delivered("auto", 20, logging_disabled=True)) == {"single 1"}

    def test_those_that_somebody_waits_for_go_by_themselves(self) -> None:
        """Inline."""
        with IngestServer() as server, running(HttpSink(Target(server.url), bulk=True), inline=True) as queue:
            tickets = [queue.submit(make_packet(number)) for number in range(40)]  # type: ignore[arg-type]
            assert all(ticket is not None and ticket.wait(10) for ticket in tickets)
            assert asked(server) == ["single 1"] * 40

    def test_a_burst_goes_together(self) -> None:
        """Without any outage: nobody waits, and requests are few."""
        with IngestServer() as server:
            server.decide(lambda request: Answer(delay_s=0.02))
            with running(HttpSink(Target(server.url))) as queue:
                submit(queue, *map(make_packet, range(2000)))
                assert queue.flush(20)
                assert queue.stats().delivered == 2000
            assert len(server.packets) == 2000
            assert server.duplicates == []
            assert len(server.requests) < 200

    def test_a_request_has_four_megabytes_at_most(self) -> None:
        """A packet that is larger goes by itself."""
        big = {"provider_request_json": "q" * 1_500_000}
        with IngestServer() as server:
            is_up = threading.Event()
            server.decide(lambda request: None if is_up.is_set() else Answer(503))
            with running(HttpSink(Target(server.url), is_limited=False), Retry(queue_interval=60)) as queue:
                submit(queue, make_packet("first"))
                wait_for(lambda: queue.stats().failures)
                submit(queue, *(make_packet(number, big) for number in range(20)))
                wait_for(lambda: not queue._backlog.inbox and not queue.stats().in_flight)
                is_up.set()
                assert queue.flush(20)
            assert max(len(json.dumps(request["body"])) for request in server.requests) <= 4 * 1024 * 1024
            assert "upsert 2" in asked(server)


def test_an_item_has_what_a_single_ingest_has() -> None:
    """The scope in the body instead of headers, whole packets compared."""
    packets = [make_packet(1, FULL, **SCOPE), make_packet(2), make_packet(3, user_id="bob")]
    with IngestServer() as server:
        outcomes = send_to(server, [_wire.encode(packet) for packet in packets])
        assert outcomes == [Outcome(Fate.DELIVERED, status=200)] * 3
        assert server.requests[0]["body"] == [packet.to_bulk_item() for packet in packets]
        assert [packet["body"] for packet in server.packets] == [packet.to_bulk_item() for packet in packets]


class TestLearning:
    """What an account takes shows in its answers, and is asked once."""

    @pytest.mark.parametrize("status", [403, 404, 405])
    def test_neither_bulk(self, status: int, caplog: pytest.LogCaptureFixture) -> None:
        """Singles go on, and nothing is lost."""
        with IngestServer() as server, sink_for(server) as sink:
            server.decide(lambda request: Answer(status) if "bulk" in request["path"] else None)
            for _ in range(3):
                if sink.batching is not None:
                    assert {outcome.fate for outcome in sink.send_batch(encoded(3))} == {Fate.DELIVERED}  # type: ignore[union-attr]
            assert sink.batching is None
            assert asked(server) == ["upsert 3", *["single 1"] * 3, "bulk 3", *["single 1"] * 3]
            assert server.billed_twice == []
        assert [record.getMessage() for record in caplog.records] == [
            "bulk ingest is not enabled for this account: packets go one by one, what cannot stand in a header percent-encoded"
        ]

    def test_no_upsert(self) -> None:
        """Plain bulk goes on; a packet that may have been taken before does not go that way."""
        with IngestServer(upsert_enabled=False) as server, sink_for(server) as sink:
            sink.send_batch(encoded(3))
            assert sink.batching is not None
            assert not sink.batching.takes_resends
            sink.send_batch([_wire.encode(make_packet(f"new-{number}")) for number in range(3)])
            assert asked(server) == ["upsert 3", "single 1", "single 1", "single 1", "bulk 3"]
            assert server.billed_twice == []

    def test_a_wrong_key_is_no_refusal_of_bulk(self) -> None:
        """A single ingest says the same, so nothing is learnt; nothing more is tried."""
        with IngestServer() as server, sink_for(server) as sink:
            server.decide(lambda request: Answer(403))
            outcome = sink.send_batch(encoded(5))
            assert isinstance(outcome, list)
            assert {(one.fate, one.fault, one.code) for one in outcome} == {(Fate.RETRY, Fault.DESTINATION, "http_403")}
            assert asked(server) == ["upsert 5", "single 1"]
            assert sink.batching is not None

    def test_a_resend_is_never_billed_twice(self) -> None:
        """Replies are lost after the packets were taken; with and without upsert, with values no header takes."""
        for upsert in (True, False):
            chance = itertools.count()
            with IngestServer(upsert_enabled=upsert) as server:
                server.decide(lambda request, chance=chance: Answer(drop_after_commit=True) if next(chance) % 3 == 0 else None)
                with running(HttpSink(Target(server.url))) as queue:
                    submit(queue, *(make_packet(number, user_id="José" if number % 4 else "bob") for number in range(300)))
                    assert queue.flush(30)
                    assert queue.stats().delivered == 300
                    assert queue.stats().duplicates_possible >= len(server.duplicates) > 0
                assert len(server.packets) == 300
                assert server.billed_twice == []

    def test_too_large(self) -> None:
        """Halved until it fits, and the size is remembered; a packet too large by itself loses its bodies, not its units."""

        def limited(request: Mapping[str, Any]) -> Answer | None:
            return Answer(413) if len(json.dumps(request["body"])) > 256 * 1024 else None

        with IngestServer() as server, sink_for(server) as sink:
            server.decide(limited)
            huge = _wire.encode(make_packet("huge", {"provider_request_json": "q" * 300_000}))
            outcomes = sink.send_batch([*encoded(99), huge])
            assert [outcome.fate for outcome in outcomes] == [Fate.DELIVERED] * 100  # type: ignore[union-attr]
            assert len(server.packets) == 100
            (slim,) = [packet["body"] for packet in server.packets if packet["body"]["provider_response_id"] == "chatcmpl-huge"]
            assert slim["units"] == make_packet().body["units"]
            assert slim["properties"] == {"payi_otel.bodies_dropped": "413"}
            assert sink.batching is not None
            assert sink.batching.max_bytes <= 512 * 1024

    def test_a_part_of_a_refused_bulk_is_not_counted_twice(self) -> None:
        """Plain bulk took some and says so, but not which: each goes by itself, under its id."""

        def judge(request: Mapping[str, Any]) -> Answer | None:
            if not request["path"].endswith("/bulk"):
                return None
            for item in request["body"][:-1]:
                server._keep(dict(request), item)
            total = len(request["body"])
            errors = [{"xproxy_result": {"statusCode": 400}}]
            return Answer(400, {"ingest_count": total - 1, "total_count": total, "error_count": 1, "errors": errors})

        with IngestServer(upsert_enabled=False) as server, sink_for(server) as sink:
            sink.send_batch([_wire.encode(make_packet(f"first-{number}")) for number in range(3)])
            server.decide(judge)
            outcomes = sink.send_batch(encoded(10))
            assert [outcome.fate for outcome in outcomes] == [Fate.DELIVERED] * 10  # type: ignore[union-attr]
            assert [outcome.code for outcome in outcomes] == ["duplicate"] * 9 + ["ok"]  # type: ignore[union-attr]
            assert asked(server)[4:] == ["bulk 10", *["single 1"] * 10]
            assert server.billed_twice == []

    @pytest.mark.parametrize("status", [403, 404])
    def test_a_refusal_of_a_packet_is_none_of_bulk(self, status: int) -> None:
        """Its use case is not known: that is found by halving, and bulk goes on."""
        refusal = {"statusCode": status, "xproxy_error": {"code": "use_case_not_found"}}
        with IngestServer() as server, sink_for(server) as sink:
            server.decide(lambda request: Answer(status, refusal) if "3" in item_ids(request) else None)
            outcomes = sink.send_batch(encoded(10))
            assert [position for position, one in enumerate(outcomes) if one.fate is Fate.DEAD] == [3]  # type: ignore[arg-type]
            assert sink.batching is not None
            assert sink.batching.takes_resends

    def test_what_was_refused_is_asked_for_again(self) -> None:
        """After an hour: it may have been a passing trouble, or be enabled by now."""
        now = [0.0]
        bulk = Bulk(
            "auto",
            exchange=lambda request, count: _answers.Refused.NOT_ENABLED,
            send_single=lambda packet: Outcome(Fate.DELIVERED, status=200),
            log=LimitedLog(logging.getLogger("test")),
            clock=lambda: now[0],
        )
        bulk.send(encoded(3))
        bulk.send(encoded(3))
        assert bulk.batching is None
        now[0] = 3600.0
        assert bulk.batching is not None
        assert bulk.batching.takes_resends

    def test_a_destination_that_goes_away_is_not_asked_in_parts(self) -> None:
        """The second half has not been sent, and is no possible duplicate."""
        answers = iter([Answer(413), Answer(504)])
        with IngestServer() as server:
            server.decide(lambda request: next(answers))
            outcomes = send_to(server, encoded(4))
            assert len(server.requests) == 2
        assert [(outcome.code, outcome.ambiguous) for outcome in outcomes] == [("http_504", True)] * 2 + [("http_504", False)] * 2

    def test_where_only_single_packets_pass(self, caplog: pytest.LogCaptureFixture) -> None:
        """Something on the way breaks large requests off: after three times, packets go one by one for a while."""
        with IngestServer() as server:
            server.decide(lambda request: Answer(reset=True) if "bulk" in request["path"] else None)
            with running(HttpSink(Target(server.url)), Retry(queue_interval=0.01)) as queue:
                submit(queue, *map(make_packet, range(500)))
                assert queue.flush(20)
                assert queue.stats().delivered == 500
            # Four may be under way at once, and several fail before one packet by itself gets through.
            assert len([kind for kind in asked(server) if "upsert" in kind]) <= 50
            assert server.duplicates == []
        assert "requests with several packets fail, and those with one do not: packets go one by one for 300 s" in caplog.text

    def test_an_outage_teaches_nothing_about_bulk(self) -> None:
        """Single packets fail, too."""
        now = [0.0]
        answers: list[Any] = []
        bulk = Bulk(
            "auto",
            exchange=lambda request, count: answers.pop(0),
            send_single=lambda packet: Outcome(Fate.DELIVERED),
            log=LimitedLog(logging.getLogger("test")),
            clock=lambda: now[0],
        )
        down, taken = Outcome(Fate.RETRY, "connection_error"), [Outcome(Fate.DELIVERED)] * 3
        answers += [down, down, down, taken, down, down, taken]
        for _ in range(7):
            bulk.send(encoded(3))
        bulk.note_single()
        assert bulk.batching is not None
        for _ in range(5):
            answers.append(Outcome(Fate.RETRY, "http_503", status=503))
            bulk.send(encoded(3))
            bulk.note_single()
        assert bulk.batching is not None
        for _ in range(3):
            answers.append(down)
            bulk.send(encoded(3))
            bulk.note_single()
        assert bulk.batching is None
        now[0] = 301.0
        assert bulk.batching is not None


class TestEachItsOwnFate:
    """One packet's fault is no other packet's."""

    def test_items_that_fail_are_named(self) -> None:
        """Two of ten: one is dead, one is sent again, the others are not."""

        def judge(request: Mapping[str, Any]) -> Answer | None:
            if not isinstance(request["body"], list) or len(request["body"]) < 10:
                return None
            errors = [
                {"item_index": 3, "xproxy_result": {"statusCode": 400, "xproxy_error": {"code": "category_not_found"}}},
                {"item_index": 7, "xproxy_result": {"statusCode": 503}},
            ]
            body = {"ingest_count": 8, "total_count": 10, "error_count": 2, "item_error_count": 2, "errors": errors}
            return Answer(400, body)

        with IngestServer() as server:
            server.decide(judge)
            outcomes = send_to(server, encoded(10))
        assert outcomes[3] == Outcome(Fate.DEAD, "category_not_found", status=400)
        assert outcomes[7] == Outcome(Fate.RETRY, "http_503", fault=Fault.PACKET, status=503)
        assert {outcome.fate for position, outcome in enumerate(outcomes) if position not in (3, 7)} == {Fate.DELIVERED}
        assert len(server.requests) == 1

    @pytest.mark.parametrize("count", [2, 3, 10, 100])
    def test_a_poison_packet_is_found_by_halving(self, count: int) -> None:
        """The server refuses the whole and does not say why."""
        for bad in {0, count // 2, count - 1}:
            with IngestServer() as server:
                server.decide(lambda request, bad=bad: Answer(400, {"statusCode": 400}) if str(bad) in item_ids(request) else None)
                outcomes = send_to(server, encoded(count))
                assert [position for position, outcome in enumerate(outcomes) if outcome.fate is Fate.DEAD] == [bad]
                assert len(server.packets) == count - 1
                assert server.duplicates == []
                assert len(server.requests) <= 2 * math.ceil(math.log2(count)) + 2

    @pytest.mark.parametrize(
        "body",
        [
            {"ingest_count": 3, "total_count": 3},
            {"ingest_count": 2, "total_count": 2},
            {"ingest_count": 1, "total_count": 2, "item_error_count": 1, "errors": [{"item_index": 5, "xproxy_result": {}}]},
            {"ingest_count": 1, "total_count": 2, "item_error_count": 1, "errors": [{"xproxy_result": {}}]},
            {"ingest_count": 2, "total_count": 2, "item_error_count": 1, "errors": [{"item_index": 0, "xproxy_result": {}}]},
            {"ingest_count": 1, "total_count": 3, "item_error_count": 1, "errors": [{"item_index": 0, "xproxy_result": {}}]},
            {"ingest_count": "many"},
            {"request_id": "r"},
        ],
    )
    def test_counts_that_do_not_add_up_say_nothing(self, body: dict[str, Any]) -> None:
        """All go again, under their ids; with a 400, they are narrowed down."""
        content = json.dumps(body).encode()
        expected: Any = _answers.unverified(200)
        if body == {"ingest_count": 2, "total_count": 2}:
            expected = [Outcome(Fate.DELIVERED, status=200)] * 2
        assert _answers.to_outcomes(200, content, 2) == expected
        if "errors" in body:
            assert _answers.to_outcomes(400, content, 2) is _answers.Refused.BY_CONTENT

    def test_a_packet_dated_in_the_future_gets_its_second_chance(self) -> None:
        """By itself, dated now."""
        future = _wire.encode(make_packet("future", {"event_timestamp": "2999-01-01T00:00:00+00:00"}))
        with IngestServer() as server:
            outcomes = send_to(server, [*encoded(3), future])
            assert [outcome.fate for outcome in outcomes] == [Fate.DELIVERED] * 4  # type: ignore[union-attr]
            assert len(server.packets) == 4

    def test_a_packet_that_breaks_the_server_holds_up_no_other(self) -> None:
        """A 500 for whatever it is in: its company shrinks with each attempt, until it is alone, and poison."""
        with IngestServer() as server:
            is_up = threading.Event()

            def judge(request: Mapping[str, Any]) -> Answer | None:
                if not is_up.is_set():
                    return Answer(503)
                return Answer(500) if "13" in item_ids(request) else None

            server.decide(judge)
            with running(HttpSink(Target(server.url)), Retry(queue_interval=0.01)) as queue:
                submit(queue, *map(make_packet, range(200)))
                wait_for(lambda: not queue._backlog.inbox and queue.stats().failures)
                is_up.set()
                wait_for(lambda: queue.stats().delivered == 199)
                fresh = itertools.count(1000)
                wait_for(lambda: submit(queue, make_packet(next(fresh))) or queue.stats().dead_lettered)
                assert queue.flush(10)
                account = queue.stats()
            assert account.dead_lettered == {"poison": 1}
            assert account.delivered == account.created - 1
            assert account.is_conserved

    @pytest.mark.parametrize(("answer", "code"), [(Answer(503), "http_503"), (Answer(reset=True), "connection_error")])
    def test_an_outage_in_the_middle_loses_nothing(self, answer: Answer, code: str) -> None:
        """The first half was taken, the second was not: only that is sent again."""
        requests = itertools.count()
        with IngestServer() as server:
            server.decide(lambda request: [Answer(413), None, answer, None][next(requests)])
            outcomes = send_to(server, encoded(10))
        assert [outcome.fate for outcome in outcomes] == [Fate.DELIVERED] * 5 + [Fate.RETRY] * 5
        assert {outcome.code for outcome in outcomes[5:]} == {code}


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (401, {}, Outcome(Fate.RETRY, "http_401", "check PAYI_API_KEY", status=401)),
        (429, {"Retry-After": "7"}, Outcome(Fate.RETRY, "http_429", retry_after_s=7.0, status=429)),
        (500, {}, Outcome(Fate.RETRY, "http_500", ambiguous=True, fault=Fault.PACKET, status=500)),
        (503, {}, Outcome(Fate.RETRY, "http_503", status=503)),
        (504, {}, Outcome(Fate.RETRY, "http_504", ambiguous=True, status=504)),
        (200, {}, _answers.unverified(200)),
        (302, {"Location": "http://127.0.0.1:1/"}, Outcome(Fate.RETRY, "http_302", "check PAYI_BASE_URL", status=302)),
    ],
)
def test_an_answer_about_none_in_particular_is_one_outcome(status: int, headers: dict[str, str], expected: Outcome) -> None:
    """For all of them together."""
    with IngestServer() as server:
        server.decide(lambda request: Answer(status, "?", headers=headers))
        with sink_for(server) as sink:
            assert sink.send_batch(encoded(4)) == expected


@pytest.mark.parametrize("code", ["category_not_found", "use_case_not_found", "limit_reached"])
def test_what_is_said_of_a_packet_is_not_said_of_the_address(code: str) -> None:
    """A 404 or 403 with a code that is about the packet holds up nothing else."""
    packet: IngestPacket = make_packet()
    with IngestServer() as server, sink_for(server) as sink:
        server.script(*(Answer(status, {"statusCode": status, "xproxy_error": {"code": code}}) for status in (403, 404)))
        assert [sink.deliver(packet) for _ in range(2)] == [Outcome(Fate.DEAD, code, status=status) for status in (403, 404)]
