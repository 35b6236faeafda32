"""Chat completions, plain: whole packets of real SDK calls."""

from __future__ import annotations

import json
from typing import Any

from comparing import SCOPE
from openai_shapes import completion
from provider_server import Reply

MESSAGES = [{"role": "user", "content": "Say hello."}]
REQUEST = {"messages": MESSAGES, "model": "gpt-4o-mini"}


def test_plain_call_becomes_one_whole_packet(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Every field of the packet, for the simplest call there is."""
    instrument()
    provider.script(Reply(completion()))
    client.chat.completions.create(**REQUEST)
    (packet,) = packets()
    assert json.loads(packet["body"].pop("provider_request_json")) == REQUEST
    assert json.loads(packet["body"].pop("provider_response_json")) == completion()
    assert packet == {
        "body": {
            "category": "system.openai",
            "resource": "gpt-4o-mini",
            "units": {"text": {"input": 12, "output": 5}},
            "http_status_code": 200,
            "provider_response_id": "chatcmpl-1",
        },
        "scope": SCOPE,
    }


async def test_async_call_becomes_the_same_packet(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """Sync and async calls are billed alike."""
    instrument()
    provider.script(Reply(completion()))
    await async_client.chat.completions.create(**REQUEST)
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 12, "output": 5}}
    assert packet["scope"] == SCOPE
