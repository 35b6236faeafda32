"""Calls that a gateway in the process makes over HTTP, without a provider's SDK: which paths ask a model, and how they are read.

Each provider names its `routes`. Whoever has an HTTP client of its own (LiteLLM) takes those of all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
from msgspec import Struct

from payi_otel.context.headers import split_headers
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._operation import Failure, Operation
from payi_otel.instrumentors._raw import BodyReader, BodySieve, Sieve, tap_response
from payi_otel.instrumentors._stainless import RAW_HEADER, StainlessOperation, to_value
from payi_otel.instrumentors._stream import StreamReader, Tap
from payi_otel.payload import ContentReader, Ticket

_ID_HEADERS = ("request-id", "x-request-id", "x-amzn-requestid")


class Call(Struct, frozen=True):
    """What is about to be posted."""

    url: str
    """Without its query."""
    path: re.Match[str]
    body: Mapping[str, Any]


class Route(Struct, frozen=True):
    """Paths of a provider's API, and what a request to one is."""

    path: re.Pattern[str]
    operation: HttpCall


class HttpCall(Operation):
    """A method that takes a URL and a body, and gives a response of httpx, which has been read or is still to be."""

    def __init__(self) -> None:
        self._route: re.Pattern[str] = re.compile("")

    def on(self, path: str) -> Route:
        """The route that this operation reads."""
        self._route = re.compile(path)
        return Route(self._route, self)

    def read_call(self, call: Call) -> Request:
        """Where it goes, which model it asks, and whether its answer is streamed."""
        raise NotImplementedError

    def read_value(self, invocation: Invocation, value: Any) -> Answer:
        """Reads the JSON of an answer."""
        raise NotImplementedError

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """A reader for the call's stream."""
        raise NotImplementedError

    def new_sieve(self, invocation: Invocation, tap: Tap) -> Sieve:
        """Reads the bytes of the call's stream."""
        raise NotImplementedError

    def take_headers(self, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Ours among `headers`."""
        headers = kwargs.get("headers")
        if not headers or not isinstance(headers, Mapping):
            return None, kwargs
        overrides, rest = split_headers(headers)
        return (None, kwargs) if len(rest) == len(headers) else (overrides, {**kwargs, "headers": rest})

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """The call's own arguments stay what they are."""
        url = url_of(args, kwargs) or ""
        found = self._route.search(url)
        assert found is not None, "an operation is chosen by its route"
        request = self.read_call(Call(url, found, read_body(kwargs)))
        request.args, request.kwargs, request.kwargs_without, request.usage_injected = args, kwargs, None, False
        return request

    def adopt(self, invocation: Invocation, result: Any, *, is_async: bool) -> bool:
        """Listens to a response that is still to be read."""
        if hasattr(result, "_content"):
            return False
        if invocation.request.stream:
            tap = Tap(invocation, self.new_reader(invocation))
            sieve = self.new_sieve(invocation, tap)
        else:
            reader = BodyReader(lambda value: self.read_value(invocation, value), self.content)
            tap = Tap(invocation, reader)
            sieve = BodySieve(tap)
        tap_response(result, tap, sieve, is_async=is_async)
        invocation.let_go()
        return True

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """The answer, read: it may say more with what the call was than alone."""
        return self.read_value(invocation, to_value(invocation.exchange.response_body()))

    def read_answer(self, result: Any) -> Answer:
        """Takes what `value_of` has made."""
        assert isinstance(result, Answer)
        return result

    def attach(self, result: Any, ticket: Ticket | None) -> None:
        """A response of httpx gets nothing: nobody but the gateway sees it."""

    def read_failure(self, invocation: Invocation, error: BaseException) -> Failure:
        """An error of httpx's has the response."""
        with suppress(RuntimeError):  # httpx has no request to tell of
            invocation.exchange.request = getattr(error, "request", None)
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if not isinstance(status, int) or status < 400:
            return Answer(), None, None
        exchange = invocation.exchange
        exchange.response = response
        body = exchange.response_body()
        invocation.payload.error_body = body.decode("utf-8", "replace") if body is not None else None
        found = (exchange.headers.get(name) for name in _ID_HEADERS) if exchange.headers is not None else ()
        return Answer(response_id=next((name for name in found if name), None)), None, status


class _Resource:
    """Stands where a resource object would: operations read a client's base URL off one."""

    def __init__(self, base_url: str) -> None:
        self._client = _Client(base_url)


class _Client:
    def __init__(self, base_url: str) -> None:
        self.base_url = base_url


class SdkCall(HttpCall):
    """The same request that a method of the `openai` or `anthropic` SDK sends, read as that method's is."""

    def __init__(self, operation: StainlessOperation) -> None:
        super().__init__()
        self._operation, self.name = operation, operation.name

    def read_call(self, call: Call) -> Request:
        """By the body; the base URL is what stands before the route's path."""
        asked = {**call.body, "stream": call.body.get("stream") is True, "extra_headers": {RAW_HEADER: "stream"}}
        return self._operation.read_request(_Resource(call.url[: call.path.start()]), (), asked)

    def read_value(self, invocation: Invocation, value: Any) -> Answer:
        """As the method's."""
        return self._operation.read_answer(value)

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """As the method's."""
        return self._operation.new_reader(invocation)

    def new_sieve(self, invocation: Invocation, tap: Tap) -> Sieve:
        """As the method's."""
        return self._operation.new_sieve(invocation, tap)

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """As the method's."""
        return self._operation.content(invocation, result if isinstance(result, bytes) else invocation.exchange.response_body())


def url_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Where a call is posted, without the query; None where it cannot be told."""
    url = args[0] if args else kwargs.get("url")
    return str(url).partition("?")[0] if url is not None else None


def read_body(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON that is posted: an object, or its text."""
    for name in ("json", "data", "content"):
        body = kwargs.get(name)
        if isinstance(body, str | bytes):
            body = orjson.loads(body)
        if isinstance(body, Mapping):
            return body
    return {}
