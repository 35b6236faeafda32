"""docs/frameworks.md says what is true: each block runs as it stands, and every request in it is one packet of the user it names."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import foreign_replies as said
import pytest
from framework_calls import program
from provider_server import ProviderServer, Reply

from payi_otel.testing import IngestServer

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
NEEDS = re.compile(r"^(?:from|import) (langchain_openai|llama_index|pydantic_ai|crewai|litellm)\b", re.MULTILINE)
ANSWER = {"role": "assistant", "content": "Final Answer: It is on its way."}


def answer(number: int) -> Reply:
    """An answer with an id of its own."""
    choices = [{"index": 0, "message": ANSWER, "finish_reason": "stop"}]
    return Reply({**said.CHAT.body, "id": f"chatcmpl-{number}", "choices": choices})


@pytest.mark.parametrize("block", BLOCKS, ids=[NEEDS.findall(block)[0] for block in BLOCKS])
def test_a_block_runs(block: str, provider: ProviderServer, ingest: IngestServer) -> None:
    """With the framework it is about, against a provider on loopback."""
    name = NEEDS.findall(block)[0]
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    provider.always("/chat/completions", said.CHAT_STREAM if name == "llama_index" else answer)
    provider.script(said.MESSAGE)
    program(block, provider, ingest)
    assert provider.requests
    found = [(packet["headers"]["xproxy-user-id"], packet["headers"]["xproxy-usecase-name"]) for packet in ingest.requests]
    assert found == [("alice", "support")] * len(provider.requests)
    assert all(packet["body"]["units"]["text"]["output"] > 0 for packet in ingest.requests)
