"""The results of a message batch, each when it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from payi_otel._guard import guard
from payi_otel._json import to_json
from payi_otel.instrumentors._batches import BilledResults, ReadResults, read_result, to_payload
from payi_otel.instrumentors._capture import HttpExchange
from payi_otel.instrumentors._claude import ClaudeContent, read_message
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors._wrapper import Prepared
from payi_otel.instrumentors.anthropic._client import read_client
from payi_otel.payload import Payload, registry

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
    with guard("reading a batch's result"):
        payload = read_result(reading, partial(_to_payload, reading, result))
        if payload is not None:
            registry.offer(payload)


def _to_payload(reading: Prepared, result: Any) -> Payload | None:
    """A snapshot of an answer becomes a packet: the object is the caller's from here on."""
    outcome = get(result, "result")
    message = get(outcome, "message")
    if not hasattr(message, "to_dict"):  # the SDK did not take it for a message
        if get(outcome, "type") == "succeeded":
            raise TypeError("a result that succeeded has no message")
        return None
    if not billed.is_first([get(message, "id")], lambda: to_json([get(result, "custom_id"), _snapshot(message)])):
        return None
    answered = _snapshot(message)
    return to_payload(reading, read_message(answered), ClaudeContent(None, [answered], streamed=False))


def _snapshot(message: Any) -> Any:
    return message.to_dict(mode="json", warnings=False)
