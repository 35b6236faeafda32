"""What the operations of the `openai` SDK share: how a call's keyword arguments are read, and how its results are adopted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from payi_otel import semconv
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._raw import BodyReader, BodySieve, SseSieve, tap_raw, tap_response
from payi_otel.instrumentors._stream import StreamReader, Tap, tap_iterator
from payi_otel.instrumentors.openai._client import read_client
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.payload import ContentReader

RAW_HEADER = "X-Stainless-Raw-Response"
"""Set by `with_raw_response` ("true") and `with_streaming_response` ("stream") before they call the wrapped method."""

_PARAMETERS = {
    "temperature": semconv.REQUEST_TEMPERATURE,
    "top_p": semconv.REQUEST_TOP_P,
    "frequency_penalty": semconv.REQUEST_FREQUENCY_PENALTY,
    "presence_penalty": semconv.REQUEST_PRESENCE_PENALTY,
    "max_tokens": semconv.REQUEST_MAX_TOKENS,
    "max_completion_tokens": semconv.REQUEST_MAX_TOKENS,
    "max_output_tokens": semconv.REQUEST_MAX_TOKENS,
    "seed": semconv.REQUEST_SEED,
    "n": semconv.REQUEST_CHOICE_COUNT,
}


class OpenAIOperation:
    """One kind of call; subclasses say how its answers are read."""

    name = "chat"
    attributes: Mapping[str, Any] = {}

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Reads model, parameters and form of the call off its keyword arguments."""
        model = kwargs.get("model")
        streamed = bool(kwargs.get("stream"))  # the SDKs' "not given" is false
        attributes = dict(self.attributes)
        for name, attribute in _PARAMETERS.items():
            value = kwargs.get(name)
            if isinstance(value, int | float):
                attributes[attribute] = value
        return Request(
            client=read_client(instance),
            model=model if isinstance(model, str) and model else None,
            args=args,
            kwargs=kwargs,
            attributes=attributes,
            stream=streamed,
            raw=raw_form(kwargs.get("extra_headers"), streamed=streamed),
        )

    def read_answer(self, result: Any) -> Answer:
        """Reads a plain result; the subclass's."""
        raise NotImplementedError

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """A reader for the call's stream; the subclass's, where it has streams."""
        raise NotImplementedError

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view: the bytes that went and came, or the result itself where the bytes were not kept."""
        body = result if isinstance(result, bytes) else invocation.exchange.response_body()
        return OpenAIContent(request_body(invocation), [body if body is not None else result], streamed=False)

    def adopt(self, invocation: Invocation, result: Any, *, is_async: bool) -> bool:
        """Instruments what is still to be read, in place."""
        request = invocation.request
        note_deployment(invocation)
        if request.stream and (request.raw == "lazy" or hasattr(result, "_iterator")):
            tap = Tap(invocation, self.new_reader(invocation))
            sieve = SseSieve(tap, withholds=request.usage_injected)
            if request.raw == "lazy":
                tap_raw(result, tap, is_async=is_async)
                tap_response(result.http_response, tap, sieve, is_async=is_async)
            else:
                tap_iterator(result, tap, is_async=is_async)
                tap_response(result.response, tap, sieve, is_async=is_async)
        elif request.raw == "lazy":
            tap = Tap(invocation, BodyReader(self.read_answer, self._body_content))
            tap_response(result.http_response, tap, BodySieve(tap), is_async=is_async)
        else:
            return False
        invocation.let_go()
        return True

    def second_try(self, invocation: Invocation, error: BaseException) -> dict[str, Any] | None:
        """Nothing was added to the call, so there is nothing to take back."""
        return None

    def accepted(self, invocation: Invocation) -> None:
        """Nothing was added, so there is nothing to remember."""

    def _body_content(self, invocation: Invocation, body: bytes) -> ContentReader:
        return self.content(invocation, body)


def raw_form(headers: Any, *, streamed: bool) -> Literal["no", "read", "lazy"]:
    """Which raw response the caller asked for. A raw stream is always still to be read."""
    if not isinstance(headers, Mapping):
        return "no"
    form = headers.get(RAW_HEADER)
    if form is None:
        return "no"
    return "lazy" if form == "stream" or streamed else "read"


def note_deployment(invocation: Invocation) -> None:
    """Azure names the deployment in a header; it stands in for a model that neither call nor client named."""
    payload = invocation.payload
    if payload.model is None:
        headers = invocation.exchange.headers
        deployment = headers.get("x-ms-deployment-name") if headers is not None else None
        payload.model = deployment or None


def request_body(invocation: Invocation) -> bytes | None:
    """The JSON that was sent."""
    return invocation.exchange.request_body()
