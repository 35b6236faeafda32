"""`import payi_otel` is light: what only some users need is loaded when they use it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from payi_otel._providers import providers

HEAVY = (*(module for facts in providers() for module in facts.modules), "grpc", "rich", "httpx", "httpx2", "tiktoken", "payi")


def test_import_loads_nothing_heavy() -> None:
    """No provider SDK, no grpc, no rich, no HTTP client, no tokenizer, and nothing of the published SDK; every name is there."""
    code = f"""
import sys, payi_otel
assert payi_otel.payi_instrument and payi_otel.track
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_opentelemetrys_sdk_is_loaded_where_there_is_a_pipeline() -> None:
    """An application without one does not pay for it; what stands on it is there for who asks."""
    code = """
import sys, payi_otel
payi_otel.payi_instrument(payi=payi_otel.Payi(api_key="test-key", base_url="http://127.0.0.1:9"))
print([name for name in sys.modules if name.startswith("opentelemetry.sdk")])
print(payi_otel.PayiSpanExporter.__name__, payi_otel.RetryQueueSpanProcessor.__name__, "opentelemetry.sdk.trace" in sys.modules)
try:
    payi_otel.nothing
except AttributeError as fault:
    print(fault)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    named = ["PayiSpanExporter RetryQueueSpanProcessor True", "module 'payi_otel' has no attribute 'nothing'"]
    assert done.stdout.splitlines() == ["[]", *named]


def test_an_http_client_comes_without_its_command_line() -> None:
    """Neither rich nor click is loaded to send packets; `httpx.main` is there all the same, and what it calls is httpx's own."""
    code = """
import sys, payi_otel
sys.modules["httpx2"] = None
payi_otel.payi_instrument(payi=payi_otel.Payi(api_key="test-key", base_url="http://127.0.0.1:9"))
import httpx
assert httpx.Client
print([name for name in ("rich", "click", "pygments", "httpx._main") if name in sys.modules])
try:
    httpx.main(["--help"], prog_name="httpx")
except SystemExit as end:
    print(end.code)
import httpx._main
print(httpx._main.main.name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-2:]) == ("[]", ["0", "main"])
    assert "httpx <URL>" in done.stdout


def test_httpx2_sends_where_it_is_installed_and_httpx_is_left_alone() -> None:
    """An application may have its other libraries use httpx2 as well, which fails where anybody has imported httpx before."""
    pytest.importorskip("httpx2")
    pytest.importorskip("openai", minversion="3")
    code = """
import sys, payi_otel
from payi_otel.testing import IngestServer

with IngestServer() as server:
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key="test-key", base_url=server.url))
    print(sorted({"httpx", "httpcore", "httpx2", "httpcore2"}.intersection(sys.modules)))
    import httpx2, openai
    httpx2.alias_httpx()
    answer = {"id": "c", "choices": [], "created": 1, "model": "gpt-5", "object": "chat.completion",
              "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=answer))
    client = openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=transport))
    client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "Hi."}])
    payi_otel.shutdown()
    print([packet["body"]["units"] for packet in server.packets], sys.modules["httpx"] is httpx2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    units = {"text": {"input": 7, "output": 5}}
    assert (done.stdout.splitlines(), done.stderr) == (["['httpcore2', 'httpx2']", f"[{units}] True"], "")
