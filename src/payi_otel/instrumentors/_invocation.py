"""One call's life: started before the provider is called, ended exactly once, however it ends.

An invocation owns its span and its payload. It knows no provider: what was asked and answered comes in as `Request` and
`Answer`, read by the provider's own readers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace
from opentelemetry import context as otel_context
from opentelemetry.context import Context, set_value
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode

from payi_otel import semconv
from payi_otel._guard import guard
from payi_otel._secrets import without_secrets
from payi_otel.context.baggage import without_payi_baggage
from payi_otel.context.last_result import note_last_result
from payi_otel.context.scope import Scope
from payi_otel.delivery import _ticket
from payi_otel.instrumentors._capture import HttpExchange
from payi_otel.instrumentors._client_facts import ClientFacts
from payi_otel.instrumentors._proxy import settle as settle_proxied
from payi_otel.instrumentors._results import remember
from payi_otel.instrumentors._span_content import content_switch, may_be_said, say_content
from payi_otel.instrumentors._usage_attributes import usage_attributes
from payi_otel.instrumentors._values import text_of, type_name_of
from payi_otel.packets.units import Usage
from payi_otel.payload import ContentReader, EndReason, Payload, Ticket, is_code, registry

_MAX_FRAMES = 50
"""Frames kept of the caller's stack, nearest first: enough to find the call, and bounded under deep recursion."""

_TEXT = (str, type(None))
_UTIL_GENAI = "opentelemetry.util.genai.invocation"


class Request(Struct):
    """What a provider's reader makes of a call before it is made. `kwargs` is a copy that may differ from the caller's."""

    client: ClientFacts
    model: str | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    stream: bool = False
    raw: Literal["no", "read", "lazy"] = "no"
    """Whether the caller gets a raw response: already read, or still to be read."""
    usage_injected: bool = False
    """We asked for the usage event of a stream that the caller did not ask for: it is hidden from the caller."""
    kwargs_without: dict[str, Any] | None = None
    """The keyword arguments without what we added, where we added something."""
    headers: Mapping[str, Any] = field(default_factory=dict)
    """The caller's own extra headers, ours taken out."""
    operation: str | None = None
    """`gen_ai.operation.name`, where this call's differs from its method's."""
    routes: bool = False
    """It is sent through Pay-i's proxy."""
    on_answer: Callable[[Invocation, Answer], Answer] | None = None
    """A provider's last word on an answer before its call ends: it may set `unbilled`, or complete the payload."""

    def go_through_proxy(self) -> None:
        """Asks the proxy for no more than the caller does: it sees to the usage itself."""
        self.routes = True
        if self.kwargs_without is not None:
            self.kwargs, self.kwargs_without, self.usage_injected = self.kwargs_without, None, False


class OtherCall(Struct, frozen=True):
    """What another model did for a call, on the provider's side: billed at that model's price, so it is a packet of its own."""

    model: str
    usage: Usage
    suffix: str
    """Makes its packet's id of the call's, e.g. `advisor.1`."""


class Answer(Struct):
    """What a provider's reader makes of an answer, or of as much of a stream as has come."""

    response_id: str | None = None
    model: str | None = None
    finish_reasons: Sequence[str] = ()
    usage: Usage | None = None
    service_tier: str | None = None
    failure: tuple[str, str] | None = None
    """An error the provider put into a 200: (type, text)."""
    refused: bool = False
    """That error took the place of the answer: the packet carries no 200."""
    unbilled: bool = False
    """This call makes no packet: its answer is billed with another call, or was."""
    resource_scope: str | None = None
    """Where it ran, as far as that has a price of its own."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """Facts for the packet's properties."""
    others: Sequence[OtherCall] = ()
    fell_back: bool = False
    """`model` answered for the one that was asked, and is what is priced."""
    attributes: Mapping[str, Any] = field(default_factory=dict)


def caller_frames(frame: FrameType | None) -> tuple[tuple[CodeType, int], ...]:
    """(code, instruction) pairs, outermost first: the worker finds the lines, which takes longer the longer a function is."""
    frames: list[tuple[CodeType, int]] = []
    while frame is not None and len(frames) < _MAX_FRAMES:
        frames.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    frames.reverse()
    return tuple(frames)


class Invocation:
    """The one mutable object of a call."""

    __slots__ = (
        "_context",
        "_key",
        "_open",
        "_operation",
        "_span",
        "_start_ns",
        "_tracer",
        "exchange",
        "last_event_ns",
        "payload",
        "request",
    )

    def __init__(
        self, tracer: Tracer, operation: str, request: Request, scope: Scope, module: str, instance: Any, frame: FrameType | None
    ) -> None:
        client = request.client
        self.request = request
        self._tracer, self._operation = tracer, operation
        self.exchange = HttpExchange(instance)
        self.payload = Payload(
            scope=scope,
            category=client.category,
            module=module,
            model=request.model or client.deployment,
            resource_prefix=client.resource_prefix,
            host=client.address,
            provider_uri=client.uri,
            started_at_ns=time.time_ns(),
            stack=caller_frames(frame),
            ticket=_ticket.Ticket(is_open=True),
        )
        current = otel_context.get_current()
        self._span: Span = INVALID_SPAN
        is_seen = False
        if not getattr(tracer, "is_silent", False):
            self._span = tracer.start_span(
                f"{operation} {request.model}" if request.model else operation,
                context=current,
                kind=SpanKind.CLIENT,
                attributes=_start_attributes(operation, request),
            )
            is_seen = self._span.is_recording()
        self._context = _inner_context(current, self._span)
        self._open = [True]
        self._key = self._span.get_span_context().span_id if is_seen else registry.new_key()
        registry.put(self._key, self.payload)
        self._start_ns = time.perf_counter_ns()
        self.last_event_ns: int | None = None
        """When something came last (`time.perf_counter_ns`), for a stream that is let go of and collected at any time later."""

    def attach(self) -> Any:
        """Makes the call's span current and takes our baggage out of what HTTP instrumentations propagate."""
        return otel_context.attach(self._context)

    def let_go(self) -> None:
        """Before a stream goes to the caller: keeps no reference to the SDK's objects, which would then wait for the collector."""
        self._context = Context()
        self.exchange.let_go()

    def forget(self) -> None:
        """Nothing more is recorded of this call."""
        self._open.clear()

    def detach(self, token: Any) -> None:
        """Undoes `attach`; always before a stream goes back to the caller."""
        otel_context.detach(token)
        note_last_result(self.payload.ticket)

    def elapsed_ms(self) -> int:
        """Milliseconds since the provider was called, to now or to the last event of a stream that nobody read on."""
        return ((self.last_event_ns or time.perf_counter_ns()) - self._start_ns) // 1_000_000

    def first_chunk(self) -> None:
        """Notes that the first event of a stream has come."""
        self.payload.first_token_ms = self.elapsed_ms()

    def first_completion(self) -> None:
        """Notes that the first event with output of the model's own has come."""
        self.payload.first_completion_token_ms = self.elapsed_ms()

    def end(
        self,
        reason: EndReason,
        answer: Answer,
        content: ContentReader | None,
        error: BaseException | None = None,
        *,
        status: int | None = None,
    ) -> Ticket | None:
        """Ends the call once; later calls do nothing. Returns a ticket where the caller is to wait for the packet."""
        if not self._close():
            return None
        is_said = content_switch.is_on and may_be_said(self.payload)
        if self.payload.ticket is not None:
            self.payload.ticket.is_open = False
        try:
            self._fill(reason, content, error)
            if self.request.on_answer is not None:
                answer = self.request.on_answer(self, answer)
            if not (isinstance(answer.response_id, _TEXT) and isinstance(answer.model, _TEXT)):
                answer = replace(answer, response_id=text_of(answer.response_id), model=text_of(answer.model))
            self._fill_answer(answer, error, status)
        finally:
            self._end_span(reason, answer, error, is_said=is_said)
        if answer.others and self._makes_packet(answer):
            self._record_others(answer)
        return self.payload.awaited

    def _record_others(self, answer: Answer) -> None:
        parent = set_span_in_context(self._span)
        for other in answer.others:
            record(self._tracer, self._operation, self.request.client.provider, part_of(self.payload, other), parent)

    def _fill(self, reason: EndReason, content: ContentReader | None, error: BaseException | None) -> None:
        payload = self.payload
        payload.latency_ms = self.elapsed_ms()
        payload.end_reason = reason
        payload.content = content
        if error is not None:
            payload.failure = (type_name_of(error), str(error))
        if self.request.headers:
            payload.request_headers = without_secrets(self.request.headers)
        headers = self.exchange.headers
        if headers is not None:
            # An HTTP library's own object is read by the worker; a dict may be the caller's by then.
            payload.response_headers = headers if hasattr(headers, "raw") else tuple(headers.items())

    def _fill_answer(self, answer: Answer, error: BaseException | None, status: int | None) -> None:
        payload = self.payload
        payload.http_status = None if answer.refused else status
        payload.response_id, payload.response_model = answer.response_id, answer.model
        payload.usage, payload.service_tier = answer.usage, answer.service_tier
        if answer.fell_back and answer.model is not None:
            payload.model = answer.model
        if not answer.unbilled:
            remember(answer.response_id, payload.ticket)
        payload.resource_scope = answer.resource_scope
        payload.properties.update(answer.properties)
        if error is None and answer.failure is not None:
            code, text = answer.failure
            payload.failure = code if is_code(code) else "error", text

    def _makes_packet(self, answer: Answer) -> bool:
        return not answer.unbilled and not self.exchange.is_proxied

    def _end_span(self, reason: EndReason, answer: Answer, error: BaseException | None, *, is_said: bool) -> None:
        span, payload = self._span, self.payload
        makes_packet = self._makes_packet(answer)
        if self.exchange.is_proxied:
            with guard("reading the proxy's result"):
                settle_proxied(payload, self.exchange)
        elif not makes_packet and payload.ticket is not None:
            payload.ticket.settle(None)
        if not makes_packet:
            registry.claim(self._key)
        if is_said or span.is_recording():
            self._say(reason, answer, error, is_said=is_said)
        span.end(None if self.last_event_ns is None else payload.started_at_ns + self.last_event_ns - self._start_ns)
        registry.hand_over(self._key)

    def _say(self, reason: EndReason, answer: Answer, error: BaseException | None, *, is_said: bool) -> None:
        span, payload = self._span, self.payload
        attributes = _end_attributes(reason, answer, payload, self.request)
        if error is not None or answer.failure is not None:
            attributes[semconv.ERROR_TYPE] = type_name_of(error) if error is not None else (payload.failure or ("_OTHER",))[0]
            # No description: a provider's error text may quote the prompt, and a span has content only where that is asked for.
            span.set_status(Status(StatusCode.ERROR))
        if is_said:
            say_content(span, self._operation, payload, {**_start_attributes(self._operation, self.request), **attributes})
        if self.exchange.is_proxied:
            attributes[semconv.PAYI_PROXIED] = True
        span.set_attributes(attributes)

    def _close(self) -> bool:
        try:
            self._open.pop()  # atomic: a collector in another thread and a close in this one end the call once
        except IndexError:
            return False
        return True


def part_of(payload: Payload, other: OtherCall) -> Payload:
    """What another model did for a call, for a packet of its own."""
    return replace(
        payload,
        model=other.model,
        response_model=other.model,
        response_id=f"{payload.response_id}.{other.suffix}" if payload.response_id else None,
        usage=other.usage,
        http_status=200,
        end_reason="completed",
        failure=None,
        error_body=None,
        content=None,
        ticket=None,
        awaited=None,
        properties={semconv.PROPERTY_PART_OF: payload.response_id or ""},
    )


def record(tracer: Tracer, operation: str, provider: str, payload: Payload, parent: Context | None = None) -> None:
    """Records a call that is over already (a part of another, a batch's result): its span and, with it, its packet."""
    usage = payload.usage
    attributes: dict[str, Any] = {
        semconv.OPERATION_NAME: operation,
        semconv.PROVIDER_NAME: provider,
        semconv.PAYI_CATEGORY: payload.category,
        semconv.REQUEST_MODEL: payload.model,
        semconv.RESPONSE_MODEL: payload.response_model,
        semconv.RESPONSE_ID: payload.response_id,
        **(usage_attributes(usage) if usage is not None else {}),
    }
    span = tracer.start_span(
        f"{operation} {payload.model}" if payload.model else operation,
        context=parent,
        kind=SpanKind.CLIENT,
        attributes={name: value for name, value in attributes.items() if value is not None},
        start_time=payload.started_at_ns,
    )
    if not span.is_recording():
        span.end()
        registry.offer(payload)
        return
    span_id = span.get_span_context().span_id
    registry.put(span_id, payload)
    span.end(payload.started_at_ns + payload.latency_ms * 1_000_000)
    registry.hand_over(span_id)


def _start_attributes(operation: str, request: Request) -> dict[str, Any]:
    client = request.client
    attributes = {
        semconv.OPERATION_NAME: operation,
        semconv.PROVIDER_NAME: client.provider,
        semconv.PAYI_CATEGORY: client.category,
        **request.attributes,
    }
    if request.model:
        attributes[semconv.REQUEST_MODEL] = request.model
    if client.host:
        attributes[semconv.SERVER_ADDRESS] = client.host
        attributes[semconv.SERVER_PORT] = client.port or (80 if (client.uri or "").startswith("http:") else 443)
    if request.stream:
        attributes[semconv.REQUEST_STREAM] = True
    return attributes


def _end_attributes(reason: EndReason, answer: Answer, payload: Payload, request: Request) -> dict[str, Any]:
    attributes: dict[str, Any] = dict(answer.attributes)
    if answer.response_id and semconv.RESPONSE_ID not in request.attributes:
        attributes[semconv.RESPONSE_ID] = answer.response_id
    if answer.model:
        attributes[semconv.RESPONSE_MODEL] = answer.model
    if answer.finish_reasons:
        attributes[semconv.RESPONSE_FINISH_REASONS] = tuple(answer.finish_reasons)
    if answer.usage is not None and not answer.unbilled:
        attributes.update(usage_attributes(answer.usage))
    if payload.first_token_ms is not None:
        attributes[semconv.RESPONSE_TIME_TO_FIRST_CHUNK] = payload.first_token_ms / 1000
    if reason != "completed":
        attributes[semconv.PAYI_END_REASON] = reason
    return attributes


def _inner_context(current: Context, span: Span) -> Context:
    context = without_payi_baggage(current)
    # Where a call has no span, what is current stays so: it may be the application's own, of a provider that it set nowhere.
    is_made = span is not INVALID_SPAN and span is not (above := get_current_span(current))
    if is_made and (span.is_recording() or span.get_span_context() != above.get_span_context()):
        context = set_span_in_context(span, context)
    genai = sys.modules.get(_UTIL_GENAI)
    if genai is not None:  # an inner `genai-*` instrumentation then adds to this call instead of emitting a second span
        context = set_value(genai.CLIENT_INFERENCE_CONTEXT_KEY, genai.InferenceData(), context)
    return context
