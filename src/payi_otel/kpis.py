"""KPIs of a use case: what came of it, counted over time and over processes."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from payi_otel._bootstrap import current_sink
from payi_otel.clients import to_target
from payi_otel.context.scope import current_scope
from payi_otel.delivery._workers import quiet
from payi_otel.exporters._latest import latest_exporter
from payi_otel.exporters._wire import Request

if TYPE_CHECKING:
    from payi_otel.exporters.http import HttpSink

logger = logging.getLogger("payi.instrument")

_MAX_RETRIES: Final = 2
"""As in the published SDK 0.1.0a183."""
_FIRST_PAUSE_S: Final = 0.5
"""Before the first retry; doubles."""
_MAX_PAGES: Final = 1000
"""Of KPIs that are looked through: a cursor that never ends must not."""


class _Turn:
    """One increment after the other, for one KPI of one instance."""

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()


_turns: weakref.WeakValueDictionary[tuple[str, ...], _Turn] = weakref.WeakValueDictionary()
_turns_lock = threading.Lock()


def _forget_turns() -> None:
    """In a forked child: whose turn it is in the parent is the parent's affair."""
    global _turns_lock  # noqa: PLW0603 - another thread may have held it
    _turns_lock = threading.Lock()
    _turns.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_turns)


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """Pay-i did not do it; the text is its code or status."""


def increment_kpi_score(
    payi: Any, kpi_name: str, use_case_name: str | None = None, use_case_id: str | None = None, increment: float = 1
) -> bool:
    """Adds to the score of a KPI of a use case's instance; a score that was never set counts as 0.

    Pay-i knows no increment, only reading and writing. Within a process increments of the same KPI wait for one another, so none is lost;
    two processes that add to the same instance's KPI at the same moment may lose one. Source: Pay-i API, use_cases/instances.

    Args:
        payi: A `Payi` or `AsyncPayi`, ours or the published SDK's, or a list of them; None for the one that `payi_instrument` was given,
            else that of an exporter of ours that is in use, else the environment's.
        kpi_name: The KPI, as it is defined for the use case.
        use_case_name: The use case; None for the current scope's.
        use_case_id: Its instance; None for the current scope's.
        increment: What to add; it may be negative, or a fraction.

    Returns:
        Whether it was done. Nothing is raised; the reason is in the log.
    """
    return _increment(payi, kpi_name, *_instance(use_case_name, use_case_id), increment)


async def increment_kpi_score_async(
    payi: Any, kpi_name: str, use_case_name: str | None = None, use_case_id: str | None = None, increment: float = 1
) -> bool:
    """The same without blocking the event loop."""
    work = functools.partial(_increment, payi, kpi_name, *_instance(use_case_name, use_case_id), increment)
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # another event loop than asyncio's (trio), which anyio knows
        from anyio import to_thread

        return await to_thread.run_sync(work)
    # A thread of its own: increments that wait for one another would fill the application's pool.
    future: Future[bool] = Future()
    future.set_running_or_notify_cancel()
    try:
        threading.Thread(target=_settle, args=(future, work), name="payi-kpi", daemon=True).start()
    except RuntimeError as fault:  # no thread can be had
        logger.warning("the KPI %s of the use case %s was not incremented: %s", kpi_name, use_case_name, type(fault).__name__)
        return False
    return await asyncio.wrap_future(future)


def _settle(future: Future[bool], work: Callable[[], bool]) -> None:
    try:
        future.set_result(work())
    except BaseException as fault:
        future.set_exception(fault)
        raise


def _instance(name: str | None, instance_id: str | None) -> tuple[str | None, str | None]:
    """As given, else the current scope's; an id belongs to its own use case's name only."""
    scope = current_scope()
    if scope is None or (name is not None and name != scope.use_case_name):
        return name, instance_id
    return scope.use_case_name, scope.use_case_id if instance_id is None else instance_id


def _increment(payi: Any, kpi_name: str, use_case_name: str | None, use_case_id: str | None, increment: float) -> bool:
    try:
        if not (kpi_name and use_case_name and use_case_id):
            raise _Refused("a KPI has a name, and belongs to a use case's name and id")
        path = f"/api/v1/use_cases/instances/{_part(use_case_name)}/{_part(use_case_id)}/kpis"
        with quiet(), _sink(payi) as sink, _turn(sink.base_url, path, kpi_name):
            score = _read_score(sink, path, kpi_name) + increment
            if not math.isfinite(score):  # as JSON it would be null, and the score there is be gone
                raise _Refused("the sum is no number")
            _ask(sink, Request(f"{path}/{_part(kpi_name)}", {}, orjson.dumps({"score": float(score)}), method="PUT"))
    except Exception as fault:  # the promise is a bool, whatever the service or what was given for it is like
        why = str(fault) if isinstance(fault, _Refused) else type(fault).__name__
        logger.warning("the KPI %s of the use case %s was not incremented: %s", kpi_name, use_case_name, why)
        return False
    return True


@contextmanager
def _sink(payi: Any) -> Iterator[HttpSink]:
    """What sends to Pay-i: the process's own, or one for these requests."""
    from payi_otel.exporters.http import HttpSink

    if payi is None:
        exporter = latest_exporter()
        for shared in (current_sink(), exporter.queue.sink if exporter is not None else None):
            if isinstance(shared, HttpSink):
                yield shared
                return
    sink = HttpSink(to_target(payi))
    try:
        yield sink
    finally:
        sink.close()


@contextmanager
def _turn(*key: str) -> Iterator[None]:
    with _turns_lock:
        turn = _turns.get(key)
        if turn is None:
            turn = _turns[key] = _Turn()
    with turn.lock:
        yield


def _read_score(sink: HttpSink, path: str, kpi_name: str) -> float:
    """The score there is; a boolean counts as 0 or 1."""
    cursor = ""
    for _ in range(_MAX_PAGES):
        query = f"?kpi_name={_part(kpi_name)}{f'&cursor={_part(cursor)}' if cursor else ''}"
        page = orjson.loads(_ask(sink, Request(path + query, {}, b"", method="GET")))
        for kpi in page.get("items") or ():
            if kpi.get("kpi_name") == kpi_name:
                return float(kpi.get("score") or 0)
        cursor = page.get("cursor") or ""
        if not cursor:
            break
    return 0.0


def _ask(sink: HttpSink, request: Request) -> bytes:
    """The answer's body, after as many tries as the published SDK makes."""
    pause_s = _FIRST_PAUSE_S
    for left in range(_MAX_RETRIES, -1, -1):
        status, content, problem = sink.ask(request)
        if 200 <= status < 300:
            return content
        if left == 0 or not (status == 0 or status in (408, 409, 429) or status >= 500):
            break
        time.sleep(pause_s)
        pause_s *= 2
    raise _Refused(problem)


def _part(text: str) -> str:
    if text in (".", ".."):  # a URL's own words: they would lead elsewhere
        raise _Refused("a name or id is a dot or two")
    return quote(text, safe="")
