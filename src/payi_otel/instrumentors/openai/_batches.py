"""The results of a batch, where the file that holds them is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import orjson

from payi_otel._guard import guard
from payi_otel.context.scope import Scope
from payi_otel.instrumentors._batches import BilledResults, to_payload
from payi_otel.instrumentors._capture import HttpExchange, current_exchange
from payi_otel.instrumentors._invocation import Answer, ClientFacts, Request
from payi_otel.instrumentors._operation import Operation
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors._wrapper import Binding, Prepared, prepare
from payi_otel.instrumentors.openai._chat import Chat
from payi_otel.instrumentors.openai._client import read_client
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.instrumentors.openai._embeddings import Embeddings
from payi_otel.instrumentors.openai._images import Images
from payi_otel.instrumentors.openai._responses import Responses
from payi_otel.payload import Payload, registry

_MARK = b'"custom_id"'
"""Stands in every line of a batch's files, and in few others."""
_MARKED_BYTES = 4096
"""Of a file, so many bytes are looked at in the call; the worker reads the rest."""
_READERS: dict[str, Callable[[Any], Answer]] = {
    "chat.completion": Chat().read_answer,
    "text_completion": Chat().read_answer,
    "response": Responses().read_answer,
    "list": Embeddings().read_answer,
}
"""By the `object` of an answer. Source: https://platform.openai.com/docs/api-reference/batch/request-output"""
_read_image = Images().read_answer

billed = BilledResults()
"""Shared by all clients of the process."""


class _FileContent(Operation):
    """`files.content`: no call of a model, but for what may stand in it."""

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Whose file it is."""
        return Request(client=read_client(instance), model=None, args=args, kwargs=kwargs)


_FILE = _FileContent()


def wrap_file_content(*, is_async: bool) -> Callable[[Binding], Callable[..., Any]]:
    """A wrapper for `files.content`."""
    return _bind_async if is_async else _bind


def _bind(binding: Binding) -> Callable[..., Any]:
    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        prepared = _prepare(binding, instance, args, kwargs)
        if not isinstance(prepared, Prepared):
            return wrapped(*args, **prepared)
        exchange = HttpExchange()
        token = current_exchange.set(exchange)
        try:
            result = wrapped(*args, **prepared.kwargs)
        finally:
            current_exchange.reset(token)
        _offer(prepared, exchange)
        return result

    return call


def _bind_async(binding: Binding) -> Callable[..., Any]:
    async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        prepared = _prepare(binding, instance, args, kwargs)
        if not isinstance(prepared, Prepared):
            return await wrapped(*args, **prepared)
        exchange = HttpExchange()
        token = current_exchange.set(exchange)
        try:
            result = await wrapped(*args, **prepared.kwargs)
        finally:
            current_exchange.reset(token)
        _offer(prepared, exchange)
        return result

    return call


def _prepare(binding: Binding, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Prepared | dict[str, Any]:
    return prepare(_FILE, binding, instance, args, kwargs, sys._getframe(2)) if binding.active else kwargs


def _offer(prepared: Prepared, exchange: HttpExchange) -> None:
    """Hands a batch's results to the worker. What the caller reads in pieces, through `with_streaming_response`, is not seen here."""
    with guard("reading a batch's results"):
        body = exchange.response_body()
        if body is None or _MARK not in body[:_MARKED_BYTES]:
            return
        client, module, scope = prepared.request.client, prepared.binding.module, prepared.scope
        parts = partial(_read_results, body, client, module, scope)
        registry.offer(Payload(scope=scope, category=client.category, module=module, parts=parts))


def _read_results(body: bytes, client: ClientFacts, module: str, scope: Scope) -> Iterator[Payload]:
    for line in body.splitlines():
        try:
            result = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        response = get(result, "response")
        answered = get(response, "body")
        if not isinstance(answered, dict) or get(response, "status_code") != 200:
            continue
        answer = _READERS.get(str(answered.get("object")), _read_image)(answered)
        if not billed.is_first(answer.response_id or get(result, "id")):
            continue
        made_at_s = answered.get("created") or answered.get("created_at")
        content = OpenAIContent(None, [answered], streamed=False)
        yield to_payload(client, module, scope, answer, content, made_at_s=int(made_at_s) if isinstance(made_at_s, int | float) else None)
