"""Audio: transcriptions by token or by second, speech by character or by token; each call is one whole packet."""

from __future__ import annotations

import inspect
import json
import logging
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import Reply

from payi_otel.instrumentors.openai import _audio

openai = pytest.importorskip("openai")
AUDIO_API = openai.resources.audio
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK's, of older models' methods


def taking(method: Any, parameter: str) -> Any:
    """Skips a test where this version's method has no such parameter."""
    return pytest.mark.skipif(parameter not in inspect.signature(method).parameters, reason=f"this SDK has no {parameter} there")


WAV = ("talk.wav", b"RIFF....WAVE")
TOKENS = {"type": "tokens", "input_tokens": 14, "input_token_details": {"audio_tokens": 10, "text_tokens": 4}}
TOKENS |= {"output_tokens": 45, "total_tokens": 59}
BY_TOKEN = {"text": {"input": 4, "output": 45}, "audio": {"input": 10, "output": 0}}
ASK: dict[str, Any] = {"model": "gpt-4o-transcribe", "prompt": "A talk."}
SENT = {**ASK, "file": "<not_instrumented>"}
AUDIO = {"content-type": "audio/mpeg"}
SPEAK: dict[str, Any] = {"model": "tts-1", "input": "Hello, world.", "voice": "alloy"}
EXPECTED = {"category": "system.openai", "http_status_code": 200, "provider_response_id": "payi_<uuid4>"}


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings are given once a process."""
    monkeypatch.setattr(_audio, "_said", set())


def body(packet: dict[str, Any]) -> dict[str, Any]:
    """The packet's body with its JSON read."""
    assert packet["scope"] == SCOPE
    return {name: json.loads(value) if name == "provider_request_json" else value for name, value in packet["body"].items()}


@pytest.mark.parametrize(
    ("answer", "units"),
    [
        ({"text": "Hello.", "usage": TOKENS}, BY_TOKEN),
        ({"text": "Hello.", "usage": {"type": "duration", "seconds": 61}}, {"audio": {"input": 61, "output": 0}}),
        ({"task": "transcribe", "duration": 8.47, "language": "en", "text": "Hello."}, {"audio": {"input": 8, "output": 0}}),
        ({"duration": "8.51", "text": "Hello."}, {"audio": {"input": 9, "output": 0}}),
        ({"text": "Hello.", "usage": {**TOKENS, "input_token_details": None}}, {"text": {"input": 14, "output": 45}}),
    ],
    ids=["tokens", "seconds", "verbose", "verbose as text", "no details"],
)
def test_a_transcription_is_billed_as_it_says(
    instrument: Any, client: Any, provider: Any, packets: Any, answer: dict[str, Any], units: dict[str, Any]
) -> None:
    """By tokens or by seconds, of which whole ones are billed."""
    instrument()
    provider.script(Reply(answer))
    assert client.audio.transcriptions.create(**ASK, file=WAV).text == "Hello."
    packet = body(packets()[0])
    assert json.loads(packet.pop("provider_response_json")) == answer
    assert packet == {**EXPECTED, "resource": "gpt-4o-transcribe", "units": units, "provider_request_json": SENT}


async def test_a_transcription_that_is_a_text_tells_no_usage_and_that_is_said_once(
    instrument: Any, async_client: Any, provider: Any, packets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is guessed of how long the audio was."""
    instrument()
    text = Reply("Hello.", headers={"content-type": "text/plain"})
    provider.script(text, text)
    for _ in range(2):
        assert await async_client.audio.translations.create(model="whisper-1", file=WAV, response_format="text") == "Hello."
    for packet in packets(2):
        assert body(packet) == {
            **EXPECTED,
            "resource": "whisper-1",
            "units": {},
            "provider_request_json": {"model": "whisper-1", "response_format": "text", "file": "<not_instrumented>"},
            "provider_response_json": '"Hello."',
        }
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("whisper-1 tells no usage in the form it was asked for")


@taking(AUDIO_API.Transcriptions.create, "stream")
def test_a_streamed_transcription_is_billed_by_its_last_event(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Its events are the caller's, all of them."""
    instrument()
    events = [{"type": "transcript.text.delta", "delta": "Hel"}, {"type": "transcript.text.done", "text": "Hello.", "usage": TOKENS}]
    provider.script(Reply(events=events, done=False))
    assert len(list(client.audio.transcriptions.create(**ASK, file=WAV, stream=True))) == 2
    packet = body(packets()[0])
    assert [json.loads(text) for text in packet["provider_response_json"]] == events
    assert (packet["units"], packet["provider_request_json"]) == (BY_TOKEN, {**SENT, "stream": True})


@taking(AUDIO_API.Transcriptions.create, "stream")
def test_a_stream_left_before_its_end_is_not_guessed(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """What the audio took is told at the end only."""
    instrument()
    events = [{"type": "transcript.text.delta", "delta": "Hel"}, {"type": "transcript.text.done", "text": "Hello.", "usage": TOKENS}]
    provider.script(Reply(events=events, done=False, held=True))
    with client.audio.transcriptions.create(**ASK, file=WAV, stream=True) as stream:
        next(stream)
    packet = body(packets()[0])
    assert (packet["units"], packet["properties"]) == ({}, {"payi_otel.end_reason": "closed"})


def test_speech_is_billed_by_the_character(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The audio itself goes nowhere."""
    instrument()
    provider.script(Reply(b"\xff\xf3audio", headers=AUDIO))
    assert client.audio.speech.create(**SPEAK).content == b"\xff\xf3audio"
    units = {"text": {"input": 13, "output": 0}}
    assert body(packets()[0]) == {**EXPECTED, "resource": "tts-1", "units": units, "provider_request_json": SPEAK}


async def test_speech_that_is_read_as_it_comes_counts_when_it_ends(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """Through `with_streaming_response`."""
    instrument()
    provider.script(Reply(b"\xff\xf3audio", headers=AUDIO))
    async with async_client.audio.speech.with_streaming_response.create(**SPEAK) as response:
        assert b"".join([piece async for piece in response.iter_bytes()]) == b"\xff\xf3audio"
    units = {"text": {"input": 13, "output": 0}}
    assert body(packets()[0]) == {**EXPECTED, "resource": "tts-1", "units": units, "provider_request_json": SPEAK}


SPOKEN = {"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}}
EVENTS = [{"type": "speech.audio.delta", "audio": "AAAA"}, SPOKEN]


@taking(AUDIO_API.Speech.create, "stream_format")
@pytest.mark.parametrize("lazy", [False, True])
def test_speech_in_events_tells_its_tokens(instrument: Any, client: Any, provider: Any, packets: Any, lazy: bool) -> None:
    """Read whole or as they come."""
    instrument()
    ask = {**SPEAK, "model": "gpt-4o-mini-tts"}
    provider.script(Reply(events=EVENTS, done=False))
    if lazy:
        with client.audio.speech.with_streaming_response.create(**ask, stream_format="sse") as response:
            assert len([line for line in response.iter_lines() if line.startswith("data:")]) == 2
    else:
        client.audio.speech.create(**ask, stream_format="sse")
    packet = body(packets()[0])
    assert packet == {
        **EXPECTED,
        "resource": "gpt-4o-mini-tts",
        "units": {"text": {"input": 14, "output": 0}, "audio": {"input": 0, "output": 101}},
        "provider_request_json": {**ask, "stream_format": "sse"},
    }


def test_speech_billed_by_token_is_estimated_where_it_tells_none(
    instrument: Any, client: Any, provider: Any, packets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The text is; the audio is not, which is said."""
    instrument()
    provider.script(Reply(b"\xff\xf3audio", headers=AUDIO))
    client.audio.speech.create(**{**SPEAK, "model": "gpt-4o-mini-tts"})
    packet = body(packets()[0])
    assert (packet["units"], packet["properties"]) == ({"text": {"input": 4, "output": 0}}, {"payi_otel.usage_estimated": "input"})
    assert "ask for stream_format='sse'" in caplog.text


def test_speech_that_is_refused_costs_nothing(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Whatever was given to be spoken."""
    instrument()
    provider.script(Reply({"error": {"message": "no"}}, status=400))
    with pytest.raises(openai.BadRequestError):
        client.audio.speech.create(**SPEAK)
    packet = body(packets()[0])
    assert (packet["units"], packet["http_status_code"]) == ({}, 400)
