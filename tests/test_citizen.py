"""A good citizen of OpenTelemetry: instrumentors that stand alone, exporters in a pipeline, what others record, what is switched off."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comparing import comparable
from openai_shapes import numbered
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from provider_server import ProviderServer, Reply

import payi_otel
from payi_otel import PayiFileSpanExporter, PayiSpanExporter
from payi_otel.context.scope import unset_defaults
from payi_otel.errors import ConfigurationError
from payi_otel.instrumentors.openai import OpenAIInstrumentor
from payi_otel.payload import registry
from payi_otel.testing import IngestServer

openai = pytest.importorskip("openai")
CALL: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi."}]}


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """Nothing stays instrumented, and no scope in force."""
    yield
    payi_otel.shutdown(5)
    instrumentor = OpenAIInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
    unset_defaults()
    registry._takers.clear()
    registry._other_takers.clear()


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """A provider whose answers have ids of their own."""
    server = ProviderServer()
    server.always("/chat/completions", numbered)
    yield server
    server.close()


@pytest.fixture
def client(provider: ProviderServer) -> Iterator[Any]:
    """A real client."""
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as one:
        yield one


def names(spans: InMemorySpanExporter) -> list[str]:
    """Of the spans that ended."""
    return [span.name for span in spans.get_finished_spans()]


def test_an_instrumentor_stands_alone(client: Any) -> None:
    """With a tracer provider of its own, no Pay-i and no `payi_instrument()`: spans, until it is taken away, and again after."""
    spans, tracing = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    plain = openai.resources.chat.completions.Completions.__dict__["create"]
    instrumentor = OpenAIInstrumentor()
    for turn in (1, 2):
        instrumentor.instrument(tracer_provider=tracing, skip_dep_check=True)
        instrumentor.instrument(skip_dep_check=True)  # as the launcher does, behind an application that did so itself
        client.chat.completions.create(**CALL)
        assert names(spans) == ["chat gpt-4o-mini"] * turn
        instrumentor.uninstrument()
        assert openai.resources.chat.completions.Completions.__dict__["create"] is plain
        client.chat.completions.create(**CALL)
        assert names(spans) == ["chat gpt-4o-mini"] * turn
    assert len(registry) == 0


def test_without_a_provider_a_call_has_no_span(client: Any, ingest: IngestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could see it; the packet is the same, and as soon as there is a provider, so are spans."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url), config={"use_case_name": "seen"})
    client.chat.completions.create(**CALL)
    spans, tracing = InMemorySpanExporter(), TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracing)
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    assert len(spans.get_finished_spans()) == 1
    one, two = sorted(map(comparable, ingest.packets), key=lambda packet: packet["body"]["provider_response_id"])
    assert json.dumps(one).replace("chatcmpl-1", "chatcmpl-2") == json.dumps(two)


def test_what_is_current_stays_so_in_a_call_without_a_span(provider: ProviderServer, ingest: IngestServer) -> None:
    """The application's own span of a provider that it set nowhere: what its HTTP client writes on the current one must arrive."""
    spans, tracing = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url))
    http = openai.DefaultHttpxClient(event_hooks={"request": [lambda request: trace.get_current_span().set_attribute("sent", True)]})
    with (
        openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0, http_client=http) as client,
        tracing.get_tracer("app").start_as_current_span("outer"),
    ):
        client.chat.completions.create(**CALL)
    (outer,) = spans.get_finished_spans()
    assert (outer.name, dict(outer.attributes or {})) == ("outer", {"sent": True})
    assert payi_otel.flush(10)
    assert len(ingest.packets) == 1


def test_what_is_suppressed_is_neither_a_span_nor_a_packet(client: Any, ingest: IngestServer) -> None:
    """And goes to the provider untouched."""
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url))
    with suppress_instrumentation():
        client.chat.completions.create(**CALL)
    assert payi_otel.flush(5)
    assert (payi_otel.stats().created, ingest.requests) == (0, [])


@pytest.mark.parametrize("kind", [SimpleSpanProcessor, BatchSpanProcessor])
@pytest.mark.parametrize("way", ["config", "keywords"])
def test_an_exporter_in_a_pipeline_is_all_that_is_needed(client: Any, ingest: IngestServer, kind: Any, way: str) -> None:
    """Beside an instrumentor: the whole packet, with the scope of the exporter's settings, content and all."""
    settings: dict[str, Any] = {"use_case_name": "plugged", "use_case_id": "1", "user_id": "ada", "ingest_retry": {"queue_interval": 0.5}}
    keys = {"api_key": ingest.api_key, "base_url": ingest.url}
    exporter = PayiSpanExporter(**keys, config=settings) if way == "config" else PayiSpanExporter(**keys, **settings)
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(kind(exporter))
    OpenAIInstrumentor().instrument(tracer_provider=tracing, skip_dep_check=True)
    client.chat.completions.create(**CALL)
    tracing.force_flush()
    assert exporter.force_flush(5000)
    (packet,) = map(comparable, ingest.packets)
    assert packet["scope"] == {"xproxy-usecase-name": "plugged", "xproxy-usecase-id": "1", "xproxy-user-id": "ada"}
    assert packet["body"]["units"] == {"text": {"input": 12, "output": 5}}
    assert json.loads(packet["body"]["provider_request_json"]) == CALL
    tracing.shutdown()


def test_a_wrong_keyword_of_an_exporter_is_one_clear_error() -> None:
    """As of `payi_instrument()`."""
    with pytest.raises(ConfigurationError, match="use_case_nme: unknown setting, did you mean 'use_case_name'"):
        PayiSpanExporter(api_key="k", use_case_nme="x")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="user_id: 1"):
        PayiFileSpanExporter(user_id=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"config: .* is not allowed"):
        PayiSpanExporter(api_key="k", config=5)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="file_name: int is not allowed"):
        PayiFileSpanExporter(file_name=5)  # type: ignore[arg-type]


def test_an_exporter_beside_payi_instrument_makes_no_second_packet(client: Any, ingest: IngestServer) -> None:
    """Whichever was there first."""
    tracing = TracerProvider(shutdown_on_exit=False)
    exporter = PayiSpanExporter(api_key=ingest.api_key, base_url=ingest.url)
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url))
    client.chat.completions.create(**CALL)
    payi_otel.shutdown(5)
    exporter.force_flush(5000)
    tracing.shutdown()
    assert len(ingest.packets) == 1


def test_two_exporters_make_one_packet(client: Any, ingest: IngestServer, tmp_path: Path) -> None:
    """The one that takes a call first has it; what each call costs is not doubled."""
    tracing = TracerProvider(shutdown_on_exit=False)
    exporters = [
        PayiSpanExporter(api_key=ingest.api_key, base_url=ingest.url),
        PayiFileSpanExporter(file_name=tmp_path / "packets.json"),
    ]
    for exporter in exporters:
        tracing.add_span_processor(SimpleSpanProcessor(exporter))
    OpenAIInstrumentor().instrument(tracer_provider=tracing, skip_dep_check=True)
    client.chat.completions.create(**CALL)
    tracing.shutdown()
    assert len(ingest.packets) + len(json.loads((tmp_path / "packets.json").read_bytes())) == 1


def test_an_exporter_that_was_shut_down_takes_nothing_more(client: Any, ingest: IngestServer) -> None:
    """The application goes on; what comes late is counted as lost there."""
    tracing = TracerProvider(shutdown_on_exit=False)
    exporter = PayiSpanExporter(api_key=ingest.api_key, base_url=ingest.url)
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    OpenAIInstrumentor().instrument(tracer_provider=tracing, skip_dep_check=True)
    tracing.shutdown()
    client.chat.completions.create(**CALL)
    assert exporter.queue.stats().dropped == {"shutdown": 1}


NATIVE = """
import os
import re
import anthropic
import payi_otel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

def ask():
    with anthropic.Anthropic(api_key="k", base_url=os.environ["PROVIDER"], max_retries=0) as client:
        client.messages.create(model="claude-opus-5", max_tokens=9, messages=[{"role": "user", "content": "Hi."}])

def start(**config):
    payi_otel.payi_instrument(config={"use_case_name": "native", **config})
"""
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 10,
        "cache_read_input_tokens": 60,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
        "output_tokens": 50,
    },
}
UNITS = {
    "text": {"input": 10, "output": 50},
    "text_cache_read": {"input": 60, "output": 0},
    "text_cache_write": {"input": 20, "output": 0},
    "text_cache_write_1h": {"input": 10, "output": 0},
}
PROGRAMS = {
    "provider first": "trace.set_tracer_provider(TracerProvider())\nstart()\nask()",
    "provider later": "start()\ntrace.set_tracer_provider(TracerProvider())\nask()",
    "sampled away": "trace.set_tracer_provider(TracerProvider(sampler=ALWAYS_OFF))\nstart()\nask()",
    "sampled away later": "start()\ntrace.set_tracer_provider(TracerProvider(sampler=ALWAYS_OFF))\nask()",
    "in a scope": "trace.set_tracer_provider(TracerProvider())\nstart()\nwith payi_otel.track_context(user_id='ada'):\n    ask()",
    "not wanted": "trace.set_tracer_provider(TracerProvider())\nstart(instruments=['system.openai'])\nask()",
    "not tracked": "trace.set_tracer_provider(TracerProvider())\nstart(global_instrumentation=False)\nask()",
    "suppressed": (
        "from opentelemetry.instrumentation.utils import suppress_instrumentation\n"
        "trace.set_tracer_provider(TracerProvider())\nstart()\nwith suppress_instrumentation():\n    ask()"
    ),
    "shut down": "trace.set_tracer_provider(TracerProvider())\nstart()\npayi_otel.shutdown()\nask()",
}
SILENT = ("not wanted", "not tracked", "suppressed", "shut down")


@pytest.mark.parametrize(
    ("program", "ours"),
    [*((program, False) for program in PROGRAMS), *((program, True) for program in ("provider first", "provider later", "in a scope"))],
)
def test_spans_of_the_anthropic_sdk_itself(ingest: IngestServer, tmp_path: Path, program: str, ours: bool) -> None:
    """It emits them on its own; beside ours they add nothing, and without ours they are the packet."""
    pytest.importorskip("anthropic._tracing", reason="this version of the SDK emits no spans")
    server = ProviderServer()
    server.always("/v1/messages", Reply(MESSAGE))
    (tmp_path / "program.py").write_text(NATIVE + PROGRAMS[program])
    disabled = {} if ours else {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "payi_anthropic"}
    environment = {**os.environ, "PAYI_API_KEY": ingest.api_key, "PAYI_BASE_URL": ingest.url, "PROVIDER": server.url, **disabled}
    done = subprocess.run(
        [sys.executable, "program.py"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    server.close()
    assert done.returncode == 0, done.stderr
    assert [packet["body"]["units"] for packet in ingest.packets] == ([] if program in SILENT else [UNITS])
    for packet in ingest.packets:
        assert packet["headers"]["xproxy-usecase-name"] == "native"
        assert packet["headers"].get("xproxy-user-id") == ("ada" if program == "in a scope" else None)
        assert ("payi_otel.instrumented_by" in packet["body"].get("properties", {})) is not ours


AT_EXIT = """
import os, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from payi_otel import PayiSpanExporter

exporter = PayiSpanExporter(exit_timeout_s=5) if sys.argv[1] == "exporter first" else None
provider = TracerProvider(shutdown_on_exit=sys.argv[2] == "yes")
processor = BatchSpanProcessor(exporter or PayiSpanExporter(exit_timeout_s=5))
provider.add_span_processor(processor)
tracer = provider.get_tracer("opentelemetry.instrumentation.genai.openai", "1")
for number in range(100):
    tracer.start_span("chat", attributes={
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5",
        "gen_ai.response.id": f"chatcmpl-{number}", "gen_ai.usage.input_tokens": 1}).end()
if sys.argv[2] == "flushed":
    processor.force_flush()
"""


@pytest.mark.parametrize("order", ["exporter first", "provider first"])
@pytest.mark.parametrize("shuts_down", ["yes", "flushed"])
def test_what_a_provider_flushes_at_its_exit_is_delivered(ingest: IngestServer, tmp_path: Path, order: str, shuts_down: str) -> None:
    """Whichever was made first; and where nobody shuts the exporter down, what it was given is."""
    environment = {**os.environ, "PAYI_API_KEY": ingest.api_key, "PAYI_BASE_URL": ingest.url}
    command = [sys.executable, "-c", AT_EXIT, order, shuts_down]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(ingest.packets) == 100


AGAIN = """
import payi_otel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

provider = TracerProvider(sampler=ALWAYS_OFF)
trace.set_tracer_provider(provider)
tracer = provider.get_tracer("opentelemetry.instrumentation.genai.openai")
recorded = []
for _ in range(3):
    payi_otel.payi_instrument()
    recorded.append(tracer.start_span("chat").is_recording())
    payi_otel.shutdown()
    recorded.append(tracer.start_span("chat").is_recording())
print(recorded, len(provider._active_span_processor._span_processors))
"""


def test_nothing_of_ours_stays_with_a_provider(ingest: IngestServer, tmp_path: Path) -> None:
    """After a shutdown its sampler alone decides again, and coming back adds no second processor."""
    environment = {**os.environ, "PAYI_API_KEY": ingest.api_key, "PAYI_BASE_URL": ingest.url}
    done = subprocess.run([sys.executable, "-c", AGAIN], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[True, False, True, False, True, False] 1\n"


def test_the_documented_pipeline_works(client: Any, ingest: IngestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of docs/opentelemetry.md, as it stands there."""
    monkeypatch.setenv("PAYI_API_KEY", ingest.api_key)
    monkeypatch.setenv("PAYI_BASE_URL", ingest.url)
    page = (Path(__file__).parents[1] / "docs" / "opentelemetry.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    client.chat.completions.create(**CALL)
    namespace["provider"].shutdown()
    (packet,) = map(comparable, ingest.packets)
    assert packet["scope"].items() >= {"xproxy-usecase-name": "shop", "xproxy-account-name": "acme"}.items()
