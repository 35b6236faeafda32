"""Audio: transcriptions and translations, of files; speech, of texts.

Source: the docstrings of `openai.types.audio` (3.57), and https://platform.openai.com/docs/pricing, "Transcription and speech".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from payi_otel import semconv
from payi_otel._json import read_json
from payi_otel.instrumentors._content import RecordingReader
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._raw import BodySieve, SseSieve, read_events, tap_response
from payi_otel.instrumentors._stream import Tap
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.instrumentors.openai._operation import OpenAIOperation, request_body
from payi_otel.instrumentors.openai._usage import read_usage
from payi_otel.packets.counting import by_length
from payi_otel.packets.units import AUDIO, TEXT, Units, Usage
from payi_otel.payload import ContentReader
from payi_otel.semconv import PROPERTY_USAGE_ESTIMATED

logger = logging.getLogger("payi.instrument")

_BY_TOKEN = "gpt"
"""Stands in the name of the speech models that are billed by tokens; the others are by characters."""
_MAX_SECONDS = 2**31
"""More is no length of an audio."""
_MAX_SAID = 100
"""Models that are named in a warning, each once."""
_said: set[str | None] = set()


class Transcriptions(OpenAIOperation):
    """`audio.transcriptions.create` and `audio.translations.create`."""

    name = "generate_content"

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """A text (`srt`, `vtt`, `text`) tells no usage."""
        request = super().read_request(instance, args, kwargs)
        request.on_answer = _transcribed
        return request

    def read_answer(self, result: Any) -> Answer:
        """Reads a `Transcription` of any kind: tokens, or the seconds of the audio."""
        return Answer(usage=_read_usage(result))

    def new_reader(self, invocation: Invocation) -> TranscriptReader:
        """A reader of `TranscriptionStreamEvent`s."""
        return TranscriptReader()

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """What was sent, and what was heard."""
        body = result if isinstance(result, bytes) else invocation.exchange.response_body()
        return OpenAIContent(request_body(invocation), [_json_or_text(body)] if body else [], streamed=False, estimates=False)


class TranscriptReader(RecordingReader):
    """Takes a transcription's events. Usage stands in the last one."""

    __slots__ = ("_usage",)

    def __init__(self) -> None:
        super().__init__()
        self._usage: Usage | None = None

    def take(self, event: Any) -> bool:
        """A type, and the last one's usage."""
        self.keep(event)
        if str(get(event, "type")).endswith((".delta", ".segment")):
            self.output_seen = True
        self._usage = _read_usage(event) or self._usage
        return False

    def answer(self) -> Answer:
        """What has come so far."""
        return Answer(usage=self._usage)

    def is_complete(self) -> bool:
        """True once the usage has come."""
        return self._usage is not None

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the events."""
        return OpenAIContent(request_body(invocation), self.recorded(TranscriptReader), streamed=True, estimates=False)


class Speech(OpenAIOperation):
    """`audio.speech.create`: the answer is audio, which is not recorded; only in events does it tell tokens."""

    name = "generate_content"
    attributes: Mapping[str, Any] = {semconv.OUTPUT_TYPE: "speech"}

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Mostly what is billed is the text that was given."""
        request = super().read_request(instance, args, kwargs)
        request.on_answer = _spoken
        return request

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """The last event, where the audio came in events."""
        body = invocation.exchange.response_body() if _is_events(invocation) else None
        events = list(read_events(body)) if body else []
        return events[-1] if events else None

    def read_answer(self, result: Any) -> Answer:
        """Reads the last event."""
        return Answer(usage=_read_spoken(get(result, "usage")))

    def adopt(self, invocation: Invocation, result: Any, *, is_async: bool) -> bool:
        """Audio passes by and is not kept: it may be long."""
        if invocation.request.raw != "lazy":
            return False
        tap = Tap(invocation, _SpeechReader())
        sieve = SseSieve(tap, withholds=False) if _is_events(invocation) else BodySieve(tap)
        tap_response(result.http_response, tap, sieve, is_async=is_async)
        invocation.let_go()
        return True

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The request."""
        return OpenAIContent(request_body(invocation), [], streamed=False, estimates=False)


class _SpeechReader:
    """Takes events of speech, or pieces of audio, and keeps the usage only."""

    __slots__ = ("_usage", "output_seen")

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self.output_seen = False

    @property
    def pieces(self) -> list[bytes]:
        """What is put in here is let go."""
        return []

    @pieces.setter
    def pieces(self, pieces: list[bytes]) -> None: ...

    def take(self, event: Any) -> bool:
        """Notes what the audio took."""
        self._usage = _read_spoken(get(event, "usage")) or self._usage
        return False

    def answer(self) -> Answer:
        """The usage, where it was told."""
        return Answer(usage=self._usage)

    def is_complete(self) -> bool:
        """Only the end of the audio says that it is whole."""
        return self._usage is not None

    def content(self, invocation: Invocation) -> ContentReader:
        """The request."""
        return OpenAIContent(request_body(invocation), [], streamed=False, estimates=False)


def _read_usage(result: Any) -> Usage | None:
    """Tokens; or seconds, which are rounded to whole ones as they are billed."""
    usage = get(result, "usage")
    seconds = _whole_seconds(get(usage, "seconds") if usage is not None else get(result, "duration"))
    if seconds is not None:
        return Usage({AUDIO: Units(seconds, 0)})
    if usage is None:
        return None
    details = get(usage, "input_token_details")
    return read_usage(
        {
            **{name: get(usage, name) for name in ("input_tokens", "output_tokens", "total_tokens")},
            "input_tokens_details": {"audio_tokens": get(details, "audio_tokens")},
        }
    )


def _whole_seconds(value: Any) -> int | None:
    """Of a number, or of a text as `verbose_json` had it."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return int(seconds + 0.5) if 0 <= seconds < _MAX_SECONDS else None


def _read_spoken(usage: Any) -> Usage | None:
    """Text in, audio out."""
    if usage is None:
        return None
    counts = {name: get(usage, name) for name in ("input_tokens", "output_tokens", "total_tokens")}
    return read_usage({**counts, "output_tokens_details": {"audio_tokens": counts["output_tokens"]}})


def _transcribed(invocation: Invocation, answer: Answer) -> Answer:
    if answer.usage is None and _was_answered(invocation):
        _say_once(invocation, "ask for response_format='json' to have it")
    return answer


def _spoken(invocation: Invocation, answer: Answer) -> Answer:
    """Characters, for the models that are billed by them; what the audio of the others took is told in events only."""
    text, model = invocation.request.kwargs.get("input"), invocation.payload.model or ""
    if answer.usage is not None or not isinstance(text, str) or not _was_answered(invocation):
        return answer
    if _BY_TOKEN not in model:
        return replace(answer, usage=Usage({TEXT: Units(len(text), 0)}))
    _say_once(invocation, "ask for stream_format='sse' to have it")
    return replace(answer, usage=Usage({TEXT: Units(by_length([text]), 0)}), properties={PROPERTY_USAGE_ESTIMATED: "input"})


def _was_answered(invocation: Invocation) -> bool:
    return (invocation.exchange.status or 500) < 400


def _say_once(invocation: Invocation, advice: str) -> None:
    model = invocation.payload.model
    if model not in _said and len(_said) < _MAX_SAID:
        _said.add(model)
        logger.warning("%s tells no usage in the form it was asked for, so its audio is not counted: %s", model, advice)


def _is_events(invocation: Invocation) -> bool:
    headers = invocation.exchange.headers
    return headers is not None and str(headers.get("content-type")).startswith("text/event-stream")


def _json_or_text(body: bytes) -> Any:
    try:
        return read_json(body)
    except ValueError:
        return body.decode("utf-8", "replace")
