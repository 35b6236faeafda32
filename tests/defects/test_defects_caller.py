"""Defects seen in the published SDK's way of delivering (docs/differences.md): what a call of the caller's waits for."""

from __future__ import annotations

import linecache
import threading
from typing import Any

import pytest
from provider_server import Reply

import payi_otel
from payi_otel.testing import Answer

openai = pytest.importorskip("openai")

CHAT = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "Say hello."}]}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4.1-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
}


def test_a_call_is_over_before_its_packet_is_delivered(provider: Any, instrument: Any, ingest: Any) -> None:
    """Pay-i has the packet in hand and has not answered: the caller has his own answer, and nothing counts as delivered."""
    ingest.script(Answer(hang=True))
    instrument()
    provider.script(Reply(COMPLETION))
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as client:
        assert client.chat.completions.create(**CHAT).id == "chatcmpl-1"
    assert not payi_otel.flush(0.1)
    assert payi_otel.stats().delivered == 0


def test_no_source_is_read_in_the_callers_thread(
    provider: Any, instrument: Any, packets: Any, ingest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack's text is put together by a worker."""
    readers: set[int] = set()
    real = linecache.getlines

    def noted(*args: Any, **kwargs: Any) -> Any:
        readers.add(threading.get_ident())
        return real(*args, **kwargs)

    monkeypatch.setattr(linecache, "getlines", noted)
    instrument()
    provider.script(Reply(COMPLETION))
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as client:
        client.chat.completions.create(**CHAT)
    packets()
    assert "test_defects_caller.py" in ingest.packets[0]["body"]["properties"]["system.stack_trace"]
    assert threading.get_ident() not in readers
    assert readers
