"""What the SDKs made by Stainless (`openai`, `anthropic`) share: their raw responses, streams and errors."""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

from payi_otel._json import read_json
from payi_otel.instrumentors._client_facts import ClientFacts
from payi_otel.instrumentors._invocation import Answer, Invocation
from payi_otel.instrumentors._iterators import tap_iterator
from payi_otel.instrumentors._operation import Failure, Operation, status_of
from payi_otel.instrumentors._raw import BodyReader, BodySieve, Sieve, SseSieve, tap_raw, tap_response
from payi_otel.instrumentors._results import describe
from payi_otel.instrumentors._stream import StreamReader, Tap
from payi_otel.payload import ContentReader, Ticket

RAW_HEADER = "X-Stainless-Raw-Response"
"""Set by `with_raw_response` ("true", "raw") and `with_streaming_response` ("stream") before they call the wrapped method."""

_PLAIN_CLIENTS = re.compile(r"(openai|anthropic)\._(base_)?client")
"""Modules of the properties that give the URL which a client keeps."""

_readied: set[type] = set()


class ClientBook:
    """What clients are and where their calls go: read once a client, and again when its base URL is another one."""

    def __init__(self, read: Callable[[Any, Any], ClientFacts]) -> None:
        self._read = read
        self._known: dict[int, tuple[weakref.ref[Any], Any, ClientFacts]] = {}
        """By the `id` of a client: one may be compared in any way."""

    def __call__(self, resource: Any) -> ClientFacts:
        """Of the client behind a resource object (`client.chat.completions`, `client.messages`, ...)."""
        client = getattr(resource, "_client", None)
        kept = getattr(client, "_base_url", None)
        key = id(client)
        known = self._known.get(key)
        if known is not None and known[1] is kept and known[0]() is client:
            return known[2]
        url = getattr(client, "base_url", None)
        facts = self._read(client, url)
        if url is kept and _keeps_url(client):
            with suppress(TypeError):  # or cannot be remembered
                self._known[key] = (weakref.ref(client, lambda _: self._known.pop(key, None)), url, facts)
        return facts


def _keeps_url(client: Any) -> bool:
    """Whether a client's calls go where its `_base_url` says, as in the SDKs' plain ones; others' property may say so at one call and
    something else at the next, as that of `openai`'s module-wide client does."""
    looked_up = next((vars(kind)["base_url"] for kind in type(client).__mro__ if "base_url" in vars(kind)), None)
    # Of the property itself: the SDK gives its public classes the module's name that users import them by.
    return _PLAIN_CLIENTS.fullmatch(getattr(getattr(looked_up, "fget", None), "__module__", "")) is not None


class StainlessOperation(Operation):
    """One kind of call of such an SDK; a provider says how its requests and answers are read."""

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """A reader for the call's stream, where it has streams."""
        raise NotImplementedError

    def new_sieve(self, invocation: Invocation, tap: Tap) -> Sieve:
        """Reads the bytes of the call's stream, where the caller reads bytes."""
        return SseSieve(tap, withholds=invocation.request.usage_injected)

    def attach(self, result: Any, ticket: Ticket | None) -> None:
        """Also readies the SDK's models: a raw response is parsed into one later, and a stream's helper makes one of its chunks."""
        kind = type(result)
        if kind not in _readied:
            _readied.add(kind)
            model = getattr(sys.modules.get(kind.__module__.partition(".")[0]), "BaseModel", None)
            if isinstance(model, type):
                describe(model)
        super().attach(result, ticket)

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """A raw response's JSON."""
        if invocation.request.raw == "no":
            return result
        return to_value(invocation.exchange.response_body() or getattr(result, "content", b"{}"))

    def adopt(self, invocation: Invocation, result: Any, *, is_async: bool) -> bool:
        """Instruments what is still to be read, in place."""
        request = invocation.request
        if request.stream and (request.raw == "lazy" or hasattr(result, "_iterator")):
            tap = Tap(invocation, self.new_reader(invocation))
            sieve = self.new_sieve(invocation, tap)
            if request.raw == "lazy":
                tap_raw(result, tap, is_async=is_async)
                tap_response(result.http_response, tap, sieve, is_async=is_async)
            else:
                tap_iterator(result, tap, is_async=is_async)
                tap_response(result.response, tap, sieve, is_async=is_async)
        elif request.raw == "lazy" and not hasattr(result.http_response, "_content"):  # which a middleware may have read
            tap = Tap(invocation, BodyReader(self.read_answer, self.body_content))
            tap_response(result.http_response, tap, BodySieve(tap), is_async=is_async)
        else:
            return False
        invocation.let_go()
        return True

    def body_content(self, invocation: Invocation, body: bytes) -> ContentReader:
        """The worker's view of a plain body that the caller read for himself."""
        return self.content(invocation, body)

    def read_failure(self, invocation: Invocation, error: BaseException) -> Failure:
        """An error's status and body; or the answer, where the provider answered and the SDK then failed on it."""
        exchange, status = invocation.exchange, status_of(error)
        if exchange.response is None:
            exchange.response = getattr(error, "response", None)  # SDKs process answers that are errors in another place
        if status is not None:
            invocation.payload.error_body = _error_body(error, exchange.response_body())
            return Answer(response_id=_request_id(error)), None, status
        body = exchange.response_body()
        if isinstance(error, Exception) and body and (exchange.status or 500) < 400:
            # The provider answered, and billed; the SDK then failed on the answer (a length limit, an answer of another shape).
            return self.read_answer(to_value(body)), body, exchange.status
        return Answer(), None, None


def to_value(body: bytes | None) -> Any:
    """JSON, or an empty object where it is none."""
    try:
        return read_json(body or b"{}")
    except ValueError:
        return {}


def _request_id(error: BaseException) -> str | None:
    request_id = getattr(error, "request_id", None)
    return request_id if isinstance(request_id, str) and request_id else None


def _error_body(error: BaseException, body: bytes | None) -> str | None:
    if body is None:
        body = getattr(getattr(error, "response", None), "_content", None)
    return body.decode("utf-8", "replace") if isinstance(body, bytes) else None


def raw_form(headers: Any, *, streamed: bool) -> Literal["no", "read", "lazy"]:
    """Which raw response the caller asked for. A raw stream is always still to be read."""
    if headers is None or not isinstance(headers, Mapping):
        return "no"
    form = headers.get(RAW_HEADER)
    if form is None:
        return "no"
    return "lazy" if form == "stream" or streamed else "read"
