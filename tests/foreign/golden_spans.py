"""Recorded spans of other instrumentations, made into spans again and played through an `Intake`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from payi_otel.delivery.intake import Intake

GOLDEN = Path(__file__).parent / "golden"
START_NS = 1_767_225_600_000_000_000


@dataclass(frozen=True)
class Golden:
    """One recorded case."""

    name: str
    content: dict[str, Any]

    def spans(self) -> list[tuple[ReadableSpan, ReadableSpan]]:
        """Each span as it started and as it ended, in the order of their ends."""
        return [(self._span(recorded, "start_attributes"), self._span(recorded, "attributes")) for recorded in self.content["spans"]]

    def _span(self, recorded: dict[str, Any], attributes: str) -> ReadableSpan:
        parent = recorded["parent"]
        return ReadableSpan(
            name=recorded["name"],
            context=self._context(recorded["id"], recorded["trace"]),
            parent=self._context(parent, recorded["trace"]) if parent is not None else None,
            attributes={name: tuple(value) if isinstance(value, list) else value for name, value in recorded[attributes].items()},
            kind=SpanKind[recorded["kind"]],
            status=Status(StatusCode[recorded["status"]]),
            start_time=START_NS,
            end_time=START_NS + 250_000_000,
            instrumentation_scope=InstrumentationScope(recorded["scope"], recorded["scope_version"]),
        )

    def _context(self, span_id: int, trace_id: int) -> SpanContext:
        """Ids that no other case has: a process remembers what it has seen."""
        base = abs(hash(self.name)) << 16
        return SpanContext((base + trace_id) % 2**128, (base + span_id) % 2**64, is_remote=False, trace_flags=TraceFlags(1))


def goldens() -> Iterator[Golden]:
    """Every recorded case."""
    for path in sorted(GOLDEN.glob("*/*.json")):
        yield Golden(f"{path.parent.name}/{path.stem}", json.loads(path.read_bytes()))


def play(golden: Golden, intake: Intake) -> None:
    """Starts its spans, an outer one before what is in it, and ends them in their order."""
    spans = {started.context.span_id: started for started, _ in golden.spans() if started.context is not None}
    opened: set[int] = set()

    def start(started: ReadableSpan) -> None:
        assert started.context is not None
        if started.context.span_id in opened:
            return
        if started.parent is not None and started.parent.span_id in spans:
            start(spans[started.parent.span_id])
        intake.start(started)
        opened.add(started.context.span_id)

    for started in spans.values():
        start(started)
    for _, ended in golden.spans():
        intake.end(ended)
    intake.finish()
