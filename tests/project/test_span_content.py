"""Content on spans and in events: by the conventions' switch only, in util-genai's form, and never what is not to be logged."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest
from comparing import comparable
from content_calls import CALLS, CHAT, CHAT_ASKED, CHAT_SAID, COMPLETION, PIXEL, ContentCall, tool
from conventions import CONTENT, Facts, violations
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.util.genai import types
from opentelemetry.util.genai.utils import gen_ai_json_dumps
from provider_server import ProviderServer, Reply
from span_calls import with_openai

import payi_otel
from payi_otel import _guard
from payi_otel._json import to_json
from payi_otel.instrumentors._messages import read_messages
from payi_otel.instrumentors._span_content import VARIABLE, content_switch
from payi_otel.payload import Content
from payi_otel.testing import IngestServer

EVENT = "gen_ai.client.inference.operation.details"
PARTS: dict[str, Any] = {
    "text": types.TextPart,
    "reasoning": types.ReasoningPart,
    "tool_call": types.ToolCallRequestPart,
    "tool_call_response": types.ToolCallResponsePart,
    "server_tool_call": types.ServerToolCallPart,
    "server_tool_call_response": types.ServerToolCallResponsePart,
    "blob": types.BlobPart,
    "file": types.FilePart,
    "uri": types.UriPart,
    "compaction": types.CompactionPart,
}


class Records(LogRecordProcessor):
    """What an application's own logger provider gets."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def on_emit(self, log_record: Any) -> None:
        """Keeps it."""
        self.records.append(log_record)

    def shutdown(self) -> None:
        """Nothing to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing to do."""
        return True


class Application:
    """An application's own providers, with what they got."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self._exporter, self._records = InMemorySpanExporter(), Records()
        tracing, logs = TracerProvider(shutdown_on_exit=False, **options), LoggerProvider(shutdown_on_exit=False)
        tracing.add_span_processor(SimpleSpanProcessor(self._exporter))
        logs.add_log_record_processor(self._records)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracing)
        monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", logs)

    @property
    def spans(self) -> list[Any]:
        """Our spans."""
        return [span for span in self._exporter.get_finished_spans() if span.instrumentation_scope.name.startswith("payi_otel.")]

    @property
    def events(self) -> list[Any]:
        """Our events."""
        return [record.log_record for record in self._records.records]

    @property
    def records(self) -> list[Any]:
        """The same as an exporter gets them."""
        return self._records.records


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Application:
    """The application, which samples everything."""
    return Application(monkeypatch)


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the variable; it is forgotten after the test."""

    def turn(value: str) -> None:
        monkeypatch.setenv(VARIABLE, value)

    yield turn
    monkeypatch.delenv(VARIABLE, raising=False)
    content_switch.read()


def expected(call: ContentCall) -> dict[str, list[Any]]:
    """The attributes of a call, by name, those that are empty left out."""
    values = zip(CONTENT, (call.inputs, call.outputs, call.system, call.tools), strict=True)
    return {name: list(value) for name, value in values if value}


def content_of(attributes: Any) -> dict[str, Any]:
    """The content among attributes."""
    return {name: value for name, value in attributes.items() if name in CONTENT}


def as_util_genai_writes(name: str, value: Sequence[Any]) -> str:
    """The same content through the installed util-genai's own classes and its own JSON."""

    def part(one: dict[str, Any]) -> Any:
        return PARTS[one["type"]](**one)

    if name == "gen_ai.system_instructions":
        made = [part(one) for one in value]
    elif name == "gen_ai.tool.definitions":
        made = [(types.FunctionToolDefinition if one["type"] == "function" else types.GenericToolDefinition)(**one) for one in value]
    else:
        kind = types.InputMessage if name == "gen_ai.input.messages" else types.OutputMessage
        made = [kind(**{**message, "parts": [part(one) for one in message["parts"]]}) for message in value]
    text: str = gen_ai_json_dumps([asdict(one) for one in made])
    return text


every_call = pytest.mark.parametrize("call", [pytest.param(call, id=call.name) for call in CALLS])


@every_call
def test_content_stands_on_the_span(
    call: ContentCall, switch: Any, instrument: Any, provider: ProviderServer, application: Application
) -> None:
    """Whole values, as the very text that util-genai writes; and no event."""
    switch("SPAN_ONLY")
    instrument()
    provider.script(call.reply)
    call.make(provider.url)
    (span,) = application.spans
    assert {name: json.loads(value) for name, value in content_of(span.attributes).items()} == expected(call)
    for name, value in content_of(span.attributes).items():
        assert value == as_util_genai_writes(name, expected(call)[name])
    assert PIXEL[:40] not in str(span.attributes)
    failed = span.status.status_code is trace.StatusCode.ERROR
    streamed = "gen_ai.request.stream" in span.attributes
    facts = Facts(failed, streamed, "gen_ai.response.time_to_first_chunk" in span.attributes)
    assert violations(span, facts) == []
    assert application.events == []


@every_call
def test_packets_are_the_same_with_and_without(call: ContentCall, switch: Any, provider: ProviderServer) -> None:
    """The worker reads the content once more."""
    seen: list[list[Any]] = []
    for mode in ("NO_CONTENT", "SPAN_AND_EVENT"):
        switch(mode)
        with IngestServer() as ingest:
            payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url), config={"use_case_id": "case-1"})
            provider.script(call.reply)
            call.make(provider.url)
            payi_otel.shutdown(5)
            seen.append([comparable(packet) for packet in ingest.packets])
    assert seen[0] == seen[1]
    assert len(seen[0]) == (0 if call.name.endswith("-fetched") else 1)


@every_call
def test_content_stands_in_the_event(
    call: ContentCall, switch: Any, instrument: Any, provider: ProviderServer, application: Application
) -> None:
    """Structured, beside the span's other attributes, within the span; nothing on the span itself."""
    switch("event_only")
    instrument()
    provider.script(call.reply)
    call.make(provider.url)
    (span,) = application.spans
    assert content_of(span.attributes) == {}
    if span.attributes["gen_ai.operation.name"] in ("embeddings", "fetch_response"):  # the conventions have no event of theirs
        assert application.events == []
        return
    (event,) = application.events
    assert event.event_name == EVENT
    assert (event.trace_id, event.span_id) == (span.context.trace_id, span.context.span_id)
    attributes = {name: list(value) if isinstance(value, tuple) else value for name, value in event.attributes.items()}
    assert json.loads(json.dumps(content_of(attributes))) == expected(call)
    rest = {name: value for name, value in event.attributes.items() if name not in CONTENT}
    assert rest == dict(span.attributes)


def test_both_at_once(switch: Any, instrument: Any, provider: ProviderServer, application: Application) -> None:
    """`SPAN_AND_EVENT`."""
    _chat(switch, instrument, provider, "Span_And_Event")
    assert (
        set(content_of(application.spans[0].attributes))
        == set(content_of(application.events[0].attributes))
        == set(CONTENT) - {"gen_ai.system_instructions"}
    )


def _chat(switch: Any, instrument: Any, provider: ProviderServer, mode: str | None, **arguments: Any) -> None:
    pytest.importorskip("openai")
    if mode is not None:
        switch(mode)
    instrument(**arguments)
    provider.script(Reply(COMPLETION))
    with_openai(lambda client: client.chat.completions.create(**CHAT))(provider.url)


@pytest.mark.parametrize("mode", [None, "", "NO_CONTENT", "no_content"])
def test_off_by_default(mode: str | None, switch: Any, instrument: Any, provider: ProviderServer, application: Application) -> None:
    """Not a word of it."""
    _chat(switch, instrument, provider, mode)
    assert content_of(application.spans[0].attributes) == {}
    assert "A cat" not in str(application.spans[0].attributes)
    assert application.events == []


@pytest.mark.parametrize("value", ["true", "span", "1"])
def test_wrong_value_is_said_once_and_is_off(
    value: str, switch: Any, instrument: Any, provider: ProviderServer, application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    """What was given, and what is allowed; by util-genai, however many providers there are."""
    with caplog.at_level(logging.WARNING):
        _chat(switch, instrument, provider, value)
    (said,) = [record.getMessage() for record in caplog.records if VARIABLE in record.getMessage()]
    assert said.startswith(f"{value} is not a valid option")
    assert all(mode.name in said for mode in types.ContentCapturingMode)
    assert content_of(application.spans[0].attributes) == {}
    assert application.events == []


@pytest.mark.parametrize("how", ["setting", "scope", "header"])
def test_never_where_the_call_is_not_to_be_logged(
    how: str, switch: Any, instrument: Any, provider: ProviderServer, application: Application
) -> None:
    """Off for all, for a scope, or for one call."""
    pytest.importorskip("openai")
    switch("SPAN_AND_EVENT")
    instrument(log_prompt_and_response=how != "setting")
    provider.script(Reply(COMPLETION))
    headers = payi_otel.create_headers(log_prompt_and_response=False) if how == "header" else {}
    with payi_otel.track_context(**({"log_prompt_and_response": False} if how == "scope" else {"user_id": "ann"})):
        with_openai(lambda client: client.chat.completions.create(**CHAT, extra_headers=headers))(provider.url)
    assert content_of(application.spans[0].attributes) == {}
    assert "A cat" not in str(application.spans[0].attributes)
    assert application.events == []


@pytest.mark.parametrize("told", [None, True])
def test_what_is_off_for_all_is_off_in_scopes_without_a_default(
    told: bool | None, switch: Any, instrument: Any, provider: ProviderServer, application: Application
) -> None:
    """With `global_instrumentation` off too: unless the scope itself says otherwise."""
    pytest.importorskip("openai")
    switch("SPAN_ONLY")
    instrument({"global_instrumentation": False}, log_prompt_and_response=False)
    provider.script(Reply(COMPLETION))
    with payi_otel.track_context(use_case_name="tests", log_prompt_and_response=told):
        with_openai(lambda client: client.chat.completions.create(**CHAT))(provider.url)
    assert bool(content_of(application.spans[0].attributes)) is bool(told)


def test_span_that_is_sampled_away_has_its_event(
    switch: Any, instrument: Any, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch, packets: Any
) -> None:
    """As util-genai has it: logs have a sampling of their own."""
    application = Application(monkeypatch, sampler=ALWAYS_OFF)
    _chat(switch, instrument, provider, "SPAN_AND_EVENT")
    packets()
    assert application.spans == []
    assert json.loads(json.dumps(application.events[0].attributes["gen_ai.input.messages"])) == CHAT_ASKED


def test_what_is_emitted_can_be_exported(switch: Any, instrument: Any, provider: ProviderServer, application: Application) -> None:
    """OTLP has numbers of 64 bits, and knows null."""
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    pytest.importorskip("openai")
    switch("SPAN_AND_EVENT")
    instrument()
    large = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"n": 18446744073709551615, "city": null}'}}
    message = {"role": "assistant", "content": "\u00e9", "tool_calls": [large]}
    provider.script(Reply({**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}))
    with_openai(lambda client: client.chat.completions.create(**CHAT))(provider.url)
    (written,) = json.loads(application.spans[0].attributes["gen_ai.output.messages"])
    assert written["parts"][-1]["arguments"] == {"n": 18446744073709551615, "city": None}
    assert b"18446744073709551615" in encode_spans(application.spans).SerializeToString()
    assert b"18446744073709551615" in encode_logs(application.records).SerializeToString()


def test_switch_is_read_when_instrumentation_starts(
    switch: Any, instrument: Any, provider: ProviderServer, application: Application
) -> None:
    """Changed later, it changes nothing until then."""
    _chat(switch, instrument, provider, "SPAN_ONLY")
    switch("NO_CONTENT")
    provider.script(Reply(COMPLETION))
    with_openai(lambda client: client.chat.completions.create(**CHAT))(provider.url)
    payi_otel.shutdown(5)
    _chat(switch, instrument, provider, None)
    assert [bool(content_of(span.attributes)) for span in application.spans] == [True, True, False]
    assert json.loads(application.spans[0].attributes["gen_ai.output.messages"]) == CHAT_SAID
    assert json.loads(application.spans[0].attributes["gen_ai.tool.definitions"]) == [tool()]


def test_a_fault_of_ours_costs_the_content_only(
    switch: Any,
    instrument: Any,
    provider: ProviderServer,
    application: Application,
    packets: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A logger provider that fails is not the call's to bear."""
    monkeypatch.setattr(_guard, "raise_faults", False)

    def fail(record: Any) -> None:
        raise ValueError("What is this?")

    monkeypatch.setattr(Records, "on_emit", lambda self, record: fail(record))
    with caplog.at_level(logging.ERROR):
        _chat(switch, instrument, provider, "EVENT_ONLY")
    packets()
    assert len(application.spans) == 1
    assert "failed while saying what was said" in caplog.text
    assert "What is this" not in caplog.text


NAMES = """
    messages contents input prompt inputText message inputs system instructions tools functions choices candidates output steps content
    results outputs generations completions generation text data delta type role parts index item response event_type step source url
    tool_calls function arguments name id toolUse toolResult image_url functionCall contentBlockDelta contentBlockStart finish_reason
""".split()  # noqa: SIM905
WORDS = """
    text image_url tool_use tool_result message function_call response.output_text.delta response.output_item.added content_block_start
    content_block_delta message_start step.delta arguments_delta transcript.text.delta assistant
""".split()  # noqa: SIM905
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(WORDS) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=25,
)


@settings(max_examples=400)
@given(values, st.lists(values, max_size=4), st.booleans())
def test_any_shape_at_all_is_read(request: Any, responses: list[Any], streamed: bool) -> None:
    """An unknown one gives nothing, and none raises; what it gives is a message with parts that have a type."""
    said = read_messages(Content(request, responses, streamed))
    for message in (*said.inputs, *said.outputs):
        assert isinstance(message["role"], str)
        assert all(isinstance(part["type"], str) for part in message["parts"])
    assert all(part["type"] for part in said.system)
    for one in said.tools:
        assert isinstance(one["name"], str)
    to_json([said.inputs, said.outputs, said.system, said.tools])


def test_unknown_shapes_give_nothing() -> None:
    """Neither of a request nor of an answer."""
    for request, responses in ((None, [None]), ("x", []), ({"question": "?"}, [{"probability": 1}]), ([], [[]])):
        for streamed in (True, False):
            said = read_messages(Content(request, responses, streamed))
            assert (said.inputs, said.outputs, said.system, said.tools) == ([], [], [], [])
