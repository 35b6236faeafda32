"""The three ways from an ended call to a server that the baselines compare, each with its default settings."""

from __future__ import annotations

import time
from typing import Any, Protocol

from fault_server import API_KEY, EVENT_ID

_MODEL = "gpt-5"


class Sender(Protocol):
    """One way to deliver."""

    def send(self, event_id: str) -> None:
        """What the caller's thread does for one call that ended."""
        ...

    def close(self) -> None:
        """What the process's exit does."""
        ...


class PayiOtel:
    """This package, from the ended span on, as `payi_instrument()` sets it up."""

    def __init__(self, url: str) -> None:
        from opentelemetry.sdk.trace import TracerProvider

        from payi_otel import Payi
        from payi_otel.clients import to_target
        from payi_otel.config import load_settings
        from payi_otel.context.scope import Scope
        from payi_otel.exporters._queue import to_queue
        from payi_otel.exporters.http import HttpSink
        from payi_otel.packets.units import Units, Usage
        from payi_otel.payload import Payload, registry
        from payi_otel.processors.retry_queue import RetryQueueSpanProcessor

        sink = HttpSink(to_target(Payi(api_key=API_KEY, base_url=url)))
        self._queue = to_queue(sink, load_settings({}), log_prompt_and_response=True)
        provider = TracerProvider()
        provider.add_span_processor(RetryQueueSpanProcessor(self._queue))
        self._tracer = provider.get_tracer("baselines")
        self._registry, self._payload, self._scope, self._usage = registry, Payload, Scope(), Usage({"text": Units(10, 5)})

    def send(self, event_id: str) -> None:
        """Starts and ends a span that has a payload."""
        span = self._tracer.start_span(f"chat {_MODEL}", attributes={"gen_ai.request.model": _MODEL})
        payload = self._payload(
            scope=self._scope,
            category="system.openai",
            module="openai/3.53.0",
            model=_MODEL,
            started_at_ns=time.time_ns(),
            http_status=200,
            response_id=event_id,
            usage=self._usage,
        )
        self._registry.put(span.get_span_context().span_id, payload)
        span.end()

    def close(self) -> None:
        """Within `exit_timeout_s`."""
        self._queue.shutdown()


class OpenTelemetry:
    """OpenTelemetry's batch processor with its OTLP/HTTP exporter."""

    def __init__(self, url: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider()
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces")))
        self._tracer = self._provider.get_tracer("baselines")

    def send(self, event_id: str) -> None:
        """Starts and ends a span."""
        usage = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5}
        self._tracer.start_span(f"chat {_MODEL}", attributes={"gen_ai.request.model": _MODEL, **usage, EVENT_ID: event_id}).end()

    def close(self) -> None:
        """Exports what is left."""
        self._provider.shutdown()


class Published:
    """The published SDK's ingest of a call that ended, and its retry queue."""

    def __init__(self, url: str) -> None:
        from payi import Payi
        from payi.lib import instrument
        from payi.lib.ProviderRequest import _ProviderRequest, _StreamingType

        class Request(_ProviderRequest):
            def process_chunk(self, chunk: Any) -> Any:
                raise NotImplementedError

            def process_request(self, *args: Any, **kwargs: Any) -> bool:
                return True

        instrument.payi_instrument(payi=Payi(api_key=API_KEY, base_url=url), instruments=set())
        self._instrumentor: Any = instrument._instrumentor
        self._make_request = lambda: Request(self._instrumentor, "system.openai", _StreamingType.generator, "openai", "3.53.0")

    def send(self, event_id: str) -> None:
        """Sends the packet in the caller's thread, as its wrapper does once the provider has answered."""
        from datetime import datetime, timezone

        request = self._make_request()
        request._ingest |= {
            "resource": _MODEL,
            "units": {"text": {"input": 10, "output": 5}},
            "event_timestamp": datetime.now(timezone.utc),
            "http_status_code": 200,
            "end_to_end_latency_ms": 1,
            "provider_response_id": event_id,
        }
        self._instrumentor._ingest_units(request)

    def close(self) -> None:
        """What it has registered with `atexit`, where its queue was ever used."""
        self._instrumentor._retry_manager.shutdown()


SENDERS: dict[str, type[PayiOtel] | type[OpenTelemetry] | type[Published]] = {
    "payi-otel": PayiOtel,
    "OpenTelemetry BSP + OTLP": OpenTelemetry,
    "published payi SDK": Published,
}
