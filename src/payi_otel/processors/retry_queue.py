"""`RetryQueueSpanProcessor`: hands each GenAI call that ends, with its payload, to the delivery queue."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from payi_otel._guard import guard
from payi_otel.delivery._unclaimed import feed_unclaimed
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.payload import registry


class RetryQueueSpanProcessor(SpanProcessor):
    """Makes a Pay-i packet of every call, sampled or not: cost is not sampled.

    Other spans cost one dictionary look-up. Nothing here blocks, and nothing is raised into the application.
    """

    def __init__(self, queue: DeliveryQueue) -> None:
        """Feeds `queue`; also takes the payloads of calls whose spans no processor sees, because they were sampled away.

        Args:
            queue: Where packets are made and delivered; it is shut down with this processor. `payi_instrument` builds both.
        """
        self._queue = queue
        feed_unclaimed(queue)

    def on_end(self, span: ReadableSpan) -> None:
        """Claims the span's payload. A span without one is not ours, or its packet is made already."""
        with guard("taking an ended span"):
            context = span.context
            payload = registry.claim(context.span_id) if context is not None else None
            if payload is not None:
                payload.ticket = self._queue.submit(span, payload)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until what ended before the call is delivered or given up; False when the time ran out."""
        return self._queue.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Delivers what is left within the exit deadline, and says what is lost."""
        with guard("shutting down delivery"):
            self._queue.shutdown()
