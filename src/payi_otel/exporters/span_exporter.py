"""`PayiSpanExporter` and `PayiFileSpanExporter`: Pay-i delivery for a tracing pipeline that exists already."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from payi_otel._guard import guard
from payi_otel.config import Settings, load_settings, program_name
from payi_otel.context import defaults
from payi_otel.delivery._unclaimed import feed_unclaimed
from payi_otel.delivery.intake import Intake
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.errors import ConfigurationError
from payi_otel.exporters._latest import note_exporter
from payi_otel.exporters._queue import to_http_sink, to_queue
from payi_otel.limits import limits

if TYPE_CHECKING:
    from typing import TypeAlias

    from typing_extensions import Unpack

    from payi_otel.config import PayiInstrumentConfig

    Config: TypeAlias = PayiInstrumentConfig | Mapping[str, Any] | None


class QueueExporter(SpanExporter):
    """Hands calls to a queue of its own: those of our instrumentors with all they know, others as their spans tell them.

    A batching processor exports a span long after its call ended; what our instrumentors know has come here by then through the
    registry, sampled or not. Where a processor of ours takes a span first, it is not counted here.
    """

    def __init__(self, queue: DeliveryQueue, settings: Settings) -> None:
        self.queue: DeliveryQueue = queue
        self.settings: Settings = settings
        self.is_shut_down: bool = False
        self._intake = Intake(queue, sees_starts=False, categories=settings.instruments)
        feed_unclaimed(queue, first=False)
        defaults.apply(settings, program_name(), log_prompt_and_response=settings.log_prompt_and_response, yields=True)
        self._limits: object | None = None
        if settings.on_limit is not None or settings.enforce_limits:
            self._limits = limits.begin(settings.on_limit, enforces=settings.enforce_limits, yields=True)
        note_exporter(self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Accepts ended spans; delivery goes on behind. `FAILURE` only after shutdown."""
        with guard("taking exported spans"):
            self._intake.export(spans)
        return SpanExportResult.FAILURE if self.is_shut_down else SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until what was accepted is delivered or given up; False when the time ran out."""
        with guard("sending what waits"):
            self._intake.release()
        return self.queue.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Delivers what is left within the exit deadline, and says what is lost."""
        self.is_shut_down = True
        with guard("shutting down delivery"):
            self.queue.shutdown()
        if self._limits is not None:  # no answer would say any more that a limit is not blocked
            limits.end(self._limits)


class PayiSpanExporter(QueueExporter):
    """Sends a Pay-i packet for every call whose span passes through this pipeline, and for every call of our instrumentors."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        config: Config = None,
        _make_queue: Callable[[], DeliveryQueue] | None = None,
        **settings: Unpack[PayiInstrumentConfig],
    ) -> None:
        """Reads the settings; nothing is opened before the first call.

        Args:
            api_key: Pay-i's key; `PAYI_API_KEY` where it is not given.
            base_url: Where Pay-i is; `PAYI_BASE_URL`, else its public address.
            config: The same settings that `payi_instrument` takes.
            **settings: The same by name, as OpenTelemetry's declarative configuration gives them; they win over `config`.

        Raises:
            ConfigurationError: A setting is wrong, or there is no key.
        """
        read = _read(config, settings)
        super().__init__(_make_queue() if _make_queue is not None else _to_http_queue(api_key, base_url, read), read)


class PayiFileSpanExporter(QueueExporter):
    """Writes the packets to an offline file instead; see `FileSink`. No key is needed."""

    def __init__(
        self,
        *,
        file_name: str | os.PathLike[str] | None = None,
        config: Config = None,
        _make_queue: Callable[[], DeliveryQueue] | None = None,
        **settings: Unpack[PayiInstrumentConfig],
    ) -> None:
        """Opens or creates the file.

        Args:
            file_name: The file; else `offline_instrumentation.file_name`, else `payi_instrumentation_<timestamp>.json`.
            config: The same settings that `payi_instrument` takes.
            **settings: The same by name, as OpenTelemetry's declarative configuration gives them; they win over `config`.

        Raises:
            ConfigurationError: A setting is wrong, or the file cannot be written.
        """
        read = _read(config, settings)
        super().__init__(_make_queue() if _make_queue is not None else _to_file_queue(file_name, read), read)


def _read(config: Config, settings: Mapping[str, Any]) -> Settings:
    if config is None or isinstance(config, Mapping):
        return load_settings({**(config or {}), **settings})
    return load_settings(config)  # which says what is wrong with it


def _to_http_queue(api_key: str | None, base_url: str | None, settings: Settings) -> DeliveryQueue:
    from payi_otel.clients import Payi

    sink = to_http_sink(Payi(api_key=api_key, base_url=base_url), settings, yields=True)
    return to_queue(sink, settings, log_prompt_and_response=settings.log_prompt_and_response, has_owner=True)


def _to_file_queue(file_name: str | os.PathLike[str] | None, settings: Settings) -> DeliveryQueue:
    from payi_otel.exporters.file import FileSink

    if not isinstance(file_name, str | os.PathLike | None):
        raise ConfigurationError([f"file_name: {type(file_name).__name__} is not allowed, must be a str or a path"])
    configured = settings.offline_instrumentation.file_name if settings.offline_instrumentation is not None else None
    sink = FileSink(file_name if file_name is not None else configured)
    return to_queue(sink, settings, log_prompt_and_response=settings.log_prompt_and_response, has_owner=True)
