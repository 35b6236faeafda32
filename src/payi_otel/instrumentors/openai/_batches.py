"""The results of a batch, where the file that holds them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import orjson

from payi_otel.instrumentors._batches import BilledResults, ReadResults, to_payload
from payi_otel.instrumentors._capture import HttpExchange
from payi_otel.instrumentors._invocation import Answer
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors._wrapper import Prepared
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


def _offer(reading: Prepared, exchange: HttpExchange, result: Any) -> None:
    """Hands a batch's results to the worker. What the caller reads in pieces, through `with_streaming_response`, is not seen here."""
    body = exchange.response_body()
    if body is not None and _MARK in body[:_MARKED_BYTES]:
        category, module = reading.request.client.category, reading.binding.module
        registry.offer(Payload(scope=reading.scope, category=category, module=module, parts=partial(_read_results, body, reading)))


FILE_CONTENT = ReadResults(read_client, _offer)
"""`files.content`."""


def _read_results(body: bytes, reading: Prepared) -> Iterator[Payload]:
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
        if billed.is_first(answer.response_id or get(result, "id")):
            made_at_s = answered.get("created") or answered.get("created_at")
            made_at_s = int(made_at_s) if isinstance(made_at_s, int | float) else None
            yield to_payload(reading, answer, OpenAIContent(None, [answered], streamed=False), made_at_s=made_at_s)
