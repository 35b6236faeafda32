"""Calls of `vertexai.generative_models`, plain and streamed."""

from __future__ import annotations

from typing import Any

from payi_otel._json import to_json
from payi_otel.instrumentors._client_facts import facts_at
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._gemini import GeminiContent, GeminiReader, answered_by, model_name, read_answer
from payi_otel.instrumentors._gemini_request import config_parameters
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._operation import Failure, Operation
from payi_otel.instrumentors._stream import StreamReader
from payi_otel.payload import ContentReader
from payi_otel.semconv import PayiCategories


class VertexGenerate(Operation):
    """`_generate_content` and `_generate_content_async`."""

    name = "generate_content"
    stream = False

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """The model is the object's; where it calls is not told before it calls."""
        endpoint = read_endpoint(f"https://{getattr(instance, '_location', None) or 'global'}-aiplatform.googleapis.com")
        return Request(
            client=facts_at(endpoint, "gcp.vertex_ai", PayiCategories.google_vertex, "google."),
            model=model_name(getattr(instance, "_model_name", None)),
            args=args,
            kwargs=kwargs,
            attributes=_parameters(kwargs.get("generation_config") or getattr(instance, "_generation_config", None)),
            stream=self.stream,
            on_answer=answered_by,
        )

    def read_answer(self, result: Any) -> Answer:
        """Reads a `GenerationResponse`, as its `to_dict` gives it."""
        return read_answer(result)

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """The SDK's object as a dictionary, of which a snapshot is kept."""
        value = result.to_dict()
        invocation.exchange.received = to_json(value)
        return value

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view of a result."""
        answer = invocation.exchange.response_body()
        return GeminiContent(None, [] if answer is None else [answer], streamed=False)

    def read_failure(self, invocation: Invocation, error: BaseException) -> Failure:
        """A `GoogleAPICallError`'s code."""
        code = getattr(error, "code", None)
        number = getattr(code, "value", code)
        if not isinstance(number, int) or not 400 <= number < 600:
            return Answer(), None, None
        invocation.payload.error_body = to_json(
            {"error": {"code": number, "message": str(getattr(error, "message", "")).rpartition(": ")[2]}}
        ).decode()
        return Answer(), None, number


def _parameters(config: Any) -> dict[str, Any]:
    return config_parameters(config if isinstance(config, dict) or not hasattr(config, "to_dict") else config.to_dict())


class VertexStream(VertexGenerate):
    """`_generate_content_streaming` and its async twin."""

    stream = True

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """A reader of `GenerationResponse`s."""
        return _VertexReader()


class _VertexReader(GeminiReader):
    def take(self, event: Any) -> bool:
        return super().take(event.to_dict())
