"""From an ended span to a packet: the processor, the span exporters, and calls whose spans nobody sees."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from delivery_fakes import DOWN, Retry, make_packet
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from payi_otel.context.scope import Scope, unset_defaults
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.errors import ConfigurationError
from payi_otel.exporters.span_exporter import PayiFileSpanExporter, PayiSpanExporter
from payi_otel.packets.model import IngestPacket
from payi_otel.payload import Payload, registry
from payi_otel.processors.retry_queue import RetryQueueSpanProcessor
from payi_otel.testing import API_KEY, CapturingSink, IngestServer


@pytest.fixture(autouse=True)
def clean_registry() -> Iterator[None]:
    """Nothing of one test's in another."""
    yield
    unset_defaults()
    registry._takers.clear()
    registry._other_takers.clear()
    assert len(registry) == 0


def convert(payload: Payload) -> IngestPacket:
    """Says in the packet's id which call it was."""
    return make_packet(str(payload.model))


def make_queue(sink: CapturingSink, **settings: Any) -> DeliveryQueue:
    """A queue over a capturing sink."""
    return DeliveryQueue(sink, convert=convert, retry=Retry(), **settings)


def make_payload(model: str = "gpt-5") -> Payload:
    """A call that succeeded."""
    return Payload(Scope(), "system.openai", "openai/3.53.0", model=model, http_status=200, started_at_ns=1_767_225_600_000_000_000)


def call(provider: TracerProvider, name: str, payload: Payload | None = None, **attributes: Any) -> None:
    """What an instrumentor does for one call."""
    span = provider.get_tracer("test").start_span(name, attributes=attributes)
    span_id = span.get_span_context().span_id
    if payload is not None:
        registry.put(span_id, payload)
    span.end()
    registry.hand_over(span_id)


def ids(sink: CapturingSink) -> list[str]:
    """What was delivered."""
    return [packet.response_id.removeprefix("chatcmpl-") for packet in sink.packets]


@pytest.mark.parametrize(("calls", "said"), [(1, "1 call was"), (2, "2 calls were")])
def test_calls_without_an_answer_are_named_at_shutdown(calls: int, said: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing else tells of them."""
    for number in range(calls):
        registry.put(number, make_payload())
    with caplog.at_level(logging.WARNING, "payi.instrument"):
        registry.end_open()
    for number in range(calls):
        registry.claim(number)
    assert [record.getMessage() for record in caplog.records] == [f"{said} still waiting for an answer: not recorded"]


class TestProcessor:
    """`RetryQueueSpanProcessor`."""

    def test_a_call_becomes_one_packet(self) -> None:
        """A flush of the provider waits for it."""
        sink = CapturingSink()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(RetryQueueSpanProcessor(make_queue(sink)))
        call(provider, "chat", make_payload())
        assert provider.force_flush()
        assert ids(sink) == ["gpt-5"]
        provider.shutdown()
        assert sink.closed

    def test_spans_of_others_are_ignored(self) -> None:
        """Without a payload a span is not ours, or another pipeline made its packet: our attribute alone makes no second one."""
        sink = CapturingSink()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(RetryQueueSpanProcessor(make_queue(sink)))
        call(provider, "GET /")
        call(provider, "SELECT", **{"db.system": "sqlite", "gen_ai.operation.name": "chat"})
        call(provider, "chat", **{"payi.category": "system.openai"})
        assert provider.force_flush()
        assert ids(sink) == []
        provider.shutdown()

    def test_a_call_whose_span_was_sampled_away_becomes_a_packet(self) -> None:
        """Cost is not sampled."""
        sink = CapturingSink()
        provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        provider.add_span_processor(RetryQueueSpanProcessor(make_queue(sink)))
        call(provider, "chat", make_payload())
        assert provider.force_flush()
        assert ids(sink) == ["gpt-5"]
        provider.shutdown()

    def test_two_processors_count_a_call_once(self) -> None:
        """The first one claims it."""
        first, second = CapturingSink(), CapturingSink()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(RetryQueueSpanProcessor(make_queue(first)))
        provider.add_span_processor(RetryQueueSpanProcessor(make_queue(second)))
        call(provider, "chat", make_payload())
        assert provider.force_flush()
        assert (ids(first), ids(second)) == (["gpt-5"], [])
        provider.shutdown()

    @pytest.mark.parametrize("sampler", [{}, {"sampler": ALWAYS_OFF}], ids=["sampled", "unsampled"])
    def test_an_inline_call_gets_a_ticket_to_wait_on(self, sampler: dict[str, Any]) -> None:
        """And only then."""
        for inline in (True, False):
            sink = CapturingSink()
            provider = TracerProvider(shutdown_on_exit=False, **sampler)
            provider.add_span_processor(RetryQueueSpanProcessor(make_queue(sink, inline=inline)))
            payload = make_payload()
            call(provider, "chat", payload)
            assert (payload.awaited is not None) is inline
            assert payload.awaited is None or payload.awaited.wait(5)
            provider.shutdown()

    def test_a_flush_that_times_out_says_so(self) -> None:
        """In milliseconds, as OpenTelemetry has it."""
        sink = CapturingSink(lambda packet: DOWN)
        processor = RetryQueueSpanProcessor(make_queue(sink, exit_timeout_s=0.0))
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        call(provider, "chat", make_payload())
        assert not processor.force_flush(50)
        provider.shutdown()

    def test_a_call_after_shutdown_is_counted_as_dropped(self) -> None:
        """Neither raised nor forgotten."""
        queue = make_queue(CapturingSink())
        processor = RetryQueueSpanProcessor(queue)
        processor.shutdown()
        provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        call(provider, "chat", make_payload())
        assert queue.stats().dropped == {"shutdown": 1}

    def test_the_registry_keeps_no_queue_alive(self) -> None:
        """It is the process's; queues come and go."""
        import gc
        import weakref

        reference = weakref.ref(RetryQueueSpanProcessor(make_queue(CapturingSink()))._queue)
        gc.collect()
        assert reference() is None
        registry.offer(make_payload())


@pytest.mark.parametrize("kind", [SimpleSpanProcessor, BatchSpanProcessor])
@pytest.mark.parametrize("sampler", [{}, {"sampler": ALWAYS_OFF}], ids=["sampled", "unsampled"])
class TestExporter:
    """A Pay-i exporter in a pipeline of the application's."""

    def test_each_call_becomes_one_packet(self, kind: Any, sampler: dict[str, Any]) -> None:
        """However the pipeline batches and samples; spans of others are left alone."""
        sink = CapturingSink()
        exporter = PayiSpanExporter(_make_queue=lambda: make_queue(sink))
        provider = TracerProvider(shutdown_on_exit=False, **sampler)
        provider.add_span_processor(kind(exporter))
        for number in range(5):
            call(provider, "chat", make_payload(f"m{number}"), **{"payi.category": "system.openai"})
            call(provider, "GET /")
        provider.force_flush()
        assert exporter.force_flush(5000)
        assert sorted(ids(sink)) == [f"m{number}" for number in range(5)]
        provider.shutdown()
        assert sink.closed
        assert exporter.export([]) is SpanExportResult.FAILURE

    def test_packets_go_to_pay_i_by_keywords_alone(self, kind: Any, sampler: dict[str, Any]) -> None:
        """Settings, target, sink and conversion are made of them."""
        with IngestServer() as server:
            exporter = PayiSpanExporter(api_key=API_KEY, base_url=server.url, config={"ingest_retry": {"queue_interval": 0.1}})
            provider = TracerProvider(shutdown_on_exit=False, **sampler)
            provider.add_span_processor(kind(exporter))
            call(provider, "chat", make_payload())
            provider.force_flush()
            assert server.wait_for_packets(1)
            provider.shutdown()
            assert server.packets[0]["body"]["resource"] == "gpt-5"

    def test_packets_go_to_a_file_by_keywords_alone(self, kind: Any, sampler: dict[str, Any], tmp_path: Path) -> None:
        """No key is needed; the setting names the file as well."""
        for keywords in (
            {"file_name": tmp_path / "a.json"},
            {"config": {"offline_instrumentation": {"file_name": str(tmp_path / "b.json")}}},
        ):
            exporter = PayiFileSpanExporter(**keywords)
            provider = TracerProvider(shutdown_on_exit=False, **sampler)
            provider.add_span_processor(kind(exporter))
            call(provider, "chat", make_payload())
            provider.shutdown()
        for name in ("a.json", "b.json"):
            assert [record["resource"] for record in json.loads((tmp_path / name).read_bytes())] == ["gpt-5"]


def test_an_exporter_without_a_key_says_so() -> None:
    """At start."""
    with pytest.raises(ConfigurationError):
        PayiSpanExporter()


def test_an_exporter_refuses_a_wrong_setting() -> None:
    """The same check as everywhere."""
    with pytest.raises(ConfigurationError):
        PayiSpanExporter(api_key="k", config={"ingest_retry": {"queue_interval": -1}})
