"""`RetryQueueSpanProcessor`: hands each GenAI call that ends to the delivery queue, with its payload or as its span tells it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from payi_otel._guard import guard, log_fault
from payi_otel.delivery._unclaimed import feed_unclaimed
from payi_otel.delivery.intake import Intake
from payi_otel.delivery.queue import DeliveryQueue


class RetryQueueSpanProcessor(SpanProcessor):
    """Makes a Pay-i packet of every call, sampled or not: cost is not sampled.

    Calls are those of our instrumentors, and those that other GenAI instrumentations recorded, each once. Other spans cost a few
    dictionary look-ups. Nothing here blocks, and nothing is raised into the application.
    """

    def __init__(self, queue: DeliveryQueue, *, categories: Collection[str] | None = None) -> None:
        """Feeds `queue`; also takes the payloads of calls whose spans no processor sees, because they were sampled away.

        Args:
            queue: Where packets are made and delivered; it is shut down with this processor. `payi_instrument` builds both.
            categories: The Pay-i categories that are wanted of other instrumentations' calls; None for all.
        """
        self._queue = queue
        self._intake = Intake(queue, sees_starts=True, categories=categories)
        self.leave: Callable[[], None] = feed_unclaimed(queue, first=True)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Notes whose call it is, and what it stands in."""
        try:
            self._intake.start(span)
        except Exception as fault:
            log_fault("noting a span's start", fault)

    def on_end(self, span: ReadableSpan) -> None:
        """Takes the call, if it is one."""
        try:
            self._intake.end(span)
        except Exception as fault:
            log_fault("taking an ended span", fault)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until what ended before the call is delivered or given up; False when the time ran out."""
        with guard("sending what waits"):
            self._intake.release()
        return self._queue.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Delivers what is left within the exit deadline, and says what is lost."""
        with guard("shutting down delivery"):
            self._queue.shutdown()
