"""What the contract does not show of `mistralai`: its other completions, what a caller adds, streams that are left, its own spans."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from provider_server import ProviderServer, Reply

import payi_otel
from payi_otel.instrumentors.mistral._usage import read_usage
from payi_otel.packets.units import Units

pydantic = pytest.importorskip("pydantic")
try:
    from mistralai.client import Mistral
except ImportError:
    Mistral = pytest.importorskip("mistralai").Mistral

ASK = [{"role": "user", "content": "Say hello."}]
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
HEAD = {"id": "cmpl-1", "object": "chat.completion", "model": "mistral-small-2506", "created": 1}
HELLO = Reply(
    {**HEAD, "usage": USAGE, "choices": [{"index": 0, "message": {"role": "assistant", "content": "{}"}, "finish_reason": "stop"}]}
)
UNITS = {"text": {"input": 9, "output": 4}}


class Hello(pydantic.BaseModel):  # type: ignore[name-defined,misc]  # imported where it is installed
    """What an answer is parsed into."""


def chunk(text: str, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """One event of a stream."""
    choices = [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]
    return {**HEAD, "object": "chat.completion.chunk", "choices": choices, **more}


STREAM = [chunk("Hel"), chunk("lo."), chunk("", "stop", usage=USAGE)]


@pytest.fixture
def client(provider: ProviderServer, instrument: Any) -> Iterator[Any]:
    """A client, instrumented."""
    instrument()
    with Mistral(api_key="secret", server_url=provider.url) as one:
        yield one


def run(one: Any, call: Coroutine[Any, Any, Any]) -> Any:
    """Runs it, and closes the client's async side, too."""

    async def main() -> Any:
        async with one:
            return await call

    return asyncio.run(main())


def complete(one: Any) -> Any:
    """A completion of a model's."""
    return one.chat.complete(model="mistral-small-latest", messages=ASK)


PLAIN: dict[str, Callable[[Any], Any]] = {
    "chat": complete,
    "parse": lambda one: one.chat.parse(Hello, model="mistral-small-latest", messages=ASK),
    "parse-async": lambda one: run(one, one.chat.parse_async(Hello, model="mistral-small-latest", messages=ASK)),
    "agents": lambda one: one.agents.complete(agent_id="ag_1", messages=ASK),
    "agents-async": lambda one: run(one, one.agents.complete_async(agent_id="ag_1", messages=ASK)),
    "fim": lambda one: one.fim.complete(model="codestral-latest", prompt="def f(", suffix="return 1"),
    "fim-async": lambda one: run(one, one.fim.complete_async(model="codestral-latest", prompt="def f(", suffix="return 1")),
}
RESOURCES = {"agents": "mistral-small-2506", "fim": "codestral-latest"}
"""Of calls to an agent, the model that answered."""


@pytest.mark.parametrize("kind", PLAIN)
def test_each_completion_is_one_packet(kind: str, client: Any, provider: ProviderServer, packets: Any) -> None:
    """A helper that calls another method is one call."""
    provider.script(HELLO)
    PLAIN[kind](client)
    (packet,) = packets()
    body = packet["body"]
    assert (body["category"], body["units"], body["provider_response_id"]) == ("system.mistral", UNITS, "cmpl-1")
    assert body["resource"] == RESOURCES.get(kind.partition("-")[0], "mistral-small-latest")


def drain(stream: Any) -> list[Any]:
    """All of its events."""
    with stream:
        return list(stream)


async def drain_async(stream: Any) -> list[Any]:
    """The same of an async one."""
    async with await stream as events:
        return [event async for event in events]


STREAMED: dict[str, Callable[[Any], Any]] = {
    "parse": lambda one: drain(one.chat.parse_stream(Hello, model="mistral-small-latest", messages=ASK)),
    "parse-async": lambda one: run(one, drain_async(one.chat.parse_stream_async(Hello, model="mistral-small-latest", messages=ASK))),
    "agents": lambda one: drain(one.agents.stream(agent_id="ag_1", messages=ASK)),
    "fim": lambda one: drain(one.fim.stream(model="codestral-latest", prompt="def f(")),
    "fim-async": lambda one: run(one, drain_async(one.fim.stream_async(model="codestral-latest", prompt="def f("))),
}


@pytest.mark.parametrize("kind", STREAMED)
def test_each_stream_is_one_packet(kind: str, client: Any, provider: ProviderServer, packets: Any) -> None:
    """With the usage of its last event."""
    provider.script(Reply(events=STREAM))
    assert len(STREAMED[kind](client)) == len(STREAM)
    (packet,) = packets()
    assert (packet["body"]["units"], packet["body"].get("properties")) == (UNITS, None)
    assert packet["body"]["resource"] == RESOURCES.get(kind.partition("-")[0], "mistral-small-latest")


def leave(stream: Any) -> None:
    """Goes away without closing."""
    next(iter(stream))
    del stream
    gc.collect()


LEFT: dict[str, tuple[Callable[[Any], Any], str]] = {
    "dropped": (leave, "abandoned"),
    "unread": (lambda stream: gc.collect(), "unread"),
    "closed": (lambda stream: stream.__exit__(None, None, None), "closed"),
}


@pytest.mark.parametrize("how", LEFT)
def test_a_stream_that_is_left_says_how(how: str, client: Any, provider: ProviderServer, packets: Any) -> None:
    """One packet, of what had come."""
    go, reason = LEFT[how]
    provider.script(Reply(events=[*STREAM, STREAM[0]], held=True))
    go(client.chat.stream(model="mistral-small-latest", messages=ASK))
    gc.collect()
    (packet,) = packets()
    assert packet["body"]["properties"]["payi_otel.end_reason"] == reason


def test_a_cancelled_stream_is_one_packet(client: Any, provider: ProviderServer, packets: Any) -> None:
    """Its task is cancelled while it waits for an event."""
    provider.script(Reply(events=STREAM, held=True))

    async def read() -> None:
        async with await client.chat.stream_async(model="mistral-small-latest", messages=ASK) as stream:
            async for event in stream:
                if event.data.choices[0].delta.content == "lo.":
                    task.cancel()

    async def main() -> None:
        nonlocal task
        task = asyncio.create_task(read())
        with pytest.raises(asyncio.CancelledError):
            await task

    task: asyncio.Task[None]
    run(client, main())
    (packet,) = packets()
    assert packet["body"]["properties"]["payi_otel.end_reason"] == "cancelled"


def test_a_stream_without_usage_is_complete_and_estimated(client: Any, provider: ProviderServer, packets: Any) -> None:
    """A finish reason is an end."""
    provider.script(Reply(events=[*STREAM[:2], chunk("", "stop")]))
    drain(client.chat.stream(model="mistral-small-latest", messages=ASK))
    (packet,) = packets()
    assert packet["body"]["properties"] == {"payi_otel.usage_estimated": "input,output"}


def test_our_headers_steer_a_call_and_stay_here(client: Any, provider: ProviderServer, packets: Any) -> None:
    """Given as `http_headers`, which is not changed."""
    provider.script(HELLO)
    headers = {**payi_otel.create_headers(user_id="bob"), "x-trace": "7"}
    given = dict(headers)
    client.chat.complete(model="mistral-small-latest", messages=ASK, http_headers=headers)
    (packet,) = packets()
    assert headers == given
    assert packet["scope"]["xproxy-user-id"] == "bob"
    sent = provider.requests[-1]["headers"]
    assert (sent["x-trace"], [name for name in sent if name.startswith("xproxy")]) == ("7", [])


def test_an_answer_has_its_result(client: Any, provider: ProviderServer) -> None:
    """A parsed one, too, which the SDK makes of it later."""
    provider.script(HELLO, HELLO)
    assert payi_otel.cost_of(complete(client)).amount is not None
    assert complete(client).xproxy_result["request_id"]


def test_tools_are_told_one_by_one(client: Any, provider: ProviderServer, packets: Any) -> None:
    """In a stream, too, where each comes whole, or in pieces of its arguments."""
    calls = [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":'}}]
    more = [
        {"index": 0, "function": {"name": "", "arguments": "1}"}},
        {"index": 1, "id": "b", "function": {"name": "g", "arguments": {"y": 2}}},
    ]
    events = [chunk(""), chunk(""), chunk("", "tool_calls", usage=USAGE)]
    events[0]["choices"][0]["delta"]["tool_calls"], events[1]["choices"][0]["delta"]["tool_calls"] = calls, more
    provider.script(Reply(events=events))
    drain(client.chat.stream(model="mistral-small-latest", messages=ASK))
    (packet,) = packets()
    assert packet["body"]["provider_response_function_calls"] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g", "arguments": '{"y":2}'},
    ]


PARTS = {
    "ImageURLChunk": {"type": "image_url", "image_url": "data:image/png;base64,iVBORw0KGgo="},
    "AudioChunk": {"type": "input_audio", "input_audio": "iVBORw0KGgo="},
}
"""By the SDK's own name for it; some versions have no audio."""


@pytest.mark.parametrize("kind", PARTS)
def test_base64_stays_here(kind: str, client: Any, provider: ProviderServer, packets: Any) -> None:
    """An image's data URL, and audio."""
    if not hasattr(importlib.import_module(Mistral.__module__.rpartition(".")[0] + ".models"), kind):
        pytest.skip(f"this version has no {kind}")
    provider.script(HELLO)
    client.chat.complete(model="mistral-small-latest", messages=[{"role": "user", "content": [PARTS[kind]]}])
    (packet,) = packets()
    text = packet["body"]["provider_request_json"]
    assert "iVBORw0KGgo" not in text
    assert "<not_instrumented>" in text


@pytest.mark.parametrize("streamed", [False, True])
def test_the_sdks_own_spans_make_no_second_packet(
    streamed: bool, client: Any, provider: ProviderServer, packets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes some, in the application's tracer provider, where it is asked to."""
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    application, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    application.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", application)
    provider.script(Reply(events=STREAM) if streamed else HELLO)
    with Mistral(api_key="secret", server_url=provider.url) as one:
        drain(one.chat.stream(model="mistral-small-latest", messages=ASK)) if streamed else complete(one)
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS
    scopes = {span.instrumentation_scope.name for span in exporter.get_finished_spans() if span.instrumentation_scope}
    theirs = {"mistralai_sdk_tracer"} if importlib.util.find_spec("mistralai.extra.observability") else set()
    assert scopes == {"payi_otel.instrumentors.mistralai"} | theirs


@pytest.mark.parametrize(
    ("usage", "units", "mismatch"),
    [
        (None, None, None),
        ({}, None, None),
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "num_cached_tokens": 3}, (2, 3, 2), None),
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9}}, (0, 5, 2), "the parts of input"),
        ({"prompt_tokens": "5", "completion_tokens": None}, (5, 0, 0), None),
        ({"prompt_tokens": -1, "completion_tokens": 2}, (0, 0, 2), "prompt_tokens is no count"),
        ({"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 9}, (5, 0, 2), "total_tokens is 9"),
    ],
)
def test_units_add_up_to_what_is_billed(usage: Any, units: tuple[int, int, int] | None, mismatch: str | None) -> None:
    """Also where the numbers do not, which is said."""
    read = read_usage(usage)
    if read is None:
        assert units is None
        return
    text, cached = read.units["text"], read.units.get("text_cache_read", Units())
    assert (text.input, cached.input, text.output) == units
    assert (read.mismatch or "").startswith(mismatch or "")
    assert bool(read.mismatch) == bool(mismatch)
