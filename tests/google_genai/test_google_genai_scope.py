"""A stream of `google-genai` belongs to the scope it was asked for in, however late, and wherever, it is read."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import pytest
from provider_server import ProviderServer, Reply
from wrapt import ObjectProxy

import payi_otel

genai = pytest.importorskip("google.genai")

ASK: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": "Say hello."}
ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}],
    "modelVersion": "gemini-2.5-flash",
    "responseId": "r1",
    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
}


def user_of(packet: dict[str, Any]) -> str:
    """Whose call it was."""
    assert packet["body"]["units"] == {"text": {"input": 10, "output": 5}}
    return packet["scope"]["xproxy-user-id"]


@pytest.fixture
def client(provider: ProviderServer) -> Any:
    """A client of the Gemini API, whose every call is streamed one answer."""
    provider.always(":streamGenerateContent", Reply(events=[ANSWER], done=False))
    library = genai._api_client.__dict__.get("httpx2") or genai._api_client.httpx  # aiohttp's warns of the SDK's sessions
    options: dict[str, Any] = {"base_url": provider.url}
    if "async_client_args" in genai.types.HttpOptions.model_fields:
        options["async_client_args"] = {"transport": library.AsyncHTTPTransport()}
    return genai.Client(api_key="secret", http_options=options)


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("threaded", [False, True])
def test_a_stream_that_is_read_elsewhere_keeps_its_user(chat: bool, threaded: bool, client: Any, instrument: Any, packets: Any) -> None:
    """Within another scope, or in a thread without one; it is a generator as ever."""
    instrument()
    with payi_otel.track_context(user_id="alice"):
        one = client.chats.create(model=ASK["model"])
        stream = one.send_message_stream("Hello.") if chat else client.models.generate_content_stream(**ASK)
    assert inspect.isgenerator(stream)
    with payi_otel.track_context(user_id="bob"):
        read: list[str] = []
        if threaded:
            thread = threading.Thread(target=lambda: read.extend(answer.text for answer in stream))
            thread.start()
            thread.join()
        else:
            read.extend(answer.text for answer in stream)
        assert payi_otel.get_context()["user_id"] == "bob"
    assert read == ["Hello."]
    assert user_of(packets()[0]) == "alice"


@pytest.mark.parametrize("chat", [False, True])
async def test_an_async_stream_keeps_its_user_likewise(chat: bool, client: Any, instrument: Any, packets: Any) -> None:
    """Which asks when it is read, and not when it is awaited."""
    instrument()
    with payi_otel.track_context(user_id="alice"):
        one = client.aio.chats.create(model=ASK["model"])
        stream = await (one.send_message_stream("Hello.") if chat else client.aio.models.generate_content_stream(**ASK))
    assert inspect.isasyncgen(stream)
    with payi_otel.track_context(user_id="bob"):
        async for _ in stream:
            assert payi_otel.get_context()["user_id"] == "bob"
    assert user_of(packets()[0]) == "alice"
    await (client.aio.aclose() if hasattr(client.aio, "aclose") else client._api_client._async_httpx_client.aclose())


class Proxy(ObjectProxy):
    """What says to be a generator, and is none: it can only be gone through."""

    def __next__(self) -> Any:
        raise TypeError("not an iterator")

    def __iter__(self) -> Any:
        return iter(self.__wrapped__)


def test_what_another_instrumentation_made_of_a_stream_stays_its_own(
    client: Any, instrument: Any, packets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenInference's does, where it has patched the SDK first."""
    original = genai.models.Models.generate_content_stream
    monkeypatch.setattr(genai.models.Models, "generate_content_stream", lambda self, **asked: Proxy(original(self, **asked)))
    instrument()
    stream = client.models.generate_content_stream(**ASK)
    assert type(stream) is Proxy
    assert [answer.text for answer in stream] == ["Hello."]
    assert len(packets()) == 1
    payi_otel.shutdown(5)  # before the method is put back
