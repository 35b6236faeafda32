"""What your GenAI calls cost, by use case, user and account: OpenTelemetry instrumentation for Pay-i."""

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
from payi_otel.costs import Cost, cost_of, cost_of_async
from payi_otel.delivery.result import XproxyResult
from payi_otel.delivery.stats import Stats
from payi_otel.errors import ConfigurationError, LimitExceeded
from payi_otel.exporters.span_exporter import PayiFileSpanExporter, PayiSpanExporter
from payi_otel.kpis import increment_kpi_score, increment_kpi_score_async
from payi_otel.processors.retry_queue import RetryQueueSpanProcessor
from payi_otel.semconv import PayiCategories, PayiHeaderNames

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
