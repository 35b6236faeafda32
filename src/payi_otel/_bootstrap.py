"""The composition root: settings to provider, processor, queue, sink and instrumentors; shut down in reverse."""

from __future__ import annotations

import logging
import operator
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from threading import Lock
from typing import TYPE_CHECKING, Any

from payi_otel._environ import is_sdk_disabled, listed, variable
from payi_otel._forwarding import ForwardingHandler
from payi_otel._guard import guard
from payi_otel._requests import requests
from payi_otel._runtime import Runtime
from payi_otel.clients import API_KEY_VARIABLE, to_target
from payi_otel.config import (
    PROGRAM_VARIABLE,
    PayiInstrumentConfig,
    Settings,
    default_use_case_name,
    load_settings,
    program_name,
)
from payi_otel.context import defaults
from payi_otel.delivery._handover import hand_over, print_packet, prints
from payi_otel.delivery._metrics import metrics
from payi_otel.delivery._unclaimed import mourn_unclaimed
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.delivery.result import reading_patience
from payi_otel.delivery.stats import HostCalls, Stats
from payi_otel.errors import ConfigurationError
from payi_otel.exporters._latest import latest_exporter
from payi_otel.exporters._queue import to_http_sink, to_queue
from payi_otel.gateway import gateway
from payi_otel.limits import limits

if TYPE_CHECKING:
    from payi_otel.clients import AsyncPayi, Payi
    from payi_otel.delivery.outcome import Sink

logger = logging.getLogger("payi.instrument")


@dataclass(frozen=True, slots=True)
class Instrumented:
    """One provider SDK that is instrumented."""

    name: str
    """Entry-point name, e.g. `payi_openai`."""
    distribution: str
    version: str
    wrapped: tuple[str, ...]
    """The methods wrapped so far: an SDK is wrapped when it is imported."""


_runtime: Runtime | None = None
_final = Stats()
"""The account of the runtime that was shut down last."""
_earlier: list[DeliveryQueue] = []
"""Of what `opentelemetry-instrument` had set up before the application did so itself."""
_has_attach_failed = False


def _end_mourning() -> None:
    """Nobody is to say that calls are not recorded; replaced where the launcher found no key."""


_lock = Lock()


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
    caller = sys._getframe(1).f_code.co_filename
    with _lock:
        if _runtime is not None and not _runtime.is_implicit:
            own = logger if isinstance(logger, logging.Logger) else logging.getLogger("payi.instrument")
            own.debug("payi_instrument() was called before: nothing is changed")
            return
        if not isinstance(logger, logging.Logger | None):
            raise ConfigurationError([f"logger: {type(logger).__name__} is not allowed, must be a logging.Logger"])
        forwarding = ForwardingHandler(logger)
        forwarding.install()
        try:
            if is_sdk_disabled():
                _log_disabled()
                forwarding.remove()
                return
            settings, sink = _read(payi, instruments, log_prompt_and_response, config)
            _start(settings, sink, forwarding, caller, logs=log_prompt_and_response and settings.log_prompt_and_response)
        except BaseException:
            forwarding.remove()
            raise


def _start(settings: Settings, sink: Sink, forwarding: ForwardingHandler, caller: str, *, logs: bool) -> None:
    global _runtime  # noqa: PLW0603 - there is one runtime in a process
    queue = to_queue(sink, settings, log_prompt_and_response=logs)
    earlier, _runtime = _runtime, None
    _end_mourning()
    if earlier is not None:
        _retire(earlier)
    _runtime = Runtime(settings, queue, forwarding)
    _see_to_end(_runtime)
    _put_in_force(settings, default_use_case_name(caller), logs=logs)


def attach() -> None:
    """Starts what the environment says; for `opentelemetry-instrument`, which runs it before and after its instrumentors. Never raises.

    A `payi_instrument()` of the application's own takes the place of what this has set up.
    """
    global _runtime, _has_attach_failed  # noqa: PLW0603 - there is one runtime in a process
    with _lock, guard("starting with opentelemetry-instrument"):
        if _runtime is not None:
            _runtime.provider.current()
            if _runtime.is_implicit:
                _runtime.carry_context_into_threads()
        elif not _has_attach_failed and not is_sdk_disabled():
            try:
                _runtime = _from_environment()
            except ConfigurationError as error:
                _has_attach_failed = True
                logger.error("no calls are recorded: %s", error)


def _from_environment() -> Runtime | None:
    """An exporter of ours that the pipeline has already says where packets go; else a key or a file in the environment does."""
    exporter = latest_exporter()
    if exporter is not None:
        settings, queue = exporter.settings, exporter.queue
    else:
        settings = load_settings()
        if settings.offline_instrumentation is None and variable(API_KEY_VARIABLE) is None:
            _mourn()
            return None
        queue = to_queue(_make_sink(None, settings), settings, log_prompt_and_response=settings.log_prompt_and_response)
    runtime = Runtime(settings, queue, ForwardingHandler(None), is_implicit=True)
    _see_to_end(runtime)
    program = os.environ[PROGRAM_VARIABLE] = program_name()
    _put_in_force(settings, program, logs=settings.log_prompt_and_response)
    return runtime


def _mourn() -> None:
    """Nothing is wrong before a call: the application may call `payi_instrument()` itself. Whoever exports spans may want no more."""
    global _end_mourning  # noqa: PLW0603 - of the one launcher of a process
    from payi_otel.processors.otlp import EXPORTERS_VARIABLE

    logger.info("%s is not set: calls become packets once the application calls payi_instrument()", API_KEY_VARIABLE)
    _end_mourning()
    if not os.environ.get("OTEL_CONFIG_FILE") and not {*listed(EXPORTERS_VARIABLE)} - {"none"}:
        _end_mourning = mourn_unclaimed(_say_unrecorded)


def _say_unrecorded() -> None:
    if latest_exporter() is None:
        text = "calls are not recorded: %s is not set, and no payi_instrument() of the application has said where packets go"
        logger.warning(text, API_KEY_VARIABLE)


def _see_to_end(runtime: Runtime) -> None:
    """Its queue's end is the process's; and packets are shown where `payi-otel run --print` asks for it."""
    runtime.queue.account_for_process(lambda: hand_over(_account_of(runtime)))
    if prints():
        runtime.queue.watch_packets(print_packet)


def _retire(runtime: Runtime) -> None:
    exporter = latest_exporter()
    runtime.make_way(keeps_queue=exporter is not None and exporter.queue is runtime.queue)
    _earlier.append(runtime.queue)


def _log_disabled() -> None:
    """By our own logger: the user's, which `payi_instrument()` calls `logger`, has it handed on."""
    logger.warning("OTEL_SDK_DISABLED is set: no calls are recorded")


def flush(timeout_s: float = 30.0) -> bool:
    """Waits until every call that ended before has its packet delivered, or given up and counted.

    Args:
        timeout_s: Seconds to wait at most.

    Returns:
        False when the time ran out first; delivery goes on.
    """
    runtime, deadline_s = _runtime, time.monotonic() + timeout_s
    is_done = runtime.flush(timeout_s) if runtime is not None else True
    return all([is_done, *(queue.flush(max(0.0, deadline_s - time.monotonic())) for queue in _earlier)])


def shutdown(timeout_s: float | None = None) -> None:
    """Delivers what is queued within the time, counts and logs the rest as lost, and takes the instrumentation away.

    Args:
        timeout_s: Seconds to wait at most; None for the setting `exit_timeout_s`.
    """
    global _runtime, _final  # noqa: PLW0603 - there is one runtime in a process
    with _lock:
        runtime, _runtime = _runtime, None
        if runtime is not None:
            deadline_s = time.monotonic() + (runtime.exit_timeout_s if timeout_s is None else timeout_s)
            runtime.stop(timeout_s)
            for queue in _earlier:  # one ends by itself since it made way, or with the exporter that it is
                end = queue.shutdown if queue.is_closed else queue.flush
                end(max(0.0, deadline_s - time.monotonic()))
            gateway.close()
            limits.end()
            _final = _account_of(runtime)
            _earlier.clear()


def stats() -> Stats:
    """What became of every packet since `payi_instrument()`, at this instant; all zero before it, final after `shutdown()`."""
    runtime = _runtime
    return _account_of(runtime) if runtime is not None else _final


def current_sink() -> Sink | None:
    """Where packets go at present; None before `payi_instrument()` and after `shutdown()`."""
    runtime = _runtime
    return runtime.queue.sink if runtime is not None else None


def combined(queues: Sequence[DeliveryQueue]) -> Stats:
    """The account of several queues."""
    return reduce(operator.add, (queue.stats() for queue in queues))


def _account_of(runtime: Runtime) -> Stats:
    """The process's: its requests, too, which are no queue's own."""
    made = {host: HostCalls(requests=count) for host, count in requests.read().items()}
    return combined([runtime.queue, *_earlier]) + Stats(hosts=made)


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
    if settings is not None and settings.proxy and settings.offline_instrumentation is not None:
        problems.append("proxy: True is not allowed with offline_instrumentation, must be False: the proxy records calls, and no file does")
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

        gateway.close()
        return FileSink(settings.offline_instrumentation.file_name or default_file_name())
    return to_http_sink(payi, settings)


def _put_in_force(settings: Settings, program: str, *, logs: bool) -> None:
    """What of the settings holds for the whole process."""
    defaults.apply(settings, program, log_prompt_and_response=logs)
    limits.begin(settings.on_limit, enforces=settings.enforce_limits)
    reading_patience.seconds = settings.result_timeout_s
    metrics.observe(stats)
