"""Defects seen in the published SDK's instrumentation of Vertex AI (docs/differences.md), done to the real `vertexai` SDK."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from provider_server import ProviderServer, Reply

vertexai = pytest.importorskip("vertexai")

PLAIN = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
UNITS = {"text": {"input": 10, "output": 5}}


def said(number: int = 1, usage: Any = PLAIN) -> dict[str, Any]:
    """One answer, or one of a stream's."""
    candidate = {"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "responseId": f"r{number}", "usageMetadata": usage}


@pytest.fixture
def model(provider: ProviderServer) -> Iterator[Any]:
    """A model whose calls go to loopback."""
    from google.auth.credentials import AnonymousCredentials

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the module itself is deprecated
        from vertexai.generative_models import GenerativeModel

        vertexai.init(
            project="p", location="us-central1", credentials=AnonymousCredentials(), api_transport="rest", api_endpoint=provider.url
        )
        yield GenerativeModel("gemini-2.5-flash")


def test_a_chats_messages_are_one_packet_each(model: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """A `ChatSession` calls no public method."""
    instrument()
    provider.script(Reply(said()), Reply([said(2)]))
    chat = model.start_chat()
    assert chat.send_message("Say hello.").text == "Hello."
    assert [answer.text for answer in chat.send_message("And again.", stream=True)] == ["Hello."]
    assert [packet["body"]["units"] for packet in packets(2)] == [UNITS, UNITS]


def test_a_streams_last_totals_are_billed(model: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Both counts are there from the first chunk on, and grow."""
    instrument()
    grown = [{"promptTokenCount": 10, "candidatesTokenCount": count, "totalTokenCount": 10 + count} for count in (10, 20, 30)]
    provider.script(Reply([said(usage=usage) for usage in grown]))
    assert len(list(model.generate_content("Say hello.", stream=True))) == 3
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 10, "output": 30}}


def test_a_stream_that_is_closed_is_one_packet(model: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """It is the generator it is without us."""
    instrument()
    provider.script(Reply([said(), said()]))
    stream = model.generate_content("Say hello.", stream=True)
    next(stream)
    stream.close()
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


def knows_thoughts() -> bool:
    """Whether this SDK's message has the count of thoughts: 1.85 drops it, and nothing it hands out has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from google.cloud.aiplatform_v1beta1.types import GenerateContentResponse

        return "thoughts_token_count" in GenerateContentResponse.UsageMetadata.meta.fields


@pytest.mark.skipif(not knows_thoughts(), reason="this SDK drops the count of thoughts")
def test_a_stream_of_thoughts_alone_is_billed(model: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """No candidate has a token."""
    instrument()
    provider.script(Reply([said(usage={"promptTokenCount": 10, "thoughtsTokenCount": 3, "totalTokenCount": 13})]))
    list(model.generate_content("Say hello.", stream=True))
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 10, "output": 0}, "reasoning": {"input": 0, "output": 3}}


def test_the_preview_class_is_counted_once(model: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Both classes stand on one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vertexai.preview.generative_models import GenerativeModel

        preview = GenerativeModel("gemini-2.5-flash")
    instrument()
    provider.script(Reply(said()))
    preview.generate_content("Say hello.")
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS
