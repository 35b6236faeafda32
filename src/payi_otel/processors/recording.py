"""Cost is not sampled: spans of calls are recorded though the application's sampler drops them, and exported no more than it says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Tracer
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from payi_otel.packets.dialects import OWN_SCOPES, dialect_of

_MARK = "_payi_records_calls"


class RecordingSampler(Sampler):
    """Decides as the application's sampler does, but that what it drops is recorded: span processors see it, exporters do not."""

    def __init__(self, root: Sampler) -> None:
        self.root = root

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """As the application's; `DROP` becomes `RECORD_ONLY`."""
        result = self.root.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        if result.decision is not Decision.DROP:
            return result
        return SamplingResult(Decision.RECORD_ONLY, result.attributes, result.trace_state)

    def get_description(self) -> str:
        """Names both."""
        return f"RecordingSampler{{{self.root.get_description()}}}"


def record_calls(provider: Any) -> None:
    """Makes an SDK tracer provider record every span of the GenAI instrumentations that are known, ours among them.

    Nothing else of the application's tracing costs more for it. A call of an instrumentation that is not known follows the sampler.

    Args:
        provider: A tracer provider; one that is not the SDK's is left alone.
    """
    if getattr(provider, _MARK, False) or not hasattr(provider, "sampler") or not hasattr(provider, "get_tracer"):
        return
    get_tracer = provider.get_tracer

    @wraps(get_tracer)
    def get_recording_tracer(*args: Any, **kwargs: Any) -> Tracer:
        tracer: Tracer = get_tracer(*args, **kwargs)
        name = args[0] if args else kwargs.get("instrumenting_module_name")
        _record(tracer, name)
        return tracer

    for scope, tracer in list(getattr(provider, "_tracers", {}).items()):  # those made before, where the SDK keeps them
        _record(tracer, getattr(scope, "name", None))
    provider.get_tracer = get_recording_tracer
    setattr(provider, _MARK, True)


def _record(tracer: Any, scope_name: object) -> None:
    sampler = getattr(tracer, "sampler", None)
    if not isinstance(scope_name, str) or sampler is None or isinstance(sampler, RecordingSampler):
        return
    if scope_name.startswith(OWN_SCOPES) or dialect_of(scope_name) is not None:
        tracer.sampler = RecordingSampler(sampler)
