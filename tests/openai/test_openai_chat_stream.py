"""Chat completions, streamed: what a stream says, in one whole packet."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai_shapes import USAGE, chat_events, chunk
from provider_server import Reply
from stream_packets import ESTIMATED, REQUEST, readable, stream_packet

import payi_otel

openai = pytest.importorskip("openai")

ASKED = {**REQUEST, "stream": True}


def choice(index: int, content: str | None = None, finish: str | None = None) -> dict[str, Any]:
    """A chunk of one of several choices."""
    return chunk(choices=[{"index": index, "delta": {"content": content} if content else {}, "finish_reason": finish}])


def called(**call: Any) -> dict[str, Any]:
    """A chunk with a part of a tool call."""
    return chunk(delta={"tool_calls": [{"index": 0, **call}]})


SEVERAL = [choice(0, "a"), choice(1, "b"), choice(0, finish="stop"), choice(1, "c"), choice(1, finish="length")]
TOOLS = [
    called(id="call_1", type="function", function={"name": "look_up", "arguments": ""}),
    called(function={"arguments": '{"city":'}),
    called(function={"arguments": ' "Rome"}'}),
    chunk(finish="tool_calls"),
]
REFUSED = [chunk(delta={"role": "assistant", "refusal": "I "}), chunk(delta={"refusal": "cannot."}), chunk(finish="stop")]
THOUGHT = [chunk(delta={"role": "assistant", "reasoning_content": "Hm"}), *chat_events(usage=None)[1:]]
LAST = chunk(choices=[], usage=USAGE)


def body_of(packet: dict[str, Any]) -> dict[str, Any]:
    """The body, without what other tests compare."""
    body = readable(packet)["body"]
    assert json.dumps(body.pop("provider_request_json"))
    return body


@pytest.mark.parametrize("events", [SEVERAL, TOOLS, REFUSED, THOUGHT], ids=["several choices", "a tool call", "a refusal", "reasoning"])
def test_whatever_a_stream_says_is_one_packet_with_all_of_it(
    events: list[Any], instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """Every event is in the answer, the usage is exact, and a tool call is named with its arguments put together."""
    instrument()
    provider.script(Reply(events=[*events, LAST]))
    assert [one.to_dict() for one in client.chat.completions.create(**ASKED)] == events
    (packet,) = packets()
    body = body_of(packet)
    calls = body.pop("provider_response_function_calls", None)
    assert calls == ([{"name": "look_up", "arguments": '{"city": "Rome"}'}] if events is TOOLS else None)
    expected = stream_packet([*events, LAST])["body"]
    del expected["provider_request_json"]
    expected["time_to_first_completion_token_ms"] = "ms"
    assert body == expected


def test_running_usage_is_the_end_only_when_every_choice_has_finished(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A stream of two choices left after the first one's end was left early."""
    events = [{**event, "usage": USAGE} for event in SEVERAL]
    instrument()
    provider.script(Reply(events=events))
    with client.chat.completions.create(**ASKED, n=2) as stream:
        for one in stream:
            if one.choices[0].finish_reason:
                break
    (packet,) = packets()
    body = body_of(packet)
    assert body["units"] == {"text": {"input": 12, "output": 5}}
    assert body["properties"] == {"payi_otel.end_reason": "closed"}


def test_output_starts_with_the_models_own_words(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A stream that ended in its reasoning has a first event, but no first word."""
    instrument()
    provider.script(Reply(events=[THOUGHT[0], *THOUGHT[1:]]))
    with client.chat.completions.create(**ASKED) as stream:
        next(stream)
    (packet,) = packets()
    body = packet["body"]
    assert body["time_to_first_token_ms"] == "ms"
    assert "time_to_first_completion_token_ms" not in body


@pytest.mark.parametrize("events", [[], [chunk(choices=[])]], ids=["nothing", "an empty chunk"])
def test_a_stream_that_says_nothing_is_complete(events: list[Any], instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """It ended by itself; its usage is estimated."""
    instrument()
    provider.script(Reply(events=events))
    assert [one.to_dict() for one in client.chat.completions.create(**ASKED)] == events
    (packet,) = packets()
    assert readable(packet) == stream_packet(events, units=ESTIMATED)


def test_running_usage_counts_its_last_value(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Some servers send totals so far with every chunk: they are neither summed nor the end of the stream, and nothing is hidden."""
    totals = [{"prompt_tokens": 12, "completion_tokens": number, "total_tokens": 12 + number} for number in range(1, 4)]
    events = [chunk(word, usage=total) for word, total in zip("abc", totals, strict=True)]
    events.append(chunk(finish="stop", usage={"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}))
    instrument()
    provider.script(Reply(events=events), Reply(events=[{**event, "id": "chatcmpl-2"} for event in events]))
    assert len(list(client.chat.completions.create(**ASKED))) == 4
    with client.chat.completions.create(**ASKED) as stream:
        next(stream)
        next(stream)
    whole, left = sorted((readable(packet) for packet in packets(2)), key=lambda packet: packet["body"]["provider_response_id"])
    assert whole == stream_packet(events, units={"text": {"input": 12, "output": 4}})
    assert left["body"]["units"] == {"text": {"input": 12, "output": 2}}
    assert left["body"]["properties"] == {"payi_otel.end_reason": "closed"}


def test_what_azures_filters_say_hides_no_id_and_no_tier(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Before the first chunk and behind the last one, where they run beside the model: of neither an id nor a model."""
    instrument()
    nameless = {"id": "", "object": "", "created": 0, "model": ""}
    offsets = {"check_offset": 1, "start_offset": 1, "end_offset": 9}
    annotated = {"index": 0, "finish_reason": None, "content_filter_results": {}, "content_filter_offsets": offsets}
    said = [{**event, "service_tier": "priority"} for event in chat_events()]
    events = [{**nameless, "choices": [], "prompt_filter_results": []}, *said, {**nameless, "choices": [annotated]}]
    provider.script(Reply(events=events))
    list(client.chat.completions.create(**ASKED))
    body = packets()[0]["body"]
    assert (body["provider_response_id"], body["units"]) == ("chatcmpl-1", {"text": {"input": 12, "output": 5}})
    assert body["properties"] == {"payi_otel.service_tier": "priority"}


@pytest.mark.parametrize("way", ["drained", "closed", "failed"])
def test_inline_delivery_has_delivered_when_the_stream_has_ended(
    way: str, instrument: Any, client: Any, provider: Any, ingest: Any
) -> None:
    """Whoever asked to wait for each packet has it without a flush."""
    instrument({"delivery": "inline"})
    events = chat_events() if way != "failed" else [*chat_events()[:2], {"error": {"message": "boom"}}]
    provider.script(Reply(events=events))
    with client.chat.completions.create(**ASKED) as stream:
        if way == "drained":
            list(stream)
        elif way == "closed":
            next(stream)
        else:
            with pytest.raises(openai.APIError):
                list(stream)
    assert len(ingest.packets) == 1


async def test_async_inline_delivery_has_delivered_when_the_stream_has_ended(
    instrument: Any, async_client: Any, provider: Any, ingest: Any
) -> None:
    """The async twin: awaited, while other tasks run."""
    instrument({"delivery": "inline"})
    provider.script(Reply(events=chat_events()))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    async with await async_client.chat.completions.create(**ASKED) as stream:
        async for _ in stream:
            pass
    counting.cancel()
    assert turns
    assert len(ingest.packets) == 1


def test_content_is_not_sent_where_it_is_not_wanted(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A stream of a scope without logging has units and no words."""
    instrument()
    provider.script(Reply(events=chat_events()))
    with payi_otel.track_context(log_prompt_and_response=False):
        list(client.chat.completions.create(**ASKED))
    (packet,) = packets()
    assert packet["body"] == {
        "category": "system.openai",
        "resource": "gpt-4o-mini",
        "units": {"text": {"input": 12, "output": 5}},
        "http_status_code": 200,
        "provider_response_id": "chatcmpl-1",
        "time_to_first_token_ms": "ms",
        "time_to_first_completion_token_ms": "ms",
    }
