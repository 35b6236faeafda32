"""The exporter of ours that a pipeline of this process has, found without loading OpenTelemetry's SDK."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payi_otel.exporters.span_exporter import QueueExporter

_latest: weakref.ref[QueueExporter] | None = None


def note_exporter(exporter: QueueExporter) -> None:
    """It is the latest from now on, for as long as it lives."""
    global _latest  # noqa: PLW0603 - found again by the launcher, which is handed no exporter
    _latest = weakref.ref(exporter)


def latest_exporter() -> QueueExporter | None:
    """The exporter of ours that was made last in this process and is still in use."""
    exporter = _latest() if _latest is not None else None
    return exporter if exporter is not None and not exporter.is_shut_down else None
