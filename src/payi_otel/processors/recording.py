"""Cost is not sampled: spans of calls are recorded though the application's sampler drops them, and exported no more than it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Tracer
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from payi_otel.packets.dialects import dialect_of
from payi_otel.semconv import OWN_SCOPES

_MARK = "_payi_records_calls"


class _Wish:
    """Whether calls of a provider are to be recorded now: asked at each span, so that nothing of ours stays behind."""

    def __init__(self) -> None:
        self.is_wanted: Callable[[], bool] = lambda: True


class RecordingSampler(Sampler):
    """Decides as the application's sampler does, but that what it drops is recorded: span processors see it, exporters do not."""

    def __init__(self, root: Sampler, wish: _Wish) -> None:
        self.root, self._wish = root, wish

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
        if result.decision is not Decision.DROP or not self._wish.is_wanted():
            return result
        return SamplingResult(Decision.RECORD_ONLY, result.attributes, result.trace_state)

    def get_description(self) -> str:
        """Names both."""
        return f"RecordingSampler{{{self.root.get_description()}}}"


def record_calls(provider: Any, is_wanted: Callable[[], bool] = lambda: True) -> None:
    """Makes an SDK tracer provider record every span of the GenAI instrumentations that are known, ours among them.

    Nothing else of the application's tracing costs more for it. A call of an instrumentation that is not known follows the sampler.

    Args:
        provider: A tracer provider; one that is not the SDK's is left alone.
        is_wanted: Asked at each such span; the one given last counts.
    """
    wish = getattr(provider, _MARK, None)
    if wish is None and hasattr(provider, "sampler") and hasattr(provider, "get_tracer"):
        wish = _Wish()
        setattr(provider, _MARK, wish)
        _record_tracers(provider, wish)
    if wish is not None:
        wish.is_wanted = is_wanted


def _record_tracers(provider: Any, wish: _Wish) -> None:
    get_tracer = provider.get_tracer

    @wraps(get_tracer)
    def get_recording_tracer(*args: Any, **kwargs: Any) -> Tracer:
        tracer: Tracer = get_tracer(*args, **kwargs)
        name = args[0] if args else kwargs.get("instrumenting_module_name")
        _record(tracer, name, wish)
        return tracer

    for scope, tracer in list(getattr(provider, "_tracers", {}).items()):  # those made before, where the SDK keeps them
        _record(tracer, getattr(scope, "name", None), wish)
    provider.get_tracer = get_recording_tracer


def _record(tracer: Any, scope_name: object, wish: _Wish) -> None:
    sampler = getattr(tracer, "sampler", None)
    if not isinstance(scope_name, str) or sampler is None or isinstance(sampler, RecordingSampler):
        return
    if scope_name.startswith(OWN_SCOPES) or dialect_of(scope_name) is not None:
        tracer.sampler = RecordingSampler(sampler, wish)
