"""What the operations of the `openai` SDK share: how a call's keyword arguments are read, and how its results are adopted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from payi_otel import semconv
from payi_otel.instrumentors._invocation import Invocation, Request
from payi_otel.instrumentors._parameters import read_parameters, with_extra_body
from payi_otel.instrumentors._stainless import StainlessOperation, raw_form
from payi_otel.instrumentors.openai._client import read_client
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.payload import ContentReader
from payi_otel.semconv import NOT_INSTRUMENTED

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
    "stop": semconv.REQUEST_STOP_SEQUENCES,
    "reasoning_effort": semconv.REQUEST_REASONING_LEVEL,
    "previous_response_id": semconv.REQUEST_PREVIOUS_RESPONSE_ID,
}
_AUTOMATIC = "auto"
"""A service tier that is none."""
_NOT_SENT = frozenset({"extra_headers", "extra_query", "extra_body", "timeout"})
"""Arguments that say how to send, not what."""
_FILES = frozenset({"file", "image", "mask"})


class OpenAIOperation(StainlessOperation):
    """One kind of call; subclasses say how its answers are read."""

    name = "chat"
    attributes: Mapping[str, Any] = {}

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Reads model, parameters and form of the call off its keyword arguments."""
        model = kwargs.get("model")
        streamed = bool(kwargs.get("stream"))  # the SDKs' "not given" is false
        return Request(
            client=read_client(instance),
            model=model if isinstance(model, str) and model else None,
            args=args,
            kwargs=kwargs,
            attributes={**self.attributes, **self.parameters(with_extra_body(kwargs))},
            stream=streamed,
            raw=raw_form(kwargs.get("extra_headers"), streamed=streamed),
        )

    def parameters(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The request's attributes, of its keyword arguments with those of `extra_body`."""
        attributes = read_parameters(asked, _PARAMETERS)
        tier = asked.get("service_tier")
        if isinstance(tier, str) and tier != _AUTOMATIC:
            attributes[semconv.OPENAI_REQUEST_SERVICE_TIER] = tier
        return attributes

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


def request_body(invocation: Invocation) -> bytes | dict[str, Any] | None:
    """The JSON that was sent; of a form, the fields that are no file."""
    kwargs = invocation.request.kwargs
    if not _FILES.isdisjoint(kwargs):
        headers = getattr(invocation.exchange.request, "headers", None) or {}
        if str(headers.get("content-type")).startswith("multipart/"):
            return sent_fields(kwargs)
    return invocation.exchange.request_body()


def sent_fields(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments that are texts, numbers and lists of them; a file is named as not recorded."""
    body = kwargs.get("extra_body")
    given = {**{name: value for name, value in kwargs.items() if name not in _NOT_SENT}, **(body if isinstance(body, Mapping) else {})}
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if name in _FILES:
            fields[name] = NOT_INSTRUMENTED
        elif isinstance(value, str | int | float):
            fields[name] = value
        elif isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
            fields[name] = list(value)
    return fields
