"""`HttpSink` over real HTTP: what goes over the wire, and what each answer means for the packet."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import delivery_fakes
import pytest
from delivery_fakes import Retry, Target, make_packet, running, submit, wait_for
from ports import reserved_port
from wrapt import ObjectProxy

from payi_otel.clients import AsyncPayi, Payi, to_target
from payi_otel.delivery.outcome import Fate, Fault, Outcome
from payi_otel.exporters import _answers, _wire
from payi_otel.exporters._quiet_http import own_request
from payi_otel.exporters.http import HttpSink
from payi_otel.testing import API_KEY, Answer, IngestServer

FULL_SCOPE: dict[str, Any] = {
    "limit_ids": ("budget", "team"),
    "use_case_name": "chatbot",
    "use_case_id": "7b1e",
    "use_case_version": 3,
    "use_case_step": "draft",
    "user_id": "bob",
    "account_name": "acme",
    "resource_scope": "region.us-east-1",
}
FULL_BODY: dict[str, Any] = {
    "end_to_end_latency_ms": 812,
    "time_to_first_token_ms": 100,
    "time_to_first_completion_token_ms": 120,
    "provider_uri": "https://api.openai.com/v1/responses",
    "provider_request_headers": [{"name": "content-type", "value": "application/json"}],
    "provider_response_headers": [{"name": "x-request-id", "value": "req_1"}],
    "provider_request_json": '{"model":"gpt-5"}',
    "provider_request_reasoning_json": "{}",
    "provider_response_json": ["{}", "{}"],
    "provider_response_function_calls": [{"name": "search", "arguments": "{}"}],
    "properties": {"env": "test", "gone": None},
    "use_case_properties": {"tier": "gold"},
}


@pytest.fixture(autouse=True, params=["httpx", "httpx2"])
def http(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library that sends; the oldest Python that is supported has no `httpx2`."""
    library = pytest.importorskip(request.param)
    monkeypatch.setattr(delivery_fakes, "http_library", lambda: library)
    return library


@pytest.fixture
def server() -> Iterator[IngestServer]:
    """Pay-i."""
    with IngestServer() as running:
        yield running


@pytest.fixture
def sink(server: IngestServer) -> Iterator[HttpSink]:
    """A sink that sends there."""
    sink = HttpSink(Target(server.url))
    yield sink
    sink.close()


class TestWire:
    """A single ingest, and the bulk of one that stands in for it."""

    def test_a_packet_arrives_whole(self, server: IngestServer, sink: HttpSink) -> None:
        """Body, query and headers, each value in its place."""
        packet = make_packet("a b/c?", FULL_BODY, logging_disabled=True, **FULL_SCOPE)
        assert sink.deliver(packet).fate is Fate.DELIVERED
        (received,) = server.packets
        headers = {name: value for name, value in received.pop("headers").items() if name.startswith("xproxy-") or name == "content-type"}
        assert received == {"path": "/api/v1/ingest", "query": {"id": "chatcmpl-a b/c?"}, "body": dict(packet.body)}
        assert headers == {
            "content-type": "application/json",
            "xproxy-api-key": API_KEY,
            "xproxy-limit-ids": "budget,team",
            "xproxy-usecase-name": "chatbot",
            "xproxy-usecase-id": "7b1e",
            "xproxy-usecase-version": "3",
            "xproxy-usecase-step": "draft",
            "xproxy-user-id": "bob",
            "xproxy-account-name": "acme",
            "xproxy-resource-scope": "region.us-east-1",
            "xproxy-logging-disable": "True",
            "xproxy-instrumented-module": "openai/3.53.0",
        }

    def test_an_empty_scope_sends_no_header(self, server: IngestServer, sink: HttpSink) -> None:
        """Nor does an empty text: it would block what the server knows."""
        sink.deliver(make_packet(user_id="", use_case_version=0, module=""))
        headers = server.packets[0]["headers"]
        assert {name for name in headers if name.startswith("xproxy-")} == {"xproxy-api-key", "xproxy-usecase-version"}

    def test_the_outcome_carries_the_result(self, server: IngestServer, sink: HttpSink) -> None:
        """Pay-i's `xproxy_result`."""
        result = {"request_id": "r", "blocked_limit_ids": ["budget"]}
        server.script(Answer(200, {"request_id": "r", "xproxy_result": result}))
        assert sink.deliver(make_packet()) == Outcome(Fate.DELIVERED, result=result, status=200)

    @pytest.mark.parametrize(
        "value",
        [
            "José",
            "山田太郎",
            "a\r\nxProxy-User-ID: root",
            "a\x00b",
            "a\tb",
            " padded ",
            "x" * 5000,
            "\x7f",
            "\x85",
            "👩‍👩‍👧",
        ],
        ids=ascii,
    )
    def test_a_value_that_cannot_stand_in_a_header_travels_in_a_body(self, server: IngestServer, sink: HttpSink, value: str) -> None:
        """As a bulk of one, unchanged; and no header is ever forged."""
        packet = make_packet(1, FULL_BODY, **{**FULL_SCOPE, "user_id": value})
        assert sink.deliver(packet) == Outcome(Fate.DELIVERED, status=200)
        (received,) = server.packets
        assert received["path"] == "/api/v1/ingest/bulk-upsert"
        assert received["body"] == packet.to_bulk_item()
        assert {name for name in received["headers"] if name.startswith("xproxy-")} == {"xproxy-api-key"}

    def test_a_lone_surrogate_is_replaced_in_the_body(self, server: IngestServer, sink: HttpSink) -> None:
        """It is not text; the packet is delivered all the same."""
        sink.deliver(make_packet(user_id="a\ud800b"))
        assert server.packets[0]["body"]["user_id"] == "a\ufffdb"

    @pytest.mark.parametrize("limit_ids", [("a,b", "c"), ("a ", "b"), ("é",)])
    def test_limit_ids_that_a_comma_list_would_change_travel_in_a_body(
        self, server: IngestServer, sink: HttpSink, limit_ids: tuple[str, ...]
    ) -> None:
        """The header is split at its commas."""
        sink.deliver(make_packet(limit_ids=limit_ids))
        assert server.packets[0]["body"]["limit_ids"] == list(limit_ids)

    def test_without_bulk_such_a_value_is_percent_encoded(self, caplog: pytest.LogCaptureFixture) -> None:
        """Tried once and said once; then single straight away."""
        with IngestServer(bulk_enabled=False) as server:
            sink = HttpSink(Target(server.url))
            for number in range(3):
                packet = make_packet(number, user_id="José", limit_ids=("a,b", "c"), account_name="plain 100%")
                assert sink.deliver(packet).fate is Fate.DELIVERED
            sink.close()
            assert [request["path"].rpartition("/")[2] for request in server.requests] == [
                "bulk-upsert",
                "bulk",
                "ingest",
                "ingest",
                "ingest",
            ]
            headers = server.packets[0]["headers"]
            assert headers["xproxy-user-id"] == "Jos%C3%A9"
            assert headers["xproxy-limit-ids"] == "a%2Cb,c"
            assert headers["xproxy-account-name"] == "plain 100%"
        assert len([record for record in caplog.records if "bulk ingest is not enabled" in record.getMessage()]) == 1

    def test_without_bulk_a_huge_value_is_cut_between_escapes(self) -> None:
        """One odd value never costs the packet."""
        with IngestServer(bulk_enabled=False) as server:
            sink = HttpSink(Target(server.url))
            assert sink.deliver(make_packet(user_id="é" * 70_000)).fate is Fate.DELIVERED
            sink.close()
            value = server.packets[0]["headers"]["xproxy-user-id"]
            assert len(value) <= 4096
            assert set(value.replace("%C3%A9", "")) <= set("%C3")

    def test_headers_that_the_server_finds_too_large_travel_in_a_body(self, server: IngestServer, sink: HttpSink) -> None:
        """Its limit may be lower than we think."""
        server.script(Answer(431))
        assert sink.deliver(make_packet(user_id="bob")).fate is Fate.DELIVERED
        assert server.packets[0]["path"] == "/api/v1/ingest/bulk-upsert"

    def test_the_users_own_headers_are_sent_but_replace_none_of_ours(self, server: IngestServer) -> None:
        """Names are compared without case, so that none goes out twice."""
        sink = HttpSink(Target(server.url, headers={"X-Team": "a", "Content-Type": "text/plain", "X-Name": "ü"}))
        assert sink.deliver(make_packet()).fate is Fate.DELIVERED
        sink.close()
        assert server.packets[0]["headers"]["x-team"] == "a"
        assert server.packets[0]["headers"]["content-type"] == "application/json"

    def test_connections_are_kept_alive(self, http: Any, server: IngestServer) -> None:
        """One handshake for many packets."""
        connects = []

        class Counting(http.HTTPTransport):
            def handle_request(self, request: Any) -> Any:
                trace = request.extensions["trace"]

                def note(name: str, info: Any) -> None:
                    connects.extend([name] if name == "connection.connect_tcp.complete" else [])
                    trace(name, info)

                request.extensions["trace"] = note
                return super().handle_request(request)

        sink = HttpSink(Target(server.url, make_client=lambda: http.Client(transport=Counting())))
        for number in range(5):
            sink.deliver(make_packet(number))
        sink.close()
        assert len(server.packets) == 5
        assert len(connects) == 1

    def test_an_awaited_transport_is_handed_nothing_to_await(self, http: Any, server: IngestServer) -> None:
        """An `AsyncClient`'s own, which stands before the library's."""

        class Passing(http.AsyncBaseTransport):
            inner = http.AsyncHTTPTransport(limits=http.Limits(max_keepalive_connections=0))

            async def handle_async_request(self, request: Any) -> Any:
                return await self.inner.handle_async_request(request)

        client = http.AsyncClient(transport=Passing())
        sink = HttpSink(to_target(AsyncPayi(api_key=server.api_key, base_url=server.url, http_client=client), {}))
        outcome = sink.deliver(make_packet())
        sink.close()
        assert outcome.fate is Fate.DELIVERED

    @pytest.mark.parametrize(("make", "kind"), [(Payi, "Client"), (AsyncPayi, "AsyncClient")])
    def test_a_proxy_around_a_client_is_one(self, http: Any, server: IngestServer, make: Any, kind: str) -> None:
        """As `isinstance` says: instrumentations stand around clients so."""
        client = getattr(http, kind)()
        target = to_target(make(api_key=server.api_key, base_url=server.url, http_client=ObjectProxy(client)), {})
        sink = HttpSink(target)
        outcome = sink.deliver(make_packet())
        sink.close()
        if not target.owns_client:
            client.close()
        assert (outcome.fate, target.owns_client) == (Fate.DELIVERED, kind == "AsyncClient")

    def test_a_base_url_may_have_a_path(self, server: IngestServer) -> None:
        """A gateway's."""
        sink = HttpSink(Target(server.url + "/gateway/"))
        sink.deliver(make_packet())
        sink.close()
        assert server.requests[0]["path"] == "/gateway/api/v1/ingest"

    def test_a_users_client_is_used_and_never_closed(self, http: Any, server: IngestServer) -> None:
        """It is theirs."""
        with http.Client(follow_redirects=True) as client:
            sink = HttpSink(Target(server.url, make_client=lambda: client, owns_client=False))
            sink.deliver(make_packet())
            sink.close()
            assert not client.is_closed
        assert len(server.packets) == 1


RETRY, DEAD = Fate.RETRY, Fate.DEAD
DESTINATION, PACKET = Fault.DESTINATION, Fault.PACKET


@pytest.mark.parametrize(
    ("status", "fate", "fault", "ambiguous"),
    [
        (301, RETRY, DESTINATION, False),
        (302, RETRY, DESTINATION, False),
        (307, RETRY, DESTINATION, False),
        (308, RETRY, DESTINATION, False),
        (400, DEAD, None, False),
        (401, RETRY, DESTINATION, False),
        (402, DEAD, None, False),
        (403, RETRY, DESTINATION, False),
        (404, RETRY, DESTINATION, False),
        (405, RETRY, DESTINATION, False),
        (407, RETRY, DESTINATION, False),
        (408, RETRY, PACKET, True),
        (410, DEAD, None, False),
        (413, DEAD, None, False),
        (418, DEAD, None, False),
        (421, RETRY, DESTINATION, False),
        (422, DEAD, None, False),
        (424, DEAD, None, False),
        (425, RETRY, PACKET, False),
        (429, RETRY, DESTINATION, False),
        (500, RETRY, PACKET, True),
        (501, DEAD, None, False),
        (502, RETRY, DESTINATION, True),
        (503, RETRY, DESTINATION, False),
        (504, RETRY, DESTINATION, True),
        (505, DEAD, None, False),
        (507, RETRY, DESTINATION, True),
        (520, RETRY, DESTINATION, True),
        (529, RETRY, DESTINATION, True),
    ],
)
def test_each_status_has_its_fate(
    server: IngestServer, sink: HttpSink, status: int, fate: Fate, fault: Fault | None, ambiguous: bool
) -> None:
    """The table of docs/delivery.md, row by row."""
    server.script(Answer(status, headers={"Location": server.url + "/elsewhere"} if status < 400 else {}))
    outcome = sink.deliver(make_packet())
    assert (outcome.fate, outcome.code, outcome.status, outcome.ambiguous) == (fate, f"http_{status}", status, ambiguous)
    assert fault is None or outcome.fault is fault
    assert len(server.requests) == 1
    assert server.packets == []


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "category_not_found", Outcome(DEAD, "category_not_found", status=400)),
        (422, "required_field_missing", Outcome(DEAD, "required_field_missing", status=422)),
        (400, "unexpected_error", Outcome(RETRY, "unexpected_error", fault=PACKET, ambiguous=True, status=400)),
        (500, "request_processing_error", Outcome(RETRY, "request_processing_error", fault=PACKET, ambiguous=True, status=500)),
        (401, "invalid_api_key", Outcome(RETRY, "invalid_api_key", "check PAYI_API_KEY", status=401)),
        (400, "invalid_api_key", Outcome(RETRY, "invalid_api_key", "check PAYI_API_KEY", status=400)),
        (400, "NOT a code\n", Outcome(DEAD, "http_400", status=400)),
        (400, "x" * 1000, Outcome(DEAD, "http_400", status=400)),
    ],
)
def test_a_code_of_pay_is_is_the_outcomes_code(server: IngestServer, sink: HttpSink, status: int, code: str, expected: Outcome) -> None:
    """Provided that it is one: codes go into counters."""
    server.script(Answer(status, {"statusCode": status, "message": "m", "xproxy_error": {"code": code, "message": "secret"}}))
    assert sink.deliver(make_packet()) == expected


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "body",
    [
        b"<html>Sign in to Wi-Fi</html>",
        b"",
        b'{"request_id": "r"',
        b"[]",
        b"{}",
        b'{"request_id": null}',
        b'{"request_id": ""}',
        b"\xff\xfe",
    ],
)
def test_a_success_that_does_not_read_like_one_is_not_believed(server: IngestServer, sink: HttpSink, status: int, body: bytes) -> None:
    """Captive portals answer 200."""
    server.script(Answer(status, body))
    outcome = sink.deliver(make_packet())
    assert (outcome.fate, outcome.code, outcome.fault, outcome.ambiguous) == (RETRY, "unverified_answer", PACKET, True)


def test_an_answer_without_a_body_is_not_believed(server: IngestServer, sink: HttpSink) -> None:
    """204."""
    server.script(Answer(204))
    assert sink.deliver(make_packet()).code == "unverified_answer"


def test_an_answer_that_lies_about_its_encoding_is_not_believed(server: IngestServer, sink: HttpSink) -> None:
    """Bad gzip."""
    server.script(Answer(200, b"not gzip", {"Content-Encoding": "gzip"}))
    assert sink.deliver(make_packet()).code == "unverified_answer"


def test_an_endless_answer_is_not_believed(server: IngestServer, sink: HttpSink) -> None:
    """Nor held in memory."""
    server.script(Answer(200, b" " * (5 * 1024 * 1024)))
    assert sink.deliver(make_packet()).code == "unverified_answer"


def test_a_conflict_is_a_delivery(server: IngestServer, sink: HttpSink) -> None:
    """409: Pay-i has it."""
    server.script(Answer(409))
    assert sink.deliver(make_packet()) == Outcome(Fate.DELIVERED, "duplicate", status=409)


def test_a_reported_duplicate_is_a_delivery(server: IngestServer, sink: HttpSink) -> None:
    """200 with `duplicate_request`."""
    sink.deliver(make_packet())
    outcome = sink.deliver(make_packet())
    assert (outcome.fate, outcome.code) == (Fate.DELIVERED, "duplicate")
    assert (len(server.packets), len(server.duplicates)) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"ingest_count": 1, "total_count": 1, "error_count": 0, "errors": []}, Outcome(Fate.DELIVERED, status=200)),
        ({"ingest_count": 1, "total_count": 1}, Outcome(Fate.DELIVERED, status=200)),
        ({"ingest_count": 0, "total_count": 1}, _answers.unverified(200)),
        ({"ingest_count": 1, "total_count": 2}, _answers.unverified(200)),
        ({"ingest_count": 1, "total_count": 1, "error_count": 1}, _answers.unverified(200)),
        ({"request_id": "r"}, _answers.unverified(200)),
        (
            {"ingest_count": 0, "errors": [{"xproxy_result": {"statusCode": 400, "xproxy_error": {"code": "invalid_user_id"}}}]},
            Outcome(DEAD, "invalid_user_id", status=400),
        ),
        (
            {"ingest_count": 0, "errors": [{"xproxy_result": {"statusCode": 503}}]},
            Outcome(RETRY, "http_503", status=503, fault=Fault.PACKET),
        ),
        (
            {"ingest_count": 0, "errors": [{"xproxy_result": {"statusCode": 409}}]},
            Outcome(Fate.DELIVERED, "duplicate", status=409),
        ),
        ({"ingest_count": 0, "errors": ["?"]}, Outcome(DEAD, "http_400", status=400)),
    ],
)
def test_a_bulk_of_one_is_delivered_only_if_the_counts_add_up(
    server: IngestServer, sink: HttpSink, answer: dict[str, Any], expected: Outcome
) -> None:
    """Its item's own error decides otherwise."""
    server.script(Answer(200, answer))
    assert sink.deliver(make_packet(user_id="José")) == expected


class TestSecondChances:
    """Some refusals can be answered at once, once."""

    def test_a_packet_that_is_too_large_is_sent_without_its_bodies(self, server: IngestServer, sink: HttpSink) -> None:
        """The costs arrive, and a property says what does not."""
        server.script(Answer(413))
        packet = make_packet(1, FULL_BODY)
        assert sink.deliver(packet).fate is Fate.DELIVERED
        bodies = ("provider_request_json", "provider_request_reasoning_json", "provider_response_json")
        expected = {name: value for name, value in packet.body.items() if name not in bodies}
        expected["properties"] = {"env": "test", "gone": None, "payi_otel.bodies_dropped": "413"}
        assert server.packets[0]["body"] == expected

    def test_a_packet_that_is_too_large_even_so_is_dead(self, server: IngestServer, sink: HttpSink) -> None:
        """There is nothing more to leave out."""
        server.script(Answer(413), Answer(413))
        assert sink.deliver(make_packet(1, FULL_BODY)) == Outcome(DEAD, "http_413", status=413)
        assert len(server.requests) == 2

    @pytest.mark.parametrize("scope", [{}, {"user_id": "José"}], ids=["single", "bulk"])
    def test_a_time_in_the_future_is_set_to_now(self, server: IngestServer, sink: HttpSink, scope: dict[str, Any]) -> None:
        """The clock was wrong; the cost is not."""
        future = (datetime.now(timezone.utc) + timedelta(days=1)).isoformat()
        assert sink.deliver(make_packet(1, {"event_timestamp": future}, **scope)).fate is Fate.DELIVERED
        stamp = datetime.fromisoformat(server.packets[0]["body"]["event_timestamp"])
        assert abs(stamp - datetime.now(timezone.utc)) < timedelta(minutes=1)

    def test_a_time_refused_twice_is_dead(self, server: IngestServer, sink: HttpSink) -> None:
        """Once is enough."""
        refused = {"xproxy_error": {"code": "invalid_ingest_event_timestamp"}}
        server.script(Answer(400, refused), times=3)
        assert sink.deliver(make_packet()) == Outcome(DEAD, "invalid_ingest_event_timestamp", status=400)
        assert len(server.requests) == 2


class TestConnections:
    """What happens below HTTP."""

    def test_refused(self) -> None:
        """Not ambiguous: nothing was sent."""
        with reserved_port() as port:
            outcome = deliver_to(f"http://127.0.0.1:{port}")
        assert outcome == Outcome(RETRY, "connection_error", "ConnectError: Connection refused")

    def test_a_name_that_is_not_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """DNS."""

        def fail(*args: Any, **kwargs: Any) -> Any:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        outcome = deliver_to("http://localhost:1")
        assert outcome == Outcome(RETRY, "connection_error", "ConnectError: Name or service not known")

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (Answer(hang=True), "timeout"),
            (Answer(drip=True), "timeout"),
            (Answer(reset=True), "connection_error"),
            (Answer(drop_after_commit=True), "connection_error"),
            (Answer(garbage=True), "connection_error"),
        ],
        ids=["hang", "drip", "reset", "drop_after_commit", "garbage"],
    )
    def test_a_lost_answer_is_ambiguous(self, server: IngestServer, answer: Answer, code: str) -> None:
        """The packet may have been taken; the destination is at fault. The deadline is for the whole request."""
        server.script(answer)
        outcome = deliver_to(server.url, timeout_s=0.3)
        assert (outcome.fate, outcome.code, outcome.fault, outcome.ambiguous) == (RETRY, code, DESTINATION, True)

    def test_a_certificate_that_is_not_trusted(self, tmp_path: Any) -> None:
        """Held, not sent in clear."""
        with tls_server(tmp_path) as url:
            outcome = deliver_to(url)
        assert (outcome.fate, outcome.code, outcome.fault, outcome.ambiguous) == (RETRY, "tls_error", DESTINATION, False)

    def test_tls_to_a_plain_port(self, server: IngestServer) -> None:
        """The same."""
        outcome = deliver_to(server.url.replace("http://", "https://"))
        assert (outcome.fate, outcome.code) == (RETRY, "tls_error")
        assert server.packets == []

    def test_anything_else_a_client_raises(self, http: Any) -> None:
        """Counted as unexpected; the packet is kept, and its text said nowhere."""

        def break_down(request: Any) -> Any:
            raise ZeroDivisionError("secret")

        outcome = deliver_to("http://localhost", make_client=lambda: http.Client(transport=http.MockTransport(break_down)))
        assert outcome == Outcome(RETRY, "unexpected", "ZeroDivisionError", ambiguous=True, fault=PACKET)

    def test_a_client_that_cannot_be_made(self) -> None:
        """The same."""

        def fail() -> Any:
            raise ValueError("secret")

        assert deliver_to("http://localhost", make_client=fail).code == "unexpected"

    def test_a_redirect_is_never_followed(self, http: Any, server: IngestServer) -> None:
        """It would carry the key and the prompt to another origin, or lose the body on the way."""
        with IngestServer() as elsewhere, http.Client(follow_redirects=True) as client:
            server.script(*(Answer(status, headers={"Location": elsewhere.url}) for status in (301, 302, 303, 307, 308)))
            for _ in range(5):
                outcome = deliver_to(server.url, make_client=lambda: client, owns_client=False)
                assert outcome.fate is RETRY
            assert elsewhere.requests == []

    def test_closing_ends_a_request_that_hangs(self, server: IngestServer) -> None:
        """A thread that waits for an answer must not outlive the sink."""
        server.script(Answer(hang=True))
        sink = HttpSink(Target(server.url, timeout_s=None))
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(sink.deliver(make_packet())))
        thread.start()
        assert server.wait_for_requests(1)
        sink.close()
        sink.close()
        thread.join(10)
        assert [outcome.fate for outcome in outcomes] == [RETRY]
        assert sink.deliver(make_packet()).fate is RETRY

    def test_a_hastened_sink_gives_up_in_time(self, server: IngestServer) -> None:
        """The process is ending."""
        server.script(Answer(hang=True))
        sink = HttpSink(Target(server.url, timeout_s=60))
        sink.hasten(time.monotonic() + 0.2)
        began = time.monotonic()
        assert sink.deliver(make_packet()).code == "timeout"
        assert time.monotonic() - began < 5
        sink.close()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-1", 0.0),
        ("1e9", 300.0),
        ("inf", 300.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        (format_datetime(datetime(2026, 1, 1, 0, 1, tzinfo=timezone.utc), usegmt=True), 60.0),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 300.0),
        (None, None),
    ],
)
def test_retry_after_is_read_in_every_form(value: str | None, seconds: float | None) -> None:
    """Seconds or a date, within 0 and 300 s; nonsense is as if it were not there."""
    assert _answers.to_retry_after_s(value, datetime(2026, 1, 1, tzinfo=timezone.utc)) == seconds


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_reaches_the_outcome(server: IngestServer, sink: HttpSink, status: int) -> None:
    """From the header."""
    server.script(Answer(status, headers={"Retry-After": "7"}))
    assert sink.deliver(make_packet()).retry_after_s == 7.0


def test_warnings_of_pay_is_are_said_once_each(server: IngestServer, sink: HttpSink, caplog: pytest.LogCaptureFixture) -> None:
    """They are about a setup, not about one packet."""
    body = {"request_id": "r", "xproxy_result": {"warnings": ["unit unknown", {"code": "x"}]}}
    server.script(Answer(200, body), times=3)
    for number in range(3):
        sink.deliver(make_packet(number))
    assert [record.getMessage() for record in caplog.records if record.name.startswith("payi")] == [
        "Pay-i warns: 'unit unknown'",
        "Pay-i warns: {'code': 'x'}",
    ]


def test_neither_key_nor_body_is_logged(server: IngestServer, caplog: pytest.LogCaptureFixture) -> None:
    """On any level, by anybody: what the HTTP library logs of our requests is kept out of the application's log, too."""
    caplog.set_level(logging.DEBUG)
    sink = HttpSink(Target(server.url, api_key="very-secret-key"))
    for answer in (Answer(401), Answer(500), Answer(reset=True), Answer(200, b"?")):
        server.script(answer)
        sink.deliver(make_packet(1, {"provider_request_json": "my prompt"}))
    sink.close()
    assert "very-secret-key" not in caplog.text
    assert "my prompt" not in caplog.text
    assert {record.name.partition(".")[0] for record in caplog.records} <= {"payi"}


def test_the_applications_own_requests_stay_in_its_log(http: Any, server: IngestServer, caplog: pytest.LogCaptureFixture) -> None:
    """Only what a sink sends is left out."""
    caplog.set_level(logging.INFO)
    sink = HttpSink(Target(server.url))
    sink.deliver(make_packet(1))
    sink.close()
    assert not [record for record in caplog.records if record.name == http.__name__]
    with http.Client(trust_env=False) as client:
        client.get(server.url)
    assert [record.name for record in caplog.records if record.name == http.__name__] == [http.__name__]


def test_no_http_library_is_imported_before_it_is_needed() -> None:
    """Start-up time is the application's."""
    code = "import sys, payi_otel.exporters.http; print({'httpx', 'httpx2'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def deliver_to(url: str, **target: Any) -> Outcome:
    """One packet to this address."""
    sink = HttpSink(Target(url, **target))
    try:
        return sink.deliver(make_packet())
    finally:
        sink.close()


class tls_server:  # noqa: N801 - used as a function
    """A TLS server with a certificate nobody signed."""

    def __init__(self, folder: Any) -> None:
        pem = folder / "self.pem"
        make_certificate(pem)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> str:
        self._thread.start()
        return f"https://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *fault: object) -> None:
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        try:
            with self._context.wrap_socket(connection, server_side=True):
                pass
        except OSError:
            connection.close()


def make_certificate(path: Any) -> None:
    """A self-signed one, by the openssl command."""
    subject = ["-subj", "/CN=localhost", "-keyout", str(path), "-out", str(path) + ".crt"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl command")
    with path.open("ab") as both, open(str(path) + ".crt", "rb") as certificate:
        both.write(certificate.read())


class TestKey:
    """A key that is refused may have been replaced where it came from."""

    @pytest.mark.parametrize("status", [401, 403])
    @pytest.mark.parametrize("together", [False, True])
    def test_the_new_one_is_used_at_once(self, server: IngestServer, status: int, together: bool, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing waits for it, nobody is told twice, and neither key is in the log."""
        caplog.set_level(logging.DEBUG)
        server.decide(lambda request: Answer(status) if request["headers"]["xproxy-api-key"] != API_KEY else None)
        sink = HttpSink(Target(server.url, api_key="old-key", find_key=lambda: API_KEY))
        batch = [_wire.encode(make_packet(number)) for number in range(3)]
        outcomes = sink.send_batch(batch) if together else [sink.send(packet) for packet in batch]
        assert [outcome.fate for outcome in outcomes] == [Fate.DELIVERED] * 3  # type: ignore[union-attr]
        assert len(server.requests) == (2 if together else 4)
        lines = [record.getMessage() for record in caplog.records if record.name.startswith("payi")]
        assert lines == ["the API key was refused and has been replaced meanwhile: the new one is used"]
        assert "old-key" not in caplog.text
        assert API_KEY not in caplog.text
        sink.close()

    @pytest.mark.parametrize("found", ["old-key", None, "", "with\nbreak", 7])
    def test_what_is_no_new_key_changes_nothing(self, server: IngestServer, found: object) -> None:
        """One request, and everything waits."""
        server.decide(lambda request: Answer(401))
        sink = HttpSink(Target(server.url, api_key="old-key", find_key=lambda: found))
        assert sink.deliver(make_packet()).code == "http_401"
        assert len(server.requests) == 1
        sink.close()

    def test_a_function_that_fails_is_said(self, server: IngestServer, caplog: pytest.LogCaptureFixture) -> None:
        """By its exception's type, whose text may hold a secret."""

        def find_key() -> str:
            raise RuntimeError("secret")

        server.decide(lambda request: Answer(401))
        sink = HttpSink(Target(server.url, find_key=find_key))
        assert sink.deliver(make_packet()).code == "http_401"
        assert [record.getMessage() for record in caplog.records] == ["the function that gives the API key failed (RuntimeError)"]
        sink.close()


def test_no_header_is_in_the_log_of_a_users_http2_client(caplog: pytest.LogCaptureFixture) -> None:
    """hpack names each one at DEBUG, the key among them."""
    caplog.set_level(logging.DEBUG)
    with IngestServer() as server:
        sink = HttpSink(Target(server.url))
        sink.deliver(make_packet())
        with own_request():
            logging.getLogger("hpack.hpack").debug("Adding %r to the header table", API_KEY)
            logging.getLogger("hpack.table").debug("Adding %r", API_KEY)
        logging.getLogger("hpack.hpack").debug("of the application's")
        sink.close()
    assert API_KEY not in caplog.text
    assert "of the application's" in caplog.text


@pytest.mark.parametrize("raw", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_an_answer_that_comes_byte_by_byte_is_ended(raw: bytes) -> None:
    """Headers, too: httpx would read them for hours, for each read brings something."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for number in range(600):
                    connection.sendall(raw if number == 0 or raw.endswith(b"\r\n\r\n") else b"x")
                    time.sleep(0.05)

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        sink = HttpSink(Target(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3))
        with running(sink, Retry(queue_interval=60)) as queue:
            submit(queue, make_packet())
            wait_for(lambda: queue.stats().failures, 15)
            assert queue.stats().duplicates_possible == 0
        dripping.join(10)
        assert not dripping.is_alive()


def test_a_very_long_id_fits_into_a_url(server: IngestServer, sink: HttpSink) -> None:
    """Cut alike there and in the body."""
    outcome = sink.deliver(make_packet("i" * 2_000_000))
    assert outcome.fate is Fate.DELIVERED
    (packet,) = server.packets
    assert packet["query"]["id"] == packet["body"]["provider_response_id"] == f"chatcmpl-{'i' * 991}"


def test_a_very_long_user_id_is_cut(server: IngestServer, sink: HttpSink) -> None:
    """At a hundred thousand characters, which is nobody's."""
    assert sink.deliver(make_packet(user_id="u" * 2_000_000)).fate is Fate.DELIVERED
    assert server.packets[0]["body"]["user_id"] == "u" * 100_000


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_no_proxy_sees_what_goes_to_a_loopback_host(server: IngestServer, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain http is allowed there because nothing leaves the machine."""
    with IngestServer() as proxy:
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.setenv(variable, proxy.url)
        sink = HttpSink(to_target(Payi(api_key=server.api_key, base_url=server.url)))
        assert sink.deliver(make_packet()).fate is Fate.DELIVERED
        sink.close()
        assert proxy.requests == []
    assert len(server.packets) == 1


def test_a_proxy_of_the_environment_sees_no_key_over_https(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for a tunnel, and gets nothing else."""
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                seen.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

        refusing = threading.Thread(target=refuse, daemon=True)
        refusing.start()
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        sink = HttpSink(to_target(Payi(api_key="secret-key", base_url="https://pay-i.test")))
        outcome = sink.deliver(make_packet(1, FULL_BODY))
        sink.close()
        refusing.join(10)
    assert (outcome.fate, outcome.fault) == (RETRY, DESTINATION)
    assert seen[0].startswith(b"CONNECT pay-i.test:443 HTTP/1.1")
    assert b"secret-key" not in seen[0]
