"""Spans out by OTLP, where the environment says so and the application has no pipeline of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from payi_otel._environ import listed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

logger = logging.getLogger("payi.instrument")

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TIMEOUTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
EXPORTERS_VARIABLE: Final = "OTEL_TRACES_EXPORTER"


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether spans are to go out by OTLP: an endpoint is set, and `OTEL_TRACES_EXPORTER` does not say otherwise.

    Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
    """
    exporters = listed(EXPORTERS_VARIABLE, environ)
    is_otlp = not exporters or any(name.startswith("otlp") for name in exporters)
    return is_otlp and _first(_ENDPOINTS, environ) is not None


def otlp_processor(exit_timeout_s: float, environ: Mapping[str, str] = os.environ) -> SpanProcessor | None:
    """A batching processor to the endpoint of the environment; None where none is wanted, or its protocol is not known.

    Args:
        exit_timeout_s: Seconds one request may take, where the environment does not say: it may be what the process's exit waits for.
        environ: The environment to read.
    """
    if not is_wanted(environ):
        return None
    protocol = (_first(_PROTOCOLS, environ) or "grpc").strip()
    exporter: Any
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        exporter = GrpcExporter
    elif protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

        exporter = HttpExporter
    else:
        logger.warning("spans do not go out by OTLP: the protocol %r is not allowed, must be grpc or http/protobuf", protocol)
        return None
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    timeout = {} if _first(_TIMEOUTS, environ) else {"timeout": max(exit_timeout_s, 1.0)}
    try:
        return BatchSpanProcessor(exporter(**timeout))
    except Exception as fault:  # a variable of OpenTelemetry's that it cannot read
        logger.warning("spans do not go out by OTLP: its exporter refuses the environment (%s: %s)", type(fault).__name__, fault)
        return None


def _first(names: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    return next((value for name in names if (value := environ.get(name))), None)
