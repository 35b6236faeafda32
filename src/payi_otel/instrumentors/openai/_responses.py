"""The Responses API: plain, parsed and streamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from payi_otel import semconv
from payi_otel.instrumentors._content import RecordingReader
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._parameters import output_type, read_parameters
from payi_otel.instrumentors._values import count_of, get
from payi_otel.instrumentors.openai._background import background
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.instrumentors.openai._images import read_image_tool
from payi_otel.instrumentors.openai._operation import OpenAIOperation, request_body
from payi_otel.instrumentors.openai._usage import read_usage
from payi_otel.payload import ContentReader, is_code

_OUTPUT_EVENTS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.mcp_call_arguments.delta",
        "response.code_interpreter_call_code.delta",
        "response.shell_call_command.delta",
        "response.audio.delta",
        "response.output_audio.delta",
        "response.image_generation_call.partial_image",
    }
)
_FINAL_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})


class Responses(OpenAIOperation):
    """`responses.create`, `.parse` and `.compact`."""

    name = "chat"
    attributes: Mapping[str, Any] = {semconv.OPENAI_API_TYPE: "responses"}

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """A response may turn out to be made in the background, which the answer says, too; then it is billed when it is fetched."""
        request = super().read_request(instance, args, kwargs)
        request.on_answer = background.asked if kwargs.get("background") is True else background.created
        return request

    def parameters(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """With what stands in objects: the answer's form, the reasoning, the conversation and a stored prompt."""
        return {
            **super().parameters(asked),
            **output_type(asked.get("text_format")),
            **output_type(get(asked.get("text"), "format")),
            **read_parameters(asked.get("reasoning"), {"effort": semconv.REQUEST_REASONING_LEVEL}),
            **read_parameters(asked.get("prompt"), {"id": semconv.PROMPT_NAME, "version": semconv.PROMPT_VERSION}),
            **_conversation(asked),
        }

    def read_answer(self, result: Any) -> Answer:
        """Reads a `Response`."""
        return read_response(result)

    def new_reader(self, invocation: Invocation) -> ResponseStreamReader:
        """A reader of `ResponseStreamEvent`s."""
        return ResponseStreamReader()


class FetchResponse(Responses):
    """`responses.retrieve` and `.cancel`: bills a background response once, when it first shows its usage."""

    name = "fetch_response"
    is_inference = False

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Keeps hold of the answer, which alone says whether it was made in the background."""
        request = super().read_request(instance, args, kwargs)
        request.on_answer = background.fetched
        response_id = args[0] if args else kwargs.get("response_id")
        if isinstance(response_id, str):
            request.attributes[semconv.RESPONSE_ID] = response_id
        if isinstance(cursor := kwargs.get("starting_after"), int):
            request.attributes[semconv.REQUEST_STREAM_CURSOR] = str(cursor)
        return request

    def read_answer(self, result: Any) -> Answer:
        """Also says how far the response is."""
        return _with_status(super().read_answer(result), result)

    def new_reader(self, invocation: Invocation) -> ResponseStreamReader:
        """A reader of the response's events."""
        return _FetchedStreamReader()


def read_response(response: Any) -> Answer:
    """A `Response`, as an object or as JSON."""
    status, usage = get(response, "status"), get(response, "usage")
    error = get(response, "error")
    tier = get(response, "service_tier")
    reason = get(get(response, "incomplete_details"), "reason") or status
    return Answer(
        response_id=get(response, "id") or None,
        model=get(response, "model") or None,
        finish_reasons=[str(reason)] if reason else [],
        usage=read_usage(usage, web_searches=count_web_searches(response)),
        service_tier=tier if isinstance(tier, str) else None,
        failure=_failure(error, "failed") if status == "failed" else None,
        others=read_image_tool(response),
        attributes=_attributes(response, tier),
    )


def _with_status(answer: Answer, response: Any) -> Answer:
    """The same answer with `gen_ai.response.status`, which is for fetched responses only."""
    status = get(response, "status")
    return replace(answer, attributes={**answer.attributes, semconv.RESPONSE_STATUS: status}) if isinstance(status, str) else answer


def _conversation(holder: Any) -> dict[str, str]:
    """`gen_ai.conversation.id`, where a request or a response names one."""
    conversation = get(holder, "conversation")
    name = conversation if isinstance(conversation, str) else get(conversation, "id")
    return {semconv.CONVERSATION_ID: name} if isinstance(name, str) and name else {}


def _failure(error: Any, otherwise: str) -> tuple[str, str]:
    """A provider's error as (code, text)."""
    code = get(error, "code") or get(error, "type")
    return code if is_code(code) else otherwise, str(get(error, "message") or "")


def _attributes(response: Any, tier: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {**_conversation(response)}
    if isinstance(tier, str):
        attributes[semconv.OPENAI_RESPONSE_SERVICE_TIER] = tier
    if get(response, "background") is True:
        attributes[semconv.OPENAI_BACKGROUND] = True
    return attributes


def count_web_searches(response: Any) -> int:
    """Searches that are billed: the provider's own count, or else the search calls among the items (opening a page is free).

    Source: https://platform.openai.com/docs/pricing, "Web search".
    """
    counted = get(get(response, "tool_usage"), "web_search")
    if get(counted, "num_requests") is not None:
        return count_of(counted, "num_requests", [])
    calls = [item for item in get(response, "output") or () if get(item, "type") == "web_search_call"]
    return sum(1 for call in calls if get(get(call, "action"), "type") in (None, "search"))


class ResponseStreamReader(RecordingReader):
    """Takes `ResponseStreamEvent`s. Usage stands in the final event only."""

    __slots__ = ("_error", "_final", "_last")

    def __init__(self) -> None:
        super().__init__()
        self._final: Any = None
        self._last: Any = None
        self._error: Any = None

    def take(self, event: Any) -> bool:
        """A type; the worker reads the rest."""
        self.keep(event)
        kind = get(event, "type")
        if kind in _FINAL_EVENTS:
            self._final = get(event, "response")
        elif kind == "error":
            self._error = event
        elif not self.output_seen and kind in _OUTPUT_EVENTS:
            self.output_seen = True
        elif kind is None and get(event, "event") == "error":
            self._error = get(event, "data")  # openai 1.66 wraps events whose name has no "response." before it
        elif self._last is None or kind == "response.in_progress":
            self._last = get(event, "response") or self._last
        return False

    def told(self) -> Any:
        """The final response, or what the first events told of it."""
        return self._final if self._final is not None else self._last

    def answer(self) -> Answer:
        """What has come so far."""
        answer = read_response(self.told())
        if self._error is None:
            return answer
        failure = _failure(self._error if get(self._error, "message") else get(self._error, "error"), "error")
        return replace(answer, finish_reasons=(), failure=failure, refused=True)

    def is_complete(self) -> bool:
        """True once the final event has come."""
        return self._final is not None or self._error is not None

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the events. What failed before any output cost nothing: it is not estimated."""
        failed = self._error is not None or get(self._final, "status") == "failed"
        return OpenAIContent(
            request_body(invocation), self.recorded(ResponseStreamReader), streamed=True, estimates=self.output_seen or not failed
        )


class _FetchedStreamReader(ResponseStreamReader):
    __slots__ = ()

    def answer(self) -> Answer:
        return _with_status(super().answer(), self.told())
