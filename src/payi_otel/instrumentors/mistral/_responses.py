"""Mistral's responses, in the form of OpenAI's, plain and streamed by one method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from payi_otel import semconv
from payi_otel.instrumentors._content import RecordingReader
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._parameters import output_type, read_parameters
from payi_otel.instrumentors._stream import StreamReader
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors.mistral._content import MistralContent
from payi_otel.instrumentors.mistral._operations import MistralOperation
from payi_otel.instrumentors.mistral._usage import read_response_usage
from payi_otel.payload import ContentReader

_FINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
_WORDS = frozenset({"response.output_text.delta", "response.refusal.delta", "response.function_call_arguments.delta"})


class Responses(MistralOperation):
    """`responses.create`."""

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """It is streamed where the caller says so."""
        request = super().read_request(instance, args, kwargs)
        request.stream = kwargs.get("stream") is True
        return request

    def parameters(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """With what stands in objects."""
        return {
            **super().parameters(asked),
            **read_parameters(asked, {"max_output_tokens": semconv.REQUEST_MAX_TOKENS}),
            **read_parameters(asked.get("reasoning"), {"effort": semconv.REQUEST_REASONING_LEVEL}),
            **output_type(get(asked.get("text"), "format")),
        }

    def read_answer(self, result: Any) -> Answer:
        """Reads the JSON of a response."""
        status, tier = get(result, "status"), get(result, "service_tier")
        reason = get(get(result, "incomplete_details"), "reason") or status
        return Answer(
            response_id=get(result, "id") or None,
            model=get(result, "model") or None,
            finish_reasons=[str(reason)] if reason else [],
            usage=read_response_usage(get(result, "usage")),
            service_tier=tier if isinstance(tier, str) else None,
            failure=_failure(get(result, "error")) if status == "failed" else None,
        )

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """A reader of the response's events."""
        return ResponseReader()


class ResponseReader(RecordingReader):
    """Takes a response's events. Usage stands in the last one."""

    __slots__ = ("_error", "_is_over", "_response")

    def __init__(self) -> None:
        super().__init__()
        self._response: Any = None
        self._error: Any = None
        self._is_over = False

    def take(self, event: Any) -> bool:
        """A type, and the response where it is told."""
        self.keep(event)
        kind = get(event, "type")
        if kind in _WORDS:
            self.output_seen = True
        elif kind == "error":
            self._error = event
        self._is_over = self._is_over or kind in _FINAL
        self._response = get(event, "response") or self._response
        return False

    def answer(self) -> Answer:
        """What has come so far."""
        answer = Responses().read_answer(self._response)
        return answer if self._error is None else replace(answer, finish_reasons=(), failure=_failure(self._error), refused=True)

    def is_complete(self) -> bool:
        """True once the last event has come."""
        return self._is_over or self._error is not None

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the events."""
        return MistralContent(invocation.exchange.request_body(), self.recorded(ResponseReader), streamed=True)


def _failure(error: Any) -> tuple[str, str]:
    return str(get(error, "code") or "error"), str(get(error, "message") or "")
