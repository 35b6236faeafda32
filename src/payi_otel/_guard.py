"""Keeps our own faults out of the application: logged in production, raised in our tests."""

from __future__ import annotations

import logging
from types import TracebackType

logger = logging.getLogger("payi.instrument")

raise_faults = False
"""Set by the test suite's conftest, so that a swallowed fault of ours fails the test that met it."""


def log_fault(doing: str, fault: BaseException) -> None:
    """Logs a fault of ours by its type and place only: its text may hold a prompt or a key."""
    if raise_faults:
        raise fault
    try:
        kind, place = type(fault).__name__, place_of(fault)
        logger.error("payi-otel failed while %s (%s at %s); the call itself is not affected", doing, kind, place)
    except Exception:  # a logging handler of the application may itself fail
        return


def place_of(fault: BaseException) -> str:
    """`file:line` where an exception was raised: all that may be said of one, beside its type."""
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "unknown place"


class guard:  # noqa: N801 - reads like a function, and a call makes several: one of `contextlib`'s takes four times as long
    """Runs a block of ours; an `Exception` in it is logged as "failed while <doing>" and goes no further."""

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(fault, Exception):
            return False
        log_fault(self._doing, fault)
        return True
