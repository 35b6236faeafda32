"""What the tests of frameworks share: calls as a user makes them, and the whole packets that are owed for them."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import foreign_replies as said
import pytest
from provider_server import ProviderServer, Reply

from payi_otel import track, track_context
from payi_otel.testing import IngestServer

USER, STEP = "ann@example.com", "answer"
QUESTION = "Say hello."
SCOPE = {"xproxy-usecase-name": "support", "xproxy-usecase-id": "case-7", "xproxy-usecase-step": STEP, "xproxy-user-id": USER}
"""What `within_scope` says, as a packet's headers have it."""
ASKED = ("chatcmpl-1", "chatcmpl-2")


def framework(*modules: str) -> None:
    """Skips a module where one of these is not installed; a framework's warnings at its import are its own."""
    for name in modules:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip(f"{name} is not installed", allow_module_level=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in modules:
            importlib.import_module(name)


@dataclass(frozen=True)
class Service:
    """What a provider's calls are worth."""

    category: str
    resource: str
    units: Mapping[str, Mapping[str, int]]
    response_id: str
    host_path: str = ""


OPENAI = Service("system.openai", "gpt-4.1-mini", said.OPENAI_UNITS, "chatcmpl-1")
RESPONSES = Service("system.openai", "gpt-4.1-mini", said.OPENAI_UNITS, "resp_1")
EMBEDDINGS = Service("system.openai", "text-embedding-3-small", said.INPUT_UNITS, "payi_<uuid4>")
CLAUDE = Service("system.anthropic", "claude-opus-5", said.CLAUDE_UNITS, "msg_1")
GEMINI = Service("system.google.vertex", f"google.{said.GEMINI}", said.GEMINI_UNITS, "r1")
BEDROCK = Service("system.aws.bedrock", "amazon.nova-lite-v1:0", said.BEDROCK_UNITS, "req-1")


CONVERSE_EVENTS = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": "Hello"}}},
    {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": " there."}}},
    {"contentBlockStop": {"contentBlockIndex": 0}},
    {"messageStop": {"stopReason": "end_turn"}},
    {"metadata": {"usage": said.CONVERSE_USAGE, "metrics": {"latencyMs": 1}}},
]
"""Of `said.CONVERSE_STREAM`, whose frames are bytes."""


@dataclass(frozen=True)
class Case:
    """A framework's model, and what it is answered."""

    model: Callable[[str], Any]
    service: Service
    plain: Reply
    stream: Reply


def within_scope(call: Callable[[], Any]) -> Any:
    """Makes calls as an application does: a tracked function, and a block that says whose they are. Awaits what is to be awaited."""

    @track(use_case_name="support", use_case_id="case-7")
    def answer() -> Any:
        with track_context(user_id=USER, use_case_step=STEP):
            return call()

    @track(use_case_name="support", use_case_id="case-7")
    async def answer_later() -> Any:
        async with track_context(user_id=USER, use_case_step=STEP):
            return await call()

    return asyncio.run(answer_later()) if asyncio.iscoroutinefunction(call) else answer()


def read_all(stream: Callable[[], Any]) -> Callable[[], Awaitable[list[Any]]]:
    """An async stream, read to its end."""

    async def read() -> list[Any]:
        return [piece async for piece in stream()]

    return read


def owed(service: Service, request: Mapping[str, Any], reply: Reply, *, ours: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
    """The whole packet of one request: what went and what came, as the provider's server saw it.

    Args:
        service: Whose call it is.
        request: As the server got it.
        reply: As the server gave it.
        ours: Of the request, what we added and the packet therefore leaves out.
        **changes: Of the packet's body; None takes a key away.
    """
    streamed = reply.events is not None
    body = {
        "category": service.category,
        "resource": service.resource,
        "units": service.units,
        "http_status_code": reply.status,
        "provider_response_id": service.response_id,
        "provider_request_json": {name: value for name, value in request["body"].items() if name not in ours},
        "provider_response_json": (CONVERSE_EVENTS if service is BEDROCK else list(reply.events or ())) if streamed else reply.body,
        "time_to_first_token_ms": "ms" if streamed else None,
        "time_to_first_completion_token_ms": "ms" if streamed else None,
        **changes,
    }
    return {"body": {name: value for name, value in body.items() if value is not None}, "scope": SCOPE}


def read(packet: Mapping[str, Any]) -> dict[str, Any]:
    """A comparable packet with its JSON texts parsed; request headers, which are the SDK's business, left out."""
    body = {name: value for name, value in packet["body"].items() if name != "provider_request_headers"}
    for name in ("provider_request_json", "provider_response_json"):
        text = body.get(name)
        if isinstance(text, list):
            body[name] = [json.loads(item) for item in text]
        elif isinstance(text, str):
            body[name] = json.loads(text)
    return {"body": body, "scope": packet["scope"]}


TOOL_CALLS = [{"name": "look_up", "arguments": '{"city":"Rome"}'}]
"""Of the replies that call a tool."""


def program(code: str, provider: ProviderServer, ingest: IngestServer, **environment: str) -> str:
    """Runs a program of a user's, in a process of its own; gives what it printed."""
    servers = {
        "PAYI_API_KEY": ingest.api_key,
        "PAYI_BASE_URL": ingest.url,
        "PAYI_OTEL_INGEST_BULK": "false",
        "OPENAI_API_KEY": "k",
        "OPENAI_BASE_URL": provider.url + "/v1",
        "OPENAI_API_BASE": provider.url + "/v1",
        "ANTHROPIC_API_KEY": "k",
        "ANTHROPIC_BASE_URL": provider.url,
        "ANTHROPIC_API_BASE": provider.url,
        "PROVIDER_URL": provider.url,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **servers, **OFFLINE, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


OFFLINE = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LANGSMITH_TRACING": "false",
    "LOGFIRE_SEND_TO_LOGFIRE": "false",
}
"""Keeps frameworks from looking for a network."""


TRACED = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, tracing = InMemorySpanExporter(), TracerProvider()
tracing.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(tracing)
import payi_otel

payi_otel.payi_instrument(config={"use_case_name": "support"})
"""
"""How a program begins that has a tracer provider of its own; what it switches on comes behind, and `CALLS`."""
TRACED_END = """
assert payi_otel.flush(30)
payi_otel.shutdown(10)
theirs = {span.instrumentation_scope.name for span in spans.get_finished_spans()}
print(*sorted(name for name in theirs if not name.startswith("payi_otel")), sep="\\n")
"""
"""And how it ends: with the scopes of all spans but ours."""


def billed(ingest: IngestServer) -> Sequence[tuple[str | None, str, str, Any]]:
    """Of every packet that was sent: user, resource, id and units."""
    return [
        (
            one["headers"].get("xproxy-user-id"),
            one["body"]["resource"],
            one["body"]["provider_response_id"],
            one["body"]["units"],
        )
        for one in ingest.requests
    ]
