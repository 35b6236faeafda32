"""The provider our spans come from: the application's own as soon as it has one.

Until then a call has no span, for nobody could see it; or, where spans go out by OTLP, one of a private provider's, which is never set as
the global one, so an application that sets up OpenTelemetry later is not in its way.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import NoOpTracer, NoOpTracerProvider, Span, Tracer

from payi_otel._guard import guard

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from payi_otel.processors._attached import Attached, PrivateTracerProvider

_lock = RLock()
"""Held while a provider is joined. That loads OpenTelemetry's SDK, in the midst of which this thread may begin a span of its own (the
garbage collector ends a stream), and another may fork: it waits, for in its child nobody would give back this lock or an import's."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class JoiningTracerProvider(trace.TracerProvider):
    """Gives tracers that start their spans wherever the application's spans are started at that moment."""

    def __init__(self, get_processor: Callable[[], SpanProcessor], otlp: SpanProcessor | None = None) -> None:
        """Joins the application's provider, now or as soon as it is set.

        Args:
            get_processor: Gives ours, for each provider that is joined: OpenTelemetry's SDK is loaded for none.
            otlp: Where spans also go while the application has no provider.
        """
        self._get_processor: Callable[[], SpanProcessor] | None = get_processor
        self._attached: list[Attached] = []
        self._is_joining = False
        self._private: PrivateTracerProvider | None = None
        if otlp is not None:
            from payi_otel.processors._attached import PrivateTracerProvider

            self._private = PrivateTracerProvider(otlp)
            self._join(self._private)
        self._joined: trace.TracerProvider = self._private or NoOpTracerProvider()
        self._unfollow = _after_set(self.current)
        trace.get_tracer_provider()
        self.current()

    def current(self) -> trace.TracerProvider:
        """The application's provider if it takes span processors; ours is added to it once."""
        if getattr(trace, "_TRACER_PROVIDER", self) is None:  # what the environment names was loaded when we began
            return self._joined
        provider = trace.get_tracer_provider()
        if provider is self._joined or not hasattr(provider, "add_span_processor"):
            return self._joined
        with _lock:  # added twice, every call would become two packets
            if self._is_joining:
                return self._joined
            if provider is not self._joined:
                self._is_joining = True
                try:
                    with guard("joining the application's tracer provider"):
                        self._join(provider)
                finally:
                    self._is_joining = False
                self._joined = provider
        return provider

    def _join(self, provider: Any) -> None:
        from payi_otel.processors._attached import attach

        if self._get_processor is not None:  # else we have left
            self._attached.append(attach(self._get_processor(), provider))

    def leave(self) -> None:
        """Takes our processor out of every provider: another one, of a later `payi_instrument()`, is then the only one."""
        self._unfollow()
        with _lock:
            self._get_processor = None
        for attached in self._attached:
            attached.processor = None
        if self._private is not None:
            self._private.shutdown()

    def get_tracer(self, instrumenting_module_name: str, *args: Any, **kwargs: Any) -> Tracer:
        """A tracer that follows the application's provider."""
        return _JoiningTracer(self, (instrumenting_module_name, *args), kwargs)


def _after_set(join: Callable[[], object]) -> Callable[[], None]:
    """Joins when the application sets its provider: other instrumentations' calls would go by until our next one else.

    Returns:
        A function that ends this.
    """
    setter = getattr(trace, "_set_tracer_provider", None)
    if setter is None:
        return lambda: None
    active = [True]

    @wraps(setter)
    def set_and_join(*args: Any, **kwargs: Any) -> None:
        setter(*args, **kwargs)
        if active:
            with guard("joining the application's tracer provider"):
                join()

    def end() -> None:
        active.clear()
        if getattr(trace, "_set_tracer_provider", None) is set_and_join:
            trace._set_tracer_provider = setter

    trace._set_tracer_provider = set_and_join
    return end


class _JoiningTracer(Tracer):
    def __init__(self, provider: JoiningTracerProvider, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._provider, self._args, self._kwargs = provider, args, kwargs
        self._source: trace.TracerProvider | None = None
        self._tracer: Tracer | None = None

    def _current(self) -> Tracer:
        source = self._provider.current()
        if self._tracer is None or source is not self._source:
            self._source, self._tracer = source, source.get_tracer(*self._args, **self._kwargs)
        return self._tracer

    @property
    def is_silent(self) -> bool:
        """Whether nobody could see a span of its."""
        return isinstance(self._current(), NoOpTracer)

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        """As `Tracer.start_span`."""
        return self._current().start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        """As `Tracer.start_as_current_span`."""
        return self._current().start_as_current_span(*args, **kwargs)
