"""Converse and InvokeModel, plain and streamed: how their requests, answers and events are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from payi_otel import semconv
from payi_otel._json import to_json
from payi_otel.instrumentors._claude import MessageStreamReader, read_usage
from payi_otel.instrumentors._client_facts import ClientFacts, facts_at
from payi_otel.instrumentors._content import to_json_value
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._operation import Failure, Operation
from payi_otel.instrumentors._parameters import read_parameters
from payi_otel.instrumentors._results import NAME as XPROXY_RESULT
from payi_otel.instrumentors._stream import Tap
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors.bedrock._content import BedrockContent
from payi_otel.instrumentors.bedrock._parameters import body_parameters, converse_parameters
from payi_otel.instrumentors.bedrock._stream import FrameReader, show_result, tap_event_stream
from payi_otel.instrumentors.bedrock._usage import (
    Counts,
    body_counts,
    converse_counts,
    guardrail_counts,
    header_counts,
    image_usage,
    listed_counts,
    policy_counts,
    running_counts,
    to_usage,
    with_guardrails,
    with_long_prompt,
)
from payi_otel.payload import ContentReader, Ticket
from payi_otel.semconv import PayiCategories, PayiPropertyNames

if TYPE_CHECKING:
    from payi_otel.instrumentors._wrapper import Binding

_METADATA = "ResponseMetadata"
_GUARDRAIL = {"id": semconv.AWS_BEDROCK_GUARDRAIL_ID}
_INTERVENED = "Bedrock Guardrails intervened"


def read_client(client: Any) -> ClientFacts:
    """Where a boto3 client's calls go."""
    return facts_at(read_endpoint(str(client.meta.endpoint_url)), "aws.bedrock", PayiCategories.aws_bedrock)


class BedrockOperation(Operation):
    """What all operations share. The caller's parameters are never changed, only copied."""

    stream = False
    stream_key = ""
    """Where the stream stands in the result."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Model and guardrail, off the operation's parameters (the second argument of `_make_api_call`)."""
        given = args[1] if len(args) > 1 else kwargs.get("api_params")
        params = given if isinstance(given, Mapping) else {}
        traced = self._traced(params)
        if traced is not None:
            args, kwargs = ((args[0], traced, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "api_params": traced})
        model, guardrail = params.get("modelId"), self.guardrail(params)
        request = Request(
            client=read_client(instance),
            model=model if isinstance(model, str) and model else None,
            args=args,
            kwargs=kwargs,
            attributes={**self.parameters(params), **read_parameters({"id": guardrail[0]}, _GUARDRAIL)},
            stream=self.stream,
        )
        if isinstance(model, str) and "embed" in model:
            request.operation = "embeddings"
        request.on_answer = lambda invocation, answer: self.complete(invocation, answer, guardrail)
        return request

    def parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The request's attributes."""
        return {}

    def guardrail(self, params: Mapping[str, Any]) -> tuple[Any, Any]:
        """The guardrail's (id, version) that the call names."""
        raise NotImplementedError

    def traced(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Parameters that ask for the guardrail's trace, where the caller said nothing of it."""
        raise NotImplementedError

    def _traced(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        is_wanted = (settings := self._binding.settings) is None or settings.aws_config.guardrail_trace
        return self.traced(params) if is_wanted and all(self.guardrail(params)) else None

    def complete(self, invocation: Invocation, answer: Answer, guardrail: tuple[Any, Any]) -> Answer:
        """The guardrail and the model, which only the request names, and the request's id, which is in no body."""
        names = (PayiPropertyNames.aws_bedrock_guardrail_id, PayiPropertyNames.aws_bedrock_guardrail_version)
        properties = {name: str(value) for name, value in zip(names, guardrail, strict=True) if value}
        headers = invocation.exchange.headers or {}
        response_id = headers.get("x-amzn-requestid") or answer.response_id
        tier = answer.service_tier or headers.get("x-amzn-bedrock-service-tier")
        usage = with_long_prompt(answer.usage, answer.model, invocation.request.model)
        properties |= answer.properties
        return replace(answer, response_id=response_id, service_tier=tier, properties=properties, usage=usage)

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """Notes the answer's head, and a snapshot of it: the caller may change his dictionary."""
        note_head(invocation, result)
        snapshot = {key: value for key, value in result.items() if key != _METADATA}
        invocation.exchange.received = to_json(snapshot)
        return result

    def attach(self, result: Any, ticket: Ticket | None) -> None:
        """A result is a plain dict: under a key, as the published SDK has it."""
        if ticket is not None and isinstance(result, dict):
            result[XPROXY_RESULT] = ticket.result

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view: the bytes that went and came."""
        exchange = invocation.exchange
        answer = exchange.response_body()
        return BedrockContent(exchange.request_body(), [] if answer is None else [answer], streamed=False)

    def adopt(self, invocation: Invocation, result: Any, *, is_async: bool) -> bool:
        """Instruments the stream in the result."""
        note_head(invocation, result)
        stream = result.get(self.stream_key) if self.stream else None
        if stream is None or not hasattr(stream, "_event_generator"):
            return False
        settings = self._binding.settings
        tap = Tap(invocation, self.new_reader(invocation), shows=False)
        tap_event_stream(stream, tap, is_async=is_async)
        if settings is not None and settings.aws_config.add_streaming_xproxy_result:
            show_result(stream, tap)
        invocation.let_go()
        return True

    def new_reader(self, invocation: Invocation) -> FrameReader:
        """A reader for the call's stream."""
        raise NotImplementedError

    def read_failure(self, invocation: Invocation, error: BaseException) -> Failure:
        """A `ClientError` holds what Bedrock answered; any other has none."""
        response = getattr(error, "response", None)
        if not isinstance(response, dict):
            return Answer(), None, None
        note_head(invocation, response)
        said = {key: value for key, value in response.items() if key != _METADATA}
        invocation.payload.error_body = to_json(said).decode()
        return Answer(response_id=get(response.get(_METADATA), "RequestId")), None, invocation.exchange.status


def note_head(invocation: Invocation, result: Any) -> None:
    """Status and headers of an answer, as boto3 tells them."""
    metadata = result.get(_METADATA) or {}
    invocation.exchange.put_head(metadata.get("HTTPHeaders") or {}, metadata.get("HTTPStatusCode"))


def intervened(action: Any) -> dict[str, str]:
    """What is said of a guardrail that changed or held back the answer: as a failure, too, so that it is found as one."""
    if action not in ("INTERVENED", "GUARDRAIL_INTERVENED", "guardrail_intervened"):
        return {}
    return {
        PayiPropertyNames.aws_bedrock_guardrail_action: "INTERVENED",
        PayiPropertyNames.failure: "INTERVENED",
        PayiPropertyNames.failure_description: _INTERVENED,
    }


def _converse_answer(result: Any, reason: Any) -> Answer:
    """A Converse result, or what a stream's last event has of one."""
    problems: list[str] = []
    trace, tier = get(result, "trace"), get(get(result, "serviceTier"), "type")
    latency = get(get(result, "performanceConfig"), "latency")
    invoked = get(get(trace, "promptRouter"), "invokedModelId")
    usage = to_usage(converse_counts(get(result, "usage"), problems), guardrail_counts(trace), problems)
    properties = intervened(reason)
    if latency not in (None, "standard"):
        properties[semconv.PROPERTY_LATENCY] = str(latency)
    return Answer(
        model=invoked if isinstance(invoked, str) else None,
        finish_reasons=[str(reason)] if reason else [],
        usage=usage,
        service_tier=tier if isinstance(tier, str) else None,
        properties=properties,
    )


class Converse(BedrockOperation):
    """`Converse`."""

    def parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Of `inferenceConfig`, and of what the model takes beside it."""
        return converse_parameters(params)

    def guardrail(self, params: Mapping[str, Any]) -> tuple[Any, Any]:
        """Of `guardrailConfig`."""
        config = params.get("guardrailConfig")
        return get(config, "guardrailIdentifier"), get(config, "guardrailVersion")

    def traced(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """`guardrailConfig.trace`."""
        config = params["guardrailConfig"]
        return None if config.get("trace") else {**params, "guardrailConfig": {**config, "trace": "enabled"}}

    def read_answer(self, result: Any) -> Answer:
        """Reads a result."""
        return _converse_answer(result, get(result, "stopReason"))


class ConverseStream(Converse):
    """`ConverseStream`."""

    stream, stream_key = True, "stream"

    def new_reader(self, invocation: Invocation) -> FrameReader:
        """A reader of Converse's events."""
        return _ConverseReader()


class _ConverseReader(FrameReader):
    def __init__(self) -> None:
        super().__init__()
        self._reason: Any = None
        self._metadata: Any = None

    def take_value(self, value: dict[str, Any]) -> None:
        if "metadata" in value:
            self._metadata = value["metadata"]
        elif "messageStop" in value:
            self._reason = get(value["messageStop"], "stopReason")
        elif not self.output_seen and "contentBlockDelta" in value:
            delta = get(value["contentBlockDelta"], "delta")
            self.output_seen = bool(get(delta, "text") or get(delta, "toolUse"))

    def is_complete(self) -> bool:
        return self._metadata is not None

    def answer(self) -> Answer:
        answer = _converse_answer(self._metadata, self._reason)
        return answer if self.failure is None else replace(answer, failure=self.failure, refused=True)

    def content(self, invocation: Invocation) -> ContentReader:
        return BedrockContent(invocation.exchange.request_body(), self.events, streamed=True)


class InvokeModel(BedrockOperation):
    """`InvokeModel`: the body is the model family's own."""

    def parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Of the body."""
        return body_parameters(params.get("body"))

    def guardrail(self, params: Mapping[str, Any]) -> tuple[Any, Any]:
        """Of the parameters themselves."""
        return params.get("guardrailIdentifier"), params.get("guardrailVersion")

    def traced(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """`trace`."""
        return None if params.get("trace") else {**params, "trace": "ENABLED"}

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """The body's JSON with the answer's headers."""
        return to_json_value(invocation.exchange.received or b"{}"), invocation.exchange.headers, invocation.request.model

    def read_answer(self, result: Any) -> Answer:
        """Reads (body, headers, model)."""
        body, headers, model = result
        problems: list[str] = []
        guardrails = guardrail_counts(get(body, "amazon-bedrock-trace"))
        usage = read_usage(get(body, "usage"), model) if get(body, "type") == "message" else image_usage(body)
        usage = with_guardrails(usage, guardrails)
        if usage is None:
            counts = {**listed_counts(body), **header_counts(headers), **body_counts(body, problems)}
            usage = to_usage(counts, guardrails, problems)
        own = get(body, "model")
        return Answer(
            model=own if isinstance(own, str) else None,
            finish_reasons=[str(reason) for reason in _reasons(body) if reason],
            usage=usage,
            properties=intervened(get(body, "amazon-bedrock-guardrailAction")),
        )


def _reasons(body: Any) -> list[Any]:
    """Why the model stopped, by the families' names for it."""
    if not isinstance(body, dict):
        return []
    lists = [body.get(key) for key in ("results", "choices", "outputs", "generations")]
    parts = [body, *(part for found in lists if isinstance(found, list) for part in found)]
    names = ("stop_reason", "stopReason", "finish_reason", "completionReason")
    return [get(part, name) for part in parts for name in names]


class ApplyGuardrail(InvokeModel):
    """`ApplyGuardrail`, which asks no model: the guardrail is what is priced."""

    name = "apply_guardrail"

    def parameters(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """It has none."""
        return {}

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """The guardrail stands where a model would."""
        request = super().read_request(instance, args, kwargs)
        given = args[1] if len(args) > 1 else kwargs.get("api_params")
        guardrail = get(given, "guardrailIdentifier")
        request.model = guardrail if isinstance(guardrail, str) and guardrail else None
        return request

    def traced(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """It always tells what it did."""
        return None

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """The result itself."""
        return BedrockOperation.value_of(self, invocation, result)

    def read_answer(self, result: Any) -> Answer:
        """Reads the units of all policies together; those of each assessment are parts of them."""
        return Answer(usage=to_usage({}, policy_counts(get(result, "usage")), []), properties=intervened(get(result, "action")))

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """What was assessed costs no tokens."""
        answer = invocation.exchange.response_body()
        return BedrockContent(invocation.exchange.request_body(), [] if answer is None else [answer], streamed=False, estimates=False)


class InvokeModelWithResponseStream(InvokeModel):
    """`InvokeModelWithResponseStream`."""

    stream, stream_key = True, "body"

    def new_reader(self, invocation: Invocation) -> FrameReader:
        """A reader of the family's chunks."""
        return _ChunkReader(invocation.request.model)


class _ChunkReader(FrameReader):
    """Claude's chunks are the events of its own streams; every family's last chunk has Bedrock's metrics."""

    def __init__(self, model: str | None) -> None:
        super().__init__()
        self._model = model
        self._claude: MessageStreamReader | None = None
        self._metrics: Any = None
        self._usage: Any = None
        self._running: Counts = {}
        self._guardrails: dict[str, int] = {}
        self._action: Any = None
        self._reasons: list[Any] = []

    def take_value(self, value: dict[str, Any]) -> None:
        if value.get("type") == "message_start":
            self._claude = MessageStreamReader()
        if self._claude is not None:
            self._claude.take(value)
            self.output_seen = self._claude.output_seen
        elif not self.output_seen:
            self.output_seen = any(key in value for key in ("generation", "outputText", "contentBlockDelta", "choices", "text", "outputs"))
        self._metrics = value.get("amazon-bedrock-invocationMetrics") or self._metrics
        self._usage = get(value.get("metadata"), "usage") or value.get("usage") or self._usage
        self._running |= running_counts(value, [])
        self._action = value.get("amazon-bedrock-guardrailAction") or self._action
        for unit, number in guardrail_counts(value.get("amazon-bedrock-trace")).items():
            self._guardrails[unit] = self._guardrails.get(unit, 0) + number
        self._reasons += [reason for reason in _reasons(value) if reason]

    def is_over(self) -> bool:
        return self._metrics is not None  # behind Claude's own last event

    def is_complete(self) -> bool:
        return self._metrics is not None or (self._claude is not None and self._claude.is_complete())

    def answer(self) -> Answer:
        problems: list[str] = []
        if self._claude is not None:
            answer = self._claude.answer()
            usage = with_guardrails(answer.usage, self._guardrails)
            answer = replace(answer, usage=usage, properties={**answer.properties, **intervened(self._action)})
        else:
            counts = {**converse_counts(self._metrics, problems), **body_counts({"usage": self._usage}, problems)}
            counts = counts or (self._running if len(self._running) > 1 else {})  # half of them would be taken for all
            usage = to_usage(counts, self._guardrails, problems)
            answer = Answer(finish_reasons=[str(one) for one in self._reasons[-1:]], usage=usage, properties=intervened(self._action))
        return answer if self.failure is None else replace(answer, failure=self.failure, refused=True)

    def content(self, invocation: Invocation) -> ContentReader:
        return BedrockContent(invocation.exchange.request_body(), self.events, streamed=True)
