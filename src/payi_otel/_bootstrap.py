"""The composition root: settings to provider, processor, queue, sink and instrumentors; shut down in reverse."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from payi_otel.clients import to_target
from payi_otel.config import PayiInstrumentConfig, Settings, default_use_case_name, load_settings, settings_without_effect
from payi_otel.context import baggage
from payi_otel.context.scope import Scope, from_defaults, set_defaults
from payi_otel.delivery._metrics import metrics
from payi_otel.delivery._sigterm import SigtermHandler
from payi_otel.delivery.stats import Stats
from payi_otel.errors import ConfigurationError
from payi_otel.exporters._queue import to_queue
from payi_otel.payload import registry
from payi_otel.semconv import PayiCategories

if TYPE_CHECKING:
    from payi_otel.clients import AsyncPayi, Payi
    from payi_otel.delivery.outcome import Sink
    from payi_otel.instrumentors._base import ProviderInstrumentor

logger = logging.getLogger("payi.instrument")

_SAME_SERVICE = {
    PayiCategories.azure: frozenset({PayiCategories.azure_openai}),
    PayiCategories.databricks_azure: frozenset({"system.databricks"}),
    PayiCategories.databricks_aws: frozenset({"system.databricks"}),
    PayiCategories.databricks_google: frozenset({"system.databricks"}),
}
"""What a choice of the user's includes beside itself: `azure` is OpenAI and Anthropic there, and a workspace whose cloud
cannot be told from its host may be the chosen one."""


@dataclass(frozen=True, slots=True)
class Instrumented:
    """One provider SDK that is instrumented."""

    name: str
    """Entry-point name, e.g. `payi_openai`."""
    distribution: str
    version: str
    wrapped: tuple[str, ...]
    """The methods wrapped so far: an SDK is wrapped when it is imported."""


class _Runtime:
    """What one `payi_instrument()` has set up."""

    def __init__(self, settings: Settings, sink: Sink, forwarding: _ForwardingHandler, *, logs: bool) -> None:
        from payi_otel.processors.joining import JoiningTracerProvider
        from payi_otel.processors.retry_queue import RetryQueueSpanProcessor

        self._forwarding = forwarding
        self.queue = to_queue(sink, settings, log_prompt_and_response=logs, before_shutdown=self._end_open_calls)
        self.provider = JoiningTracerProvider(RetryQueueSpanProcessor(self.queue))
        self.instrumentors = _start_instrumentors(self.provider, settings)
        self._threading = _carry_context_into_threads()
        self._sigterm = SigtermHandler(self.queue.shutdown, settings.exit_timeout_s)
        if settings.flush_on_sigterm:
            self._sigterm.install()

    def _end_open_calls(self) -> None:
        """Before the queue closes: open streams end with what they have; calls without an answer are named as lost."""
        from payi_otel.instrumentors._stream import end_open_streams

        end_open_streams()
        if open_calls := len(registry):
            logger.warning("%d calls were still waiting for their provider: they are not recorded", open_calls)
        for instrumentor in self.instrumentors:
            if unfinished := instrumentor.unfinished():
                logger.warning("%s", unfinished)

    def stop(self, timeout_s: float | None) -> None:
        for instrumentor in self.instrumentors:
            instrumentor.uninstrument()
        self.queue.shutdown(timeout_s)
        self._sigterm.remove()
        self.provider.leave()
        registry.on_unclaimed(None)
        set_defaults(None)
        baggage.set_propagation((), False)
        if self._threading is not None:
            self._threading.uninstrument()
        self._forwarding.remove()


_runtime: _Runtime | None = None
_final = Stats()
"""The account of the runtime that was shut down last."""
_lock = Lock()
_FORWARDED = "payi_forwarded"
"""Marks a log record that the user's logger has had."""


def payi_instrument(
    *,
    payi: Payi | AsyncPayi | Sequence[Any] | Any | None = None,
    instruments: set[str] | frozenset[str] | Sequence[str] | None = None,
    log_prompt_and_response: bool = True,
    config: PayiInstrumentConfig | Mapping[str, Any] | None = None,
    logger: logging.Logger | None = None,
) -> None:
    """Instruments the installed provider SDKs: from here on, each GenAI call becomes a span and a Pay-i packet.

    Call it once, at start-up. A second call does nothing.

    Args:
        payi: Where packets go: a `Payi` or `AsyncPayi` (of this package or the published SDK), a list of them, or None for
            the environment (`PAYI_API_KEY`, `PAYI_BASE_URL`).
        instruments: `PayiCategories` values to restrict it to; None or `{"*"}` for all.
        log_prompt_and_response: False: no prompt, answer, tool argument or error text leaves the process.
        config: A `PayiInstrumentConfig`; docs/settings.md lists every setting. It is not changed.
        logger: For diagnostics; `payi.instrument` by default.

    Raises:
        ConfigurationError: A setting is wrong, or there is no API key; lists everything that is.
    """
    global _runtime  # noqa: PLW0603 - there is one runtime in a process
    caller = sys._getframe(1).f_code.co_filename
    with _lock:
        if _runtime is not None:
            (logger or logging.getLogger("payi.instrument")).debug("payi_instrument() was called before: nothing is changed")
            return
        if not isinstance(logger, logging.Logger | None):
            raise ConfigurationError([f"logger: {type(logger).__name__} is not allowed, must be a logging.Logger"])
        forwarding = _ForwardingHandler(logger)
        forwarding.install()
        try:
            settings, sink = _read(payi, instruments, log_prompt_and_response, config)
            _runtime = _Runtime(settings, sink, forwarding, logs=log_prompt_and_response)
        except BaseException:
            forwarding.remove()
            raise
        scope = _default_scope(settings, caller) if settings.global_instrumentation else None
        if scope is not None and not log_prompt_and_response:
            scope = replace(scope, log_prompt_and_response=False)  # with the call, so that it holds in whatever pipeline makes its packet
        set_defaults(scope)
        baggage.set_propagation(settings.propagate, settings.trust_inbound_baggage)
        metrics.observe(stats)
        _say_what_has_no_effect(settings)


def flush(timeout_s: float = 30.0) -> bool:
    """Waits until every call that ended before has its packet delivered, or given up and counted.

    Args:
        timeout_s: Seconds to wait at most.

    Returns:
        False when the time ran out first; delivery goes on.
    """
    runtime = _runtime
    return runtime.queue.flush(timeout_s) if runtime is not None else True


def shutdown(timeout_s: float | None = None) -> None:
    """Delivers what is queued within the time, counts and logs the rest as lost, and takes the instrumentation away.

    Args:
        timeout_s: Seconds to wait at most; None for the setting `exit_timeout_s`.
    """
    global _runtime, _final  # noqa: PLW0603 - there is one runtime in a process
    with _lock:
        runtime, _runtime = _runtime, None
        if runtime is not None:
            runtime.stop(timeout_s)
            _final = runtime.queue.stats()


def stats() -> Stats:
    """What became of every packet since `payi_instrument()`, at this instant; all zero before it, final after `shutdown()`."""
    runtime = _runtime
    return runtime.queue.stats() if runtime is not None else _final


def instrumented() -> tuple[Instrumented, ...]:
    """The provider SDKs that are instrumented, with their versions and the methods wrapped so far."""
    runtime = _runtime
    return tuple(
        Instrumented(one.name, one.distribution, sdk, tuple(one.wrapped))
        for one in (runtime.instrumentors if runtime is not None else ())
        if (sdk := one.installed_version()) is not None
    )


def _read(payi: Any, instruments: Any, log_prompt_and_response: Any, config: Any) -> tuple[Settings, Sink]:
    """Everything the user gave, checked: all that is wrong with it is in one error."""
    problems: list[str] = []
    if not isinstance(log_prompt_and_response, bool):
        kind = type(log_prompt_and_response).__name__
        problems.append(f"log_prompt_and_response: {log_prompt_and_response!r} ({kind}) is not allowed, must be a bool")
    settings = None
    try:
        settings = load_settings(config, instruments=instruments)
    except ConfigurationError as error:
        problems.extend(error.problems)
    if settings is not None and not problems:
        return settings, _make_sink(payi, settings)
    if payi is not None:
        try:
            to_target(payi)
        except ConfigurationError as error:
            problems.extend(error.problems)
    raise ConfigurationError(problems)


def _make_sink(payi: Any, settings: Settings) -> Sink:
    if settings.offline_instrumentation is not None:
        from payi_otel.exporters.file import FileSink, default_file_name

        return FileSink(settings.offline_instrumentation.file_name or default_file_name())
    # Imported here and now, not by a worker at its first packet: openai 3 looks at `sys.modules["httpx"]` in the middle of a call
    # and fails on a module that another thread is still importing.
    import httpx  # noqa: F401

    from payi_otel.exporters.http import HttpSink

    # Images that are wanted are not cut.
    return HttpSink(to_target(payi), bulk=settings.ingest_bulk, is_limited=not settings.instrument_inline_data)


def _default_scope(settings: Settings, caller: str) -> Scope:
    name = settings.use_case_name
    return from_defaults(
        use_case_name=default_use_case_name(caller) if name is None else name,
        use_case_id=settings.use_case_id,
        use_case_version=settings.use_case_version,
        use_case_properties=settings.use_case_properties,
        limit_ids=settings.limit_ids,
        user_id=settings.user_id,
        account_name=settings.account_name,
        request_properties=settings.request_properties,
    )


def _start_instrumentors(provider: Any, settings: Settings) -> tuple[ProviderInstrumentor, ...]:
    """Starts those that are wanted; an SDK that is not there yet is instrumented when it is installed and imported."""
    from payi_otel.instrumentors._discovery import all_instrumentors

    wanted = settings.instruments
    if wanted is not None:
        wanted = wanted.union(*(_SAME_SERVICE.get(category, frozenset()) for category in wanted))
    started = tuple(one for one in all_instrumentors() if wanted is None or wanted & one.categories)
    for instrumentor in started:
        instrumentor.instrument(tracer_provider=provider, categories=wanted, settings=settings, skip_dep_check=True)
    if not any(instrumentor.installed_version() for instrumentor in started):
        names = ", ".join(instrumentor.distribution for instrumentor in started)
        logger.warning("no calls will be recorded: none of the SDKs this version instruments is installed and wanted (%s)", names)
    return started


def _carry_context_into_threads() -> Any:
    """OpenTelemetry's own context, and with it the scope, in new threads; None where somebody else sees to it."""
    from opentelemetry.instrumentation.threading import ThreadingInstrumentor

    instrumentor = ThreadingInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        return None
    instrumentor.instrument(skip_dep_check=True)
    return instrumentor


def _say_what_has_no_effect(settings: Settings) -> None:
    later = settings_without_effect(settings)
    if later:
        logger.warning("accepted, but without effect in this version: %s", ", ".join(later))


class _ForwardingHandler(logging.Handler):
    """Hands every record of ours to the logger the user gave; does nothing where that is ours, or none."""

    def __init__(self, target: logging.Logger | None) -> None:
        super().__init__()
        self._target = target if target is not None and target is not logger else None
        self._before = (logger.level, logger.propagate)

    def install(self) -> None:
        """Takes the place of the default logger's own ways out."""
        if self._target is not None:
            logger.setLevel(self._target.getEffectiveLevel())
            logger.propagate = False
            logger.addHandler(self)

    def remove(self) -> None:
        """Puts back what was."""
        if self._target is not None:
            logger.removeHandler(self)
            logger.setLevel(self._before[0])
            logger.propagate = self._before[1]

    def emit(self, record: logging.LogRecord) -> None:
        """As if the target itself had been called."""
        if self._target is None or not self._target.isEnabledFor(record.levelno) or hasattr(record, _FORWARDED):
            return
        setattr(record, _FORWARDED, True)  # the target may be a child of ours, which hands its records up to us
        self._target.handle(record)
