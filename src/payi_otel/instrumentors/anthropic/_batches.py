"""The results of a message batch, each when it is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any

from payi_otel._guard import guard
from payi_otel._json import read_json, to_json
from payi_otel.instrumentors._batches import BilledResults, ReadResults, read_result, to_payloads, watch
from payi_otel.instrumentors._capture import HttpExchange
from payi_otel.instrumentors._claude import ClaudeContent, read_message
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors._wrapper import Prepared
from payi_otel.instrumentors.anthropic._client import read_client
from payi_otel.payload import Payload, registry

billed = BilledResults()
"""Shared by all clients of the process."""


_COST_NOTHING = ("errored", "canceled", "expired")


def _tap(reading: Prepared, exchange: HttpExchange, result: Any) -> None:
    """A decoder stays the SDK's own, and is read through; of a raw response, which is parsed later or never, its bytes are."""
    if hasattr(result, "_raw_iterator"):
        read = _read_async if hasattr(result, "__aiter__") else _read
        result._iterator = read(result._iterator, reading)
    elif exchange.response is not None:
        watch(exchange.response, partial(_Lines, reading))


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
        for payload in read_result(reading, partial(_to_payloads, reading, result)):
            registry.offer(payload)


class _Lines:
    """Hands the lines of a raw response to the worker as they come."""

    def __init__(self, reading: Prepared) -> None:
        self._reading = reading
        self._rest: list[bytes] = []

    def take(self, piece: bytes) -> None:
        """They end anywhere in it."""
        whole, end, rest = piece.rpartition(b"\n")
        if end:
            self._offer(b"".join([*self._rest, whole, end]))
            self._rest = []
        self._rest.append(rest)

    def end(self) -> None:
        """A last line needs no end; one that was left is none."""
        self._offer(b"".join(self._rest))

    def _offer(self, lines: bytes) -> None:
        if lines.strip():
            category, module = self._reading.request.client.category, self._reading.binding.module
            parts = partial(_read_lines, lines, self._reading)
            registry.offer(Payload(scope=self._reading.scope, category=category, module=module, parts=parts))


def _read_lines(lines: bytes, reading: Prepared) -> Iterator[Payload]:
    for line in lines.splitlines(keepends=True):
        if line.strip():
            yield from read_result(reading, partial(_read_line, line, reading))


def _read_line(line: bytes, reading: Prepared) -> Sequence[Payload]:
    try:
        result = read_json(line)
    except ValueError:
        if line.endswith(b"\n") and billed.is_first((), lambda: line):
            raise
        return ()  # the end of what the caller read
    return _to_payloads(reading, result)


def _to_payloads(reading: Prepared, result: Any) -> Sequence[Payload]:
    """A snapshot of an answer becomes a packet: the object is the caller's from here on."""
    outcome = get(result, "result")
    kind, message = get(outcome, "type"), get(outcome, "message")
    if kind in _COST_NOTHING:
        return ()
    if not isinstance(message, dict) and not hasattr(message, "to_dict"):
        if kind == "succeeded":
            raise TypeError("a result that succeeded has no message")
        return ()
    if not billed.is_first([get(message, "id")], lambda: to_json([get(result, "custom_id"), _snapshot(message)])):
        return ()
    answered = _snapshot(message)
    return to_payloads(reading, read_message(answered), ClaudeContent(None, [answered], streamed=False))


def _snapshot(message: Any) -> Any:
    return message if isinstance(message, dict) else message.to_dict(mode="json", warnings=False)
