"""A batch's results: calls that the provider made on its own time, each one packet when its result is first read.

They have no span: nothing of them happens in this process. What failed, expired or was cancelled costs nothing and makes no packet.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from threading import Lock
from typing import Any, NoReturn, Protocol

from payi_otel._guard import guard
from payi_otel.instrumentors._capture import HttpExchange, current_exchange
from payi_otel.instrumentors._client_facts import ClientFacts
from payi_otel.instrumentors._hooks import ResponseHook
from payi_otel.instrumentors._invocation import Answer, Request, part_of
from payi_otel.instrumentors._operation import Operation
from payi_otel.instrumentors._values import text_of
from payi_otel.instrumentors._wrapper import Binding, Prepared, prepare
from payi_otel.payload import ContentReader, Payload

TIER = "batch"
"""The service tier of all of them."""
_MAX_REMEMBERED = 100_000
"""Results that are known to be billed, a few MB; a batch has up to 100,000, and a result that is read again is mostly read soon."""
_DOING = "reading a batch's results"
_END_OF_TIME_S = 253_402_300_800
"""The year 10000: a later time stamp is none, or in milliseconds."""


class BilledResults:
    """Which results have been billed by this process: a batch may be read more than once."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def is_first(self, ids: Iterable[Any], whole: Callable[[], bytes]) -> bool:
        """True the first time.

        Args:
            ids: What may name the result: the first that is a text does.
            whole: The result, by which it is known again where nothing names it.
        """
        result_id = next((one for one in ids if isinstance(one, str) and one), None) or hashlib.sha256(whole()).hexdigest()
        with self._lock:
            if result_id in self._ids:
                return False
            self._ids[result_id] = None
            if len(self._ids) > _MAX_REMEMBERED:
                self._ids.popitem(last=False)
            return True

    def forget(self) -> None:
        """Knows nothing again."""
        with self._lock:
            self._ids.clear()

    def _after_fork_in_child(self) -> None:
        self._lock = Lock()  # another thread of the parent may have held it


class ReadResults(Operation):
    """A method that hands back a batch's results: no call of a model, but a list of some."""

    is_inference = False

    def __init__(self, read_client: Callable[[Any], ClientFacts], offer: Callable[[Prepared, HttpExchange, Any], None]) -> None:
        """For one SDK.

        Args:
            read_client: What the client behind a resource object is.
            offer: Sees to it that the results in what the method returned become packets.
        """
        self._read_client, self._offer = read_client, offer

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Whose results they are."""
        return Request(client=self._read_client(instance), model=None, args=args, kwargs=kwargs)

    def offer(self, prepared: Prepared, exchange: HttpExchange, result: Any) -> None:
        """Never raises."""
        with guard(_DOING):
            self._offer(prepared, exchange, result)

    def wrap(self, binding: Binding) -> Callable[..., Any]:
        """A wrapper for the sync method."""

        def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            prepared = self._prepare(binding, instance, args, kwargs)
            if not isinstance(prepared, Prepared):
                return wrapped(*args, **prepared)
            exchange = HttpExchange()
            token = current_exchange.set(exchange)
            try:
                result = wrapped(*args, **prepared.kwargs)
            finally:
                current_exchange.reset(token)
            self.offer(prepared, exchange, result)
            return result

        return call

    def wrap_async(self, binding: Binding) -> Callable[..., Any]:
        """The same for the one that is awaited."""

        async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            prepared = self._prepare(binding, instance, args, kwargs)
            if not isinstance(prepared, Prepared):
                return await wrapped(*args, **prepared)
            exchange = HttpExchange()
            token = current_exchange.set(exchange)
            try:
                result = await wrapped(*args, **prepared.kwargs)
            finally:
                current_exchange.reset(token)
            self.offer(prepared, exchange, result)
            return result

        return call

    def _prepare(self, binding: Binding, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Prepared | dict[str, Any]:
        return prepare(self, binding, instance, args, kwargs, sys._getframe(2)) if binding.active else kwargs


class Results(Protocol):
    """Makes packets of the bytes that a caller reads himself."""

    def take(self, piece: bytes) -> None:
        """The next of them."""
        ...

    def end(self) -> None:
        """He has read all that he wanted."""
        ...


def watch(response: Any, new_results: Callable[[], Results]) -> None:
    """Takes the bytes of a response as its caller reads them, sync or async, each time that he does."""
    for name in ("iter_bytes", "aiter_bytes"):
        _BytesHook(response, name, new_results)


class _BytesHook(ResponseHook):
    def __init__(self, response: Any, name: str, new_results: Callable[[], Results]) -> None:
        super().__init__(response, name)
        self._new_results = new_results

    def __call__(self, chunk_size: int | None = None) -> Any:
        read = _read_async if self._name == "aiter_bytes" else _read
        return read(self.original(chunk_size), self._new_results())


def _read(inner: Iterator[bytes], results: Results) -> Iterator[bytes]:
    try:
        for piece in inner:
            with guard(_DOING):
                results.take(piece)
            yield piece
    finally:
        with guard(_DOING):
            results.end()


async def _read_async(inner: AsyncIterator[bytes], results: Results) -> AsyncIterator[bytes]:
    try:
        async for piece in inner:
            with guard(_DOING):
                results.take(piece)
            yield piece
    finally:
        with guard(_DOING):
            results.end()


def read_result(reading: Prepared, read: Callable[[], Sequence[Payload]]) -> Sequence[Payload]:
    """What a provider's reader makes of one result; nothing of one that cost nothing.

    One that it cannot read is lost, and none beside it: the worker finds no packet in it, counts that and says so.
    """
    try:
        return read()
    except Exception as fault:
        category, module = reading.request.client.category, reading.binding.module
        return (Payload(scope=reading.scope, category=category, module=module, parts=partial(_fail, fault)),)


def _fail(fault: Exception) -> NoReturn:
    raise fault


def to_payloads(reading: Prepared, answer: Answer, content: ContentReader, *, made_at_s: Any = None) -> Sequence[Payload]:
    """The payload of one result, and those of what other models did for it.

    Args:
        reading: The call that reads it, whose scope is the result's: whose call it was, the result does not say.
        answer: The result, read by its provider's reader.
        content: The worker's view of it.
        made_at_s: When the provider made it, seconds since the epoch; where that is no time, it is now.
    """
    client, model = reading.request.client, text_of(answer.model)
    payload = Payload(
        scope=reading.scope,
        category=client.category,
        module=reading.binding.module,
        model=client.deployment or model,
        resource_prefix=client.resource_prefix,
        host=client.address,
        provider_uri=client.uri,
        started_at_ns=int(made_at_s) * 1_000_000_000 if _is_time(made_at_s) else time.time_ns(),
        http_status=200,
        response_id=text_of(answer.response_id),
        response_model=model,
        usage=answer.usage,
        service_tier=TIER,
        resource_scope=answer.resource_scope,
        properties=dict(answer.properties),
        content=content,
    )
    return (payload, *(part_of(payload, other) for other in answer.others))


def _is_time(made_at_s: Any) -> bool:
    return type(made_at_s) in (int, float) and 0 < made_at_s < _END_OF_TIME_S
