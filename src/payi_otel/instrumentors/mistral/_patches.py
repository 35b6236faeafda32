"""What is wrapped of `mistralai`. Version 2 moved everything into `mistralai.client`."""

from __future__ import annotations

from collections.abc import Iterator

from payi_otel.instrumentors._base import Patch, Table
from payi_otel.instrumentors._capture import capture_request, send_and_capture, send_and_capture_async
from payi_otel.instrumentors._operation import Operation
from payi_otel.instrumentors.mistral._operations import Completion, Conversation, Embeddings, FillIn, Reading
from payi_otel.instrumentors.mistral._responses import Responses
from payi_otel.instrumentors.mistral._usage import UNIT_SOURCES

_CHAT, _CHAT_STREAM = Completion(), Completion(stream=True)
_FIM, _FIM_STREAM = FillIn(), FillIn(stream=True)
_READING, _READING_STREAM = Reading(), Reading(stream=True)
_TALK, _TALK_STREAM = Conversation(), Conversation(stream=True)
_METHODS: tuple[tuple[str, str, Operation, str], ...] = (
    ("chat", "Chat.complete", _CHAT, ""),
    ("chat", "Chat.stream", _CHAT_STREAM, ""),
    ("agents", "Agents.complete", _CHAT, ""),
    ("agents", "Agents.stream", _CHAT_STREAM, ""),
    ("fim", "Fim.complete", _FIM, ""),
    ("fim", "Fim.stream", _FIM_STREAM, ""),
    ("embeddings", "Embeddings.create", Embeddings(), ""),
    ("ocr", "Ocr.process", _READING, "1.5.1"),
    ("transcriptions", "Transcriptions.complete", _READING, "1.9.3"),
    ("transcriptions", "Transcriptions.stream", _READING_STREAM, "1.9.3"),
    *(("conversations", f"Conversations.{name}", _TALK, "1.8") for name in ("start", "append", "restart")),
    *(("conversations", f"Conversations.{name}_stream", _TALK_STREAM, "1.8") for name in ("start", "append", "restart")),
)
"""Module, method, what it asks, and the version it came with; each has a twin that is awaited."""
_MOVED = "2"
_RESPONSES = Responses()


def _patches() -> Iterator[Patch]:
    for package, since, until in (("mistralai.", "", _MOVED), ("mistralai.client.", _MOVED, "")):
        base = package + "basesdk"
        yield Patch(base, "BaseSDK._build_request", wrapper=capture_request, keeps_ours=True, since=since, until=until)
        yield Patch(base, "BaseSDK._build_request_async", wrapper=capture_request, keeps_ours=True, since=since, until=until)
        yield Patch(base, "BaseSDK.do_request", wrapper=send_and_capture, keeps_ours=True, since=since, until=until)
        yield Patch(base, "BaseSDK.do_request_async", wrapper=send_and_capture_async, keeps_ours=True, since=since, until=until)
        for module, method, operation, came in _METHODS:
            begun = since or came
            yield Patch(package + module, method, operation, since=begun, until=until)
            yield Patch(package + module, f"{method}_async", operation, is_async=True, since=begun, until=until)
    yield Patch("mistralai.client.responses", "Responses.create", _RESPONSES, since="3.7")
    yield Patch("mistralai.client.responses", "Responses.create_async", _RESPONSES, is_async=True, since="3.7")


TABLE = Table(
    units=UNIT_SOURCES,
    patches=tuple(_patches()),
)
