"""Answers of Gemini's that the caller of `google-genai` reads himself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from provider_server import ProviderServer, Reply

genai = pytest.importorskip("google.genai")

ANSWER = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "Hello."}, {"functionCall": {"name": "f", "args": {"camelCase": 1}}}]},
            "finishReason": "STOP",
            "groundingMetadata": {"webSearchQueries": ["a"]},
        }
    ],
    "modelVersion": "gemini-2.5-flash",
    "responseId": "r1",
    "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 17},
}
UNITS = {"text": (10, 5), "reasoning": (0, 2), "web_search_request": (0, 1)}
RAW = "should_return_http_response"


@pytest.mark.skipif(RAW not in genai.types.GenerateContentConfig.model_fields, reason="this SDK gives no HTTP responses")
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_http_response_is_billed_by_its_body(is_async: bool, provider: ProviderServer, instrument: Any, packets: Any) -> None:
    """Of which the SDK reads nothing: no usage, no model, no id."""
    instrument()
    library = genai._api_client.__dict__.get("httpx2") or genai._api_client.httpx  # aiohttp's warns of the SDK's sessions
    options = {"base_url": provider.url, "async_client_args": {"transport": library.AsyncHTTPTransport()}}
    client = genai.Client(api_key="secret", http_options=options)
    asked = {"model": "gemini-flash-latest", "contents": "Hi.", "config": genai.types.GenerateContentConfig(**{RAW: True})}
    provider.script(Reply(ANSWER))
    answer = await client.aio.models.generate_content(**asked) if is_async else client.models.generate_content(**asked)
    assert json.loads(answer.sdk_http_response.body) == ANSWER
    assert answer.usage_metadata is None
    body = packets()[0]["body"]
    assert {name: (unit["input"], unit["output"]) for name, unit in body["units"].items()} == UNITS
    assert (body["resource"], body["provider_response_id"]) == ("google.gemini-2.5-flash", "r1")
    assert json.loads(body["provider_response_json"]) == ANSWER
    assert body["provider_response_function_calls"] == [{"name": "f", "arguments": '{"camelCase":1}'}]
    await (client.aio.aclose() if hasattr(client.aio, "aclose") else client._api_client._async_httpx_client.aclose())


@pytest.mark.skipif(RAW not in genai.types.GenerateContentConfig.model_fields, reason="this SDK gives no HTTP responses")
def test_an_http_response_that_is_no_json_is_estimated(provider: ProviderServer, instrument: Any, packets: Any) -> None:
    """A gateway's, say."""
    instrument()
    client = genai.Client(api_key="secret", http_options={"base_url": provider.url})
    provider.script(Reply("Hello."))
    config = genai.types.GenerateContentConfig(**{RAW: True})
    assert client.models.generate_content(model="gemini-2.5-flash", contents="Hi.", config=config).sdk_http_response.body == "Hello."
    (packet,) = packets()
    assert packet["body"]["properties"]["payi_otel.usage_estimated"] == "input,output"
