"""Servers that only speak like OpenAI give ids and models that are no texts: their calls are billed under ids of ours."""

from __future__ import annotations

from typing import Any

import pytest
from openai_shapes import chat_events, completion
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from provider_server import ProviderServer, Reply

openai = pytest.importorskip("openai")

CALL: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi."}]}
ODD = {"a number": 123, "a list": ["c"], "an object": {"c": 1}, "true": True, "a fraction": 1.5}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_call_with_an_odd_id_is_billed(
    provider: ProviderServer, instrument: Any, packets: Any, monkeypatch: pytest.MonkeyPatch, odd: Any, stream: bool, traced: bool
) -> None:
    """Each time, also where the next answer has the same one; by the model that was asked for."""
    if traced:
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    instrument()
    own = {"id": odd, "model": odd}
    reply = Reply(events=[{**event, **own} for event in chat_events()]) if stream else Reply({**completion(), **own})
    provider.script(reply, reply)
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as client:
        for _ in range(2):
            result = client.chat.completions.create(stream=stream, **CALL)
            if stream:
                list(result)
    bodies = [packet["body"] for packet in packets(2)]
    facts = [(body["provider_response_id"], body["resource"], body["units"]) for body in bodies]
    assert facts == [("payi_<uuid4>", "gpt-4o-mini", {"text": {"input": 12, "output": 5}})] * 2
