"""`PayiSpanExporter` and `PayiFileSpanExporter`: Pay-i delivery for a tracing pipeline that exists already."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from payi_otel._guard import guard
from payi_otel.delivery._unclaimed import feed_unclaimed
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.exporters._queue import to_queue
from payi_otel.payload import registry

if TYPE_CHECKING:
    from typing import TypeAlias

    from payi_otel.config import PayiInstrumentConfig

    Config: TypeAlias = PayiInstrumentConfig | Mapping[str, Any] | None


class _QueueExporter(SpanExporter):
    """Hands the payloads of instrumented calls to a queue of its own.

    A batching processor exports a span long after its call ended; its payload has come here by then through the registry. So a
    span is counted here only where its payload is still to be claimed: never twice, and never a second time by its attributes.
    """

    def __init__(self, queue: DeliveryQueue) -> None:
        self._queue = queue
        self._is_shut_down = False
        feed_unclaimed(queue)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Accepts ended spans; delivery goes on behind. `FAILURE` only after shutdown."""
        for span in spans:
            with guard("taking an exported span"):
                self._take(span)
        return SpanExportResult.FAILURE if self._is_shut_down else SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until what was accepted is delivered or given up; False when the time ran out."""
        return self._queue.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Delivers what is left within the exit deadline, and says what is lost."""
        self._is_shut_down = True
        with guard("shutting down delivery"):
            self._queue.shutdown()

    def _take(self, span: ReadableSpan) -> None:
        context = span.context
        payload = registry.claim(context.span_id) if context is not None else None
        if payload is not None:
            payload.ticket = self._queue.submit(span, payload)


class PayiSpanExporter(_QueueExporter):
    """Sends a Pay-i packet for every instrumented call, sampled or not, whose span passes through this pipeline."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        log_prompt_and_response: bool = True,
        config: Config = None,
        _make_queue: Callable[[], DeliveryQueue] | None = None,
    ) -> None:
        """Reads the settings; nothing is opened before the first call.

        Args:
            api_key: Pay-i's key; `PAYI_API_KEY` where it is not given.
            base_url: Where Pay-i is; `PAYI_BASE_URL`, else its public address.
            log_prompt_and_response: False: no prompt, answer, tool argument or error text leaves the process.
            config: The same settings that `payi_instrument` takes.

        Raises:
            ConfigurationError: A setting is wrong, or there is no key.
        """
        super().__init__(_make_queue() if _make_queue is not None else _to_http_queue(api_key, base_url, config, log_prompt_and_response))


class PayiFileSpanExporter(_QueueExporter):
    """Writes the packets to an offline file instead; see `FileSink`. No key is needed."""

    def __init__(
        self,
        *,
        file_name: str | os.PathLike[str] | None = None,
        log_prompt_and_response: bool = True,
        config: Config = None,
        _make_queue: Callable[[], DeliveryQueue] | None = None,
    ) -> None:
        """Opens or creates the file.

        Args:
            file_name: The file; else `offline_instrumentation.file_name`, else `payi_instrumentation_<timestamp>.json`.
            log_prompt_and_response: False: no prompt, answer, tool argument or error text is written.
            config: The same settings that `payi_instrument` takes.

        Raises:
            ConfigurationError: A setting is wrong, or the file cannot be written.
        """
        super().__init__(_make_queue() if _make_queue is not None else _to_file_queue(file_name, config, log_prompt_and_response))


def _to_http_queue(api_key: str | None, base_url: str | None, config: Config, logs: bool) -> DeliveryQueue:
    from payi_otel.clients import Payi, to_target
    from payi_otel.config import load_settings
    from payi_otel.exporters.http import HttpSink

    settings = load_settings(config)
    sink = HttpSink(to_target(Payi(api_key=api_key, base_url=base_url)), bulk=settings.ingest_bulk)
    return to_queue(sink, settings, log_prompt_and_response=logs)


def _to_file_queue(file_name: str | os.PathLike[str] | None, config: Config, logs: bool) -> DeliveryQueue:
    from payi_otel.config import load_settings
    from payi_otel.exporters.file import FileSink

    settings = load_settings(config)
    configured = settings.offline_instrumentation.file_name if settings.offline_instrumentation is not None else None
    return to_queue(FileSink(file_name if file_name is not None else configured), settings, log_prompt_and_response=logs)
