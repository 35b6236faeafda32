"""What is set up for a process: processor, tracer provider, instrumentors and signal handler around one queue."""

from __future__ import annotations

import logging
from threading import Thread
from typing import TYPE_CHECKING, Any

from payi_otel._environ import disabled_instrumentations
from payi_otel._forwarding import ForwardingHandler
from payi_otel._hosts import ANY_DATABRICKS, DATABRICKS_CATEGORIES
from payi_otel._requests import requests
from payi_otel.config import Settings, normalise_host
from payi_otel.context import defaults
from payi_otel.delivery._sigterm import SigtermHandler
from payi_otel.delivery._unclaimed import feed_unclaimed
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.semconv import PayiCategories

if TYPE_CHECKING:
    from payi_otel.delivery.outcome import Sink
    from payi_otel.instrumentors._base import ProviderInstrumentor
    from payi_otel.processors.retry_queue import RetryQueueSpanProcessor

logger = logging.getLogger("payi.instrument")

_SAME_SERVICE = {
    PayiCategories.azure: frozenset({PayiCategories.azure_openai}),
    **dict.fromkeys(DATABRICKS_CATEGORIES - {ANY_DATABRICKS}, frozenset({ANY_DATABRICKS})),
}
"""What a choice of the user's includes beside itself: `azure` is OpenAI and Anthropic there, and a workspace whose cloud
cannot be told from its host may be the chosen one."""


class Runtime:
    """What one `payi_instrument()`, or `opentelemetry-instrument` without one, has set up."""

    def __init__(self, settings: Settings, queue: DeliveryQueue, forwarding: ForwardingHandler, *, is_implicit: bool = False) -> None:
        from payi_otel.processors.joining import JoiningTracerProvider
        from payi_otel.processors.otlp import otlp_processor

        self.is_implicit, self.exit_timeout_s = is_implicit, settings.exit_timeout_s
        self._forwarding = forwarding
        self.queue = queue
        wanted = _with_same_service(settings.instruments)
        self._leave_unclaimed = feed_unclaimed(queue, first=True)  # as the processor does, too, once there is a pipeline
        self._processor: RetryQueueSpanProcessor | None = None
        self._categories = wanted
        self.provider = JoiningTracerProvider(self._get_processor, otlp_processor(settings.exit_timeout_s))
        self._started = _start_instrumentors(self.provider, settings, wanted, is_launched=is_implicit)
        requests.start(settings.host_mappings, _categories_of(self.instrumentors, wanted), _host_of(queue.sink))
        self._threading: Any = None
        if not is_implicit:  # the launcher has an instrumentor of its own for it, and starts it after this
            self.carry_context_into_threads()
        self._sigterm = SigtermHandler(self.queue.shutdown, settings.exit_timeout_s)
        if settings.flush_on_sigterm:
            self._sigterm.install()

    def carry_context_into_threads(self) -> None:
        """OpenTelemetry's own context, and with it the scope, in new threads; nothing where somebody else sees to it."""
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor

        instrumentor = ThreadingInstrumentor()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(skip_dep_check=True)
            self._threading = instrumentor

    def _get_processor(self) -> RetryQueueSpanProcessor:
        if self._processor is None:
            from payi_otel.processors.retry_queue import RetryQueueSpanProcessor

            self._processor = RetryQueueSpanProcessor(self.queue, categories=self._categories)
        return self._processor

    @property
    def instrumentors(self) -> tuple[ProviderInstrumentor, ...]:
        """Those whose calls are recorded."""
        return tuple(one for one in self._started if one.records)

    def flush(self, timeout_s: float) -> bool:
        """Waits until what ended before is delivered or given up; False when the time ran out."""
        return self.queue.flush(timeout_s) if self._processor is None else self._processor.force_flush(int(timeout_s * 1000))

    def stop(self, timeout_s: float | None) -> None:
        """Takes the instrumentation away, and delivers what is queued within the time; None: the setting `exit_timeout_s`."""
        for instrumentor in self._started:
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()
        requests.stop()
        self.queue.shutdown(timeout_s)
        self._leave()
        defaults.remove()

    def make_way(self, *, keeps_queue: bool) -> None:
        """For the runtime that the application asks for itself. What is queued goes on being delivered."""
        self._leave()
        self.queue.account_for_process(None)
        if not keeps_queue:
            Thread(target=self.queue.shutdown, name="payi-shutdown", daemon=True).start()

    def _leave(self) -> None:
        self._sigterm.remove()
        self.provider.leave()
        self._leave_unclaimed()
        if self._processor is not None:
            self._processor.leave()
        if self._threading is not None:
            self._threading.uninstrument()
        self._forwarding.remove()


def _with_same_service(wanted: frozenset[str] | None) -> frozenset[str] | None:
    return None if wanted is None else wanted.union(*(_SAME_SERVICE.get(category, frozenset()) for category in wanted))


def _categories_of(instrumentors: tuple[ProviderInstrumentor, ...], wanted: frozenset[str] | None) -> frozenset[str]:
    """Those whose calls become packets. A gateway's are those of others, who are asked for themselves."""
    recorded = frozenset[str]().union(*(one.categories for one in instrumentors if not one.is_gateway))
    return recorded if wanted is None else recorded & wanted


def _host_of(sink: Sink) -> str | None:
    """Pay-i's own host; None where packets go to a file."""
    url = getattr(sink, "base_url", None)
    return normalise_host(url) if isinstance(url, str) else None


def _start_instrumentors(
    provider: Any, settings: Settings, wanted: frozenset[str] | None, *, is_launched: bool
) -> tuple[ProviderInstrumentor, ...]:
    """Starts all: those that are not wanted record nothing, and only keep from their providers what is ours.

    An SDK that is not there yet is instrumented when it is installed and imported.

    Args:
        provider: Where their spans are started.
        settings: The settings.
        wanted: Pay-i categories; None for all.
        is_launched: By `opentelemetry-instrument`, in which `*` disables all.
    """
    from payi_otel.instrumentors._discovery import all_instrumentors

    disabled = disabled_instrumentations()
    started: list[ProviderInstrumentor] = []
    for instrumentor in all_instrumentors():
        if instrumentor.name in disabled or (is_launched and "*" in disabled):
            logger.info("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS names %s: it is not started", instrumentor.name)
            continue
        is_wanted = wanted is None or not wanted.isdisjoint(instrumentor.categories)
        instrumentor.instrument(tracer_provider=provider, categories=wanted, records=is_wanted, settings=settings, skip_dep_check=True)
        started.append(instrumentor)
    names = ", ".join(one.distribution for one in started if one.records)
    if names and not any(one.records and one.has_sdk for one in started):
        logger.warning("no calls will be recorded: none of the SDKs this version instruments is installed and wanted (%s)", names)
    return tuple(started)
