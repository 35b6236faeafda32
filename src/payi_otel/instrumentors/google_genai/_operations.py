"""What `google-genai` is asked: content, embeddings and images; and where its requests are seen on their way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from payi_otel import semconv
from payi_otel._guard import guard
from payi_otel._json import to_json
from payi_otel.context.headers import split_headers
from payi_otel.instrumentors._capture import current_exchange
from payi_otel.instrumentors._client_facts import ClientFacts, facts_at
from payi_otel.instrumentors._content import to_json_value
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._gemini import GeminiContent, GeminiReader, answered_by, model_name, read_answer
from payi_otel.instrumentors._gemini_request import both_spellings, config_parameters
from payi_otel.instrumentors._gemini_usage import read_usage
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._operation import Failure, Operation
from payi_otel.instrumentors._parameters import read_parameters
from payi_otel.instrumentors._stream import StreamReader
from payi_otel.instrumentors._values import count_of, get
from payi_otel.instrumentors.google_genai._http import in_python
from payi_otel.packets.units import IMAGE, Units, Usage
from payi_otel.payload import ContentReader
from payi_otel.semconv import HEADER_PREFIX, PROXY_PATH, PayiCategories

_EMBEDDING = both_spellings({"output_dimensionality": semconv.EMBEDDINGS_DIMENSION_COUNT})
_IMAGES = both_spellings({"number_of_images": semconv.REQUEST_CHOICE_COUNT, "seed": semconv.REQUEST_SEED})


def read_client(models: Any) -> ClientFacts:
    """Which of Google's services a client calls, and where."""
    api = models._api_client
    is_vertex = bool(getattr(api, "vertexai", False))
    endpoint = read_endpoint(get(getattr(api, "_http_options", None), "base_url") or "")
    return facts_at(endpoint, "gcp.vertex_ai" if is_vertex else "gcp.gemini", PayiCategories.google_vertex, "google.")


def capture_request(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps the client's `_build_request`: keeps what is about to be sent, and takes our headers off it."""
    request = wrapped(*args, **kwargs)
    with guard("reading a request"):
        headers = request.headers
        if PROXY_PATH not in str(request.url):
            for name in [name for name in headers if name.lower().startswith(HEADER_PREFIX)]:
                del headers[name]
        exchange = current_exchange.get()
        if exchange is not None:
            exchange.sent = to_json(request.data)
    return request


class GoogleOperation(Operation):
    """What every kind of call shares: one method call is one request."""

    name = "generate_content"
    stream = False

    def take_headers(self, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Ours among the headers of `config.http_options`; neither of the caller's two objects is changed."""
        config = kwargs.get("config")
        key = "httpOptions" if isinstance(config, Mapping) and "httpOptions" in config else "http_options"
        options = get(config, key)
        headers = get(options, "headers")
        if not headers or not isinstance(headers, Mapping):
            return None, kwargs
        overrides, rest = split_headers(headers)
        if len(rest) == len(headers):
            return None, kwargs
        return overrides, {**kwargs, "config": _with(config, key, _with(options, "headers", rest))}

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Model and parameters; the contents are seen when they are sent."""
        return Request(
            client=read_client(instance),
            model=model_name(kwargs.get("model")),
            args=args,
            kwargs=kwargs,
            attributes=self.parameters(kwargs.get("config")),
            stream=self.stream,
            on_answer=answered_by,
        )

    def parameters(self, config: Any) -> dict[str, Any]:
        """The request's attributes; a configuration that is a dictionary may have either spelling of a name."""
        return config_parameters(config)

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """Notes the answer's headers, where the SDK's version tells them."""
        headers = get(get(result, "sdk_http_response"), "headers")
        if headers:
            invocation.exchange.put_head(headers, 200)
        return result

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view: what was sent, and the SDK's object of what came."""
        answer = invocation.exchange.response_body() or result
        return GeminiContent(invocation.exchange.request_body(), [] if answer is None else [answer], streamed=False)

    def read_failure(self, invocation: Invocation, error: BaseException) -> Failure:
        """An `APIError`'s code and details; `details` is the error's JSON."""
        code = getattr(error, "code", None)
        if not isinstance(code, int) or not 400 <= code < 600:
            return Answer(), None, None
        details = getattr(error, "details", None)
        if details is not None:
            invocation.payload.error_body = to_json(details).decode()
        headers = getattr(getattr(error, "response", None), "headers", None)
        if headers:
            invocation.exchange.put_head(headers, code)
        return Answer(), None, code


def _with(value: Any, name: str, item: Any) -> Any:
    return {**value, name: item} if isinstance(value, Mapping) else value.model_copy(update={name: item})


class GenerateContent(GoogleOperation):
    """`_generate_content`, of which automatic function calling makes several."""

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """The answer's JSON, where the caller asked for the HTTP response (`should_return_http_response`): the SDK reads none of it."""
        result = super().value_of(invocation, result)
        body = get(get(result, "sdk_http_response"), "body")
        if not isinstance(body, str):
            return result
        invocation.exchange.received = body.encode()
        return in_python(to_json_value(invocation.exchange.received))

    def read_answer(self, result: Any) -> Answer:
        """Reads a `GenerateContentResponse`."""
        return read_answer(result)


class GenerateContentStream(GenerateContent):
    """`_generate_content_stream`."""

    stream = True

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """A reader of the answers it gives."""
        return GeminiReader()


class EmbedContent(GoogleOperation):
    """`_embed_content`: input tokens only. Older versions of the Gemini API count none."""

    name = "embeddings"

    def parameters(self, config: Any) -> dict[str, Any]:
        """How long the vectors are to be."""
        return read_parameters(config, _EMBEDDING)

    def read_answer(self, result: Any) -> Answer:
        """Reads an `EmbedContentResponse`: its usage, or the statistics of each vector."""
        answer = read_answer(result)
        if answer.usage is not None:
            return answer
        statistics = [one for item in get(result, "embeddings") or () if get(one := get(item, "statistics"), "token_count") is not None]
        if not statistics:
            return answer
        details = [detail for one in statistics for detail in get(one, "tokens_details") or ()]
        total = sum(count_of(one, "token_count", []) for one in statistics)
        return Answer(usage=read_usage({"prompt_token_count": total, "prompt_tokens_details": details}, None))


class GenerateImages(GoogleOperation):
    """`_generate_images`: billed by the image. Source: https://ai.google.dev/gemini-api/docs/pricing, "Imagen"."""

    def parameters(self, config: Any) -> dict[str, Any]:
        """How many images."""
        return {semconv.OUTPUT_TYPE: "image", **read_parameters(config, _IMAGES)}

    def read_answer(self, result: Any) -> Answer:
        """Counts the images that came; those held back are not billed."""
        made = sum(1 for one in get(result, "generated_images") or () if get(one, "image") is not None)
        return Answer(usage=Usage({IMAGE: Units(0, made)}))
