"""The results of a message batch, each when it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from payi_otel._guard import guard
from payi_otel.instrumentors._batches import BilledResults, ReadResults, to_payload
from payi_otel.instrumentors._capture import HttpExchange
from payi_otel.instrumentors._claude import ClaudeContent, read_message
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors._wrapper import Prepared
from payi_otel.instrumentors.anthropic._client import read_client
from payi_otel.payload import registry

billed = BilledResults()
"""Shared by all clients of the process."""


def _tap(reading: Prepared, exchange: HttpExchange, decoder: Any) -> None:
    """The decoder stays the SDK's own, and is read through. A raw response, which is parsed later, is not seen into."""
    if hasattr(decoder, "_raw_iterator"):
        read = _read_async if hasattr(decoder, "__aiter__") else _read
        decoder._iterator = read(decoder._iterator, reading)


RESULTS = ReadResults(read_client, _tap)
"""`messages.batches.results`."""


def _read(results: Iterator[Any], reading: Prepared) -> Iterator[Any]:
    for result in results:
        _offer(reading, result)
        yield result


async def _read_async(results: AsyncIterator[Any], reading: Prepared) -> AsyncIterator[Any]:
    async for result in results:
        _offer(reading, result)
        yield result


def _offer(reading: Prepared, result: Any) -> None:
    """A snapshot of an answer becomes a packet: the object is the caller's from here on."""
    with guard("reading a batch's result"):
        message = get(get(result, "result"), "message")
        if message is None or not billed.is_first(get(message, "id")):
            return
        answered = message.to_dict(mode="json", warnings=False)
        registry.offer(to_payload(reading, read_message(answered), ClaudeContent(None, [answered], streamed=False)))
