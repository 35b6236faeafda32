"""What the operations of the `openai` SDK share: how a call's keyword arguments are read, and how its results are adopted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from payi_otel import semconv
from payi_otel.instrumentors._invocation import Invocation, Request
from payi_otel.instrumentors._stainless import StainlessOperation, raw_form
from payi_otel.instrumentors.openai._client import read_client
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.payload import ContentReader

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


class OpenAIOperation(StainlessOperation):
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

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view: the bytes that went and came, or the result itself where the bytes were not kept."""
        body = result if isinstance(result, bytes) else invocation.exchange.response_body()
        return OpenAIContent(request_body(invocation), [body if body is not None else result], streamed=False)

    def adopt(self, invocation: Invocation, result: Any, *, is_async: bool) -> bool:
        """Notes the deployment that Azure tells with its answer."""
        note_deployment(invocation)
        return super().adopt(invocation, result, is_async=is_async)


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
