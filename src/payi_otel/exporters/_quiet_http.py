"""Has the HTTP library do for us what we need of it and no more.

What it logs of our own requests stays out of the application's log; the application's requests stay in it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_LOGGERS: Final = (
    *("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks"),
    *("hpack.hpack", "hpack.table"),
)
"""`httpx` logs each request at INFO, with its URL; the others each step of one at DEBUG, and hpack each header's value. A filter does
not reach a child logger."""

_COMMAND: Final = "httpx._main"

_is_ours: ContextVar[bool] = ContextVar("payi_own_request", default=False)


class _OwnRequests(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record that one of our requests made."""
        return not _is_ours.get()


_FILTER: Final = _OwnRequests()


def import_httpx() -> None:
    """Imports httpx without its command line, which would bring click, rich and pygments: as much time and memory as all the rest.

    `httpx.main` is there all the same, and loads it when it is called.
    """
    if "httpx" in sys.modules or _COMMAND in sys.modules:
        import httpx

        return
    stand_in = ModuleType(_COMMAND)
    stand_in.main = _run_command  # type: ignore[attr-defined]
    sys.modules[_COMMAND] = stand_in
    try:
        import httpx  # noqa: F401
    finally:
        if sys.modules.get(_COMMAND) is stand_in:
            del sys.modules[_COMMAND]


def _run_command(*args: Any, **kwargs: Any) -> Any:
    return import_module(_COMMAND).main(*args, **kwargs)


def install() -> None:
    """Filters the library's loggers; once is enough, and again does nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)


@contextmanager
def own_request() -> Iterator[None]:
    """What is logged in here is ours."""
    token = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(token)
