"""The results of a batch, where the file that holds them is read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from payi_otel._json import read_json
from payi_otel.instrumentors._batches import BilledResults, ReadResults, read_result, to_payloads, watch
from payi_otel.instrumentors._capture import HttpExchange
from payi_otel.instrumentors._invocation import Answer
from payi_otel.instrumentors._values import count_of, get, text_of
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
"""By the `object` of an answer; images have none. Source: https://platform.openai.com/docs/api-reference/batch/request-output"""
_read_image = Images().read_answer

billed = BilledResults()
"""Shared by all clients of the process."""


def _see(reading: Prepared, exchange: HttpExchange, result: Any) -> None:
    """A file that was read whole; or one that the caller will read (`with_streaming_response`), which is collected as he does."""
    body = exchange.response_body()
    if body is not None:
        _offer(reading, [body])
    elif exchange.response is not None:
        watch(exchange.response, partial(_File, reading))


FILE_CONTENT = ReadResults(read_client, _see)
"""`files.content`."""


def _offer(reading: Prepared, pieces: list[bytes]) -> None:
    """Hands a batch's results to the worker."""
    if pieces and _MARK in pieces[0][:_MARKED_BYTES]:
        category, module = reading.request.client.category, reading.binding.module
        parts = partial(_read_results, b"".join(pieces), reading)
        registry.offer(Payload(scope=reading.scope, category=category, module=module, parts=parts))


class _File:
    """All of a batch's file; of any other its beginning, which says that it is another."""

    def __init__(self, reading: Prepared) -> None:
        self._reading = reading
        self._pieces: list[bytes] = []

    def take(self, piece: bytes) -> None:
        """The caller may read it in pieces of any size."""
        pieces = self._pieces
        if not pieces:
            pieces.append(piece)
        elif len(pieces[0]) < _MARKED_BYTES:
            pieces[0] += piece
        elif _MARK in pieces[0][:_MARKED_BYTES]:
            pieces.append(piece)

    def end(self) -> None:
        """As far as it was read."""
        _offer(self._reading, self._pieces)


def _read_results(body: bytes, reading: Prepared) -> Iterator[Payload]:
    for line in io.BytesIO(body):
        yield from read_result(reading, partial(_read_line, line, reading))


def _read_line(line: bytes, reading: Prepared) -> Sequence[Payload]:
    try:
        result = read_json(line)
    except ValueError:
        if _MARK in line and line.endswith(b"\n") and billed.is_first((), lambda: line):
            raise
        return ()  # nothing of a batch's, or the end of what the caller read
    response = get(result, "response")
    answered = get(response, "body")
    if count_of(response, "status_code", []) != 200 or not billed.is_first((get(answered, "id"), get(result, "id")), lambda: line):
        return ()
    if not isinstance(answered, dict):
        raise TypeError("an answered line has no answer")
    read = _READERS.get(str(answered.get("object")), _read_image)
    if read is _read_image and answered.get("usage") is None and not isinstance(answered.get("data"), list):
        return ()  # a moderation, which is free; or a video, whose cost nothing tells
    answer = read(answered)
    if not text_of(answer.response_id):  # of an embedding or images: whoever else reads the file knows the line by this
        answer = replace(answer, response_id=text_of(get(result, "id")))
    made_at_s = answered.get("created") or answered.get("created_at")
    return to_payloads(reading, answer, OpenAIContent(None, [answered], streamed=False), made_at_s=made_at_s)
