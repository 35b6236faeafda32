"""What `mistralai` is asked: completions of three kinds, embeddings, documents, transcriptions and conversations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from payi_otel import semconv
from payi_otel.context.headers import split_headers
from payi_otel.instrumentors._client_facts import ClientFacts, facts_at
from payi_otel.instrumentors._content import RecordingReader
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._parameters import output_type, read_parameters
from payi_otel.instrumentors._speakeasy import SpeakeasyOperation
from payi_otel.instrumentors._stream import StreamReader
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors.mistral._content import MistralContent
from payi_otel.instrumentors.mistral._usage import read_usage
from payi_otel.payload import ContentReader

CATEGORY = "system.mistral"
_PARAMETERS = {
    "temperature": semconv.REQUEST_TEMPERATURE,
    "top_p": semconv.REQUEST_TOP_P,
    "top_k": semconv.REQUEST_TOP_K,
    "max_tokens": semconv.REQUEST_MAX_TOKENS,
    "stop": semconv.REQUEST_STOP_SEQUENCES,
    "random_seed": semconv.REQUEST_SEED,
    "presence_penalty": semconv.REQUEST_PRESENCE_PENALTY,
    "frequency_penalty": semconv.REQUEST_FREQUENCY_PENALTY,
    "n": semconv.REQUEST_CHOICE_COUNT,
    "reasoning_effort": semconv.REQUEST_REASONING_LEVEL,
}
_EMBEDDINGS = {"output_dimension": semconv.EMBEDDINGS_DIMENSION_COUNT, "encoding_format": semconv.REQUEST_ENCODING_FORMATS}
_STANDARD = "standard"
"""The tier that has the list's price."""


def read_client(instance: Any, server_url: Any) -> ClientFacts:
    """Where a resource's calls go; a call may name another server."""
    url = server_url if isinstance(server_url, str) and server_url else instance._get_url(None, None)
    return facts_at(read_endpoint(url), "mistral_ai", CATEGORY)


class MistralOperation(SpeakeasyOperation):
    """What every kind of call shares: one call is one request, whatever the client."""

    def __init__(self, *, stream: bool = False) -> None:
        self._stream = stream

    def take_headers(self, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Ours among those of `http_headers`."""
        headers = kwargs.get("http_headers")
        if not headers or not isinstance(headers, Mapping):
            return None, kwargs
        overrides, rest = split_headers(headers)
        return (overrides, {**kwargs, "http_headers": rest}) if len(rest) < len(headers) else (None, kwargs)

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """All of it is given by keyword; what was not given is an object of the SDK's, and left out."""
        model, headers = kwargs.get("model"), kwargs.get("http_headers")
        return Request(
            client=read_client(instance, kwargs.get("server_url")),
            model=model if isinstance(model, str) and model else None,
            args=args,
            kwargs=kwargs,
            attributes=self.parameters(kwargs),
            stream=self._stream,
            headers=headers if isinstance(headers, Mapping) else {},
        )

    def parameters(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The request's attributes."""
        return {**read_parameters(asked, _PARAMETERS), **output_type(asked.get("response_format"))}

    def read_answer(self, result: Any) -> Answer:
        """Reads the JSON of any answer."""
        usage = get(result, "usage")
        tier = get(usage, "service_tier")
        reasons = [str(reason) for choice in get(result, "choices") or () if (reason := get(choice, "finish_reason"))]
        return Answer(
            response_id=get(result, "id") or None,
            model=get(result, "model") or None,
            finish_reasons=reasons,
            usage=read_usage(usage),
            service_tier=tier if isinstance(tier, str) and tier != _STANDARD else None,
        )

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view: the bytes that went and came."""
        body = result if isinstance(result, bytes) else invocation.exchange.response_body()
        return MistralContent(invocation.exchange.request_body(), [] if body is None else [body], streamed=False)

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """A reader of the stream's events."""
        return MistralReader()


class Completion(MistralOperation):
    """`chat`, `agents` and `fim`, each `.complete` and `.stream`; an agent names no model, its answer does."""


class FillIn(Completion):
    """`fim`."""

    name = "text_completion"


class Embeddings(MistralOperation):
    """`embeddings.create`."""

    name = "embeddings"

    def parameters(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """How long the vectors are to be, and of what."""
        return read_parameters(asked, _EMBEDDINGS)


class Reading(MistralOperation):
    """`ocr.process`, whose usage is pages; and `audio.transcriptions`, whose usage is seconds and tokens."""

    name = "generate_content"

    def parameters(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A temperature, at most: forms of annotations are no form of the answer."""
        return read_parameters(asked, {"temperature": semconv.REQUEST_TEMPERATURE})

    def read_answer(self, result: Any) -> Answer:
        """What was read from a document is told by `usage_info`."""
        pages = get(result, "usage_info")
        answer = super().read_answer(result)
        return replace(answer, usage=read_usage(pages)) if pages is not None else answer


class Conversation(MistralOperation):
    """`beta.conversations`: start, append and restart."""

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """What is given to the completion stands in an object of its own."""
        request = super().read_request(instance, args, kwargs)
        conversation = kwargs.get("conversation_id")
        if isinstance(conversation, str) and conversation:
            request.attributes[semconv.CONVERSATION_ID] = conversation
        return request

    def parameters(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `completion_args`."""
        given = asked.get("completion_args")
        return {**read_parameters(given, _PARAMETERS), **output_type(get(given, "response_format"))}

    def read_answer(self, result: Any) -> Answer:
        """The model is told by an output, where it is told; the conversation's id is none of this answer."""
        answer = super().read_answer(result)
        return replace(answer, response_id=None, model=_model_of(get(result, "outputs") or ()))


def _model_of(outputs: Any) -> str | None:
    return next((model for one in outputs if isinstance(model := get(one, "model"), str) and model), None)


class MistralReader(RecordingReader):
    """Takes the events of completions, transcriptions and conversations. The last usage counts."""

    __slots__ = ("_error", "_id", "_is_over", "_model", "_reasons", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._id: str | None = None
        self._model: str | None = None
        self._usage: Any = None
        self._error: Any = None
        self._reasons: dict[int, str] = {}
        self._is_over = False

    def take(self, event: Any) -> bool:
        """A chunk of a completion, or an event with a type."""
        self.keep(event)
        kind = get(event, "type")
        if kind is None:
            self._take_chunk(event)
        elif kind in ("transcription.text.delta", "message.output.delta", "function.call.delta"):
            self.output_seen = True
        elif kind in ("conversation.response.done", "transcription.done"):
            self._is_over = True
        elif kind == "conversation.response.error":
            self._error = event
        self._model = get(event, "model") or self._model
        self._usage = get(event, "usage") or self._usage
        return False

    def _take_chunk(self, event: Any) -> None:
        self._id = get(event, "id") or self._id
        for choice in get(event, "choices") or ():
            if reason := get(choice, "finish_reason"):
                self._reasons[get(choice, "index") or 0] = str(reason)
            delta = get(choice, "delta")
            if not self.output_seen and (_has_words(get(delta, "content")) or get(delta, "tool_calls")):
                self.output_seen = True
        if get(event, "object") == "error" or get(event, "error"):
            self._error = event

    def answer(self) -> Answer:
        """What has come so far."""
        read = MistralOperation().read_answer({"id": self._id, "model": self._model, "usage": self._usage})
        answer = replace(read, finish_reasons=[self._reasons[index] for index in sorted(self._reasons)])
        if self._error is None:
            return answer
        error = get(self._error, "error") or self._error
        failure = (str(get(error, "code") or get(error, "type") or "error"), str(get(error, "message") or ""))
        return replace(answer, failure=failure, refused=True)

    def is_over(self) -> bool:
        """True once the usage has come, with which a stream ends."""
        return self._usage is not None

    def is_complete(self) -> bool:
        """Also where a stream has ended without one."""
        return self._is_over or self._usage is not None or bool(self._reasons)

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the events."""
        return MistralContent(invocation.exchange.request_body(), self.recorded(MistralReader), streamed=True)


def _has_words(content: Any) -> bool:
    """A text, or parts of which one is no thinking."""
    return bool(content) if not isinstance(content, list) else any(get(part, "type") != "thinking" for part in content)
