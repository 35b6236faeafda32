"""What SDKs made by Speakeasy share (`mistralai`, Google's interactions): an HTTP response noted beneath what they make of it."""

from __future__ import annotations

from typing import Any

from payi_otel.instrumentors._invocation import Answer, Invocation
from payi_otel.instrumentors._operation import Failure, Operation
from payi_otel.instrumentors._raw import BodyReader, BodySieve, SseSieve, tap_response
from payi_otel.instrumentors._stainless import to_value
from payi_otel.instrumentors._stream import StreamReader, Tap, reader_codes


class SpeakeasyOperation(Operation):
    """One kind of call of such an SDK, whose `_build_request` and `do_request` are wrapped by `_capture`'s wrappers."""

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """A reader for the call's stream, where it has streams."""
        raise NotImplementedError

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """The JSON that came."""
        body = invocation.exchange.response_body()
        return to_value(body) if body is not None else result

    def adopt(self, invocation: Invocation, result: Any, *, is_async: bool) -> bool:
        """What is still to be read is noted as its bytes come: the SDK puts generators around the one that reads a stream."""
        response = invocation.exchange.response
        if response is None or response.is_closed:
            return False
        streamed = invocation.request.stream
        generator = getattr(result, "generator", None)
        code = getattr(generator, "gi_code", None) or getattr(generator, "ag_code", None)
        if code is not None:  # closes its response when it is collected
            reader_codes.add(code)
        tap = Tap(invocation, self.new_reader(invocation) if streamed else BodyReader(self.read_answer, self.content))
        tap_response(response, tap, SseSieve(tap, withholds=False) if streamed else BodySieve(tap), is_async=is_async)
        invocation.let_go()
        return True

    def read_failure(self, invocation: Invocation, error: BaseException) -> Failure:
        """What came, where anything did."""
        exchange = invocation.exchange
        status, body = exchange.status, exchange.response_body()
        if status is None or not isinstance(error, Exception):
            return Answer(), None, None
        if status >= 400:
            said = getattr(error, "body", None)  # a stream's response is read without being kept
            invocation.payload.error_body = body.decode("utf-8", "replace") if body is not None else said if isinstance(said, str) else None
            return Answer(), None, status
        return (self.read_answer(to_value(body)), body, status) if body is not None else (Answer(), None, None)
