"""Defects seen in the published SDK's instrumentation of Gemini (docs/differences.md), done to the real `google-genai` SDK."""

from __future__ import annotations

import gc
import json
from typing import Any

import pytest
from provider_server import ProviderServer, Reply

import payi_otel

genai = pytest.importorskip("google.genai")

MODEL = "gemini-2.5-flash"
PLAIN = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
SAID = {"text": "Hello."}
CALL = {"functionCall": {"name": "look_up", "args": {"city": "Rome"}}}


def said(part: dict[str, Any] | None = None, *, number: int = 1, model: str = MODEL, usage: Any = PLAIN) -> dict[str, Any]:
    """One answer, or one of a stream's."""
    candidate = {"content": {"role": "model", "parts": [part or SAID]}, "finishReason": "STOP"}
    return {"candidates": [candidate], "modelVersion": model, "responseId": f"r{number}", "usageMetadata": usage}


def details(**counts: int) -> list[dict[str, Any]]:
    """Counts by modality."""
    return [{"modality": modality, "tokenCount": number} for modality, number in counts.items()]


UNFINISHED = {"candidates": [{"content": {"role": "model", "parts": [SAID]}}], "usageMetadata": {"promptTokenCount": 10}}
"""A stream's first answer."""


def pairs(packet: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """A packet's units."""
    return {name: (unit["input"], unit["output"]) for name, unit in packet["body"]["units"].items()}


@pytest.fixture
def client(provider: ProviderServer) -> Any:
    """A client of the Gemini API, kept alive while it is used."""
    return genai.Client(api_key="secret", http_options={"base_url": provider.url})


def tool(asked: list[str]) -> Any:
    """A Python function as a tool, which notes what it was asked."""

    def look_up(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "sunny"

    look_up.__annotations__ = {"city": str, "return": str}  # older SDKs read no annotations that are text
    return look_up


USAGES: list[tuple[str, dict[str, Any], dict[str, tuple[int, int]]]] = [
    ("no details", {}, {"text": (10, 5)}),
    ("details of the prompt alone", {"promptTokensDetails": details(TEXT=4, IMAGE=6)}, {"text": (4, 5), "vision": (6, 0)}),
    (
        "thoughts alone",
        {"candidatesTokenCount": None, "thoughtsTokenCount": 3, "totalTokenCount": 13},
        {"text": (10, 0), "reasoning": (0, 3)},
    ),
    ("a document", {"promptTokensDetails": details(TEXT=2, DOCUMENT=8)}, {"text": (2, 5), "vision": (8, 0)}),
    ("a tool's results", {"toolUsePromptTokenCount": 4, "totalTokenCount": 19}, {"text": (14, 5)}),
    ("cached, without details", {"cachedContentTokenCount": 4}, {"text": (6, 5), "text_cache_read": (4, 0)}),
    ("a modality twice", {"promptTokensDetails": details(AUDIO=3) + details(TEXT=4, AUDIO=3)}, {"text": (4, 5), "audio": (6, 0)}),
    (
        "an image read and one made",
        {"promptTokensDetails": details(IMAGE=10), "candidatesTokensDetails": details(IMAGE=5)},
        {"text": (0, 0), "vision": (10, 0), "image": (0, 5)},
    ),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("more", "expected"), [pytest.param(more, expected, id=name) for name, more, expected in USAGES])
def test_every_token_is_billed_once(
    more: dict[str, Any],
    expected: dict[str, tuple[int, int]],
    streamed: bool,
    client: Any,
    provider: Any,
    instrument: Any,
    packets: Any,
) -> None:
    """Whichever counts and details are there."""
    instrument()
    answer = said(usage={name: count for name, count in {**PLAIN, **more}.items() if count is not None})
    provider.script(Reply(events=[answer], done=False) if streamed else Reply(answer))
    if streamed:
        list(client.models.generate_content_stream(model=MODEL, contents="Say hello."))
    else:
        client.models.generate_content(model=MODEL, contents="Say hello.")
    (packet,) = packets()
    assert pairs(packet) == expected


@pytest.mark.parametrize(
    ("model", "suffix"),
    [("gemini-2.5-pro", "_large_context"), ("gemini-3-pro-preview", "_large_context"), ("gemini-2.5-flash", "")],
)
def test_a_long_prompt_has_its_price_where_the_model_has_one(
    model: str, suffix: str, client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """Not for one model alone."""
    instrument()
    provider.script(Reply(said(model=model, usage={"promptTokenCount": 300_000, "candidatesTokenCount": 5, "totalTokenCount": 300_005})))
    client.models.generate_content(model=model, contents="Say hello.")
    (packet,) = packets()
    assert pairs(packet) == {f"text{suffix}": (300_000, 5)}


def test_an_old_model_is_billed_by_the_tokens_it_tells(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Not by characters that are guessed from them."""
    instrument()
    provider.script(Reply(said(model="gemini-1.5-pro-002")))
    client.models.generate_content(model="gemini-1.5-pro", contents="Say hello.")
    (packet,) = packets()
    assert pairs(packet) == {"text": (10, 5)}


def test_a_streams_last_totals_are_billed(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Both counts are there from the first chunk on, and grow."""
    instrument()
    grown = [{"promptTokenCount": 10, "candidatesTokenCount": count, "totalTokenCount": 10 + count} for count in (10, 20, 30)]
    provider.script(Reply(events=[said(usage=usage) for usage in grown], done=False))
    assert len(list(client.models.generate_content_stream(model=MODEL, contents="Say hello."))) == 3
    (packet,) = packets()
    assert pairs(packet) == {"text": (10, 30)}


def test_each_request_of_automatic_function_calling_is_one_packet(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """A Python function as a tool: the SDK calls it between two requests, and both are billed."""
    asked: list[str] = []
    instrument()
    second = {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120}
    provider.script(Reply(said(CALL)), Reply(said(number=2, usage=second)))
    answer = client.models.generate_content(model=MODEL, contents="Weather in Rome?", config={"tools": [tool(asked)]})
    assert (answer.text, asked, len(provider.requests)) == ("Hello.", ["Rome"], 2)
    assert sorted(pairs(packet)["text"] for packet in packets(2)) == [(10, 5), (100, 20)]


def test_a_streams_function_tools_are_sent_as_ever(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """The same for a stream, with the function in a `GenerateContentConfig`."""
    look_up = tool([])
    instrument()
    config = genai.types.GenerateContentConfig(tools=[look_up])
    provider.script(Reply(events=[said(CALL)], done=False), Reply(events=[said(number=2)], done=False))
    assert [answer.text for answer in client.models.generate_content_stream(model=MODEL, contents="Rome?", config=config)][-1] == "Hello."
    assert config.tools == [look_up]
    assert [pairs(packet) for packet in packets(2)] == [{"text": (10, 5)}] * 2


@pytest.mark.parametrize("contents", [[], "", None])
def test_empty_contents_end_as_without_us(contents: Any, client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """In the SDK's own error, which is recorded as one, or in a request."""

    def outcome() -> Any:
        provider.script(Reply(said()))
        try:
            return client.models.generate_content(model=MODEL, contents=contents).text
        except Exception as error:
            return type(error), str(error)

    before = outcome()
    instrument()
    assert outcome() == before
    (packet,) = packets()
    assert ("payi_otel.end_reason" in packet["body"].get("properties", {})) == (contents == [])


@pytest.mark.parametrize("tools", [False, True])
def test_a_stream_that_is_closed_is_one_packet(tools: bool, client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """At once, not when the garbage is collected; it is the generator it is without us."""
    instrument()
    provider.script(Reply(events=[UNFINISHED, said()], done=False))
    stream = client.models.generate_content_stream(model=MODEL, contents="Hello.", config={"tools": [tool([])]} if tools else None)
    gc.disable()
    try:
        next(stream)
        stream.close()
        (packet,) = packets()
    finally:
        gc.enable()
    assert packet["body"]["properties"]["payi_otel.end_reason"] == "closed"


@pytest.mark.skipif(genai.__version__.startswith("1.1"), reason="this SDK takes an error in a stream for an answer")
def test_an_error_in_a_stream_is_the_sdks_own_and_one_packet(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """What came before it was billed."""
    instrument()
    error = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
    provider.script(Reply(events=[UNFINISHED, json.dumps(error)], done=False))
    stream = client.models.generate_content_stream(model=MODEL, contents="Say hello.")
    next(stream)
    with pytest.raises(genai.errors.APIError):
        list(stream)
    (packet,) = packets()
    assert packet["body"]["properties"]["payi_otel.end_reason"] == "error"
    assert packet["body"]["units"]["text"]["input"] > 0


def test_what_it_is_priced_as_is_the_callers_to_say(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """In a context, and by the host; the model is then named alone. Pay-i has one category for both of Google's services."""
    instrument({"host_mappings": {"127.0.0.1": {"price_as_category": "system.other"}}})
    provider.script(Reply(said()), Reply(said(number=2)))
    client.models.generate_content(model=MODEL, contents="Say hello.")
    with payi_otel.track_context(price_as_category="system.mine", price_as_resource="mine"):
        client.models.generate_content(model=MODEL, contents="Say hello.")
    priced = sorted((packet["body"]["category"], packet["body"]["resource"]) for packet in packets(2))
    assert priced == [("system.mine", "mine"), ("system.other", MODEL)]


@pytest.mark.skipif(not hasattr(genai.models.Models, "_embed_content"), reason="this SDK tells no usage of embeddings")
def test_embeddings_are_one_packet(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Billed by their input."""
    instrument()
    provider.always(":batchEmbedContents", Reply({"embeddings": [{"values": [0.1]}], "usageMetadata": {"promptTokenCount": 3}}))
    provider.always(":embedContent", Reply({"embedding": {"values": [0.1]}, "usageMetadata": {"promptTokenCount": 3}}))
    client.models.embed_content(model="gemini-embedding-001", contents="hello")
    (packet,) = packets()
    assert packet["body"]["resource"] == "google.gemini-embedding-001"


def test_a_chats_messages_are_one_packet_each(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Plain and streamed."""
    instrument()
    provider.script(Reply(said()), Reply(events=[said(number=2)], done=False))
    chat = client.chats.create(model=MODEL)
    chat.send_message("Say hello.")
    list(chat.send_message_stream("And again."))
    assert [pairs(packet) for packet in packets(2)] == [{"text": (10, 5)}] * 2


def test_nothing_is_put_on_the_sdks_objects(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """An answer, a stream and a client have no name that they have not without us."""

    def looked_at() -> list[Any]:
        provider.script(Reply(said()), Reply(events=[said(number=2)], done=False))
        answer = client.models.generate_content(model=MODEL, contents="Say hello.")
        stream = client.models.generate_content_stream(model=MODEL, contents="Say hello.")
        chunks = list(stream)
        return [dir(answer), vars(answer).keys(), type(stream), dir(stream), dir(chunks[0]), dir(client), dir(client.models)]

    before = looked_at()
    instrument()
    assert looked_at() == before
    packets(2)
