"""The async methods of `vertexai`, which need gRPC or, as here, the SDK's async REST transport."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import ProviderServer, Reply

vertexai = pytest.importorskip("vertexai")
static_credentials = pytest.importorskip("google.auth.aio.credentials").StaticCredentials
pytest.importorskip("aiohttp", reason="the SDK's async REST transport stands on it")

USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
CANDIDATE = {"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}
ANSWER = {"candidates": [CANDIDATE], "modelVersion": "gemini-2.5-flash", "responseId": "r1", "usageMetadata": USAGE}
EXPECTED = {
    "category": "system.google.vertex",
    "resource": "google.gemini-2.5-flash",
    "units": {"text": {"input": 10, "output": 5}},
    "http_status_code": 200,
    "provider_response_id": "r1",
}


@pytest.fixture
async def model(provider: ProviderServer) -> Any:
    """A model whose async calls go to loopback; its HTTP session is closed behind it."""
    from google.auth.credentials import AnonymousCredentials

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the module itself is deprecated
        from google.cloud.aiplatform import initializer
        from vertexai.generative_models import GenerativeModel

        vertexai.init(
            project="p", location="us-central1", credentials=AnonymousCredentials(), api_transport="rest", api_endpoint=provider.url
        )
        initializer._set_async_rest_credentials(static_credentials(token="t"))
        one = GenerativeModel("gemini-2.5-flash")
        yield one
        await one._prediction_async_client.transport.close()


def body(packet: dict[str, Any]) -> dict[str, Any]:
    """The packet's body without what was said."""
    assert packet["scope"] == SCOPE
    assert "Hello." in json.dumps(packet["body"].pop("provider_response_json"))
    return {name: value for name, value in packet["body"].items() if not name.startswith("time_to")}


async def test_an_awaited_answer_is_one_packet(model: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """As the sync one."""
    instrument()
    provider.script(Reply(ANSWER))
    assert (await model.generate_content_async("Say hello.")).text == "Hello."
    assert body(packets()[0]) == EXPECTED


async def test_an_async_stream_is_one_packet(model: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Read to its end."""
    instrument()
    provider.script(Reply([ANSWER, ANSWER]))
    stream = await model.generate_content_async("Say hello.", stream=True)
    assert [answer.text async for answer in stream] == ["Hello.", "Hello."]
    assert body(packets()[0]) == EXPECTED
