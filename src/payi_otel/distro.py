"""What `opentelemetry-instrument` finds of this package: distro, configurator and the hooks around its instrumentors."""

from __future__ import annotations

import logging
import os
from typing import Any

from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # not in its `__all__`
from opentelemetry.sdk._configuration import _OTelSDKConfigurator

from payi_otel import _bootstrap
from payi_otel._guard import guard
from payi_otel.processors import otlp

logger = logging.getLogger("payi.instrument")


class PayiDistro(BaseDistro):  # type: ignore[misc]  # opentelemetry-instrumentation has no type marker
    """Exports spans where the environment names an endpoint, and lets no instrumentor that fails take the others with it."""

    def _configure(self, **kwargs: Any) -> None:
        if otlp.is_wanted():
            os.environ.setdefault(otlp.EXPORTERS_VARIABLE, "otlp")

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Starts one instrumentor; a fault of it is logged. That its library is missing, the launcher deals with."""
        try:
            super().load_instrumentor(entry_point, **kwargs)
        except (ImportError, DependencyConflictError):
            raise
        except Exception:
            logger.exception("the instrumentor %s failed; the others go on", entry_point.name)


class PayiConfigurator(_OTelSDKConfigurator):
    """OpenTelemetry's own SDK set-up by environment or `OTEL_CONFIG_FILE`; what is Pay-i's joins it in `attach`."""

    def _configure(self, **kwargs: Any) -> None:
        given = {} if os.environ.get("OTEL_CONFIG_FILE") else kwargs  # it warns of what it cannot use
        super()._configure(**given)  # type: ignore[no-untyped-call]  # OpenTelemetry's own


def attach() -> None:
    """The hook before and after the launcher's instrumentors: joins whatever tracer provider there is. Never raises."""
    with guard("standing in for the published SDK"):
        from payi_otel import compat

        compat.install()
    _bootstrap.attach()
