"""The results of a message batch, each when it is read."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from payi_otel._guard import guard
from payi_otel.instrumentors._batches import BilledResults, to_payload
from payi_otel.instrumentors._claude import ClaudeContent, read_message
from payi_otel.instrumentors._invocation import Request
from payi_otel.instrumentors._operation import Operation
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors._wrapper import Binding, Prepared, prepare
from payi_otel.instrumentors.anthropic._client import read_client
from payi_otel.payload import registry

billed = BilledResults()
"""Shared by all clients of the process."""


class _Results(Operation):
    """`messages.batches.results`: no call of a model, but a list of some."""

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Whose batch it is."""
        return Request(client=read_client(instance), model=None, args=args, kwargs=kwargs)


_RESULTS = _Results()


def wrap_results(*, is_async: bool) -> Callable[[Binding], Callable[..., Any]]:
    """A wrapper for `results`, whose decoder stays the SDK's own and is read through."""
    return _bind_async if is_async else _bind


def _bind(binding: Binding) -> Callable[..., Any]:
    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        prepared = _prepare(binding, instance, args, kwargs)
        if not isinstance(prepared, Prepared):
            return wrapped(*args, **prepared)
        decoder = wrapped(*args, **prepared.kwargs)
        with guard("reading a batch's results"):
            _tap(decoder, prepared, _read)
        return decoder

    return call


def _bind_async(binding: Binding) -> Callable[..., Any]:
    async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        prepared = _prepare(binding, instance, args, kwargs)
        if not isinstance(prepared, Prepared):
            return await wrapped(*args, **prepared)
        decoder = await wrapped(*args, **prepared.kwargs)
        with guard("reading a batch's results"):
            _tap(decoder, prepared, _read_async)
        return decoder

    return call


def _prepare(binding: Binding, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Prepared | dict[str, Any]:
    return prepare(_RESULTS, binding, instance, args, kwargs, sys._getframe(2)) if binding.active else kwargs


def _tap(decoder: Any, prepared: Prepared, read: Callable[[Any, Prepared], Any]) -> None:
    if hasattr(decoder, "_raw_iterator"):  # else a raw response, whose results are parsed later
        decoder._iterator = read(decoder._iterator, prepared)


def _read(results: Iterator[Any], prepared: Prepared) -> Iterator[Any]:
    for result in results:
        _offer(prepared, result)
        yield result


async def _read_async(results: AsyncIterator[Any], prepared: Prepared) -> AsyncIterator[Any]:
    async for result in results:
        _offer(prepared, result)
        yield result


def _offer(prepared: Prepared, result: Any) -> None:
    """A snapshot of an answer becomes a packet: the object is the caller's from here on."""
    with guard("reading a batch's result"):
        message = get(get(result, "result"), "message")
        if message is None or not billed.is_first(get(message, "id")):
            return
        answered = message.to_dict(mode="json", warnings=False)
        content = ClaudeContent(None, [answered], streamed=False)
        payload = to_payload(prepared.request.client, prepared.binding.module, prepared.scope, read_message(answered), content)
        registry.offer(payload)
