"""A batch's results: each answered line of its output file is one packet, when the file is first read."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from typing import Any

import pytest
from comparing import SCOPE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_lines import odd_lines
from provider_server import Reply

import payi_otel

pytest.importorskip("openai")

USAGE = {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28, "prompt_tokens_details": {"cached_tokens": 5}}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
CHAT = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "gpt-5.2", "choices": [CHOICE], "usage": USAGE}
RESPONSE = {
    **{"id": "resp_1", "object": "response", "created_at": 1_700_000_001, "model": "gpt-5.2", "status": "completed", "output": []},
    "usage": {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10, "output_tokens_details": {"reasoning_tokens": 2}},
}
VECTORS = {"object": "list", "model": "text-embedding-3-small", "data": [], "usage": {"prompt_tokens": 6, "total_tokens": 6}}


def line(number: int, answer: Any, status: int = 200) -> str:
    """One line of an output file."""
    response = {"status_code": status, "request_id": f"req_{number}", "body": answer}
    return json.dumps({"id": f"batch_req_{number}", "custom_id": f"mine-{number}", "response": response, "error": None})


FILE = "\n".join([line(1, CHAT), line(2, RESPONSE), line(3, VECTORS), line(4, {"error": {"message": "no"}}, 400), "no json", ""])
EXPIRED = json.dumps({"id": "batch_req_5", "custom_id": "mine-5", "response": None, "error": {"code": "batch_expired"}})
JSONL = {"content-type": "application/jsonl"}


def by_resource(packets: list[dict[str, Any]]) -> dict[tuple[str, str], Any]:
    """Units by id and resource."""
    for packet in packets:
        assert packet["body"]["properties"] == {"payi_otel.service_tier": "batch"}
    return {(packet["body"]["provider_response_id"], packet["body"]["resource"]): packet["body"]["units"] for packet in packets}


EXPECTED = {
    ("chatcmpl-1", "gpt-5.2"): {"text": {"input": 15, "output": 8}, "text_cache_read": {"input": 5, "output": 0}},
    ("resp_1", "gpt-5.2"): {"text": {"input": 7, "output": 1}, "reasoning": {"input": 0, "output": 2}},
    ("batch_req_3", "text-embedding-3-small"): {"text": {"input": 6, "output": 0}},
}


async def test_each_answered_line_is_one_packet_once(instrument: Any, client: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """Whoever reads the file again, with whatever client; what failed or expired cost nothing."""
    instrument()
    reply = Reply(FILE + EXPIRED + "\n", headers=JSONL)
    provider.script(reply, reply, reply)
    assert client.files.content("file-1").text == FILE + EXPIRED + "\n"
    assert by_resource(packets(3)) == EXPECTED
    assert (await async_client.files.content("file-1")).text == FILE + EXPIRED + "\n"
    client.files.with_raw_response.content("file-1")
    assert len(packets(3)) == 3


async def test_a_file_that_is_read_in_pieces_is_recorded_as_far_as_it_was_read(
    instrument: Any, client: Any, async_client: Any, provider: Any, packets: Any, tmp_path: Any
) -> None:
    """Written to disk by the SDK, or left after its first line."""
    instrument()
    second = FILE.replace("chatcmpl-1", "chatcmpl-2").replace("resp_1", "resp_2")
    provider.script(Reply(FILE, headers=JSONL), Reply(second, headers=JSONL))
    with client.files.with_streaming_response.content("file-1") as response:
        response.stream_to_file(tmp_path / "results.jsonl")
    assert (tmp_path / "results.jsonl").read_text() == FILE
    assert by_resource(packets(3)) == EXPECTED
    async with async_client.files.with_streaming_response.content("file-2") as response:
        async for line in response.iter_lines():
            assert json.loads(line) == json.loads(second.splitlines()[0])
            break
    for _ in range(20):  # the event loop closes the generators that were left
        await asyncio.sleep(0)
    assert len(packets(5)) == 5, "one piece holds all lines, of which the embedding's id is known from the first file"


@pytest.mark.parametrize("size", [1, 16, 100, 5000])
def test_a_file_may_be_read_in_pieces_of_any_size(instrument: Any, client: Any, provider: Any, packets: Any, size: int) -> None:
    """What says that it is a batch's may come in the second piece, or in parts."""
    instrument()
    provider.script(Reply(FILE, headers=JSONL))
    with client.files.with_streaming_response.content("file-1") as response:
        assert b"".join(response.iter_bytes(size)) == FILE.encode()
    assert by_resource(packets(3)) == EXPECTED


def test_what_tells_no_cost_is_no_result(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A moderation is free, and of a video nothing tells what it cost: neither is an image."""
    instrument()
    moderation = {"id": "modr-1", "model": "omni-moderation-latest", "results": [{"flagged": False}]}
    video = {
        "id": "video_1",
        "object": "video",
        "created_at": 1,
        "model": "sora-2",
        "seconds": "8",
        "size": "720x1280",
        "status": "completed",
    }
    image = {"created": 1_700_000_000, "data": [{"url": "https://a"}, {"url": "https://b"}]}
    provider.script(Reply("\n".join([line(1, moderation), line(2, video), line(3, image)]), headers=JSONL))
    client.files.content("file-1")
    assert by_resource(packets(1)) == {("batch_req_3", "system.unknown_model"): {"image": {"input": 0, "output": 2}}}


@pytest.mark.parametrize("stamp", ["NaN", "Infinity", "1e999", "1e300", "1700000000000000", "true", "[1]", "1" + "0" * 400])
def test_an_odd_time_costs_no_results(instrument: Any, client: Any, provider: Any, packets: Any, stamp: str) -> None:
    """The result is dated now, and those behind it are read."""
    instrument()
    provider.script(Reply(FILE.replace("1700000000", stamp), headers=JSONL))
    client.files.content("file-1")
    assert by_resource(packets(3)) == EXPECTED


@pytest.mark.parametrize(
    "spoiled",
    [
        line(7, {**CHAT, "id": "chatcmpl-7", "choices": 5}),
        line(7, {**RESPONSE, "id": "resp_7", "output": 5}),
        line(7, "no answer"),
        line(7, CHAT)[:-1],
    ],
    ids=["chat", "response", "no answer", "no json"],
)
def test_a_line_that_cannot_be_read_costs_itself_alone(
    instrument: Any, client: Any, provider: Any, packets: Any, caplog: pytest.LogCaptureFixture, spoiled: str
) -> None:
    """It is counted as lost, and said to be, once; those before and behind it are billed."""
    instrument()
    first, rest = FILE.split("\n", 1)
    reply = Reply(f"{first}\n{spoiled}\n{rest}", headers=JSONL)
    provider.script(reply, reply)
    with caplog.at_level(logging.ERROR, "payi.instrument"):
        client.files.content("file-1")
        assert by_resource(packets(3)) == EXPECTED
        client.files.content("file-1")
        packets(3)
        payi_otel.shutdown(5)  # a line may come after the account
    account = payi_otel.stats()
    assert (account.created, account.delivered, dict(account.dropped)) == (4, 3, {"conversion_failed": 1})
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.startswith("a packet is lost: it could not be made of its call (")


@pytest.mark.parametrize("odd", [5, 0, 1.5, True, None, "", [], ["a"], {"a": 1}], ids=repr)
def test_an_id_that_is_no_text_costs_and_adds_no_result(instrument: Any, client: Any, provider: Any, packets: Any, odd: Any) -> None:
    """A result is known again by its line's id, or else by all of it; a model that is none costs no more."""
    instrument()
    nameless = [{**json.loads(line(number, {**CHAT, "id": odd})), "id": odd} for number in (1, 2)]
    named = json.loads(line(3, {**CHAT, "id": odd, "model": odd}))
    reply = Reply("\n".join(map(json.dumps, [*nameless, named, named])), headers=JSONL)
    provider.script(reply, reply)
    for _ in range(2):
        client.files.content("file-1")
        found = packets(3)
        assert [packet["body"]["units"] for packet in found] == [EXPECTED["chatcmpl-1", "gpt-5.2"]] * 3
        assert sorted(packet["body"]["provider_response_id"] for packet in found) == ["batch_req_3", "payi_<uuid4>", "payi_<uuid4>"]


def test_odd_lines_cost_no_good_ones(instrument: Any, client: Any, provider: Any, ingest: Any) -> None:
    """Whatever stands in a file: nothing is raised, each good line is billed once, and what is lost is counted."""
    instrument()
    numbers = itertools.count(100)
    answers: list[dict[str, Any]] = [CHAT, RESPONSE, VECTORS]
    good: set[str] = set()

    @settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(odd_lines(*(json.loads(line(number, answer)) for number, answer in enumerate(answers))), max_size=4))
    def read(odd: list[Any]) -> None:
        lines = [json.dumps({"custom_id": "first"})]
        for one in [*odd, None]:
            good.add(name := f"good-{next(numbers)}")
            lines += [line(next(numbers), {**CHAT, "id": name}), json.dumps(one)]
        provider.script(Reply("\n".join(lines), headers=JSONL))
        client.files.content("file-1")
        assert payi_otel.flush(30)
        billed = [name for packet in ingest.packets if (name := packet["body"]["provider_response_id"]).startswith("good-")]
        assert sorted(billed) == sorted(good)

    read()
    account = payi_otel.stats()
    assert account.created == account.delivered + account.dropped.get("conversion_failed", 0)


def test_a_results_packet_is_whole(instrument: Any, client: Any, provider: Any, ingest: Any, packets: Any) -> None:
    """To whom the reader is; when it was made, by the answer; the answer itself."""
    instrument()
    provider.script(Reply(line(1, CHAT), headers=JSONL))
    with payi_otel.track_context(user_id="alice"):
        client.files.content("file-1", extra_headers={"xProxy-Account-Name": "acme"})
    (packet,) = packets()
    assert ingest.packets[0]["body"]["event_timestamp"].startswith("2023-11-14T22:13:20")
    assert packet["scope"] == {**SCOPE, "xproxy-user-id": "alice", "xproxy-account-name": "acme"}
    assert packet["body"] == {
        "category": "system.openai",
        "resource": "gpt-5.2",
        "units": EXPECTED["chatcmpl-1", "gpt-5.2"],
        "http_status_code": 200,
        "provider_response_id": "chatcmpl-1",
        "provider_response_json": json.dumps(CHAT, separators=(",", ":")),
        "properties": {"payi_otel.service_tier": "batch"},
    }
    assert not any(name.startswith("xproxy") for name in provider.requests[0]["headers"])


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"custom_id": "mine-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-5.2"}}),
        '{"prompt": "a", "completion": "b"}',
        "custom_id,name",
        "",
    ],
    ids=["input file", "training file", "csv", "empty"],
)
def test_any_other_file_is_nothing_of_ours(instrument: Any, client: Any, provider: Any, packets: Any, content: str) -> None:
    """It is read as it is."""
    instrument()
    provider.script(Reply(content, headers=JSONL))
    assert client.files.content("file-1").text == content
    packets(0)


def test_outside_a_scope_nothing_is_recorded(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """As of any call, where only tracked code is."""
    instrument({"global_instrumentation": False})
    provider.script(Reply(FILE, headers=JSONL))
    client.files.content("file-1")
    packets(0)


def test_what_is_read_is_counted_with_the_rest(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The account of packets knows each result, and nothing of the file."""
    instrument()
    provider.script(Reply(FILE, headers=JSONL))
    client.files.content("file-1")
    packets(3)
    account = payi_otel.stats()
    assert (account.created, account.delivered) == (3, 3)
