"""Google's decisions: questions about an input, asked by the SDK's part that makes interactions, and counted as those are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from payi_otel.instrumentors._content import texts_in
from payi_otel.instrumentors._gemini import model_name
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._speakeasy import SpeakeasyOperation
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors.google_genai._interactions import InteractionContent, read_client, read_interaction_usage
from payi_otel.payload import ContentReader


class Decisions(SpeakeasyOperation):
    """`decisions.create`, whose answer has an interaction's usage, and neither id nor model."""

    name = "generate_content"

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """All of it is in the keyword arguments."""
        return Request(client=read_client(instance), model=model_name(kwargs.get("model")), args=args, kwargs=kwargs)

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """With the model that was asked, which decides about long prompts."""
        value = super().value_of(invocation, result)
        return {**value, "model": invocation.request.model} if isinstance(value, dict) else value

    def read_answer(self, result: Any) -> Answer:
        """Reads a `CreateDecisionResponse`."""
        return Answer(usage=read_interaction_usage(get(result, "usage"), get(result, "model")))

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view: the bytes that went and came."""
        body = result if isinstance(result, bytes) else invocation.exchange.response_body()
        return _DecisionContent(invocation.exchange.request_body(), [] if body is None else [body], streamed=False)


class _DecisionContent(InteractionContent):
    def prompt_texts(self, request: Any) -> Iterator[str]:
        """Input and questions."""
        if isinstance(request, dict):
            yield from texts_in([request.get("input"), request.get("questions")], _NO_TEXT)

    def said(self, answer: Any) -> Iterator[str]:
        """What was chosen."""
        if isinstance(answer, dict):
            yield from texts_in(answer.get("answers"), _NO_TEXT)


_NO_TEXT = frozenset({"data", "type", "mime_type", "uri"})
"""Keys whose values are no tokens of text."""
