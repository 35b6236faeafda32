"""The younger resources of the SDK, where the installed version has them: beta responses and decisions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import Reply

openai = pytest.importorskip("openai")

USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 4},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 6},
    "total_tokens": 39,
}
UNITS = {
    "text": {"input": 16, "output": 3},
    "text_cache_read": {"input": 10, "output": 0},
    "text_cache_write": {"input": 4, "output": 0},
    "reasoning": {"input": 0, "output": 6},
}
EXPECTED = {"category": "system.openai", "resource": "gpt-5.6", "units": UNITS, "http_status_code": 200}
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5.6", "status": "completed", "output": [], "usage": USAGE}


def body(packet: dict[str, Any]) -> dict[str, Any]:
    """The packet's body with its JSON read."""
    assert packet["scope"] == SCOPE
    parsed = {name: json.loads(value) for name, value in packet["body"].items() if name.endswith("_json") and isinstance(value, str)}
    return {**packet["body"], **parsed}


@pytest.mark.skipif(not hasattr(openai.OpenAI(api_key="k").beta, "responses"), reason="this version has no beta responses")
async def test_a_beta_response_is_one_packet(instrument: Any, client: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """As a response; and a background one is billed by its fetch."""
    instrument()
    queued = {**RESPONSE, "id": "resp_2", "status": "queued", "background": True, "usage": None}
    provider.script(Reply(RESPONSE), Reply(queued), Reply({**RESPONSE, "id": "resp_2", "background": True}))
    client.beta.responses.create(model="gpt-5.6", input="Hi.")
    await async_client.beta.responses.create(model="gpt-5.6", input="Hi.", background=True)
    await async_client.beta.responses.retrieve("resp_2")
    first, second = sorted(packets(2), key=lambda packet: str(packet["body"]["provider_response_id"]))
    asked = {"model": "gpt-5.6", "input": "Hi."}
    assert body(first) == {
        **EXPECTED,
        "provider_response_id": "resp_1",
        "provider_request_json": asked,
        "provider_response_json": RESPONSE,
    }
    assert body(second)["units"] == UNITS
    assert body(second)["provider_request_json"] == {**asked, "background": True}


@pytest.mark.skipif(not hasattr(openai.OpenAI, "decisions"), reason="this version has no decisions")
async def test_a_decision_is_one_packet(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """It has no id of its own."""
    instrument()
    answer = {"model": "gpt-5.6", "answers": [{"type": "predicate", "probability": 0.9}], "usage": USAGE}
    provider.script(Reply(answer))
    asked = {"model": "gpt-5.6", "input": "Hi.", "questions": [{"type": "predicate", "text": "Is it a greeting?"}]}
    await async_client.decisions.create(**asked)
    assert body(packets()[0]) == {
        **EXPECTED,
        "provider_response_id": "payi_<uuid4>",
        "provider_request_json": asked,
        "provider_response_json": answer,
    }
