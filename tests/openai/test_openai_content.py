"""What a packet keeps of request and answer: inline data is left out unless it is wanted, everything else stays."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from openai_shapes import chat_events, chunk, completion
from provider_server import Reply
from response_shapes import REQUEST as RESPONSE_REQUEST
from response_shapes import response

from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.packets.counting import by_length

without_inline_data = OpenAIContent.inline.strip

GONE = "<not_instrumented>"
DATA = base64.b64encode(bytes(range(256)) * 4).decode()
SHORT = "UklGRg=="
URL = f"data:image/png;base64,{DATA}"
WORDS = "not base64: " + "x" * 2000

KEPT: list[Any] = [
    {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "low"}},
    {"type": "input_image", "image_url": "http://example.com/cat.png"},
    {"type": "text", "text": WORDS},
    {"type": "text", "text": DATA},
    {"data": WORDS},
    {"data": "short"},
    {"data": {"type": "x", "data": "word"}},
    {"result": DATA},
    {"type": "response.output_text.delta", "delta": DATA},
    {"type": "response.function_call_arguments.delta", "delta": DATA},
    {"type": "text", "text": "data: is a word"},
    {"type": "text", "text": "data:text/plain,hello"},
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "reasoning", "encrypted_content": DATA},
    {"embedding": [0.1, 0.2]},
    {"file_data": None, "b64_json": "", "audio": {"id": "audio_1", "data": None}},
    {"input_audio": {"data": "no base64!", "format": "wav"}},
    {"type": ["no", "text"], "result": DATA},
]
REMOVED: list[tuple[Any, Any]] = [
    ({"type": "image_url", "image_url": {"url": URL, "detail": "low"}}, {"type": "image_url", "image_url": {"url": GONE, "detail": "low"}}),
    ({"type": "input_image", "image_url": URL}, {"type": "input_image", "image_url": GONE}),
    ({"image_url": URL.replace("data:", "DATA:")}, {"image_url": GONE}),
    ({"input_audio": {"data": DATA, "format": "wav"}}, {"input_audio": {"data": GONE, "format": "wav"}}),
    ({"input_audio": {"data": SHORT, "format": "wav"}}, {"input_audio": {"data": GONE, "format": "wav"}}),
    (
        {"file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{SHORT}"}},
        {"file": {"filename": "a.pdf", "file_data": GONE}},
    ),
    ({"file_data": SHORT}, {"file_data": GONE}),
    ({"audio": {"id": "audio_1", "data": SHORT, "transcript": "hi"}}, {"audio": {"id": "audio_1", "data": GONE, "transcript": "hi"}}),
    ({"b64_json": DATA}, {"b64_json": GONE}),
    ({"data": DATA}, {"data": GONE}),
    ({"type": "image_generation_call", "result": SHORT}, {"type": "image_generation_call", "result": GONE}),
    ({"type": "response.audio.delta", "delta": SHORT}, {"type": "response.audio.delta", "delta": GONE}),
    ({"type": "response.output_audio.delta", "delta": SHORT}, {"type": "response.output_audio.delta", "delta": GONE}),
    (
        {"type": "response.image_generation_call.partial_image", "partial_image_b64": SHORT},
        {"type": "response.image_generation_call.partial_image", "partial_image_b64": GONE},
    ),
    ({"data": [{"embedding": SHORT}]}, {"data": [{"embedding": GONE}]}),
    ([[{"deep": [URL, "text"]}]], [[{"deep": [GONE, "text"]}]]),
    ({"outputs": [{"type": "image", "url": URL}]}, {"outputs": [{"type": "image", "url": GONE}]}),
]


@pytest.mark.parametrize("value", KEPT)
def test_ordinary_values_stay(value: Any) -> None:
    """Addresses, words, numbers and opaque reasoning are no inline data, however long."""
    assert without_inline_data(value) == value


@pytest.mark.parametrize(("value", "expected"), REMOVED)
def test_inline_data_is_left_out(value: Any, expected: Any) -> None:
    """Base64 is replaced where the API puts it, however short, and what stands beside it stays."""
    before = json.dumps(value)
    assert without_inline_data(value) == expected
    assert json.dumps(value) == before, "the value itself was changed"


PARTS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": URL}},
    {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
    {"type": "input_audio", "input_audio": {"data": DATA, "format": "wav"}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": DATA}},
]


@pytest.mark.parametrize("wanted", [False, True])
def test_packet_of_a_call_with_inline_data(instrument: Any, client: Any, provider: Any, packets: Any, ingest: Any, *, wanted: bool) -> None:
    """Both ways: nothing of the data arrives, or all of it does; the provider gets it either way."""
    instrument(config={"instrument_inline_data": wanted})
    answer = completion()
    answer["choices"][0]["message"]["audio"] = {"id": "audio_1", "data": DATA, "expires_at": 1, "transcript": "A cat."}
    provider.script(Reply(answer))
    request = {"model": "gpt-4o-audio", "messages": [{"role": "user", "content": PARTS}]}
    got = client.chat.completions.create(**request)
    assert got.choices[0].message.audio.data == DATA
    assert provider.requests[0]["body"] == request
    (packet,) = packets()
    assert (DATA in json.dumps(ingest.requests)) == wanted
    assert json.loads(packet["body"]["provider_request_json"]) == (request if wanted else without_inline_data(request))
    assert json.loads(packet["body"]["provider_response_json"]) == (answer if wanted else without_inline_data(answer))
    assert "https://example.com/cat.png" in packet["body"]["provider_request_json"]


def test_streamed_audio_is_left_out(instrument: Any, client: Any, provider: Any, packets: Any, ingest: Any) -> None:
    """Audio comes in pieces of any size."""
    instrument()
    pieces = [chunk(delta={"audio": {"id": "audio_1", "data": SHORT}}), chunk(delta={"audio": {"transcript": "A cat."}})]
    provider.script(Reply(events=[*pieces, *chat_events()]))
    list(client.chat.completions.create(model="gpt-4o-audio", messages=[{"role": "user", "content": "Speak."}], stream=True))
    (packet,) = packets()
    assert SHORT not in json.dumps(ingest.requests)
    assert "A cat." in "".join(packet["body"]["provider_response_json"])


def test_generated_image_is_left_out(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """An image the model made is an answer of megabytes."""
    instrument()
    image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": DATA, "revised_prompt": "a cat"}
    provider.script(Reply(response(output=[image])))
    client.responses.create(**RESPONSE_REQUEST)
    (packet,) = packets()
    assert json.loads(packet["body"]["provider_response_json"])["output"] == [{**image, "result": GONE}]


def test_what_we_added_is_not_the_callers_request(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The packet shows the caller's own stream options, not the usage we asked for."""
    instrument()
    provider.script(Reply(events=chat_events()), Reply(events=chat_events()))
    request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi."}], "stream": True}
    list(client.chat.completions.create(**request))
    assert provider.requests[0]["body"]["stream_options"] == {"include_usage": True}
    (packet,) = packets()
    assert json.loads(packet["body"]["provider_request_json"]) == request


def test_unreadable_content_is_none() -> None:
    """Bytes that are no JSON are no answer; nothing is raised."""
    content = OpenAIContent(b"\xff\xfe", [b"<html>", b"", {"choices": None, "output": None}, [1], "text"], streamed=False).read(
        inline_data=False, estimate=by_length
    )
    assert content.request is None
    assert content.function_calls == ()


@pytest.mark.parametrize(
    ("request_json", "answers", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "x" * 40}]}, [{"choices": [{"message": {"content": "y" * 8}}]}], (10, 2)),
        ({"input": "x" * 39, "instructions": "y"}, [], (10, 0)),
        ({"input": [{"content": [{"type": "input_image", "image_url": URL}, {"type": "input_text", "text": "abcd"}]}]}, [], (1, 0)),
        ({"messages": [{"content": [{"type": "input_audio", "input_audio": {"data": DATA}}]}]}, [], (0, 0)),
        (None, [None, 1, "x"], (0, 0)),
    ],
)
def test_estimates_count_words_and_no_data(request_json: Any, answers: list[Any], tokens: tuple[int, int]) -> None:
    """Four characters are a token; a picture's base64 is no text."""
    content = OpenAIContent(request_json, answers, streamed=False).read(inline_data=False, estimate=by_length)
    assert content.estimated_tokens == tokens
