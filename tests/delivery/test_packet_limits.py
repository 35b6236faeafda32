"""What is very large is cut before it is encoded; what is billed never is."""

from __future__ import annotations

import tracemalloc
from typing import Any

import orjson
import pytest
from delivery_fakes import Target, make_packet

from payi_otel.exporters import _wire
from payi_otel.exporters.http import HttpSink

MILLION = 1_000_000
LONG = "é\n" * 15 * MILLION


def encoded(body: dict[str, Any], **options: Any) -> dict[str, Any]:
    """What is sent."""
    return orjson.loads(_wire.encode(make_packet(1, body), **options).json)  # type: ignore[no-any-return]


def test_a_long_text_is_cut_and_named() -> None:
    """At a million characters, beside what the packet's own properties say."""
    text = "日" * (MILLION + 1)
    given = {"provider_request_json": text, "provider_response_json": "a" * MILLION, "properties": {"env": "test"}}
    expected = {**given, "provider_request_json": text[:-1], "properties": {"env": "test", "payi_otel.truncated": "provider_request_json"}}
    del expected["provider_response_json"]
    sent = encoded(given)
    # Three million bytes of one and a million of the other are still under four mebibytes together.
    assert sent == make_packet(1, {**expected, "provider_response_json": given["provider_response_json"]}).body


def test_a_long_stream_loses_its_last_events() -> None:
    """Each event whole."""
    events = ["e" * 300_000 for _ in range(5)]
    sent = encoded({"provider_response_json": events})
    assert sent["provider_response_json"] == events[:3]
    assert sent["properties"] == {"payi_otel.truncated": "provider_response_json"}


@pytest.mark.parametrize("name", ["provider_response_function_calls", "provider_response_headers"])
def test_a_packet_that_is_too_large_keeps_what_is_billed(name: str) -> None:
    """Whatever makes it so."""
    calls = [{"name": "n", "arguments": "x" * MILLION} for _ in range(5)]
    sent = encoded({name: calls, "provider_request_json": "q"})
    assert sent == make_packet(1, {"properties": {"payi_otel.bodies_dropped": "too_large"}}).body


def test_a_long_property_is_cut() -> None:
    """At ten thousand characters: no property is worth a packet."""
    sent = encoded({"properties": {"long": "p" * 6_000_000, "short": "s", "none": None}})
    expected = {"long": "p" * 10_000, "short": "s", "none": None, "payi_otel.truncated": "properties"}
    assert sent == make_packet(1, {"properties": expected}).body


def test_properties_go_last() -> None:
    """Where nothing else makes a packet small enough."""
    sent = encoded({"properties": {f"property-{number}": "p" * 10_000 for number in range(1000)}, "provider_request_json": "q"})
    assert sent == make_packet(1, {"properties": {"payi_otel.bodies_dropped": "too_large"}}).body


def test_where_images_are_wanted_nothing_is_cut() -> None:
    """`instrument_inline_data`."""
    body = {"provider_request_json": "q" * 5 * MILLION}
    assert encoded(body, is_limited=False) == make_packet(1, body).body


def test_an_ordinary_packet_is_as_it_was() -> None:
    """No property appears."""
    body = {"provider_request_json": "q" * MILLION, "provider_response_json": ["a"] * 1000}
    assert encoded(body) == make_packet(1, body).body


def test_a_sink_says_what_it_cuts() -> None:
    """So that no more than that is made a text of a large request."""
    assert HttpSink(Target("http://pay-i.test")).max_chars == _wire.MAX_CHARS
    assert HttpSink(Target("http://pay-i.test"), is_limited=False).max_chars is None


@pytest.mark.parametrize(
    "body",
    [{"properties": {"note": LONG}}, {"use_case_properties": {"note": LONG}}, {"provider_request_reasoning_json": LONG}],
    ids=lambda body: next(iter(body)),
)
def test_what_is_too_long_is_cut_before_it_is_encoded(body: dict[str, Any]) -> None:
    """Encoding it whole would hold up the whole process, for a fifth of a second here."""
    tracemalloc.start()
    try:
        _wire.encode(make_packet(body=body))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(LONG)
