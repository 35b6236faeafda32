"""JSON that the SDKs read and a strict reader refuses: lone surrogates, NaN, infinities. The caller gets his answer, so it is billed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from provider_server import ProviderServer, Reply

openai = pytest.importorskip("openai")

CALL: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi."}]}
TOOL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
UNITS = {"text": {"input": 12, "output": 5}}
CALLED = [{"name": "look", "arguments": '{"a": 1}'}]
ODD = {"a lone surrogate": r'"\ud83d"', "no number": "NaN", "an infinity": "-Infinity", "half of a pair": r'"a\udc00"'}


@pytest.fixture
def client(provider: ProviderServer) -> Iterator[Any]:
    """A client that retries nothing."""
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as one:
        yield one


def with_odd(value: Any, odd: str) -> str:
    """JSON in which this stands in place of the word `ODD`."""
    return json.dumps(value).replace('"ODD"', odd)


def answer(odd: str) -> str:
    """An answer with a tool call."""
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [TOOL]}, "finish_reason": "tool_calls"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini", "note": "ODD"}
    return with_odd({**head, "choices": [choice], "usage": USAGE}, odd)


def events(odd: str) -> list[str]:
    """A stream in which the event with the usage is as odd as the first one."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini", "note": "ODD"}
    said = {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": [TOOL]}, "finish_reason": None}]}
    return [with_odd(value, odd) for value in (said, {**head, "choices": [], "usage": USAGE})]


def said_of(packet: dict[str, Any]) -> Any:
    """What the tests here are about."""
    body = packet["body"]
    assert "payi_otel.usage_estimated" not in (body.get("properties") or {})
    return body["units"], body.get("provider_response_function_calls"), body.get("provider_response_json")


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_answer_is_billed_and_recorded(client: Any, provider: Any, instrument: Any, packets: Any, odd: str, raw: bool) -> None:
    """By the provider's own count, whoever reads it; with its tool calls, and as it came."""
    instrument()
    provider.script(Reply(answer(odd)))
    if raw:
        with client.chat.completions.with_streaming_response.create(**CALL) as response:
            response.read()
    else:
        client.chat.completions.create(**CALL)
    assert said_of(packets()[0]) == (UNITS, CALLED, answer(odd))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_stream_is_billed_and_recorded(client: Any, provider: Any, instrument: Any, packets: Any, odd: str, raw: bool) -> None:
    """The same of its events."""
    instrument()
    provider.script(Reply(events=[f"data: {event}\n\n" for event in events(odd)]))
    if raw:
        with client.chat.completions.with_streaming_response.create(stream=True, **CALL) as response:
            response.read()
    else:
        list(client.chat.completions.create(stream=True, **CALL))
    assert said_of(packets()[0]) == (UNITS, CALLED, events(odd))


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_result_of_a_batch_is_billed(client: Any, provider: Any, instrument: Any, packets: Any, odd: str) -> None:
    """A line of its file like any other."""
    instrument()
    line = '{"id": "batch_req_1", "custom_id": "mine-1", "response": {"status_code": 200, "body": ' + answer(odd) + '}, "error": null}\n'
    provider.script(Reply(line, headers={"content-type": "application/jsonl"}))
    client.files.content("file-1").read()
    assert said_of(packets()[0])[:2] == (UNITS, CALLED)


def test_a_broken_event_costs_itself_alone(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """What is no JSON at all in a body that a caller reads himself: the tool calls beside it are told."""
    instrument()
    good = events('"x"')
    provider.script(Reply(events=[f"data: {good[0]}\n\n", "data: {tool_call]}\n\n", f"data: {good[1]}\n\n"]))
    with client.chat.completions.with_streaming_response.create(stream=True, **CALL) as response:
        response.read()
    assert said_of(packets()[0])[:2] == (UNITS, CALLED)
