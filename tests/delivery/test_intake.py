"""Which ended spans are calls, and which are one call: of ours and of others, nested, late, unrelated, concurrent."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from delivery_fakes import Retry
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, set_span_in_context

from payi_otel.context.scope import Scope, ScopeChange, enter, leave, set_defaults, unset_defaults
from payi_otel.delivery import intake as intake_module
from payi_otel.delivery._sightings import Call, sightings
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.exporters.span_exporter import PayiSpanExporter
from payi_otel.packets.convert import PacketRules, to_packet
from payi_otel.packets.units import Units, Usage
from payi_otel.payload import Payload, registry
from payi_otel.processors.recording import record_calls
from payi_otel.processors.retry_queue import RetryQueueSpanProcessor
from payi_otel.testing import CapturingSink

GENAI = "opentelemetry.instrumentation.genai.openai"
LOOP = "opentelemetry.instrumentation.openai.v1"
OURS = "payi_otel.instrumentors.openai"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Calls are tracked, and nothing of one test's is in another."""
    set_defaults(Scope(user_id="ada"))
    yield
    unset_defaults()
    registry._others.clear()
    sightings.clear()
    registry._open.clear()


class Pipeline:
    """A tracer provider with our processor, or our exporter, over a sink that keeps packets."""

    def __init__(self, *, by_exporter: bool = False, **provider: Any) -> None:
        self.sink = CapturingSink()
        self.provider = TracerProvider(shutdown_on_exit=False, **provider)
        if by_exporter:
            self.exporter: Any = PayiSpanExporter(_make_queue=self._make_queue)
            self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        else:
            self.exporter = RetryQueueSpanProcessor(self._make_queue())
            self.provider.add_span_processor(self.exporter)

    def _make_queue(self) -> DeliveryQueue:
        self.queue = DeliveryQueue(self.sink, convert=lambda payload: to_packet(payload, PacketRules()), retry=Retry())
        return self.queue

    def start(self, scope: str = GENAI, parent: Span | None = None, **more: Any) -> Span:
        """A span of an instrumentation, as it starts."""
        context = set_span_in_context(parent) if parent is not None else None
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5", **more}
        return self.provider.get_tracer(scope, "1").start_span("chat", context=context, attributes=attributes)

    def start_ours(self, parent: Span | None = None, response_id: str | None = "chatcmpl-1", tokens: int = 10) -> Span:
        """A call of ours, with its payload."""
        span = self.start(OURS, parent)
        usage = Usage({"text": Units(tokens, 5), "reasoning": Units(0, 1)}, tokens, 6)
        payload = Payload(Scope(user_id="ada"), "system.openai", "openai/3.0", model="gpt-5", http_status=200, response_id=response_id)
        payload.usage, payload.started_at_ns = usage, span.start_time  # type: ignore[attr-defined]
        registry.put(span.get_span_context().span_id, payload)
        return span

    def end_ours(self, span: Span) -> None:
        """Ends a call of ours, as its invocation does."""
        span_id = span.get_span_context().span_id
        payload = dict(registry.open())[span_id]
        payload.latency_ms = (time.time_ns() - payload.started_at_ns) // 1_000_000
        span.end()
        registry.hand_over(span_id)

    def packets(self, *, releases: bool = True) -> list[tuple[str, int]]:
        """Id and text input of each packet, in the order of their delivery; ids that were made up as "-"."""
        if releases:
            assert self.exporter.force_flush(5000)
        else:
            assert self.queue.flush(5)
        bodies = [packet.body for packet in self.sink.packets]
        named = [(str(body["provider_response_id"]), body["units"].get("text", {"input": 0})["input"]) for body in bodies]
        return sorted(("-" if name.startswith("payi_") else name, count) for name, count in named)

    def end(self, span: Span, response_id: str | None = "chatcmpl-1", tokens: int | None = 10, **more: Any) -> None:
        """Ends a span with what it knows."""
        said = {"gen_ai.response.id": response_id, "gen_ai.usage.input_tokens": tokens, **more}
        span.set_attributes({name: value for name, value in said.items() if value is not None})
        span.end()


@pytest.fixture(params=[False, True], ids=["processor", "exporter"])
def pipeline(request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    """Both ways into a pipeline."""
    one = Pipeline(by_exporter=request.param)
    yield one
    one.provider.shutdown()


@pytest.fixture
def processing() -> Iterator[Pipeline]:
    """The processor's way, which sees spans start."""
    one = Pipeline()
    yield one
    one.provider.shutdown()


def test_a_call_of_another_instrumentation_is_a_packet(pipeline: Pipeline) -> None:
    """One."""
    pipeline.end(pipeline.start())
    assert pipeline.packets() == [("chatcmpl-1", 10)]


def test_of_nested_spans_the_inner_one_is_billed(pipeline: Pipeline) -> None:
    """By its id, whatever the outer says it took."""
    outer = pipeline.start(LOOP)
    inner = pipeline.start(parent=outer)
    pipeline.end(inner)
    pipeline.end(outer, tokens=99)
    assert pipeline.packets() == [("chatcmpl-1", 10)]


def test_a_call_without_an_id_is_known_by_what_it_stands_in(pipeline: Pipeline) -> None:
    """And gets the id of the span around it."""
    outer = pipeline.start(LOOP)
    inner = pipeline.start(parent=outer)
    pipeline.end(inner, response_id=None)
    pipeline.end(outer)
    assert pipeline.packets() == [("chatcmpl-1", 10)]


def test_spans_of_no_call_in_between_change_nothing(pipeline: Pipeline) -> None:
    """An agent's step, a request of HTTP."""
    outer = pipeline.start(LOOP)
    step = pipeline.start("app", parent=outer, **{"gen_ai.operation.name": "invoke_agent"})
    request = pipeline.provider.get_tracer("http").start_span("POST", context=set_span_in_context(step))
    inner = pipeline.start(parent=request)
    pipeline.end(inner)
    request.end()
    pipeline.end(step, tokens=500)
    pipeline.end(outer)
    assert pipeline.packets() == [("chatcmpl-1", 10)]


def test_what_the_outer_span_knows_is_added(pipeline: Pipeline) -> None:
    """The cache, which the inner one leaves out; the outer's total is the larger, so nothing is lost."""
    outer = pipeline.start(LOOP)
    inner = pipeline.start(parent=outer)
    pipeline.end(inner)
    pipeline.end(outer, tokens=100, **{"gen_ai.usage.cache_read.input_tokens": 90})
    assert pipeline.packets() == [("chatcmpl-1", 10)]
    assert pipeline.sink.packets[0].body["units"]["text_cache_read"] == {"input": 90, "output": 0}


def test_every_attempt_inside_one_call_is_billed(pipeline: Pipeline) -> None:
    """A fallback of a gateway: the outer span is the last of them."""
    outer = pipeline.start(LOOP)
    for number in (1, 2):
        pipeline.end(pipeline.start(parent=outer), response_id=f"chatcmpl-{number}", tokens=number)
    pipeline.end(outer, response_id="chatcmpl-2", tokens=2)
    assert pipeline.packets() == [("chatcmpl-1", 1), ("chatcmpl-2", 2)]


def test_a_call_inside_a_call_of_another_model_is_a_call(pipeline: Pipeline) -> None:
    """A tool that asks a second model while the first waits for it."""
    outer = pipeline.start(LOOP, **{"gen_ai.request.model": "gemini-2.5-pro", "gen_ai.provider.name": "gcp.gemini"})
    pipeline.end(pipeline.start(parent=outer), response_id=None, tokens=3)
    pipeline.end(outer, response_id=None, tokens=7)
    assert pipeline.packets() == [("-", 3), ("-", 7)]


def test_ours_is_the_one_that_counts_inside(pipeline: Pipeline) -> None:
    """It ends first, and is sent at once."""
    outer = pipeline.start(LOOP)
    inner = pipeline.start_ours(outer, tokens=12)
    inner.end()
    registry.hand_over(inner.get_span_context().span_id)
    pipeline.end(outer, tokens=99)
    assert pipeline.packets() == [("chatcmpl-1", 12)]


def test_ours_is_the_one_that_counts_outside(pipeline: Pipeline) -> None:
    """What is inside it waits for it, and is dropped."""
    outer = pipeline.start_ours(tokens=12)
    pipeline.end(pipeline.start(parent=outer))
    outer.end()
    registry.hand_over(outer.get_span_context().span_id)
    assert pipeline.packets() == [("chatcmpl-1", 12)]


def test_what_ends_after_ours_is_dropped_too(pipeline: Pipeline) -> None:
    """A stream of the SDK's own spans may end behind ours."""
    outer = pipeline.start_ours(tokens=12)
    inner = pipeline.start(parent=outer)
    outer.end()
    registry.hand_over(outer.get_span_context().span_id)
    pipeline.end(inner)
    assert pipeline.packets() == [("chatcmpl-1", 12)]


def test_a_parent_that_is_called_remote_and_is_open_here_stands_above(pipeline: Pipeline) -> None:
    """Logfire tells of a stream by a span behind it, in a context that it took out of headers of its own."""
    outer = pipeline.start_ours(tokens=12)
    context = outer.get_span_context()
    carried = NonRecordingSpan(SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=context.trace_flags))
    time.sleep(0.06)  # longer than what begins at one time
    pipeline.end(pipeline.start("logfire.openai", parent=carried), tokens=10)
    outer.end()
    registry.hand_over(context.span_id)
    assert pipeline.packets() == [("chatcmpl-1", 12)]


def test_a_span_that_says_it_ended_before_its_stream_began_is_that_of_the_stream(processing: Pipeline) -> None:
    """LlamaIndex's ends when the stream is handed out, and is told of when it was read."""
    theirs = processing.start("openinference.instrumentation.llama_index")
    said_end_ns = time.time_ns()
    time.sleep(0.06)
    processing.end_ours(processing.start_ours(tokens=12))
    theirs.end(said_end_ns)
    assert processing.packets() == [("chatcmpl-1", 12)]


def test_an_outer_span_that_ends_first_waits_for_the_inner(processing: Pipeline) -> None:
    """What it knows is added; where nothing inside it was this call, it is billed itself."""
    outer = processing.start(LOOP)
    inner = processing.start(parent=outer)
    processing.end(outer, response_id=None, tokens=100)
    assert processing.packets(releases=False) == []
    processing.end(inner, response_id=None, tokens=100, **{"gen_ai.usage.cache_read.input_tokens": 90})
    assert processing.packets() == [("-", 10)]
    outer = processing.start(LOOP)
    inner = processing.start("app", parent=outer, **{"gen_ai.operation.name": "execute_tool"})
    processing.end(outer, response_id="chatcmpl-9", tokens=4)
    inner.end()
    assert processing.packets() == [("-", 10), ("chatcmpl-9", 4)]


def test_one_id_in_one_trace_is_one_call(pipeline: Pipeline) -> None:
    """Whether the spans stand in one another or not."""
    root = pipeline.provider.get_tracer("app").start_span("request")
    pipeline.end(pipeline.start(parent=root))
    pipeline.end(pipeline.start(LOOP, parent=root), tokens=99)
    root.end()
    assert pipeline.packets() == [("chatcmpl-1", 10)]


def test_one_id_in_two_traces_is_one_call_if_two_instrumentations_tell_of_it(pipeline: Pipeline) -> None:
    """At the same time: a framework that begins traces of its own."""
    outer, inner = pipeline.start("openinference.instrumentation.langchain"), pipeline.start()
    pipeline.end(inner)
    pipeline.end(outer)
    assert pipeline.packets() == [("chatcmpl-1", 10)]


def test_one_id_in_two_traces_of_one_instrumentation_is_two_calls(pipeline: Pipeline) -> None:
    """A test's provider, or a proxy's cache, gives an id twice; Pay-i, not we, says what that means."""
    for _ in range(3):
        pipeline.end(pipeline.start())
    assert pipeline.packets() == [("chatcmpl-1", 10)] * 3


def test_a_frameworks_span_without_an_id_is_known_by_time_model_and_usage(pipeline: Pipeline) -> None:
    """Each of ours is told once by each other scope, however many alike there are at once."""
    outers = [pipeline.start("openinference.instrumentation.langchain") for _ in range(3)]
    for number in range(3):
        pipeline.end(pipeline.start(), response_id=f"chatcmpl-{number}")
    for outer in outers:
        pipeline.end(outer, response_id="run-1")
    pipeline.end(pipeline.start("openinference.instrumentation.langchain"), response_id=None)
    assert pipeline.packets() == [("-", 10), ("chatcmpl-0", 10), ("chatcmpl-1", 10), ("chatcmpl-2", 10)]


def test_another_usage_is_another_call(pipeline: Pipeline) -> None:
    """Nothing is dropped on a guess that the numbers contradict."""
    outer = pipeline.start("openinference.instrumentation.langchain")
    pipeline.end(pipeline.start(), response_id="chatcmpl-1")
    pipeline.end(outer, response_id=None, tokens=11)
    assert pipeline.packets() == [("-", 11), ("chatcmpl-1", 10)]


def test_a_span_kept_out_of_the_context_waits_for_ours(processing: Pipeline) -> None:
    """It began with ours and ends before it; where ours turns out to be another call, both are billed."""
    other = processing.start(LOOP)
    ours = processing.start_ours(tokens=10)
    processing.end(other, response_id=None, tokens=10, **{"gen_ai.usage.output_tokens": 6})
    ours.end()
    assert processing.packets() == [("chatcmpl-1", 10)]
    other = processing.start(LOOP)
    ours = processing.start_ours(response_id="chatcmpl-2", tokens=20)
    processing.end(other, response_id=None, tokens=3)
    ours.end()
    assert processing.packets() == [("-", 3), ("chatcmpl-1", 10), ("chatcmpl-2", 20)]


def test_a_flush_in_the_middle_of_a_call_bills_it_once(pipeline: Pipeline) -> None:
    """What was sent then is known to the span around it, though neither has an id and the two count differently."""
    outer = pipeline.start(LOOP)
    pipeline.end(pipeline.start(parent=outer), response_id=None)
    assert pipeline.packets() == [("-", 10)]
    pipeline.end(outer, response_id=None, tokens=100)
    assert pipeline.packets() == [("-", 10)]


def test_more_background_responses_than_can_be_kept_are_said(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest, without units: none goes silently."""
    monkeypatch.setattr(intake_module, "_MAX_REMEMBERED", 2)
    for number in range(5):
        pipeline.end(pipeline.start(), response_id=f"resp_{number}", tokens=None)
    assert [name for name, _ in pipeline.packets()] == ["resp_0", "resp_1", "resp_2"]


def test_a_gateways_own_name_and_id_make_no_second_call(pipeline: Pipeline) -> None:
    """The same usage, one inside the other."""
    outer = pipeline.start(LOOP, **{"gen_ai.request.model": "my-router"})
    pipeline.end(pipeline.start(parent=outer), response_id="chatcmpl-1")
    pipeline.end(outer, response_id="gen-123")
    assert pipeline.packets() == [("chatcmpl-1", 10)]


def test_a_call_inside_a_call_of_the_same_model_is_a_call(pipeline: Pipeline) -> None:
    """A tool that asks the model again: the two took quite different amounts."""
    outer = pipeline.start(LOOP)
    inner = pipeline.start(parent=outer)
    pipeline.end(inner, response_id=None, tokens=3, **{"gen_ai.usage.output_tokens": 1})
    pipeline.end(outer, response_id=None, tokens=900, **{"gen_ai.usage.output_tokens": 90})
    assert pipeline.packets() == [("-", 3), ("-", 900)]


def test_a_sum_of_what_is_inside_is_no_call(pipeline: Pipeline) -> None:
    """A framework's span over several requests."""
    outer = pipeline.start(LOOP, **{"gen_ai.request.model": "my-router"})
    for number in (1, 2):
        pipeline.end(pipeline.start(parent=outer), response_id=f"chatcmpl-{number}", tokens=number)
    pipeline.end(outer, response_id=None, tokens=3)
    assert pipeline.packets() == [("chatcmpl-1", 1), ("chatcmpl-2", 2)]


def test_an_attempt_that_failed_gets_nothing_of_the_one_that_did_not(pipeline: Pipeline) -> None:
    """A fallback to another model, told by a span that asked for the first."""
    outer = pipeline.start(LOOP)
    pipeline.end(pipeline.start(parent=outer), response_id=None, tokens=None, **{"error.type": "RateLimitError"})
    other = {"gen_ai.request.model": "claude-opus-5", "gen_ai.provider.name": "anthropic"}
    pipeline.end(pipeline.start(parent=outer, **other), response_id="msg_1")
    pipeline.end(outer, response_id=None)
    assert pipeline.packets() == [("-", 0), ("msg_1", 10)]


def test_alike_is_not_the_same(pipeline: Pipeline) -> None:
    """Of two scopes, at once, with the same usage, and not one model; or with one model, one after the other."""
    mini = {"gen_ai.request.model": "gpt-5-mini"}
    one, other = pipeline.start(), pipeline.start("openinference.instrumentation.langchain", **mini)
    pipeline.end(one)
    pipeline.end(other, response_id=None)
    time.sleep(0.01)
    pipeline.end(pipeline.start("openinference.instrumentation.llama_index", **mini), response_id=None)
    assert pipeline.packets() == [("-", 10), ("-", 10), ("chatcmpl-1", 10)]


@pytest.mark.parametrize("attributes", [{"gen_ai.operation.name": "invoke_agent"}, {"openinference.span.kind": "CHAIN"}])
def test_calls_inside_an_agents_span_are_sent_at_once(processing: Pipeline, attributes: dict[str, str]) -> None:
    """It may be open for an hour."""
    agent = processing.start("openinference.instrumentation.openai_agents", **attributes)
    for number in range(100):
        processing.end(processing.start(parent=agent), response_id=f"chatcmpl-{number}")
    assert len(processing.packets(releases=False)) == 100
    agent.end()


def test_no_call_waits_for_long_for_what_stands_above_it(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A span of a call that does not end, or one inside that does not; when it does after all, nothing is billed twice."""
    monkeypatch.setattr(intake_module, "_HOLD_S", 0.2)
    outer = pipeline.start(LOOP)
    pipeline.end(pipeline.start(parent=outer))
    assert pipeline.sink.wait_for_packets(1, 10)
    early = pipeline.start(LOOP)
    inner = pipeline.start(parent=early)
    pipeline.end(early, response_id="chatcmpl-2")
    assert pipeline.sink.wait_for_packets(2, 10)
    pipeline.end(inner, response_id="chatcmpl-2")
    pipeline.end(outer)
    assert pipeline.packets() == [("chatcmpl-1", 10), ("chatcmpl-2", 10)]


def test_two_exporters_whose_batches_part_a_call_make_one_packet() -> None:
    """Each has seen but one of its spans."""
    first, second = Pipeline(by_exporter=True), Pipeline(by_exporter=True)
    outer = first.start(LOOP)
    inner = first.start(parent=outer)
    first.end(inner)
    assert first.packets() == [("chatcmpl-1", 10)]
    outer.set_attributes({"gen_ai.response.id": "chatcmpl-1", "gen_ai.usage.input_tokens": 10})
    first.provider.shutdown()
    outer.end()
    second.exporter.export([inner, outer])
    assert second.packets() == []
    second.provider.shutdown()


def test_a_log_handler_that_makes_spans_is_not_waited_for(processing: Pipeline) -> None:
    """The line about a late call goes to a handler that itself ends a span: no lock of ours is held then."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            thread = threading.Thread(target=lambda: processing.end(processing.start(), response_id="chatcmpl-log"))
            thread.start()
            thread.join(10)
            done.append(not thread.is_alive())

    done: list[bool] = []
    logger, handler = logging.getLogger("payi.instrument.delivery"), Handler()
    processing.queue.shutdown(1)
    logger.addHandler(handler)
    try:
        processing.end(processing.start())
    finally:
        logger.removeHandler(handler)
    assert done == [True]


SCOPES = (GENAI, LOOP, "openinference.instrumentation.openai", "openinference.instrumentation.langchain", OURS)


def one_call(pipeline: Pipeline, dice: random.Random, parent: Span | None, response_id: str, tokens: int) -> None:
    """A call that several instrumentations see, one inside the other, some without its id, ending in their order or in another."""
    scopes, spans = dice.sample(SCOPES, dice.randint(1, 4)), list[tuple[str, Span]]()
    for scope in scopes:
        span = pipeline.start_ours(parent, response_id, tokens) if scope == OURS else pipeline.start(scope, parent)
        spans.append((scope, span))
        parent = span
        if dice.random() < 0.3:
            parent = pipeline.provider.get_tracer("app").start_span("step", context=set_span_in_context(span))
            parent.end()
    ending = dice.sample(spans, len(spans)) if dice.random() < 0.3 else spans[::-1]
    for scope, span in ending:
        if scope == OURS:
            pipeline.end_ours(span)
        else:
            has_id = dice.random() < 0.7
            pipeline.end(span, response_id if has_id else None, tokens, **{"gen_ai.usage.output_tokens": 6})


@pytest.mark.parametrize("seed", range(5))
def test_whatever_sees_a_call_it_is_one_packet(pipeline: Pipeline, seed: int) -> None:
    """Hundreds of requests with a few calls each, put together by chance."""
    dice, made = random.Random(seed), 0
    for request in range(100):
        root = pipeline.provider.get_tracer("app").start_span("request")
        parent: Span | None = root if dice.random() < 0.8 else None
        for _ in range(dice.randint(1, 3)):
            made += 1
            one_call(pipeline, dice, parent, f"chatcmpl-{seed}-{request}-{made}", dice.randint(10, 10**6))
        root.end()
    assert len(pipeline.packets()) == made


POLL = {"gen_ai.operation.name": "fetch_response"}


def test_looking_at_a_finished_response_costs_nothing(pipeline: Pipeline) -> None:
    """Nor does looking at one that another process made."""
    pipeline.end(pipeline.start(), response_id="resp_1")
    for _ in range(3):
        pipeline.end(pipeline.start(**POLL), response_id="resp_1")
    pipeline.end(pipeline.start(**POLL), response_id="resp_2")
    assert pipeline.packets() == [("resp_1", 10)]


def test_a_background_response_is_billed_when_it_is_found_finished(pipeline: Pipeline) -> None:
    """Once, with what was asked for at first."""
    pipeline.end(pipeline.start(), response_id="resp_1", tokens=None)
    pipeline.end(pipeline.start(**POLL), response_id="resp_1", tokens=None)
    assert pipeline.packets() == []
    for _ in range(2):
        pipeline.end(pipeline.start(**POLL), response_id="resp_1", tokens=10)
    assert pipeline.packets() == [("resp_1", 10)]


def test_a_background_response_nobody_found_finished_is_said_at_the_end(pipeline: Pipeline) -> None:
    """Without units, and marked: it is seen and asked about."""
    pipeline.end(pipeline.start(), response_id="resp_1", tokens=None)
    pipeline.queue.shutdown(5)
    (packet,) = pipeline.sink.packets
    assert packet.body["units"] == {}
    assert packet.body["properties"]["payi_otel.usage_missing"] == "true"


def test_the_scope_is_that_of_the_calls_start(processing: Pipeline) -> None:
    """However late and wherever its span ends."""
    token = enter(ScopeChange(user_id="grace", use_case_name="search"))
    span = processing.start()
    leave(token)
    thread = threading.Thread(target=processing.end, args=(span,))
    thread.start()
    thread.join()
    assert processing.packets() == [("chatcmpl-1", 10)]
    assert (processing.sink.packets[0].user_id, processing.sink.packets[0].use_case_name) == ("grace", "search")


def test_what_is_not_tracked_is_not_billed(processing: Pipeline) -> None:
    """With `global_instrumentation` off, outside a scope; and under `suppress_instrumentation`."""
    with suppress_instrumentation():
        processing.end(processing.start())
    set_defaults(None)
    processing.end(processing.start())
    token = enter(ScopeChange(user_id="grace"))
    processing.end(processing.start(), response_id="chatcmpl-2")
    leave(token)
    assert processing.packets() == [("chatcmpl-2", 10)]


def test_only_wanted_categories_are_billed() -> None:
    """`instruments` holds for what others record, too."""
    sink = CapturingSink()
    queue = DeliveryQueue(sink, convert=lambda payload: to_packet(payload, PacketRules()), retry=Retry())
    pipeline = Pipeline()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RetryQueueSpanProcessor(queue, categories={"system.anthropic"}))
    pipeline.provider = provider
    pipeline.end(pipeline.start())
    pipeline.end(pipeline.start(**{"gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-opus-5"}), response_id="msg_1")
    assert queue.flush(5)
    assert [packet.response_id for packet in sink.packets] == ["msg_1"]
    queue.shutdown(1)


def test_two_pipelines_make_one_packet() -> None:
    """Exporter and processor in one provider: whoever is first."""
    pipeline = Pipeline()
    second = Pipeline(by_exporter=True)
    pipeline.provider.add_span_processor(SimpleSpanProcessor(second.exporter))
    outer = pipeline.start(LOOP)
    pipeline.end(pipeline.start(parent=outer))
    pipeline.end(outer)
    ours = pipeline.start_ours(response_id="chatcmpl-2")
    ours.end()
    assert pipeline.packets() == [("chatcmpl-1", 10), ("chatcmpl-2", 10)]
    assert second.packets() == []
    pipeline.provider.shutdown()
    second.provider.shutdown()


@pytest.mark.parametrize("scope", [GENAI, LOOP, OURS, "my.own"])
def test_what_the_sampler_drops_is_billed(scope: str) -> None:
    """Of every instrumentation that is known; what nobody knows follows the sampler."""
    pipeline = Pipeline(sampler=ALWAYS_OFF)
    early = pipeline.provider.get_tracer(scope, "1")
    record_calls(pipeline.provider)
    record_calls(pipeline.provider)
    span = pipeline.start(scope)
    assert span.is_recording() == (scope != "my.own")
    assert not span.get_span_context().trace_flags.sampled
    assert early is pipeline.provider.get_tracer(scope, "1")
    with trace.use_span(span):
        assert not pipeline.provider.get_tracer("app").start_span("below").is_recording()
    if scope == OURS:
        span.end()
        span = pipeline.start_ours()
        span.end()
    else:
        pipeline.end(span)
    assert pipeline.packets() == ([] if scope == "my.own" else [("chatcmpl-1", 10)])
    pipeline.provider.shutdown()


def test_an_exporter_lets_no_call_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request's own span may last for minutes, and a call in it is sent after seconds."""
    monkeypatch.setattr(intake_module, "_HOLD_S", 0.2)
    pipeline = Pipeline(by_exporter=True)
    root = pipeline.provider.get_tracer("app").start_span("request")
    pipeline.end(pipeline.start(parent=root))
    assert pipeline.sink.wait_for_packets(1, 10)
    root.end()
    pipeline.provider.shutdown()


def test_spans_that_never_end_are_forgotten(processing: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing grows without bound, and the calls in them are billed all the same."""
    monkeypatch.setattr(intake_module, "_MAX_OPEN", 100)
    lost = [processing.start(LOOP) for _ in range(1000)]
    for number, outer in enumerate(lost[:5]):
        processing.end(processing.start(parent=outer), response_id=f"chatcmpl-{number}")
    intake = processing.exporter._intake
    assert all(len(kept) <= 100 for kept in (intake._open, intake._outer, intake._scopes, intake._inner))
    assert len(processing.packets()) == 5


def test_a_thousand_calls_at_once_are_a_thousand_packets(processing: Pipeline) -> None:
    """Each with two spans, in threads, and nothing is left behind."""

    def work(first: int) -> None:
        for number in range(first, first + 100):
            outer = processing.start(LOOP)
            processing.end(processing.start(parent=outer), response_id=f"chatcmpl-{number}")
            processing.end(outer, response_id=f"chatcmpl-{number}")

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 1000, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for name, _ in processing.packets()) == sorted(f"chatcmpl-{number}" for number in range(1000))
    intake = processing.exporter._intake
    assert not any((intake._open, intake._outer, intake._scopes, intake._inner, intake._waiting, intake._late))


def test_no_call_without_a_span_is_lost_among_many_threads() -> None:
    """Beyond the number of calls that are remembered each forgets the oldest, in every thread at once and without a lock."""
    pipeline = Pipeline()
    for number in range(10_000):
        sightings.add(Call(make_payload(f"old-{number}"), 0, OURS, is_sent=True))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns in the middle of anything
    try:
        threads = [threading.Thread(target=offer_many, args=(name, 2000)) for name in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert pipeline.queue.stats().created == 8 * 2000
    pipeline.queue.shutdown(0)


def make_payload(response_id: str) -> Payload:
    """A call of ours that has ended."""
    return Payload(Scope(user_id="ada"), "system.openai", "openai/3.0", model="gpt-5", http_status=200, response_id=response_id)


def offer_many(name: str, count: int) -> None:
    """Calls without spans, one after the other, as a thread that makes them."""
    for number in range(count):
        registry.offer(make_payload(f"{name}-{number}"))
