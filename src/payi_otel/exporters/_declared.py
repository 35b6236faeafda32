"""The exporters as a pipeline makes them by name: one that cannot be made is left out, and takes no other with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from payi_otel.errors import ConfigurationError
from payi_otel.exporters.span_exporter import PayiFileSpanExporter, PayiSpanExporter, QueueExporter

logger = logging.getLogger("payi.instrument")


class _Declared(QueueExporter):
    """Where OpenTelemetry makes an exporter, a fault of it ends the whole set-up: the spans of others, and every instrumentor."""

    _is_left_out = False

    def __init__(self, **settings: Any) -> None:
        """Reads the settings that the pipeline's file gives, and the environment; says what is wrong with them."""
        try:
            super().__init__(**settings)
        except ConfigurationError as error:
            self._is_left_out = True
            logger.error("an exporter of Pay-i's is left out of the pipeline: %s", error)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Accepts spans; takes nothing of them where it is left out."""
        return SpanExportResult.SUCCESS if self._is_left_out else super().export(spans)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits for what was accepted."""
        return self._is_left_out or super().force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Ends delivery."""
        if not self._is_left_out:
            super().shutdown()


class DeclaredSpanExporter(_Declared, PayiSpanExporter):
    """`payi`."""


class DeclaredFileSpanExporter(_Declared, PayiFileSpanExporter):
    """`payi_file`."""
