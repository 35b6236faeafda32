"""The first call: everything that it needs is there when `payi_instrument()` has returned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FIRST = """
import sys
import httpx2, openai
answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini", "choices": [], "usage":
    {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
def call(client):
    client.chat.completions.create(model="gpt-4o-mini", messages=[])
def new_client():
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=answer))
    return openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=transport))
call(new_client())  # what the SDK itself imports late
import payi_otel
payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": sys.argv[1]}})
client, before = new_client(), set(sys.modules)
from payi_otel._hosts import categories_of
call(client)
categories_of("api.example.com")  # what is asked of a request over the network
print(sorted(set(sys.modules) - before))
payi_otel.shutdown()
"""


def test_a_call_imports_nothing(tmp_path: Path) -> None:
    """To import takes milliseconds, and a fork in the middle of it leaves the child a lock that nobody holds any more."""
    pytest.importorskip("httpx2")
    command = [sys.executable, "-W", "ignore", "-c", FIRST, str(tmp_path / "packets.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
