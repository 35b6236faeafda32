"""What is wrapped of `litellm`: its one HTTP client, which all providers are posted to that it has no SDK for.

What it asks through the `openai` SDK (OpenAI's and Azure's chats, and whatever speaks like them) is recorded there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from payi_otel.instrumentors._base import Patch, Table
from payi_otel.instrumentors._capture import current_exchange
from payi_otel.instrumentors._discovery import all_instrumentors
from payi_otel.instrumentors._http_calls import HttpCall, Route, url_of
from payi_otel.instrumentors._invocation import Invocation
from payi_otel.instrumentors._wrapper import Binding, call_async, call_sync, start

_HANDLER = "litellm.llms.custom_httpx.http_handler"


@cache
def _routes() -> tuple[Route, ...]:
    """Of all providers, whose code is loaded for it: when LiteLLM is imported, and not within its first call."""
    return tuple(dict.fromkeys(route for one in all_instrumentors() for route in one.table.routes))


def _begin(binding: Binding, handler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[HttpCall, Invocation] | dict[str, Any]:
    """The call, where one of a provider's routes leads there; else the arguments with which it is posted."""
    url = url_of(args, kwargs)
    operation = next((route.operation for route in _routes() if url is not None and route.path.search(url)), None)
    if not binding.active or operation is None or current_exchange.get() is not None:
        return kwargs
    started = start(operation, binding, handler, args, kwargs, sys._getframe(1).f_back)
    return (operation, started) if isinstance(started, Invocation) else started


def _noted(response: Any) -> Any:
    exchange = current_exchange.get()
    if exchange is not None:
        exchange.request, exchange.response = response.request, response
    return response


def wrap_post(binding: Binding) -> Callable[..., Any]:
    """A wrapper for `HTTPHandler.post`."""
    _routes()

    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        begun = _begin(binding, instance, args, kwargs)
        if isinstance(begun, dict):
            return wrapped(*args, **begun)
        return call_sync(*begun, lambda *given, **named: _noted(wrapped(*given, **named)))

    return call


def wrap_post_async(binding: Binding) -> Callable[..., Any]:
    """A wrapper for `AsyncHTTPHandler.post`."""
    _routes()

    async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        begun = _begin(binding, instance, args, kwargs)
        if isinstance(begun, dict):
            return await wrapped(*args, **begun)

        async def send(*given: Any, **named: Any) -> Any:
            return _noted(await wrapped(*given, **named))

        return await call_async(*begun, send)

    return call


TABLE = Table(
    units=(),
    patches=(
        Patch(_HANDLER, "HTTPHandler.post", bound_wrapper=wrap_post),
        Patch(_HANDLER, "AsyncHTTPHandler.post", bound_wrapper=wrap_post_async),
    ),
)
