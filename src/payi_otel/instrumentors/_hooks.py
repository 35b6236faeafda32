"""Methods replaced on one HTTP response or stream: how a call learns that it was closed or dropped."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

from payi_otel.instrumentors._stream import Tap, settle, settle_async


class ResponseHook:
    """Replaces a method on one HTTP response. Holds it weakly: a strong reference would make a cycle, and wait for the collector."""

    def __init__(self, response: Any, name: str) -> None:
        while hasattr(response, "__wrapped__"):  # another instrumentation's proxy, made anew at every look and gone with it
            response = response.__wrapped__
        self._response, self._name = weakref.ref(response), name
        self._previous: Callable[..., Any] | None = vars(response).get(name)
        setattr(response, name, self)

    def original(self, *args: Any) -> Any:
        """Calls the method as it was."""
        if self._previous is not None:
            return self._previous(*args)
        response = self._response()
        return getattr(type(response), self._name)(response, *args) if response is not None else None

    def __reduce__(self) -> Any:
        """A copy of the response has no call to end: it gets the method of its class."""
        return getattr, (self._response(), self._name)


class TapHook(ResponseHook):
    """A hook that tells a tap of what is done to its response."""

    def __init__(self, response: Any, name: str, tap: Tap) -> None:
        super().__init__(response, name)
        self._tap = tap


class _CloseHook(TapHook):
    """Collected with its response, so that a response nobody closed or read ends its call, too."""

    def __call__(self) -> None:
        try:
            self.original()
        finally:
            settle(self._tap.closed())

    def __del__(self) -> None:
        self._tap.abandon()


class _AsyncCloseHook(TapHook):
    async def __call__(self) -> None:
        self._tap.begin_close()
        try:
            closing = self.original()
            if closing is not None:
                await closing
        finally:
            ticket = self._tap.closed()
            if ticket is not None and isinstance(sys.exc_info()[1], Exception | None):
                await settle_async(ticket)

    def __del__(self) -> None:
        self._tap.abandon()


def hook_close(response: Any, tap: Tap, *, is_async: bool) -> None:
    """Ends the call when its HTTP response is closed or collected."""
    if is_async:
        _AsyncCloseHook(response, "aclose", tap)
    else:
        _CloseHook(response, "close", tap)
