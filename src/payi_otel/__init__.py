"""What your GenAI calls cost, by use case, user and account: OpenTelemetry instrumentation for Pay-i."""

from importlib import import_module
from typing import TYPE_CHECKING

from payi_otel._bootstrap import flush, instrumented, payi_instrument, shutdown, stats
from payi_otel.clients import AsyncPayi, Payi
from payi_otel.config import (
    PayiInstrumentAnthropicConfig,
    PayiInstrumentAwsBedrockConfig,
    PayiInstrumentConfig,
    PayiInstrumentHostMappingConfig,
    PayiInstrumentIngestRetryConfig,
    PayiInstrumentModelConfig,
    PayiInstrumentModelMapping,
    PayiInstrumentOfflineInstrumentationConfig,
    PayiInstrumentOpenAiAzureConfig,
    PayiInstrumentOpenAiConfig,
)
from payi_otel.context.headers import create_headers
from payi_otel.context.track import get_context, track, track_context
from payi_otel.delivery.result import XproxyResult
from payi_otel.delivery.stats import Stats
from payi_otel.errors import ConfigurationError, LimitExceeded
from payi_otel.semconv import PayiCategories, PayiHeaderNames

if TYPE_CHECKING:
    from payi_otel.costs import Cost, cost_of, cost_of_async
    from payi_otel.exporters.span_exporter import PayiFileSpanExporter, PayiSpanExporter
    from payi_otel.kpis import increment_kpi_score, increment_kpi_score_async
    from payi_otel.processors.retry_queue import RetryQueueSpanProcessor

__all__ = [
    "AsyncPayi",
    "ConfigurationError",
    "Cost",
    "LimitExceeded",
    "Payi",
    "PayiCategories",
    "PayiFileSpanExporter",
    "PayiHeaderNames",
    "PayiInstrumentAnthropicConfig",
    "PayiInstrumentAwsBedrockConfig",
    "PayiInstrumentConfig",
    "PayiInstrumentHostMappingConfig",
    "PayiInstrumentIngestRetryConfig",
    "PayiInstrumentModelConfig",
    "PayiInstrumentModelMapping",
    "PayiInstrumentOfflineInstrumentationConfig",
    "PayiInstrumentOpenAiAzureConfig",
    "PayiInstrumentOpenAiConfig",
    "PayiSpanExporter",
    "RetryQueueSpanProcessor",
    "Stats",
    "XproxyResult",
    "cost_of",
    "cost_of_async",
    "create_headers",
    "flush",
    "get_context",
    "increment_kpi_score",
    "increment_kpi_score_async",
    "instrumented",
    "payi_instrument",
    "shutdown",
    "stats",
    "track",
    "track_context",
]

_LATE = {
    "Cost": "payi_otel.costs",
    "PayiFileSpanExporter": "payi_otel.exporters.span_exporter",
    "PayiSpanExporter": "payi_otel.exporters.span_exporter",
    "RetryQueueSpanProcessor": "payi_otel.processors.retry_queue",
    "cost_of": "payi_otel.costs",
    "cost_of_async": "payi_otel.costs",
    "increment_kpi_score": "payi_otel.kpis",
    "increment_kpi_score_async": "payi_otel.kpis",
}
"""What recording calls does not need, and where it is; the exporters and the processor load OpenTelemetry's SDK."""


if not TYPE_CHECKING:  # a checker that sees it takes any name to be here

    def __getattr__(name: str) -> object:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_LATE[name]), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
