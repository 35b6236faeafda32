"""The Responses API: whole packets of real SDK calls, plain, parsed, raw and streamed, and however a stream ends."""

from __future__ import annotations

import importlib
import inspect
import json
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import Reply
from pydantic import BaseModel
from response_shapes import REQUEST, RESPONSE_USAGE, UNITS, call, events, response, search

import payi_otel

openai = pytest.importorskip("openai")
RESPONSES = importlib.import_module("openai.resources.responses").Responses
has_parse = pytest.mark.skipif(not hasattr(RESPONSES, "parse"), reason="this SDK has no responses.parse")
has_stream = pytest.mark.skipif(not hasattr(RESPONSES, "stream"), reason="this SDK has no responses.stream")
has_compact = pytest.mark.skipif(not hasattr(RESPONSES, "compact"), reason="this SDK has no responses.compact")
has_prompt = pytest.mark.skipif("prompt" not in inspect.signature(RESPONSES.create).parameters, reason="this SDK has no prompts")

WHOLE = {
    "body": {
        "category": "system.openai",
        "resource": "gpt-4.1",
        "units": UNITS,
        "http_status_code": 200,
        "provider_response_id": "resp_1",
    },
    "scope": SCOPE,
}
STREAMED = {"time_to_first_token_ms": "ms", "time_to_first_completion_token_ms": "ms"}


class Greeting(BaseModel):
    """What a parsed call is to give."""

    words: str


def said(packet: dict[str, Any]) -> tuple[Any, Any]:
    """Takes request and answer out of a packet, as JSON values."""
    request, answer = packet["body"].pop("provider_request_json"), packet["body"].pop("provider_response_json")
    return json.loads(request), [json.loads(event) for event in answer] if isinstance(answer, list) else json.loads(answer)


def test_plain_response_becomes_one_whole_packet(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Every field of the packet, for the simplest response."""
    instrument()
    provider.script(Reply(response()))
    assert client.responses.create(**REQUEST).output_text == "Hello there."
    (packet,) = packets()
    assert said(packet) == (REQUEST, response())
    assert packet == WHOLE


async def test_async_response_becomes_the_same_packet(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """Sync and async calls are billed alike."""
    instrument()
    provider.script(Reply(response()))
    await async_client.responses.create(**REQUEST)
    (packet,) = packets()
    assert said(packet) == (REQUEST, response())
    assert packet == WHOLE


@has_parse
def test_parsed_response_is_one_packet(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """`parse` posts by itself, and is billed once."""
    instrument()
    answer = response()
    answer["output"][0]["content"][0]["text"] = '{"words": "hi"}'
    provider.script(Reply(answer))
    assert client.responses.parse(**REQUEST, text_format=Greeting).output_parsed == Greeting(words="hi")
    (packet,) = packets()
    request, answered = said(packet)
    assert request["text"]["format"]["name"] == "Greeting"
    assert answered == answer
    assert packet == WHOLE


@has_parse
async def test_parse_that_fails_on_a_billed_answer_keeps_units(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """The answer was billed with a 200, whatever pydantic makes of it; the caller gets pydantic's own error."""
    instrument()
    provider.script(Reply(response()))
    with pytest.raises(ValueError, match="Greeting"):
        await async_client.responses.parse(**REQUEST, text_format=Greeting)
    (packet,) = packets()
    properties = packet["body"].pop("properties")
    assert properties["system.failure"].endswith("ValidationError")
    assert properties["payi_otel.end_reason"] == "error"
    said(packet)
    assert packet == WHOLE


def test_raw_response_is_billed_before_it_is_parsed(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """`with_raw_response` is billed at once, parsed or not, and parses as ever."""
    instrument()
    provider.script(Reply(response()))
    raw = client.responses.with_raw_response.create(**REQUEST)
    (packet,) = packets()
    packet["body"].pop("provider_request_headers", None)
    assert said(packet) == (REQUEST, response())
    assert packet == WHOLE
    assert raw.parse().id == "resp_1"


async def test_streaming_response_is_billed_when_read(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """`with_streaming_response` is billed by the bytes the caller reads."""
    instrument()
    provider.script(Reply(response()))
    async with async_client.responses.with_streaming_response.create(**REQUEST) as raw:
        assert (await raw.parse()).id == "resp_1"
    (packet,) = packets()
    packet["body"].pop("provider_request_headers", None)
    assert said(packet) == (REQUEST, response())
    assert packet == WHOLE


def test_stream_becomes_one_whole_packet(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Every event is recorded, the usage is that of the last one."""
    instrument()
    provider.script(Reply(events=events(), done=False))
    seen = [event.type for event in client.responses.create(**REQUEST, stream=True)]
    assert seen == [event["type"] for event in events()]
    (packet,) = packets()
    assert said(packet) == ({**REQUEST, "stream": True}, events())
    assert packet == {**WHOLE, "body": {**WHOLE["body"], **STREAMED}}


@has_stream
def test_stream_helper_is_one_packet(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """`stream` calls `create` inside; it is one call."""
    instrument()
    provider.script(Reply(events=events(), done=False))
    with client.responses.stream(**REQUEST) as stream:
        assert stream.get_final_response().output_text == "Hello there."
    (packet,) = packets()
    said(packet)
    assert packet == {**WHOLE, "body": {**WHOLE["body"], **STREAMED}}


@has_stream
async def test_async_stream_helper_left_early_is_billed_by_estimate(
    instrument: Any, async_client: Any, provider: Any, packets: Any
) -> None:
    """A manager that is left before the final event is one packet, which says that its units are estimated."""
    instrument()
    provider.script(Reply(events=events(), done=False, held=True))
    async with async_client.responses.stream(**REQUEST) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
    (packet,) = packets()
    said(packet)
    assert packet["body"].pop("properties") == {"payi_otel.end_reason": "closed", "payi_otel.usage_estimated": "input,output"}
    assert packet["body"].pop("units")["text"]["input"] == 3  # ten characters
    assert packet["body"]["provider_response_id"] == "resp_1"
    assert packet["body"]["http_status_code"] == 200


@pytest.mark.parametrize("form", ["raw", "lazy"])
async def test_raw_async_streams_are_one_packet(instrument: Any, async_client: Any, provider: Any, packets: Any, form: str) -> None:
    """A stream behind a raw response is billed when it is read, as openai-agents does."""
    instrument()
    provider.script(Reply(events=events(), done=False))
    if form == "raw":
        raw = await async_client.responses.with_raw_response.create(**REQUEST, stream=True)
        seen = [event.type async for event in raw.parse()]
    else:
        async with async_client.responses.with_streaming_response.create(**REQUEST, stream=True) as raw:
            seen = [event.type async for event in await raw.parse()]
    assert seen[-1] == "response.completed"
    (packet,) = packets()
    packet["body"].pop("provider_request_headers", None)
    said(packet)
    assert packet == {**WHOLE, "body": {**WHOLE["body"], **STREAMED}}


def test_lines_of_a_streaming_response_are_one_packet(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A caller who reads the lines himself is billed, too."""
    instrument()
    provider.script(Reply(events=events(), done=False, piece=7))
    with client.responses.with_streaming_response.create(**REQUEST, stream=True) as raw:
        lines = [line for line in raw.iter_lines() if line.startswith("data:")]
    assert len(lines) == len(events())
    (packet,) = packets()
    packet["body"].pop("provider_request_headers", None)
    said(packet)
    assert packet == {**WHOLE, "body": {**WHOLE["body"], **STREAMED}}


def test_incomplete_stream_is_billed_as_the_provider_says(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A length limit ends a stream with another event, which has usage as well."""
    instrument()
    final = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    provider.script(Reply(events=events(final, kind="response.incomplete"), done=False))
    list(client.responses.create(**REQUEST, stream=True))
    (packet,) = packets()
    said(packet)
    assert packet == {**WHOLE, "body": {**WHOLE["body"], **STREAMED}}


@pytest.mark.parametrize("usage", [RESPONSE_USAGE, None])
@pytest.mark.parametrize("streamed", [True, False])
def test_failed_response_says_why(
    instrument: Any, client: Any, provider: Any, packets: Any, *, streamed: bool, usage: dict[str, Any] | None
) -> None:
    """A failure inside a 200 is named; it costs what the provider says, and nothing where it says nothing and nothing came."""
    instrument()
    error = {"code": "server_error", "message": "The model gave up."}
    final = response(status="failed", error=error, usage=usage, output=[])
    stream = [events(final, kind="response.failed")[0], events(final, kind="response.failed")[-1]]
    provider.script(Reply(events=stream, done=False) if streamed else Reply(final))
    answer = client.responses.create(**REQUEST, stream=streamed)
    assert (list(answer)[-1].response if streamed else answer).error.message == "The model gave up."
    (packet,) = packets()
    said(packet)
    packet["body"].pop("time_to_first_token_ms", None)
    failure = {"system.failure": "server_error", "system.failure.description": "The model gave up."}
    assert packet == {**WHOLE, "body": {**WHOLE["body"], "units": UNITS if usage else {}, "properties": failure}}


def test_error_event_is_a_failure_without_status(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The SDK raises nothing for it; the packet says 299, and estimates what had come before."""
    instrument()
    error = {"type": "error", "code": "rate_limit_exceeded", "message": "Slow down.", "param": None, "sequence_number": 9}
    provider.script(Reply(events=[*events()[:6], error], done=False))
    assert len(list(client.responses.create(**REQUEST, stream=True))) == 7
    (packet,) = packets()
    said(packet)
    assert packet["body"].pop("properties") == {
        "system.failure": "rate_limit_exceeded",
        "system.failure.description": "Slow down.",
        "payi_otel.end_reason": "error",
        "payi_otel.usage_estimated": "input,output",
    }
    assert packet["body"].pop("units") == {"text": {"input": 3, "output": 3}}
    assert packet["body"] == {
        "category": "system.openai",
        "resource": "gpt-4.1",
        "http_status_code": 299,
        "provider_response_id": "resp_1",
        **STREAMED,
    }


def test_error_event_at_once_costs_nothing(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Where no output came before the error there is nothing to estimate."""
    instrument()
    error = {"type": "error", "code": None, "message": "No.", "param": None, "sequence_number": 0}
    provider.script(Reply(events=[error], done=False))
    list(client.responses.create(**REQUEST, stream=True))
    (packet,) = packets()
    assert packet["body"]["units"] == {}
    assert packet["body"]["http_status_code"] == 299
    assert packet["body"]["properties"] == {"system.failure": "error", "system.failure.description": "No.", "payi_otel.end_reason": "error"}
    assert packet["body"]["provider_response_id"] == "payi_<uuid4>"


@pytest.mark.parametrize("kind", ["function_call_arguments", "shell_call_command"])
def test_an_error_behind_a_tool_call_is_estimated(instrument: Any, client: Any, provider: Any, packets: Any, kind: str) -> None:
    """What a tool is called with is the model's own output, too."""
    instrument()
    place = {"output_index": 0, "command_index": 0, "item_id": "i", "sequence_number": 2}
    delta = {"type": f"response.{kind}.delta", "delta": "ls -lah /var", **place}
    error = {"type": "error", "code": "server_error", "message": "No.", "param": None, "sequence_number": 3}
    provider.script(Reply(events=[*events()[:2], delta, error], done=False))
    list(client.responses.create(**REQUEST, stream=True))
    assert packets()[0]["body"]["units"] == {"text": {"input": 3, "output": 3}}


def test_closed_stream_is_estimated_by_what_came(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The caller left: no usage came, the units are an estimate and say so."""
    instrument()
    provider.script(Reply(events=events(), done=False, held=True))
    stream = client.responses.create(**REQUEST, stream=True)
    next(event for event in stream if event.type == "response.output_text.delta")
    stream.close()
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 3, "output": 2}}
    assert packet["body"]["http_status_code"] == 200
    assert packet["body"]["properties"] == {"payi_otel.end_reason": "closed", "payi_otel.usage_estimated": "input,output"}


def test_cut_stream_is_estimated_and_failed(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The connection broke: the caller gets the SDK's error, the packet has 299 and what had come."""
    instrument()
    provider.script(Reply(events=events(), done=False, cut_after=6))
    with pytest.raises(Exception, match=r".") as caught:
        list(client.responses.create(**REQUEST, stream=True))
    (packet,) = packets()
    properties = packet["body"]["properties"]
    assert properties["system.failure"].rpartition(".")[2] == type(caught.value).__name__
    assert properties["payi_otel.end_reason"] == "error"
    assert properties["payi_otel.usage_estimated"] == "input,output"
    assert packet["body"]["http_status_code"] == 299
    assert packet["body"]["provider_response_id"] == "resp_1"


@pytest.mark.parametrize("streamed", [True, False])
def test_tool_calls_are_listed_in_order(instrument: Any, client: Any, provider: Any, packets: Any, *, streamed: bool) -> None:
    """Parallel function calls and a custom tool's free text, once each, though a stream says them twice."""
    instrument()
    custom = {"type": "custom_tool_call", "id": "ct_1", "call_id": "call_3", "name": "sql", "input": 'select "x"'}
    output = [call("weather", '{"city":"Paris"}'), call("weather", '{"city":"Rome"}', "call_2"), custom]
    final = response(output=output)
    done = [{"type": "response.output_item.done", "output_index": i, "item": item, "sequence_number": i} for i, item in enumerate(output)]
    provider.script(Reply(events=[*events(final)[:2], *done, events(final)[-1]], done=False) if streamed else Reply(final))
    answer = client.responses.create(**REQUEST, stream=streamed)
    _ = list(answer) if streamed else None
    (packet,) = packets()
    assert packet["body"]["provider_response_function_calls"] == [
        {"name": "weather", "arguments": '{"city":"Paris"}'},
        {"name": "weather", "arguments": '{"city":"Rome"}'},
        {"name": "sql", "arguments": json.dumps('select "x"')},
    ]


def test_tool_calls_of_a_broken_stream_are_listed(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """What was done before the caller left is known without the final event."""
    instrument()
    item = {"type": "response.output_item.done", "output_index": 0, "item": call("weather", "{}"), "sequence_number": 2}
    provider.script(Reply(events=[*events()[:2], item, *events()[2:]], done=False))
    with client.responses.create(**REQUEST, stream=True) as stream:
        next(event for event in stream if event.type == "response.output_item.done")
    (packet,) = packets()
    assert packet["body"]["provider_response_function_calls"] == [{"name": "weather", "arguments": "{}"}]


def test_cached_and_reasoning_tokens_are_units_of_their_own(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Cached tokens, read and written, are taken out of the input; reasoning out of the output."""
    instrument()
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 25},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 30},
        "total_tokens": 150,
    }
    provider.script(Reply(response(usage=usage)))
    client.responses.create(**REQUEST)
    (packet,) = packets()
    assert packet["body"]["units"] == {
        "text": {"input": 35, "output": 20},
        "text_cache_read": {"input": 40, "output": 0},
        "text_cache_write": {"input": 25, "output": 0},
        "reasoning": {"input": 0, "output": 30},
    }
    assert "properties" not in packet["body"]


@pytest.mark.parametrize(
    ("output", "tool_usage", "searches"),
    [
        ([search(), search()], None, 2),
        ([search(), search({"type": "open_page", "url": "u"}), search({"type": "find_in_page", "url": "u", "pattern": "p"})], None, 1),
        ([search(), search()], {"web_search": {"num_requests": 5}}, 5),
        ([search()], {"web_search": {"num_requests": 0}}, 0),
        ([search()], {"web_search": {"num_requests": None}}, 1),
        ([search()], {"web_search": None}, 1),
        ([], None, 0),
    ],
)
def test_web_searches_are_units(
    instrument: Any, client: Any, provider: Any, packets: Any, output: list[Any], tool_usage: Any, searches: int
) -> None:
    """The provider's own count wins; else search calls count, and opening or searching a page is free."""
    instrument()
    provider.script(Reply(response(output=output, tool_usage=tool_usage)))
    client.responses.create(**REQUEST)
    (packet,) = packets()
    expected = {"web_search_request": {"input": 0, "output": searches}} if searches else {}
    assert packet["body"]["units"] == {**UNITS, **expected}


@pytest.mark.parametrize(("tier", "shown"), [("default", None), ("auto", None), ("flex", "flex"), ("priority", "priority"), (None, None)])
def test_service_tier_is_the_answers(
    instrument: Any, client: Any, provider: Any, packets: Any, tier: str | None, shown: str | None
) -> None:
    """The tier that was billed is the answer's, not the request's; the default one is not worth a word."""
    instrument()
    provider.script(Reply(response(service_tier=tier)))
    client.responses.create(**REQUEST, extra_body={"service_tier": "auto"})
    (packet,) = packets()
    assert packet["body"].get("properties", {}).get("payi_otel.service_tier") == shown


@has_prompt
def test_prompt_template_without_model_is_priced_as_answered(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A stored prompt names its model only in the answer."""
    instrument()
    provider.script(Reply(response()))
    client.responses.create(prompt={"id": "pmpt_1"})
    (packet,) = packets()
    assert packet["body"]["resource"] == "gpt-4.1-2025-04-14"


def test_response_without_usage_is_estimated(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A server that answers without usage costs something all the same; the packet says that it is an estimate."""
    instrument()
    provider.script(Reply(response(usage=None)))
    client.responses.create(**REQUEST)
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 3, "output": 3}}
    assert packet["body"]["properties"] == {"payi_otel.usage_estimated": "input,output"}


def test_sparse_answers_are_no_fault(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A server that knows little of the API breaks neither the call nor its packet."""
    instrument()
    provider.script(Reply({"object": "response"}))
    client.responses.create(**REQUEST)
    (packet,) = packets()
    assert packet["body"]["provider_response_id"] == "payi_<uuid4>"
    assert packet["body"]["resource"] == "gpt-4.1"


@has_compact
def test_compacting_is_billed(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Compacting a conversation costs tokens like any call."""
    instrument()
    provider.script(Reply({"id": "cmp_1", "object": "response.compaction", "created_at": 1, "output": [], "usage": RESPONSE_USAGE}))
    client.responses.compact(model="gpt-4.1", input="long")
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS
    assert packet["body"]["provider_response_id"] == "cmp_1"


def test_a_late_read_keeps_the_scope_of_the_call(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """However late a stream is read, it is billed to the scope it was asked in."""
    instrument()
    provider.script(Reply(events=events(), done=False))
    with payi_otel.track_context(user_id="ada", use_case_name="asking"):
        stream = client.responses.create(**REQUEST, stream=True)
    with payi_otel.track_context(user_id="bob"):
        list(stream)
    (packet,) = packets()
    assert packet["scope"]["xproxy-user-id"] == "ada"
    assert packet["scope"]["xproxy-usecase-name"] == "asking"
