"""Environment variables, and the flags of `opentelemetry-instrument` that stand for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

FLAG_PREFIX: Final = "OTEL_"
"""`opentelemetry-instrument --payi_api_key ...` sets `OTEL_PAYI_API_KEY`: it has flags only for variables that begin so."""


def variable(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """A variable's text, the flag's before the environment's; None where neither is set or both are empty."""
    return environ.get(FLAG_PREFIX + name) or environ.get(name) or None


def is_sdk_disabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether OpenTelemetry is switched off for the whole process.

    Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
    """
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def disabled_instrumentations(environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Entry-point names that `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS` lists; `*` is one of them."""
    return frozenset(listed("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", environ))


def listed(name: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The names that a variable lists with commas between them."""
    return [item.strip() for item in environ.get(name, "").split(",") if item.strip()]
