"""The public fake is as strict as the wire contract: what Pay-i would refuse, it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from payi_otel.testing import API_KEY, Answer, IngestServer

GOOD: dict[str, Any] = {"category": "system.openai", "units": {"text": {"input": 1, "output": 2}}, "provider_response_id": "r1"}
HEADERS = {"xProxy-api-key": API_KEY, "content-type": "application/json"}


@pytest.fixture
def server() -> Iterator[IngestServer]:
    """Pay-i."""
    with IngestServer() as running:
        yield running


def post(server: IngestServer, body: Any = GOOD, path: str = "/api/v1/ingest?id=r1", **headers: str) -> httpx.Response:
    """One request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client() as client:
        return client.post(server.url + path, content=content, headers={**HEADERS, **names})


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and Pay-i's code."""
    return answer.status_code, answer.json()["xproxy_error"]["code"]


def test_a_good_packet_is_taken_and_recorded(server: IngestServer) -> None:
    """The answer has what a real one has."""
    answer = post(server, xProxy_User_ID="bob")
    assert answer.status_code == 200
    assert set(answer.json()) == {"request_id", "ingest_timestamp", "event_timestamp", "xproxy_result"}
    (packet,) = server.packets
    assert (packet["path"], packet["query"], packet["body"]) == ("/api/v1/ingest", {"id": "r1"}, GOOD)
    assert packet["headers"]["xproxy-user-id"] == "bob"
    assert server.requests == [packet]


def test_the_same_id_again_is_a_duplicate(server: IngestServer) -> None:
    """Kept apart."""
    post(server)
    assert post(server).json()["xproxy_result"]["duplicate_request"] is True
    assert (len(server.packets), len(server.duplicates)) == (1, 1)


@pytest.mark.parametrize("key", ["", "wrong"])
def test_a_wrong_key_is_refused(server: IngestServer, key: str) -> None:
    """401."""
    assert code(post(server, xProxy_api_key=key)) == (401, "invalid_api_key")
    assert server.packets == []


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"user_id": "bob"},
        {"units": {"text": {"input": -1}}},
        {"units": {"text": {"input": 1.5}}},
        {"units": {"text": {"input": 2**31}}},
        {"units": {"text": {"in": 1}}},
        {"units": [1]},
        {"category": None},
        {"resource": 1},
        {"http_status_code": "200"},
        {"http_status_code": True},
        {"properties": {"a": 1}},
        {"provider_request_headers": {"a": "b"}},
        {"provider_request_headers": [{"key": "a"}]},
        {"provider_response_json": [1]},
        {"provider_response_function_calls": [{"name": "f", "extra": "x"}]},
    ],
    ids=str,
)
def test_unknown_keys_and_wrong_types_are_refused(server: IngestServer, change: dict[str, Any]) -> None:
    """As the API's schema does."""
    assert code(post(server, {**GOOD, **change})) == (400, "invalid_json")
    assert server.packets == []


@pytest.mark.parametrize("name", ["category", "units"])
def test_required_keys_are_required(server: IngestServer, name: str) -> None:
    """They are few."""
    assert code(post(server, {key: value for key, value in GOOD.items() if key != name})) == (400, "required_field_missing")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"units": NaN}', b"\xff"])
def test_what_is_not_an_object_is_refused(server: IngestServer, body: bytes) -> None:
    """NaN is not JSON."""
    assert code(post(server, body)) == (400, "invalid_json")


def test_a_time_in_the_future_is_refused(server: IngestServer) -> None:
    """More than 5 minutes."""
    for minutes, status in ((4, 200), (6, 400)):
        stamp = (datetime.now(timezone.utc) + timedelta(minutes=minutes)).isoformat()
        assert post(server, {**GOOD, "event_timestamp": stamp}).status_code == status


@pytest.mark.parametrize(
    "header",
    [
        {"xProxy_Unknown": "1"},
        {"xProxy_User_ID": ""},
        {"xProxy_Limit_IDs": "a,,b"},
        {"xProxy_UseCase_Version": "x"},
        {"xProxy_Logging_Disable": "1"},
    ],
    ids=str,
)
def test_bad_headers_are_refused(server: IngestServer, header: dict[str, str]) -> None:
    """Unknown ones of Pay-i's too."""
    assert post(server, **header).status_code == 400


def test_the_id_must_be_the_packets_own(server: IngestServer) -> None:
    """Else a resend would be another packet."""
    assert post(server, path="/api/v1/ingest?id=other").status_code == 400
    assert post(server, path="/api/v1/ingest").status_code == 400


def test_a_bulk_is_taken_item_by_item(server: IngestServer) -> None:
    """Good ones are kept, bad ones are listed."""
    items = [{**GOOD, "user_id": "é", "scope": "global"}, {**GOOD, "provider_response_id": "r2", "resource_scope": "x"}]
    answer = post(server, items, "/api/v1/ingest/bulk")
    assert answer.status_code == 400
    assert {name: answer.json()[name] for name in ("ingest_count", "total_count", "error_count")} == {
        "ingest_count": 1,
        "total_count": 2,
        "error_count": 1,
    }
    assert [error["item_index"] for error in answer.json()["errors"]] == [1]
    assert [packet["body"] for packet in server.packets] == items[:1]


def test_in_a_bulk_no_header_has_a_scope(server: IngestServer) -> None:
    """Everything is in the items."""
    assert post(server, [GOOD], "/api/v1/ingest/bulk", xProxy_User_ID="bob").status_code == 400


def test_bulk_can_be_disabled() -> None:
    """As for an account that does not have it."""
    with IngestServer(bulk_enabled=False) as server:
        assert post(server, [GOOD], "/api/v1/ingest/bulk").status_code == 404


def test_a_script_comes_before_a_decision_and_both_before_pay_i(server: IngestServer) -> None:
    """One answer a request."""
    server.script(Answer(503), Answer(429, headers={"Retry-After": "1"}))
    server.decide(lambda request: Answer(500) if request["query"]["id"] == "r1" and len(server.requests) < 4 else None)
    answers = [post(server) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 429, 500, 200]
    assert answers[1].headers["retry-after"] == "1"


def test_faults_below_http(server: IngestServer) -> None:
    """The client sees a broken connection; a packet dropped after its commit was taken."""
    for fault, taken in ((Answer(reset=True), 0), (Answer(garbage=True), 0), (Answer(drop_after_commit=True), 1)):
        server.script(fault)
        with pytest.raises(httpx.TransportError):
            post(server)
        assert len(server.packets) == taken


def test_a_delayed_answer_is_an_answer(server: IngestServer) -> None:
    """Only later."""
    server.script(Answer(delay_s=0.05))
    assert post(server).status_code == 200
