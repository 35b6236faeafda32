"""What the contract does not show of `cohere`: its other calls, what a caller adds, streams that are left, clients of other clouds."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from provider_server import ProviderServer, Reply

import payi_otel
from payi_otel.instrumentors.cohere._usage import read_usage

cohere = pytest.importorskip("cohere")

ASK = {"model": "command-a-03-2025", "messages": [{"role": "user", "content": "Say hello."}]}
BILLED = {"billed_units": {"input_tokens": 5.0, "output_tokens": 3.0}, "tokens": {"input_tokens": 71.0, "output_tokens": 8.0}}
UNITS = {"text": {"input": 5, "output": 3}}
HELLO = {
    "id": "c1",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
    "usage": BILLED,
}
GENERATED = {"id": "g1", "prompt": "p", "generations": [{"id": "x", "text": "Hello."}], "meta": BILLED}
EVENTS = [
    {"id": "c1", "type": "message-start", "delta": {"message": {"role": "assistant"}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hel"}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "lo."}}}},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": BILLED}},
]


@pytest.fixture
def client(provider: ProviderServer, instrument: Any) -> Iterator[Any]:
    """A client of version 2, instrumented, which has all methods of version 1 that version 2 has not."""
    instrument()
    with cohere.ClientV2(api_key="secret", base_url=provider.url) as one:
        yield one


@pytest.fixture
def old_client(provider: ProviderServer, instrument: Any) -> Iterator[Any]:
    """One of version 1."""
    instrument()
    with cohere.Client(api_key="secret", base_url=provider.url) as one:
        yield one


def lines(*events: dict[str, Any]) -> list[bytes]:
    """A stream as version 1 of the API sends it."""
    return [json.dumps(event).encode() + b"\n" for event in events]


CLASSIFIED = {
    "id": "k1",
    "classifications": [
        {"id": "a", "input": "Hi.", "prediction": "x", "confidences": [], "labels": {}, "classification_type": "single-label"}
    ],
    "meta": {"billed_units": {"classifications": 1}},
}
RANKED = {"id": "r1", "results": [{"index": 0, "relevance_score": 0.5}], "meta": {"billed_units": {"search_units": 2}}}
VECTORS = {
    "id": "v1",
    "texts": ["a"],
    "embeddings": [[0.5]],
    "response_type": "embeddings_floats",
    "meta": {"billed_units": {"input_tokens": 4}},
}
OLD: dict[str, tuple[Any, Callable[[Any], Any], Any]] = {
    "generate": (GENERATED, lambda one: one.generate(prompt="Say hello.", model="command"), UNITS),
    "summarize": ({"id": "s1", "summary": "Hi.", "meta": BILLED}, lambda one: one.summarize(text="Hello." * 50), UNITS),
    "classify": (CLASSIFIED, lambda one: one.classify(inputs=["Hi."], model="embed"), {"classification": {"input": 1, "output": 0}}),
    "rerank": (RANKED, lambda one: one.rerank(query="q", documents=["a"], model="rerank"), {"search_unit": {"input": 2, "output": 0}}),
    "embed": (VECTORS, lambda one: one.embed(texts=["a"], model="embed"), {"text": {"input": 4, "output": 0}}),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", OLD)
def test_each_call_of_version_1_is_one_packet(kind: str, old_client: Any, provider: ProviderServer, packets: Any) -> None:
    """In the units that are billed."""
    answer, call, units = OLD[kind]
    provider.script(Reply(answer))
    call(old_client)
    (packet,) = packets()
    body = packet["body"]
    assert (body["category"], body["units"], body["provider_response_id"]) == ("system.cohere", units, answer["id"])


def test_a_stream_of_generate_is_one_packet(old_client: Any, provider: ProviderServer, packets: Any) -> None:
    """Its lines are JSON; the last one repeats the text."""
    words = [{"event_type": "text-generation", "text": text, "is_finished": False} for text in ("Hel", "lo.")]
    last = {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": GENERATED}
    provider.script(Reply(events=lines(*words, last), done=False))
    assert len(list(old_client.generate_stream(prompt="Say hello."))) == 3
    (packet,) = packets()
    assert (packet["body"]["units"], packet["body"]["provider_response_id"]) == (UNITS, "g1")


def test_each_request_of_an_embedding_is_a_packet(old_client: Any, provider: ProviderServer, packets: Any) -> None:
    """The SDK asks for 96 texts at a time, in threads of its own."""
    provider.always("", lambda number: Reply({**VECTORS, "id": f"v{number}"}))
    with payi_otel.track_context(user_id="ada"):
        old_client.embed(texts=["a"] * 100, model="embed")
    found = packets(2)
    assert [packet["body"]["units"] for packet in found] == [{"text": {"input": 4, "output": 0}}] * 2
    assert {packet["scope"].get("xproxy-user-id") for packet in found} == {"ada"}


def test_a_page_is_a_unit(client: Any, provider: ProviderServer, packets: Any) -> None:
    """Of documents that are parsed."""
    if not hasattr(client, "parse"):
        pytest.skip("this version has no parse")
    provider.script(Reply({"id": "p1", "pages": [], "meta": {"billed_units": {"pages": 3}}, "finish_reason": "COMPLETE"}))
    client.parse(model="parse", document={"type": "document_url", "document_url": "https://example.org/a.pdf"})
    (packet,) = packets()
    assert packet["body"]["units"] == {"page": {"input": 3, "output": 0}}


def leave(stream: Any) -> None:
    """Goes away without closing."""
    next(stream)
    del stream
    gc.collect()


def throw(stream: Any) -> None:
    """An error of the reader's own, which closes the stream on its way."""
    try:
        for _ in stream:
            raise KeyError
    except KeyError:
        stream.close()


@pytest.mark.parametrize("go", [leave, throw])
@pytest.mark.parametrize("version", [1, 2])
def test_a_stream_that_is_left_is_one_packet(
    go: Callable[[Any], None], version: int, client: Any, old_client: Any, provider: ProviderServer, packets: Any
) -> None:
    """A generator's end is its closing: what drops it closes it."""
    old = lines(
        {"event_type": "stream-start", "generation_id": "c1"}, {"event_type": "text-generation", "text": "Hel"}, {"event_type": "x"}
    )
    provider.script(Reply(events=old if version == 1 else EVENTS, held=True, done=False))
    go(old_client.chat_stream(message="Say hello.", model="m") if version == 1 else client.chat_stream(**ASK))
    (packet,) = packets()
    assert packet["body"]["properties"]["payi_otel.end_reason"] == "closed"
    assert packet["body"]["provider_response_id"] == "c1"


def test_a_stream_that_is_never_read_asks_nothing(client: Any, provider: ProviderServer, packets: Any) -> None:
    """The SDK sends at the first step, so there is nothing to bill."""
    client.chat_stream(**ASK)
    packets(0)
    assert provider.requests == []


OLD_EVENTS = lines(
    {"event_type": "text-generation", "text": "Hello.", "is_finished": False},
    {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE", "response": GENERATED},
)
BY_TYPE = {**VECTORS, "embeddings": {"float": [[0.5]]}, "response_type": "embeddings_by_type"}
LAZY: dict[str, tuple[Reply, Callable[[Any], Any]]] = {
    "chat_stream": (Reply(events=EVENTS, done=False), lambda one: one.chat_stream(**ASK)),
    "generate_stream": (Reply(events=OLD_EVENTS, done=False), lambda one: one.generate_stream(prompt="Say hello.")),
    "embed_stream": (Reply(BY_TYPE), lambda one: one.embed_stream(texts=["a"], model="embed")),
}
"""They are generators, and ask at their first step."""


@pytest.mark.parametrize("name", LAZY)
def test_a_stream_that_is_read_elsewhere_keeps_its_user(name: str, client: Any, provider: ProviderServer, packets: Any) -> None:
    """Within another's scope, which goes on around it."""
    reply, ask = LAZY[name]
    if not hasattr(client, name):
        pytest.skip(f"this version has no {name}")
    provider.script(reply)
    with payi_otel.track_context(user_id="ada"):
        stream = ask(client)
    with payi_otel.track_context(user_id="bob"):
        for _ in stream:
            assert payi_otel.get_context()["user_id"] == "bob"
    (packet,) = packets()
    assert packet["scope"]["xproxy-user-id"] == "ada"


@pytest.mark.parametrize("name", ["chat_stream", "generate_stream"])
def test_an_async_stream_keeps_its_user_likewise(name: str, instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """It is an async generator."""
    instrument()
    reply, ask = LAZY[name]
    provider.script(reply)

    async def read(one: Any) -> None:
        with payi_otel.track_context(user_id="ada"):
            stream = ask(one)
        with payi_otel.track_context(user_id="bob"):
            async for _ in stream:
                assert payi_otel.get_context()["user_id"] == "bob"

    run(provider, read)
    (packet,) = packets()
    assert packet["scope"]["xproxy-user-id"] == "ada"


def run(provider: ProviderServer, call: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """With an async client."""

    async def main() -> Any:
        async with cohere.AsyncClientV2(api_key="secret", base_url=provider.url) as one:
            return await call(one)

    return asyncio.run(main())


def test_a_cancelled_stream_is_one_packet(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Its task is cancelled while it waits for an event."""
    instrument()
    provider.script(Reply(events=EVENTS, held=True, done=False))

    async def call(one: Any) -> None:
        async def read() -> None:
            async for event in one.chat_stream(**ASK):
                if event.type == "content-delta" and event.delta.message.content.text == "lo.":
                    task.cancel()

        task = asyncio.create_task(read())
        with pytest.raises(asyncio.CancelledError):
            await task

    run(provider, call)
    (packet,) = packets()
    assert packet["body"]["properties"]["payi_otel.end_reason"] == "cancelled"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_raw_stream_is_one_packet(is_async: bool, client: Any, provider: ProviderServer, packets: Any) -> None:
    """Its manager sends when it is entered."""
    provider.script(Reply(events=EVENTS, done=False))

    async def read(one: Any) -> list[Any]:
        async with one.with_raw_response.chat_stream(**ASK) as response:
            return [event.type async for event in response.data]

    if is_async:
        seen = run(provider, read)
    else:
        with client.with_raw_response.chat_stream(**ASK) as response:
            seen = [event.type for event in response.data]
    assert seen == [event["type"] for event in EVENTS]
    (packet,) = packets()
    assert (packet["body"]["units"], packet["body"].get("properties")) == (UNITS, None)


def test_an_error_in_the_last_event_is_a_failure(client: Any, provider: ProviderServer, packets: Any) -> None:
    """Cohere has begun by then, with a 200."""
    provider.script(Reply(events=[*EVENTS[:2], {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "no"}}], done=False))
    list(client.chat_stream(**ASK))
    (packet,) = packets()
    body = packet["body"]
    assert (body["http_status_code"], body["properties"]["system.failure"]) == (299, "error")
    assert body["properties"]["payi_otel.usage_estimated"] == "input,output"


def test_our_headers_steer_a_call_and_stay_here(client: Any, provider: ProviderServer, packets: Any) -> None:
    """Given as `additional_headers`, which are not changed; of a stream, too."""
    provider.script(Reply({**HELLO, "id": "c2"}), Reply(events=EVENTS, done=False))
    options = {"additional_headers": {**payi_otel.create_headers(user_id="bob"), "x-trace": "7"}}
    given = json.dumps(options)
    client.chat(**ASK, request_options=options)
    list(client.chat_stream(**ASK, request_options=options))
    assert [packet["scope"]["xproxy-user-id"] for packet in packets(2)] == ["bob", "bob"]
    assert json.dumps(options) == given
    for request in provider.requests:
        sent = request["headers"]
        assert (sent["x-trace"], [name for name in sent if name.startswith("xproxy")]) == ("7", [])


def test_our_headers_stay_here_where_calls_are_not_wanted(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Nothing is recorded then, and nothing told."""
    instrument(instruments={"system.openai"})
    provider.script(Reply(HELLO), Reply(events=EVENTS, done=False))
    options = {"additional_headers": payi_otel.create_headers(user_id="bob")}
    with cohere.ClientV2(api_key="secret", base_url=provider.url) as one:
        one.chat(**ASK, request_options=options)
        list(one.chat_stream(**ASK, request_options=options))
    packets(0)
    assert not any(name.startswith("xproxy") for request in provider.requests for name in request["headers"])


def test_an_answer_has_its_result(client: Any, provider: ProviderServer) -> None:
    """The SDK's object that the caller gets."""
    provider.script(Reply(HELLO))
    answer = client.chat(**ASK)
    assert payi_otel.cost_of(answer).amount is not None
    assert answer.xproxy_result["request_id"]


def test_a_client_of_another_cloud_is_not_recorded(client: Any, provider: ProviderServer, packets: Any) -> None:
    """Its hooks, which are the SDK's own, send its requests there; that cloud bills them."""

    def to_bedrock(request: Any) -> None:
        """As the SDK's hook, it changes the request."""

    to_bedrock.__module__ = "cohere.aws_client"
    client._client_wrapper.httpx_client.httpx_client.event_hooks["request"].append(to_bedrock)
    provider.script(Reply(HELLO), Reply(events=EVENTS, done=False))
    client.chat(**ASK)
    list(client.chat_stream(**ASK))
    packets(0)


@pytest.mark.parametrize(
    ("usage", "units", "mismatch"),
    [
        (None, None, None),
        ({"api_version": {"version": "1"}}, None, None),
        ({"billed_units": {"search_units": None}}, None, None),
        ({"tokens": {"input_tokens": 7, "output_tokens": 2}}, {"text": (7, 2)}, None),
        (
            {"billed_units": {"input_tokens": None, "output_tokens": None}, "tokens": {"input_tokens": 7, "output_tokens": 2}},
            {"text": (7, 2)},
            None,
        ),
        ({"billed_units": {"input_tokens": 0, "output_tokens": 0}, "tokens": {"input_tokens": 9}}, {"text": (0, 0)}, None),
        ({"billed_units": {"text_tokens": 5, "image_tokens": 90, "images": 1}}, {"text": (5, 0), "vision": (90, 0)}, None),
        ({"billed_units": {"input_tokens": 95, "image_tokens": 90}}, {"text": (5, 0), "vision": (90, 0)}, None),
        ({"billed_units": {"images": 2}}, {"image": (2, 0)}, None),
        ({"billed_units": {"input_tokens": 1.5}}, {"text": (0, 0)}, "input_tokens is no count"),
    ],
)
def test_units_are_what_is_billed(usage: Any, units: dict[str, tuple[int, int]] | None, mismatch: str | None) -> None:
    """And not what the model saw, which is said only where nothing is billed."""
    read = read_usage(usage)
    assert (None if read is None else dict(read.units), read and read.mismatch) == (units, mismatch)
