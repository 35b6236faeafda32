"""A message batch's results: each that succeeded is one packet, when it is first read."""

from __future__ import annotations

import inspect
import itertools
import json
import logging
from typing import Any

import pytest
from comparing import SCOPE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_lines import odd_lines
from provider_server import ProviderServer, Reply

import payi_otel

anthropic = pytest.importorskip("anthropic")

USAGE = {"input_tokens": 11, "output_tokens": 36, "service_tier": "batch", "cache_read_input_tokens": 7}


def message(number: int) -> dict[str, Any]:
    """An answer."""
    head = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-opus-5", "stop_reason": "end_turn"}
    return {**head, "content": [{"type": "text", "text": "Hi."}], "usage": USAGE}


RESULTS = [
    {"custom_id": "a", "result": {"type": "succeeded", "message": message(1)}},
    {"custom_id": "b", "result": {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": "no"}}}},
    {"custom_id": "c", "result": {"type": "expired"}},
    {"custom_id": "d", "result": {"type": "succeeded", "message": message(2)}},
]
BATCH = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "ended"}
LINES = "".join(json.dumps(result) + "\n" for result in RESULTS)
UNITS = {"text": {"input": 11, "output": 36}, "text_cache_read": {"input": 7, "output": 0}}


@pytest.fixture
def batch(provider: ProviderServer) -> None:
    """A batch that has ended."""
    provider.always("/results", Reply(LINES, headers={"content-type": "application/x-jsonl"}))
    provider.always("/msgbatch_1", Reply({**BATCH, "results_url": provider.url + "/v1/messages/batches/msgbatch_1/results"}))


def results_of(provider: ProviderServer, *, beta: bool = False, **arguments: Any) -> list[Any]:
    """Reads all results with a client of its own."""
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        messages = client.beta.messages if beta else client.messages
        return [result.custom_id for result in messages.batches.results("msgbatch_1", **arguments)]


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("beta", [False, True])
def test_each_result_that_succeeded_is_one_packet_once(instrument: Any, provider: ProviderServer, packets: Any, beta: bool) -> None:
    """What failed or expired cost nothing; who reads the results again is not billed again."""
    instrument()
    for _ in range(2):
        assert results_of(provider, beta=beta) == ["a", "b", "c", "d"]
    for number, packet in enumerate(sorted(packets(2), key=lambda packet: str(packet["body"]["provider_response_id"])), 1):
        assert packet["scope"] == SCOPE
        assert json.loads(packet["body"].pop("provider_response_json")) == message(number)
        assert packet["body"] == {
            "category": "system.anthropic",
            "resource": "claude-opus-5",
            "units": UNITS,
            "http_status_code": 200,
            "provider_response_id": f"msg_{number}",
            "properties": {"payi_otel.service_tier": "batch"},
        }


@pytest.mark.usefixtures("batch")
async def test_async_results_are_recorded_as_far_as_they_are_read(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """The decoder is the SDK's own, with the user of whoever asked for it."""
    instrument()
    async with anthropic.AsyncAnthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        with payi_otel.track_context(user_id="alice"):
            decoder = await client.messages.batches.results("msgbatch_1")
        assert type(decoder).__name__ == "AsyncJSONLDecoder"
        assert (await decoder.__anext__()).custom_id == "a"
        await decoder.close()
    (packet,) = packets()
    assert packet["body"]["provider_response_id"] == "msg_1"
    assert packet["scope"]["xproxy-user-id"] == "alice"


HAS_RAW = "self.results" in inspect.getsource(anthropic.resources.messages.batches.BatchesWithRawResponse)
only_with_raw = pytest.mark.skipif(not HAS_RAW, reason="this version of the SDK has no raw results")


def read_raw(response: Any, way: str) -> int:
    """How many lines or results a raw response has."""
    if way == "parse":
        return len(list(response.parse()))
    if way == "read":
        return len(response.read().splitlines())
    return len(list(response.iter_lines()))


@only_with_raw
@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("way", ["parse", "read", "lines"])
@pytest.mark.parametrize("kind", ["raw", "streaming"])
def test_raw_results_are_recorded_as_they_are_read(instrument: Any, provider: ProviderServer, packets: Any, kind: str, way: str) -> None:
    """Whatever of them is asked for; and known again as the same results."""
    instrument()
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        batches = client.messages.batches
        if kind == "raw":
            assert read_raw(batches.with_raw_response.results("msgbatch_1"), way) == len(RESULTS)
        else:
            with batches.with_streaming_response.results("msgbatch_1") as response:
                assert read_raw(response, way) == len(RESULTS)
    for number, packet in enumerate(sorted(packets(2), key=lambda packet: str(packet["body"]["provider_response_id"])), 1):
        assert json.loads(packet["body"].pop("provider_response_json")) == message(number)
        assert packet["body"]["units"] == UNITS
    results_of(provider)
    packets(2)


@only_with_raw
def test_a_raw_line_that_cannot_be_read_costs_itself_alone(
    instrument: Any, provider: ProviderServer, packets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that is no JSON is lost, with a count; empty ones and the beginning of a last one are nothing."""
    instrument()
    first, *rest = LINES.splitlines()
    lines = "\n".join([first, '{"custom_id":', "", *rest, '{"custom_id":'])
    ended = {**BATCH, "results_url": provider.url + "/v1/messages/batches/msgbatch_1/results"}
    provider.script(Reply(ended), Reply(lines, headers={"content-type": "application/x-jsonl"}))
    with caplog.at_level(logging.ERROR, "payi.instrument"):
        with (
            anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client,
            client.messages.batches.with_streaming_response.results("msgbatch_1") as response,
        ):
            assert len(list(response.iter_lines())) == len(RESULTS) + 3
        assert {packet["body"]["provider_response_id"] for packet in packets(2)} == {"msg_1", "msg_2"}
        payi_otel.shutdown(5)  # a line may come after the account
    account = payi_otel.stats()
    assert (account.created, account.delivered, dict(account.dropped)) == (3, 2, {"conversion_failed": 1})
    assert len(caplog.records) == 1


@only_with_raw
@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("kind", ["with_raw_response", "with_streaming_response"])
async def test_raw_async_results_are_recorded_as_far_as_they_are_read(
    instrument: Any, provider: ProviderServer, packets: Any, kind: str
) -> None:
    """A line that was begun is none; what is not read is billed when it is."""
    instrument()
    async with anthropic.AsyncAnthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        asked = getattr(client.messages.batches, kind).results("msgbatch_1")
        response = await (asked if kind == "with_raw_response" else asked.__aenter__())
        parsed = response.parse()
        decoder = await parsed if hasattr(parsed, "__await__") else parsed
        assert (await decoder.__anext__()).custom_id == "a"
        await decoder.close()
    (packet,) = packets()
    assert packet["body"]["provider_response_id"] == "msg_1"


def test_what_another_model_did_for_a_result_is_a_packet_of_its_own(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """At its own price, as in a call that is made at once."""
    advised = [{"type": "message", **USAGE}, {"type": "advisor_message", "model": "claude-big", "input_tokens": 90, "output_tokens": 9}]
    result = {"type": "succeeded", "message": {**message(9), "usage": {**USAGE, "iterations": advised}}}
    script_results(provider, [{"custom_id": "a", "result": result}])
    instrument()
    assert results_of(provider) == ["a"]
    call, part = sorted(packets(2), key=lambda packet: len(packet["body"]["provider_response_id"]))
    assert (call["body"]["resource"], call["body"]["units"]) == ("claude-opus-5", UNITS)
    assert part == {
        "body": {
            "category": "system.anthropic",
            "resource": "claude-big",
            "units": {"text": {"input": 90, "output": 9}},
            "http_status_code": 200,
            "provider_response_id": "msg_9.advisor_message.2",
            "properties": {"payi_otel.part_of": "msg_9", "payi_otel.service_tier": "batch"},
        },
        "scope": SCOPE,
    }


@pytest.mark.usefixtures("batch")
def test_our_headers_stay_here(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Of the two requests that reading takes."""
    instrument()
    results_of(provider, extra_headers={"xProxy-User-ID": "bob"})
    assert [packet["scope"]["xproxy-user-id"] for packet in packets(2)] == ["bob", "bob"]
    assert not any(name.startswith("xproxy") for request in provider.requests for name in request["headers"])


@pytest.mark.usefixtures("batch")
def test_what_the_caller_does_to_a_result_does_not_change_its_packet(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """It is the caller's object."""
    instrument()
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        for result in client.messages.batches.results("msgbatch_1"):
            if result.result.type == "succeeded":
                result.result.message.content.clear()
                result.result.message.usage.input_tokens = 0
    for packet in packets(2):
        assert packet["body"]["units"] == UNITS
        assert json.loads(packet["body"]["provider_response_json"])["content"] == [{"type": "text", "text": "Hi."}]


def script_results(provider: ProviderServer, results: list[Any]) -> None:
    """A batch that has ended, with these results."""
    ended = {**BATCH, "results_url": provider.url + "/v1/messages/batches/msgbatch_1/results"}
    lines = "".join(json.dumps(result) + "\n" for result in results)
    provider.script(Reply(ended), Reply(lines, headers={"content-type": "application/x-jsonl"}))


@pytest.mark.parametrize(
    "spoiled",
    [
        {"message": "no message"},
        {"message": None},
        {"message": {**message(7), "usage": {**USAGE, "iterations": 5}}},
    ],
    ids=["text", "null", "iterations"],
)
def test_a_result_that_cannot_be_read_costs_itself_alone(
    instrument: Any, provider: ProviderServer, packets: Any, caplog: pytest.LogCaptureFixture, spoiled: dict[str, Any]
) -> None:
    """It is counted as lost, and said to be; the caller and the results around it see nothing of that."""
    instrument()
    script_results(provider, [RESULTS[0], {"custom_id": "x", "result": {"type": "succeeded", **spoiled}}, *RESULTS[1:]])
    with caplog.at_level(logging.ERROR, "payi.instrument"):
        assert results_of(provider) == ["a", "x", "b", "c", "d"]
        assert {packet["body"]["provider_response_id"] for packet in packets(2)} == {"msg_1", "msg_2"}
        payi_otel.shutdown(5)  # a line may come after the account
    account = payi_otel.stats()
    assert (account.created, account.delivered, dict(account.dropped)) == (3, 2, {"conversion_failed": 1})
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.startswith("a packet is lost: it could not be made of its call (")


@pytest.mark.parametrize("odd", [5, 0, 1.5, True, None, "", [], ["a"], {"a": 1}], ids=repr)
def test_an_id_that_is_no_text_costs_and_adds_no_result(instrument: Any, provider: ProviderServer, packets: Any, odd: Any) -> None:
    """A result is known again by all of it; a model that is none costs no more."""
    instrument()
    nameless = {**message(1), "id": odd}
    modelless = {**nameless, "model": odd, "usage": {"input_tokens": 300_000}}
    answered = [("a", nameless), ("b", nameless), ("b", nameless), ("c", modelless)]
    results = [{"custom_id": name, "result": {"type": "succeeded", "message": one}} for name, one in answered]
    for _ in range(2):
        script_results(provider, results)
        assert results_of(provider) == ["a", "b", "b", "c"]
        assert [packet["body"]["provider_response_id"] for packet in packets(3)] == ["payi_<uuid4>"] * 3


def test_odd_lines_cost_no_good_ones(instrument: Any, provider: ProviderServer, ingest: Any) -> None:
    """Whatever stands among the results: nothing of ours is raised, each good one is billed once, and what is lost is counted."""
    instrument()
    numbers = itertools.count(100)
    good: set[str] = set()

    @settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(odd_lines(*RESULTS), max_size=4))
    def read(odd: list[Any]) -> None:
        results: list[Any] = []
        for one in [*odd, {}]:
            good.add(f"msg_{(number := next(numbers))}")
            results += [{"custom_id": "good", "result": {"type": "succeeded", "message": message(number)}}, one]
        script_results(provider, results)
        with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
            assert len(list(client.messages.batches.results("msgbatch_1"))) == len(results)
        assert payi_otel.flush(30)
        billed = [name for packet in ingest.packets if (name := packet["body"]["provider_response_id"]) in good]
        assert sorted(billed) == sorted(good)

    read()
    account = payi_otel.stats()
    assert account.created == account.delivered + account.dropped.get("conversion_failed", 0)
