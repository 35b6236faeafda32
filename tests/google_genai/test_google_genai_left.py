"""A stream of `google-genai` that its reader leaves is recorded at once, not when memory is next collected."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from provider_server import ProviderServer, Reply

genai = pytest.importorskip("google.genai")
EVENT = {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hel"}]}}], "modelVersion": "gemini-2.5-flash"}


def read(client: Any) -> Iterator[str]:
    """Loops over a call's stream itself, as the SDK's own generator did in its early versions."""
    stream = client.models._generate_content_stream(model="gemini-2.5-flash", contents="Say hello.", config=None)
    for answer in stream:
        yield answer.text


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No cycle of references is found meanwhile."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_stream_read_by_a_generator_is_recorded_when_that_is_closed(provider: ProviderServer, instrument: Any, packets: Any) -> None:
    """The call's record does not hold the generator that holds the stream."""
    instrument()
    provider.script(Reply(events=[EVENT, EVENT], done=False, held=True))
    client = genai.Client(api_key="secret", http_options={"base_url": provider.url})
    stream = read(client)
    assert next(stream) == "Hel"
    stream.close()
    (packet,) = packets()
    assert packet["body"]["properties"]["payi_otel.end_reason"] == "closed"
