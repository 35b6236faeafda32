"""Interactions: Google's API with steps, whose SDK part has an HTTP stack of its own. Each request is one call.

Source: the docstrings of `google.genai._gaos` (3.6). An interaction that is made in the background tells no usage when it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from payi_otel import semconv
from payi_otel._json import to_json
from payi_otel._large import Marks
from payi_otel.delivery._log import LimitedLog
from payi_otel.instrumentors._client_facts import ClientFacts, facts_at
from payi_otel.instrumentors._content import CallContent, RecordingReader, texts_in
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._gemini import answered_by
from payi_otel.instrumentors._gemini_request import config_parameters
from payi_otel.instrumentors._gemini_usage import read_usage
from payi_otel.instrumentors._inline import InlineRules
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._parameters import read_parameters
from payi_otel.instrumentors._speakeasy import SpeakeasyOperation
from payi_otel.instrumentors._stream import StreamReader
from payi_otel.instrumentors._values import count_of, get
from payi_otel.packets.units import Usage
from payi_otel.payload import ContentReader, FunctionCall
from payi_otel.semconv import PayiCategories

_log = LimitedLog(logging.getLogger("payi.instrument"))
_WINDOW_S = 60.0
"""Between two warnings: who works so makes many of them."""

_COUNTS = {
    "prompt_token_count": "total_input_tokens",
    "candidates_token_count": "total_output_tokens",
    "thoughts_token_count": "total_thought_tokens",
    "tool_use_prompt_token_count": "total_tool_use_tokens",
    "cached_content_token_count": "total_cached_tokens",
    "total_token_count": "total_tokens",
}
_DETAILS = {
    "prompt_tokens_details": "input_tokens_by_modality",
    "candidates_tokens_details": "output_tokens_by_modality",
    "tool_use_prompt_tokens_details": "tool_use_tokens_by_modality",
    "cache_tokens_details": "cached_tokens_by_modality",
}
"""What Gemini's usage metadata calls the same counts."""
_NO_TEXT = frozenset({"data", "type", "role", "id", "signature", "mime_type", "uri", "call_id"})
"""Keys whose values are no tokens of text."""


def read_client(instance: Any) -> ClientFacts:
    """Where the interactions of a client go."""
    configuration = instance.sdk_configuration
    endpoint = read_endpoint(str(getattr(configuration, "server_url", None) or ""))
    version = str(getattr(getattr(configuration, "globals", None), "api_version", None) or "")
    return facts_at(endpoint, "gcp.vertex_ai" if "/projects/" in version else "gcp.gemini", PayiCategories.google_vertex, "google.")


class Interactions(SpeakeasyOperation):
    """`interactions.create`."""

    name = "generate_content"

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Of its keyword arguments, or of the request object that holds them."""
        body = get(kwargs.get("request"), "body") or kwargs
        model = get(body, "model") or get(body, "agent")
        return Request(
            client=read_client(instance),
            model=model if isinstance(model, str) and model else None,
            args=args,
            kwargs=kwargs,
            attributes=_parameters(body),
            stream=get(body, "stream") is True,
            on_answer=_asked_in_background if get(body, "background") is True else answered_by,
        )

    def read_answer(self, result: Any) -> Answer:
        """Reads an `Interaction`."""
        status, tier = get(result, "status"), get(result, "service_tier")
        return Answer(
            response_id=get(result, "id") or None,
            model=get(result, "model") or None,
            finish_reasons=[str(status)] if status else [],
            usage=read_interaction_usage(get(result, "usage"), get(result, "model")),
            service_tier=str(tier) if tier not in (None, "standard") else None,
        )

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """A reader of the interaction's events."""
        return InteractionReader()

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view: the bytes that went and came."""
        body = result if isinstance(result, bytes) else invocation.exchange.response_body()
        return InteractionContent(invocation.exchange.request_body(), [] if body is None else [body], streamed=False)


def _parameters(body: Any) -> dict[str, Any]:
    config = get(body, "generation_config")
    return {
        **config_parameters(config if isinstance(config, dict) else None),
        **config_parameters(body),
        **read_parameters(body, {"previous_interaction_id": semconv.REQUEST_PREVIOUS_RESPONSE_ID}),
    }


def _asked_in_background(invocation: Invocation, answer: Answer) -> Answer:
    if answer.usage is None and answer.response_id is not None:
        text = "the interaction %s is made in the background: what it costs is not recorded"
        _log.write(logging.WARNING, "background", _WINDOW_S, text, answer.response_id)
        answer = replace(answer, unbilled=True)
    return answered_by(invocation, answer)


def read_interaction_usage(usage: Any, model: Any) -> Usage | None:
    """An interaction's usage, whose counts are Gemini's by other names."""
    if usage is None:
        return None
    meta: dict[str, Any] = {name: get(usage, other) for name, other in _COUNTS.items()}
    for name, other in _DETAILS.items():
        meta[name] = [{"modality": str(get(one, "modality")).upper(), "token_count": get(one, "tokens")} for one in get(usage, other) or ()]
    searches = sum(count_of(one, "count", []) for one in get(usage, "grounding_tool_count") or () if get(one, "type") == "google_search")
    return read_usage(meta, model if isinstance(model, str) else None, queries=searches)


class InteractionReader(RecordingReader):
    """Takes an interaction's events. The last one that tells of it counts."""

    __slots__ = ("_error", "_interaction", "_is_final", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._interaction: Any = None
        self._usage: Any = None
        self._error: Any = None
        self._is_final = False

    def take(self, event: Any) -> bool:
        """Its type, and what three of them tell."""
        self.keep(event)
        kind = get(event, "event_type")
        if kind == "step.delta":
            self.output_seen = True
        elif kind == "error":
            self._error = get(event, "error")
        self._interaction = get(event, "interaction") or self._interaction
        total = get(get(event, "metadata"), "total_usage")  # which may come with any of them
        self._usage = get(event, "usage") or get(get(event, "interaction"), "usage") or total or self._usage
        self._is_final = self._is_final or kind == "interaction.completed"
        return False

    def answer(self) -> Answer:
        """What has come so far."""
        answer = Interactions().read_answer(self._interaction)
        answer = replace(answer, usage=read_interaction_usage(self._usage, answer.model))
        if self._error is None:
            return answer
        failure = (str(get(self._error, "code") or "error"), str(get(self._error, "message") or ""))
        return replace(answer, finish_reasons=(), failure=failure, refused=True)

    def is_complete(self) -> bool:
        """True once the interaction is said to have ended."""
        return self._is_final

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the events."""
        return InteractionContent(invocation.exchange.request_body(), self.recorded(InteractionReader), streamed=True)


class InteractionContent(CallContent):
    """The content of an interaction."""

    inline = InlineRules(keys=frozenset({"data"}))
    call_marks = Marks(b"function_call", b"arguments_delta")

    def to_json_value(self, value: Any) -> Any:
        """The SDK's objects as the JSON they were read from."""
        dump = getattr(value, "model_dump", None)
        return dump(mode="json", by_alias=True, exclude_none=True) if callable(dump) else super().to_json_value(value)

    def read_function_calls(self, answers: Sequence[Any]) -> Iterator[FunctionCall]:
        """The `function_call` steps; in a stream, put together of their start and what follows."""
        begun: dict[int, list[Any]] = {}
        for answer in answers:
            for step in get(answer, "steps") or ():
                if get(step, "type") == "function_call":
                    yield FunctionCall(str(get(step, "name")), to_json(get(step, "arguments") or {}).decode())
            step, delta, index = get(answer, "step"), get(answer, "delta"), get(answer, "index") or 0
            if get(step, "type") == "function_call":
                begun[index] = [str(get(step, "name")), get(step, "arguments"), ""]
            elif get(delta, "type") == "arguments_delta" and index in begun:
                begun[index][2] += get(delta, "arguments") or ""
        for name, given, text in (begun[index] for index in sorted(begun)):
            yield FunctionCall(name, text or to_json(given or {}).decode())

    def prompt_texts(self, request: Any) -> Iterator[str]:
        """Input, system instruction and tools."""
        if isinstance(request, dict):
            yield from texts_in([request.get(key) for key in ("input", "system_instruction", "tools")], _NO_TEXT)

    def said(self, answer: Any) -> Iterator[str]:
        """The steps' words, or what an event adds to them."""
        if isinstance(answer, dict):
            yield from texts_in([answer.get("steps"), answer.get("delta")], _NO_TEXT)
