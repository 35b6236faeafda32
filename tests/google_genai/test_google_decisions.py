"""Google's decisions: each request is one whole packet, plain and raw, sync and async."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import ProviderServer, Reply

genai = pytest.importorskip("google.genai")
pytest.importorskip("google.genai._gaos.decisions", reason="this version makes no decisions")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*[Ee]xperimental")

QUESTIONS = {"q": {"type": "choice", "instructions": "Which?", "criteria": {"a": "the first", "b": "the second"}}}
ASK: dict[str, Any] = {"model": "models/gemini-3-pro", "input": "One of two.", "questions": QUESTIONS}
COUNTED = {"total_input_tokens": 40, "total_output_tokens": 7, "total_cached_tokens": 30, "total_tokens": 47}
ANSWER = {"answers": {"q": {"type": "choice", "choice": "a", "confidence": 0.9, "probabilities": {"a": 0.9}}}, "usage": COUNTED}
UNITS = {"text": {"input": 10, "output": 7}, "text_cache_read": {"input": 30, "output": 0}}


@pytest.mark.parametrize("form", ["plain", "with_raw_response", "with_streaming_response"])
def test_a_decision_is_one_packet(form: str, instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Parsed, raw, or read by the caller; its id is one of ours."""
    instrument()
    provider.script(Reply(ANSWER))
    with genai.Client(api_key="secret", http_options={"base_url": provider.url}) as client:
        if form == "with_streaming_response":
            with client.decisions.with_streaming_response.create(**ASK) as response:
                assert json.loads(b"".join(response.iter_bytes())) == ANSWER
        else:
            (client.decisions if form == "plain" else client.decisions.with_raw_response).create(**ASK)
    (packet,) = packets()
    body = packet["body"]
    assert packet["scope"] == SCOPE
    assert json.loads(body.pop("provider_request_json")) == ASK
    assert json.loads(body.pop("provider_response_json")) == ANSWER
    assert body == {
        "category": "system.google.vertex",
        "resource": "google.gemini-3-pro",
        "units": UNITS,
        "http_status_code": 200,
        "provider_response_id": body["provider_response_id"],
    }


async def test_an_async_decision_with_a_long_prompt_has_its_price(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """By the model that was asked: the answer names none."""
    instrument()
    provider.script(Reply({"answers": {}, "usage": {"total_input_tokens": 300_000, "total_output_tokens": 7}}))
    async with genai.Client(api_key="secret", http_options={"base_url": provider.url}).aio as client:
        await client.decisions.create(**ASK)
    (packet,) = packets()
    assert packet["body"]["units"] == {"text_large_context": {"input": 300_000, "output": 7}}


def test_a_decision_without_usage_is_estimated(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """By input, questions and answers."""
    instrument()
    provider.script(Reply({"answers": ANSWER["answers"]}))
    with genai.Client(api_key="secret", http_options={"base_url": provider.url}) as client:
        client.decisions.create(**ASK)
    body = packets()[0]["body"]
    assert body["properties"] == {"payi_otel.usage_estimated": "input,output"}
    assert body["units"]["text"]["input"] > 5
