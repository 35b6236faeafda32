"""Has the HTTP library do for us what we need of it and no more.

What it logs of our own requests stays out of the application's log; the application's requests stay in it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_LOGGERS: Final = (
    *("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks"),
    *("httpx2", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2", "httpcore2.proxy", "httpcore2.socks"),
    *("hpack.hpack", "hpack.table"),
)
"""`httpx` logs each request at INFO, with its URL; the others each step of one at DEBUG, and hpack each header's value. A filter does
not reach a child logger."""

_is_ours: ContextVar[bool] = ContextVar("payi_own_request", default=False)


class _OwnRequests(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """False for a record that one of our requests made."""
        return not _is_ours.get()


_FILTER: Final = _OwnRequests()


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
