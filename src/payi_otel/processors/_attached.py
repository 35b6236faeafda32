"""Our processor in a tracer provider: the application's, or a private one where spans go out by OTLP alone."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from payi_otel.processors.recording import record_calls

_ATTACHED = "_payi_attached"
"""What of ours a provider has."""


class Attached(SpanProcessor):
    """Our processor as an application's provider holds it. A provider never lets go of one, so it is emptied instead."""

    def __init__(self, processor: SpanProcessor | None) -> None:
        self.processor = processor

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        if (processor := self.processor) is not None:
            processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        if (processor := self.processor) is not None:
            processor.on_end(span)

    def shutdown(self) -> None:
        """Does nothing: the end of the application's tracing is not the end of its calls. Delivery ends with the process."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        processor = self.processor
        return processor.force_flush(timeout_millis) if processor is not None else True


class PrivateTracerProvider(TracerProvider):
    """With the resource, the limits and the sampler of the environment; nothing of it runs when the process forks."""

    def __init__(self, otlp: SpanProcessor) -> None:
        super().__init__()
        self.add_span_processor(otlp)

    def _handle_fork(self) -> None:
        """The SDK's own looks up the process's resource in threads of its own, in every child, even one that goes on to exec."""


def attach(processor: SpanProcessor, provider: Any) -> Attached:
    """Adds our processor to a provider, in the place of an earlier runtime's, which it never lets go of."""
    attached: Attached | None = getattr(provider, _ATTACHED, None)
    if attached is None or attached.processor is not None:
        attached = Attached(processor)
        provider.add_span_processor(attached)
        with suppress(AttributeError):  # somebody's own class
            setattr(provider, _ATTACHED, attached)
    attached.processor = processor
    record_calls(provider, lambda: attached.processor is not None)
    return attached
