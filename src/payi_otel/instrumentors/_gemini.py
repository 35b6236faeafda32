"""Gemini's answers, through whichever SDK: their usage, tool calls and texts, plain and streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from payi_otel import semconv
from payi_otel._json import to_json
from payi_otel._large import Marks
from payi_otel.instrumentors._content import CallContent, texts_in
from payi_otel.instrumentors._gemini_usage import read_usage
from payi_otel.instrumentors._inline import InlineRules
from payi_otel.instrumentors._invocation import Answer, Invocation
from payi_otel.instrumentors._values import get
from payi_otel.packets.counting import of_length
from payi_otel.payload import ContentReader, FunctionCall

_NO_TEXT = frozenset({"data", "inlineData", "inline_data", "fileData", "file_data", "mimeType", "mime_type", "role", "thoughtSignature"})
"""Keys whose values are no tokens of text."""
_OUTPUT_COUNTS = ("candidates_token_count", "thoughts_token_count")
_PROMPT_KEYS = ("contents", "systemInstruction", "system_instruction", "tools", "requests", "content", "instances")


def model_name(name: Any) -> str | None:
    """A model without the collection it stands in: `models/gemini-2.5-flash` is `gemini-2.5-flash`."""
    if not isinstance(name, str) or not name:
        return None
    head, found, model = name.rpartition("models/")
    return model if found and (not head or head.endswith("/")) else name


def read_answer(answer: Any) -> Answer:
    """A `GenerateContentResponse`."""
    reader = GeminiReader()
    reader.take(answer)
    return reader.answer()


def answered_by(invocation: Invocation, answer: Answer) -> Answer:
    """The model that answered is what is priced: an alias (`gemini-flash-latest`) has no price of its own."""
    if answer.model is not None:
        invocation.payload.model = answer.model
    return answer


class GeminiReader:
    """Takes answers, of which a stream has many. Usage is a running total: the last word on each of its fields counts."""

    __slots__ = ("_id", "_is_final", "_kept", "_model", "_queries", "_reasons", "_said", "_tier", "_usage", "output_seen", "pieces")

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}
        self._model: Any = None
        self._id: Any = None
        self._tier: Any = None
        self._reasons: dict[int, str] = {}
        self._queries: set[str] = set()
        self._kept: list[Any] = []
        self._is_final = False
        self._said = 0
        self.pieces: list[bytes] = []
        self.output_seen = False

    def take(self, event: Any) -> bool:
        """Notes model, id, usage and why the model stopped."""
        self._kept.append(event)
        self._model = get(event, "model_version") or self._model
        self._id = get(event, "response_id") or self._id
        meta = get(event, "usage_metadata")
        if meta is not None:
            self._add_usage(meta)
        for position, candidate in enumerate(get(event, "candidates") or ()):
            self._add_candidate(candidate, position)
        return False

    def _add_usage(self, meta: Any) -> None:
        fields = meta if isinstance(meta, dict) else getattr(meta, "__dict__", {})
        self._usage.update({name: value for name, value in fields.items() if value not in (None, [])})
        tier = get(meta, "traffic_type")
        self._tier = getattr(tier, "value", tier) or self._tier

    def _add_candidate(self, candidate: Any, position: int) -> None:
        reason = get(candidate, "finish_reason")
        if reason:
            self._reasons[get(candidate, "index") or position] = str(getattr(reason, "value", reason))
            self._is_final = True
        self._queries.update(query for query in get(get(candidate, "grounding_metadata"), "web_search_queries") or () if query)
        for part in get(get(candidate, "content"), "parts") or ():
            text = get(part, "text")
            if isinstance(text, str):
                self._said += len(text)
            if not self.output_seen:
                self.output_seen = bool(not get(part, "thought") and (text or get(part, "function_call")))

    def is_complete(self) -> bool:
        """True once a candidate has ended and the usage has come."""
        return self._is_final and bool(self._usage)

    def answer(self) -> Answer:
        """What has come so far. Where it was left with the prompt's count alone, what was said is estimated."""
        model, usage, tier = model_name(self._model), self._usage, self._tier
        is_estimated = self._said > 0 and bool(usage.get("prompt_token_count")) and usage.keys().isdisjoint(_OUTPUT_COUNTS)
        if is_estimated:
            usage = {**usage, "candidates_token_count": of_length(self._said)}
        return Answer(
            response_id=self._id or None,
            model=model,
            finish_reasons=[self._reasons[index] for index in sorted(self._reasons)],
            usage=read_usage(usage or None, model, queries=len(self._queries)),
            service_tier=str(tier).lower() if tier not in (None, "ON_DEMAND", "TRAFFIC_TYPE_UNSPECIFIED") else None,
            properties={semconv.PROPERTY_USAGE_ESTIMATED: "output"} if is_estimated else {},
        )

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the answers."""
        return GeminiContent(invocation.exchange.request_body(), self._kept, streamed=True)


class GeminiContent(CallContent):
    """The content of a Gemini call."""

    inline = InlineRules(keys=frozenset({"data", "bytesBase64Encoded", "imageBytes", "image_bytes"}))
    call_marks = Marks(b"functionCall", b"function_call")

    def to_json_value(self, value: Any) -> Any:
        """The SDKs' objects as the JSON they were read from."""
        dump = getattr(value, "model_dump", None)
        if callable(dump):
            return dump(
                mode="json", by_alias=True, exclude_none=True, exclude={"sdk_http_response", "parsed", "automatic_function_calling_history"}
            )
        return super().to_json_value(value)

    def read_function_calls(self, answers: Sequence[Any]) -> Iterator[FunctionCall]:
        """The `functionCall` parts, in order."""
        for part in _parts(answers):
            call = part.get("functionCall") or part.get("function_call")
            if isinstance(call, dict) and call.get("name"):
                yield FunctionCall(str(call["name"]), to_json(call.get("args") or {}).decode())

    def prompt_texts(self, request: Any) -> Iterator[str]:
        """Contents, system instruction and tools."""
        if isinstance(request, dict):
            yield from texts_in([request.get(key) for key in _PROMPT_KEYS], _NO_TEXT)

    def said(self, answer: Any) -> Iterator[str]:
        """Texts, thoughts and the arguments of calls."""
        for part in _parts([answer]):
            yield from texts_in(part, _NO_TEXT)


def _parts(answers: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for answer in answers:
        for candidate in (answer.get("candidates") or ()) if isinstance(answer, dict) else ():
            for part in (candidate.get("content") or {}).get("parts") or ():
                if isinstance(part, dict):
                    yield part
