"""What `cohere` is asked, all of it by its raw clients, which make one request each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from payi_otel import semconv
from payi_otel._json import read_json, to_json
from payi_otel.instrumentors._client_facts import ClientFacts, facts_at
from payi_otel.instrumentors._content import RecordingReader
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._operation import Failure, Operation, status_of
from payi_otel.instrumentors._parameters import output_type, read_parameters
from payi_otel.instrumentors._raw import SseSieve, read_events, tap_response
from payi_otel.instrumentors._stainless import to_value
from payi_otel.instrumentors._stream import Tap
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors.cohere._content import CohereContent
from payi_otel.instrumentors.cohere._http import without_ours
from payi_otel.instrumentors.cohere._usage import read_usage
from payi_otel.payload import ContentReader, Ticket

CATEGORY = "system.cohere"
_PARAMETERS = {
    "temperature": semconv.REQUEST_TEMPERATURE,
    "p": semconv.REQUEST_TOP_P,
    "k": semconv.REQUEST_TOP_K,
    "max_tokens": semconv.REQUEST_MAX_TOKENS,
    "stop_sequences": semconv.REQUEST_STOP_SEQUENCES,
    "seed": semconv.REQUEST_SEED,
    "presence_penalty": semconv.REQUEST_PRESENCE_PENALTY,
    "frequency_penalty": semconv.REQUEST_FREQUENCY_PENALTY,
    "num_generations": semconv.REQUEST_CHOICE_COUNT,
}
_EMBEDDINGS = {"output_dimension": semconv.EMBEDDINGS_DIMENSION_COUNT, "embedding_types": semconv.REQUEST_ENCODING_FORMATS}
_IDS = ("id", "response_id", "generation_id")
_LAST = frozenset({"message-end", "stream-end"})
_WORDS = frozenset({"content-delta", "tool-plan-delta", "tool-call-start", "text-generation", "tool-calls-chunk", "tool-calls-generation"})


def read_client(instance: Any) -> ClientFacts:
    """Where a raw client's requests go."""
    return facts_at(read_endpoint(instance._client_wrapper.get_base_url()), "cohere", CATEGORY)


class CohereOperation(Operation):
    """Any kind of call; `lines`: its stream is lines of JSON, as version 1 of the API has them, and not server-sent events."""

    def __init__(self, name: str, *, stream: bool = False, lines: bool = False) -> None:
        self.name = name
        self._stream, self._lines = stream, lines

    def take_headers(self, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Ours among the `additional_headers` of `request_options`."""
        return without_ours(kwargs)

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """All of it is given by keyword; what was not given is `...`, and left out."""
        model, options = kwargs.get("model"), kwargs.get("request_options")
        is_embedding = self.name == "embeddings"
        attributes = read_parameters(kwargs, _EMBEDDINGS if is_embedding else _PARAMETERS)
        return Request(
            client=read_client(instance),
            model=model if isinstance(model, str) and model else None,
            args=args,
            kwargs=kwargs,
            attributes=attributes if is_embedding else {**attributes, **output_type(kwargs.get("response_format"))},
            stream=self._stream,
            headers=get(options, "additional_headers") or {},
        )

    def read_answer(self, result: Any) -> Answer:
        """Reads the JSON of any answer of either version."""
        return read_answer(result)

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """The JSON that came."""
        return to_value(invocation.exchange.response_body())

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view: the bytes that went and came."""
        body = result if isinstance(result, bytes) else invocation.exchange.response_body()
        return CohereContent(invocation.exchange.request_body(), [] if body is None else [body], streamed=False)

    def attach(self, result: Any, ticket: Ticket | None) -> None:
        """Gives it to what the SDK's caller gets, which is inside the raw response."""
        super().attach(result, ticket)
        if not self._stream:
            super().attach(result.data, ticket)

    def adopt(self, invocation: Invocation, result: Any, *, is_async: bool) -> bool:
        """A stream's bytes are noted as they come."""
        if not self._stream:
            return False
        response = invocation.exchange.response
        tap = Tap(invocation, CohereReader(lines=self._lines))
        sieve = LineSieve(tap) if self._lines else SseSieve(tap, withholds=False)
        tap_response(response, tap, sieve, is_async=is_async)
        invocation.let_go()
        return True

    def read_failure(self, invocation: Invocation, error: BaseException) -> Failure:
        """An `ApiError`'s status and body; or the answer, where the SDK failed on one that came."""
        exchange, status = invocation.exchange, status_of(error)
        if exchange.response is None:  # broken off: the error of the HTTP library has the request
            exchange.request = getattr(error, "_request", None)
        if status is not None:
            said = exchange.response_body() or to_json(getattr(error, "body", None))
            invocation.payload.error_body = said.decode("utf-8", "replace")
            return Answer(), None, status
        body = exchange.response_body()
        if isinstance(error, Exception) and body and (exchange.status or 500) < 400:
            return self.read_answer(to_value(body)), body, exchange.status
        return Answer(), None, None


def read_answer(result: Any) -> Answer:
    """Cohere names no model in an answer."""
    reason = get(result, "finish_reason")
    return Answer(
        response_id=next((value for name in _IDS if isinstance(value := get(result, name), str) and value), None),
        finish_reasons=[str(reason)] if reason else [],
        usage=read_usage(get(result, "usage") or get(result, "meta")),
    )


class LineSieve:
    """Notes the lines of JSON among the bytes of a stream."""

    withholds = False

    def __init__(self, tap: Tap) -> None:
        self._tap, self._rest = tap, b""

    def pass_on(self, piece: bytes) -> bytes:
        """Whole lines are events."""
        self._tap.keep(piece)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self._note(lines)
        return piece

    def flush(self) -> bytes:
        """The rest of a stream that did not end with a line's end."""
        self._note([self._rest])
        self._rest = b""
        return b""

    def _note(self, lines: list[bytes]) -> None:
        for event in _events_of(lines):
            self._tap.note(event)


def _events_of(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.lstrip().startswith(b"{"):
            try:
                yield read_json(line)
            except ValueError:
                continue


def read_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """The events of a recorded stream of lines."""
    return _events_of(data.split(b"\n"))


class CohereReader(RecordingReader):
    """Takes the events of either version. Usage stands in the last one."""

    __slots__ = ("_answer", "_id", "_is_over", "_lines")

    def __init__(self, *, lines: bool = False) -> None:
        super().__init__()
        self._lines = lines
        self._id: str | None = None
        self._answer: Any = None
        self._is_over = False

    def take(self, event: Any) -> bool:
        """Its type, its id, and what the last one tells."""
        self.keep(event)
        kind = get(event, "type") or get(event, "event_type")
        self._id = self._id or get(event, "id") or get(event, "generation_id")
        if kind in _WORDS:
            self.output_seen = True
        elif kind in _LAST:
            self._is_over = True
            self._answer = get(event, "delta") or {"finish_reason": get(event, "finish_reason"), **(get(event, "response") or {})}
        return False

    def answer(self) -> Answer:
        """What has come so far; an error in the last event takes the answer's place."""
        answer = read_answer(self._answer)
        answer.response_id = answer.response_id or self._id
        error = get(self._answer, "error")
        if error or get(self._answer, "finish_reason") in ("ERROR", "error"):
            answer.failure, answer.refused, answer.finish_reasons = ("error", str(error or "")), True, []
        return answer

    def is_complete(self) -> bool:
        """True once the last event has come."""
        return self._is_over

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the events."""
        events = self.recorded(CohereReader, read_lines if self._lines else read_events)
        return CohereContent(invocation.exchange.request_body(), events, streamed=True)
