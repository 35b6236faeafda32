"""Recorded spans of other instrumentations, as packets: the units the provider billed, once, however many spans told of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from golden_spans import Golden, goldens, play
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from payi_otel import _ingest_rules as rules
from payi_otel.context.baggage import set_propagation
from payi_otel.context.scope import Scope, set_defaults, unset_defaults
from payi_otel.delivery._sightings import sightings
from payi_otel.delivery.intake import Intake
from payi_otel.packets.convert import PacketRules, to_packet
from payi_otel.packets.merging import is_same_model
from payi_otel.payload import Payload, registry

GOLDENS = list(goldens())
SHORTFALLS = {
    # what the spans do not say, nobody can read from them
    r"(genai|traceloop|openinference)-(anthropic|bedrock)/(messages|bedrock-messages|invoke-claude).*": "no times of cache writes",
    r"(botocore-then-genai-bedrock|genai-bedrock-then-botocore)/invoke-claude.*": "the same",
    r"traceloop-anthropic/messages-stream(|-helper|-quiet|-short-delta)": "the output tokens of the first event are added to the last's",
    r"traceloop-anthropic/messages-thinking": "no reasoning",
    r"traceloop-anthropic/messages-stream-left": "no span",
    r"native-anthropic/messages-stream-left": "no output tokens",
    r"botocore/invoke-(claude|nova).*": "no cache",
    r"botocore-0\.57/(converse|invoke).*": "no cache",
    r"genai-bedrock/invoke-nova.*": "no cache",
    r"traceloop-bedrock/invoke-(claude|nova)-stream": "no cache",
    r"openinference-bedrock/invoke-claude-stream": "no cache told apart",
    r"genai-anthropic-and-openai/chat-inside-stream": "no span of a call made while a stream is open (1.3b0)",
    r"(genai|traceloop|openai-v2).*/response-background(-[a-z]+)?": "no usage of responses in the background",
    r"openinference-openai/response-background-quiet": "hidden outputs hide the response's id, too",
    r"traceloop-openai/response-incomplete": "no span",
    r"traceloop-openai/chat-cache-write": "no cache writes",
    r"traceloop-openai/chat-stream(-quiet)?": "no reasoning in streams",
    r"traceloop-langchain.*/langchain-.*": "no reasoning",
    r"genai-openai-agents/agents-.*": "no usage at all",
    r"traceloop-openai-agents/agents-chat": "no usage of chat completions",
    r"openinference-openai-agents/agents-chat": "no cache and no reasoning",
    r"(openinference-)?google-genai/(vertex-)?embed": "no usage of embeddings",
    r"openai-v2/.*": "no cache and no reasoning; no spans of embeddings and responses",
    r"traceloop-[a-z]+-0\.40/.*": "a version of 2025: cache, reasoning, streams and responses are missing in places",
    r"openinference-openai-0\.1\.30/.*": "a version of 2025: the same",
    r".*/(chat-stream-without-usage|chat-stream-left)": "the provider sent no usage: it is estimated from what the span has of the words",
}
"""By a pattern of cases, why their units are not those the provider billed."""


class KeepingQueue:
    """Keeps payloads."""

    def __init__(self) -> None:
        self.payloads: list[Payload] = []

    def attend(self, *hooks: Any) -> None:
        """Nothing shuts down or forks here."""

    def submit(self, payload: Payload) -> None:
        """Keeps one."""
        self.payloads.append(payload)


@pytest.fixture(autouse=True)
def tracked() -> Iterator[None]:
    """Calls are tracked; nothing is remembered from one test to the next, nor of what a thread of another one did since."""
    registry._others.clear()
    sightings.clear()
    set_defaults(Scope(user_id="ada"))
    yield
    unset_defaults()
    registry._others.clear()
    sightings.clear()


def packets_of(golden: Golden, *, sees_starts: bool = True) -> list[dict[str, Any]]:
    """The packets of a case, made by a processor or by an exporter: each taken by a strict ingest, in bulk form."""
    queue = KeepingQueue()
    intake = Intake(queue, sees_starts=sees_starts)  # type: ignore[arg-type]
    if sees_starts:
        play(golden, intake)
    else:
        intake.export([ended for _, ended in golden.spans()])
        intake.finish()
    packets = [to_packet(payload, PacketRules()) for payload in queue.payloads]
    for packet in packets:
        assert rules.check_packet(json.loads(json.dumps(dict(packet.body))), is_bulk=False) is None
    return [packet.to_bulk_item() for packet in packets]


def total(units: list[dict[str, dict[str, int]]]) -> dict[tuple[str, str], int]:
    """The units of several packets together, zeros left out."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in units:
        for name, sides in one.items():
            counts.update({(name, side): count for side, count in sides.items()})
    return {name: count for name, count in counts.items() if count}


def shortfall(name: str) -> str | None:
    """Why a case cannot give what the provider billed."""
    return next((reason for pattern, reason in SHORTFALLS.items() if re.fullmatch(pattern, name)), None)


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_units_are_what_the_provider_billed(golden: Golden) -> None:
    """Once, whatever number of spans there are; what a dialect does not tell is on the list above, and nothing else is."""
    told = total([packet["units"] for packet in packets_of(golden)])
    billed = total([golden.content["expected_units"] or {}])
    if told != billed:
        assert shortfall(golden.name) is not None, (told, billed)
        assert sum(told.values()) <= sum(billed.values()) + 10, "a shortfall is no surplus (a few tokens that are estimated are)"


def test_every_shortfall_is_one() -> None:
    """A reason that no case needs any more is taken off the list."""
    short = {
        golden.name
        for golden in GOLDENS
        if total([packet["units"] for packet in packets_of(golden)]) != total([golden.content["expected_units"] or {}])
    }
    assert [pattern for pattern in SHORTFALLS if not any(re.fullmatch(pattern, name) for name in short)] == []


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_an_exporter_bills_what_a_processor_bills(golden: Golden) -> None:
    """Although it sees no span start; only of spans that end before those inside them it knows less."""
    made = [{key: packet[key] for key in ("category", "resource", "units")} for packet in packets_of(golden)]
    registry._others.clear()
    sightings.clear()
    exported = [{key: packet[key] for key in ("category", "resource", "units")} for packet in packets_of(golden, sees_starts=False)]
    if golden.name == "genai-bedrock-then-botocore/invoke-claude-stream":
        assert len(made) == len(exported) == 1
    else:
        assert made == exported


WHOLE: dict[str, dict[str, Any]] = {
    "genai-openai/chat": {
        "category": "system.openai",
        "resource": "gpt-4.1-mini",
        "units": {
            "text": {"input": 60, "output": 30},
            "text_cache_read": {"input": 40, "output": 0},
            "reasoning": {"input": 0, "output": 20},
        },
        "provider_response_id": "chatcmpl-1",
        "properties": {"payi_otel.instrumented_by": "opentelemetry.instrumentation.genai.openai 1.3b0"},
    },
    "native-anthropic/messages": {
        "category": "system.anthropic",
        "resource": "claude-opus-5",
        "units": {
            "text": {"input": 10, "output": 50},
            "text_cache_read": {"input": 60, "output": 0},
            "text_cache_write": {"input": 20, "output": 0},
            "text_cache_write_1h": {"input": 10, "output": 0},
        },
        "provider_response_id": "msg_1",
        "provider_uri": "http://127.0.0.1:4318/v1/messages",
        "properties": {"payi_otel.instrumented_by": "com.anthropic.sdk.python 2.14.0"},
    },
    "native-anthropic/messages-refused": {
        "category": "system.anthropic",
        "resource": "claude-opus-5",
        "units": {},
        "http_status_code": 400,
        "provider_uri": "http://127.0.0.1:4318/v1/messages",
        "properties": {"payi_otel.instrumented_by": "com.anthropic.sdk.python 2.14.0", "payi_otel.end_reason": "error"},
    },
    "google-genai/generate": {
        "category": "system.google.vertex",
        "resource": "google.gemini-2.5-flash-001",
        "units": {
            "text": {"input": 60, "output": 7},
            "text_cache_read": {"input": 40, "output": 0},
            "reasoning": {"input": 0, "output": 3},
        },
        "provider_response_id": "r1",
        "properties": {"payi_otel.instrumented_by": "opentelemetry.instrumentation.google_genai 1.3b0"},
    },
    "botocore/converse": {
        "category": "system.aws.bedrock",
        "resource": "us.amazon.nova-lite-v1:0",
        "units": {
            "text": {"input": 10, "output": 50},
            "text_cache_read": {"input": 60, "output": 0},
            "text_cache_write": {"input": 30, "output": 0},
        },
        "properties": {"payi_otel.instrumented_by": "opentelemetry.instrumentation.botocore.bedrock-runtime 0.66b1"},
    },
    "traceloop-bedrock/converse": {
        "category": "system.aws.bedrock",
        "resource": "amazon.nova-lite-v1:0",
        "units": {
            "text": {"input": 10, "output": 50},
            "text_cache_read": {"input": 60, "output": 0},
            "text_cache_write": {"input": 30, "output": 0},
        },
        "provider_request_json": '{"messages":[{"role":"user","parts":[{"type":"text","content":"Say hello."}]}]}',
        "provider_response_json": (
            '{"messages":[{"role":"assistant","parts":[{"type":"text","content":"Hello there."}],"finish_reason":"stop"}]}'
        ),
        "properties": {"payi_otel.instrumented_by": "opentelemetry.instrumentation.bedrock 0.62.4"},
    },
    "openinference-openai/chat-quiet": {
        "category": "system.openai",
        "resource": "gpt-4.1-mini",
        "units": {
            "text": {"input": 60, "output": 30},
            "text_cache_read": {"input": 40, "output": 0},
            "reasoning": {"input": 0, "output": 20},
        },
        "properties": {"payi_otel.instrumented_by": "openinference.instrumentation.openai 0.1.66"},
    },
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_packets(name: str) -> None:
    """One of each dialect, key by key; the id is made up where the span has none."""
    (golden,) = (one for one in GOLDENS if one.name == name)
    (packet,) = packets_of(golden)
    if "provider_response_id" not in WHOLE[name]:
        assert re.fullmatch(r"payi_[0-9a-f-]{36}", packet.pop("provider_response_id"))
    assert packet == {
        "event_timestamp": "2026-01-01T00:00:00+00:00",
        "end_to_end_latency_ms": 250,
        "http_status_code": 200,
        "user_id": "ada",
        **WHOLE[name],
    }


def span_of(scope: str, attributes: dict[str, Any], **more: Any) -> ReadableSpan:
    """An ended span of any instrumentation."""
    number = id(attributes) % 2**60 + 1
    context = SpanContext(number, number, is_remote=False, trace_flags=TraceFlags(1))
    return ReadableSpan(
        name=more.pop("name", "chat"),
        context=context,
        attributes=attributes,
        start_time=1_767_225_600_000_000_000,
        end_time=1_767_225_600_250_000_000,
        instrumentation_scope=InstrumentationScope(scope, "1"),
        **more,
    )


def packets_of_span(span: ReadableSpan, **rules_given: Any) -> list[dict[str, Any]]:
    """What becomes of one span."""
    queue = KeepingQueue()
    intake = Intake(queue, sees_starts=True)  # type: ignore[arg-type]
    intake.start(span)
    intake.end(span)
    intake.finish()
    return [to_packet(payload, PacketRules(**rules_given)).to_bulk_item() for payload in queue.payloads]


CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.id": "chatcmpl-9",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 5,
}


def test_an_unknown_dialect_is_read_as_the_conventions_mean_it() -> None:
    """And said to be unknown, so that finance can look at it."""
    (packet,) = packets_of_span(span_of("my.own.wrapper", {**CHAT, "gen_ai.usage.cache_read.input_tokens": 2}))
    assert packet["units"] == {"text": {"input": 10, "output": 5}, "text_cache_read": {"input": 2, "output": 0}}
    assert packet["properties"] == {"payi_otel.instrumented_by": "my.own.wrapper 1", "payi_otel.dialect": "unknown"}


@pytest.mark.parametrize(
    "changes",
    [
        {"gen_ai.operation.name": "invoke_agent"},
        {"gen_ai.operation.name": "invoke_workflow"},
        {"gen_ai.operation.name": "execute_tool"},
        {"gen_ai.operation.name": "fetch_response"},
        {"gen_ai.operation.name": "retrieval"},
        {"traceloop.span.kind": "agent"},
        {"openinference.span.kind": "AGENT"},
        {"openinference.span.kind": "CHAIN"},
        {"openinference.span.kind": "TOOL"},
    ],
    ids=str,
)
def test_what_is_no_inference_is_not_billed(changes: dict[str, str]) -> None:
    """Frameworks repeat the usage of what is inside them."""
    assert packets_of_span(span_of("my.own.wrapper", {**CHAT, **changes})) == []


def test_a_method_that_only_prepares_a_call_is_none() -> None:
    """OpenInference says of every method of LlamaIndex's models that it asks one."""
    said = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-5", "input.value": "{}"}
    for name, count in (("OpenAI._prepare_chat_with_tools", 0), ("OpenAI.chat", 1)):
        span = span_of("openinference.instrumentation.llama_index", said, name=name)
        assert len(packets_of_span(span)) == count


OLD = {"gen_ai.system": "openai", "gen_ai.usage.prompt_tokens": 12, "gen_ai.usage.completion_tokens": 5, "gen_ai.request.model": "gpt-4"}


def test_the_oldest_conventions_are_understood() -> None:
    """Before 1.37: other names, no operation, numbered messages."""
    messages = {"gen_ai.prompt.0.content": "Hello?", "gen_ai.completion.0.content": "Yes."}
    (packet,) = packets_of_span(span_of("opentelemetry.instrumentation.openai.v1", {**OLD, **messages}))
    assert packet["units"] == {"text": {"input": 12, "output": 5}}
    assert (packet["provider_request_json"], packet["provider_response_json"]) == ('{"messages":["Hello?"]}', '{"messages":["Yes."]}')


@pytest.mark.parametrize("count", [-1, True, "12", 1.5, float("nan"), float("inf"), None, (1, 2)], ids=repr)
def test_a_number_that_is_none_is_not_billed(count: Any) -> None:
    """Whatever stands there; the rest is."""
    odd = {"gen_ai.usage.input_tokens": count, "gen_ai.response.time_to_first_chunk": float("inf")}
    (packet,) = packets_of_span(span_of("opentelemetry.instrumentation.genai.openai", {**CHAT, **odd}))
    assert packet["units"] == {"text": {"input": 0, "output": 5}}


def test_a_cache_larger_than_its_prompt_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The total holds, and nothing goes below zero."""
    (packet,) = packets_of_span(span_of("opentelemetry.instrumentation.genai.openai", {**CHAT, "gen_ai.usage.cache_read.input_tokens": 99}))
    assert packet["units"] == {"text": {"input": 0, "output": 5}, "text_cache_read": {"input": 12, "output": 0}}
    assert "does not add up" in caplog.text
    assert "payi_otel.usage_mismatch" in packet["properties"]


@pytest.mark.parametrize(
    ("model", "provider", "tokens", "units"),
    [
        ("claude-sonnet-4-5", "anthropic", 200_001, {"text_large_context": {"input": 200_001, "output": 5}}),
        ("claude-opus-5", "anthropic", 200_001, {"text": {"input": 200_001, "output": 5}}),
        ("gemini-2.5-pro", "gcp.gemini", 200_001, {"text_large_context": {"input": 200_001, "output": 5}}),
    ],
)
def test_long_prompts_have_their_own_unit(model: str, provider: str, tokens: int, units: dict[str, Any]) -> None:
    """As in our own instrumentation."""
    said = {**CHAT, "gen_ai.request.model": model, "gen_ai.provider.name": provider, "gen_ai.usage.input_tokens": tokens}
    (packet,) = packets_of_span(span_of("opentelemetry.instrumentation.genai.x", said))
    assert packet["units"] == units


SERVICES = [
    ({"gen_ai.provider.name": "openai", "server.address": "my.openai.azure.com"}, "system.azureopenai", "m"),
    ({"gen_ai.provider.name": "azure.ai.openai"}, "system.azureopenai", "m"),
    ({"gen_ai.provider.name": "openai", "server.address": "adb-1.azuredatabricks.net"}, "system.databricks.azure", "m"),
    ({"gen_ai.provider.name": "openai", "gen_ai.openai.api_base": "https://x.cloud.databricks.com/y"}, "system.databricks.aws", "m"),
    ({"gen_ai.provider.name": "anthropic", "server.address": "x.services.ai.azure.com"}, "system.azure", "m"),
    ({"gen_ai.provider.name": "anthropic", "server.address": "bedrock-runtime.us-east-1.amazonaws.com"}, "system.aws.bedrock", "m"),
    ({"gen_ai.provider.name": "gcp.vertex_ai", "gen_ai.request.model": "claude-opus-5"}, "system.google.vertex", "anthropic.claude-opus-5"),
    ({"gen_ai.provider.name": "vertex_ai"}, "system.google.vertex", "google.m"),
    ({"gen_ai.provider.name": "gcp.gemini"}, "system.google.vertex", "google.m"),
    ({"gen_ai.provider.name": "openai", "server.address": "bedrock-mantle.us-east-1.api.aws"}, "system.aws.bedrock", "m"),
    ({"gen_ai.provider.name": "x_ai"}, "system.x_ai", "m"),
]


@pytest.mark.parametrize(("said", "category", "resource"), SERVICES, ids=lambda value: str(value)[:60])
def test_the_host_says_more_than_the_providers_name(said: dict[str, str], category: str, resource: str) -> None:
    """The instrumentations of an SDK use its name for whatever host the SDK calls."""
    (packet,) = packets_of_span(span_of("opentelemetry.instrumentation.genai.x", {**CHAT, "gen_ai.request.model": "m", **said}))
    assert (packet["category"], packet["resource"]) == (category, resource)


SAID_BY_BAGGAGE = {
    "payi.user_id": "grace",
    "payi.use_case_version": "new",
    "payi.request_properties": "[" * 100_000,
    "payi.log_prompt_and_response": "false",
}


@pytest.mark.parametrize(("trusted", "sees_starts"), [(True, False), (True, True), (False, False)])
def test_attributes_of_a_baggage_processor_say_whose_call_it_is(trusted: bool, sees_starts: bool) -> None:
    """Behind an exporter, which knows no scope; where baggage is trusted, for the fields that cross, as far as they can be read."""
    set_propagation(("user_id", "use_case_version", "request_properties"), trust_inbound=trusted)
    span = span_of("opentelemetry.instrumentation.genai.openai", {**CHAT, **SAID_BY_BAGGAGE})
    queue = KeepingQueue()
    intake = Intake(queue, sees_starts=sees_starts)  # type: ignore[arg-type]
    if sees_starts:
        intake.start(span)
    intake.export([span])
    intake.finish()
    set_propagation((), trust_inbound=False)
    (payload,) = queue.payloads
    assert payload.scope == Scope(user_id="grace" if trusted and not sees_starts else "ada")


def test_no_content_with_logging_off_and_no_inline_data() -> None:
    """What another instrumentation put on its span goes no further than the user wants."""
    image = "data:image/png;base64," + "A" * 400
    said = {
        **CHAT,
        "gen_ai.input.messages": json.dumps(
            [{"role": "user", "parts": [{"type": "text", "content": "secret"}, {"type": "uri", "uri": image}]}]
        ),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "secret"}]}]),
    }
    (packet,) = packets_of_span(span_of("opentelemetry.instrumentation.genai.openai", said), log_prompt_and_response=False)
    assert "secret" not in json.dumps(packet)
    registry._others.clear()
    sightings.clear()
    (packet,) = packets_of_span(span_of("opentelemetry.instrumentation.genai.openai", dict(said)))
    assert "secret" in packet["provider_request_json"]
    assert "AAAA" not in packet["provider_request_json"]


SENTENCE = "the prompt 'secret' is too long"


@pytest.mark.parametrize(
    ("kind", "exception", "failure"),
    [
        (SENTENCE, SENTENCE, "_OTHER"),
        (SENTENCE, "openai.BadRequestError", "openai.BadRequestError"),
        (None, SENTENCE, "_OTHER"),
        ("timeout", SENTENCE, "timeout"),
        (500, SENTENCE, "500"),
        (("secret",), "ValueError", "ValueError"),
    ],
    ids=str,
)
def test_a_sentence_is_no_code_of_an_error(kind: Any, exception: str, failure: str) -> None:
    """It may quote the prompt, and a code goes into packets that are to hold no words."""
    said = {**CHAT, "error.type": kind} if kind is not None else CHAT
    raised = Event("exception", {"exception.type": exception, "exception.message": SENTENCE})
    span = span_of("opentelemetry.instrumentation.genai.openai", said, status=Status(StatusCode.ERROR, SENTENCE), events=[raised])
    (packet,) = packets_of_span(span, log_prompt_and_response=False)
    assert packet["properties"]["system.failure"] == failure
    assert "secret" not in json.dumps(packet)


def test_an_id_that_a_limit_cut_is_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be that of every call."""
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "10")
    (packet,) = packets_of_span(span_of("opentelemetry.instrumentation.genai.openai", CHAT))
    assert packet["provider_response_id"].startswith("payi_")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4.1", "gpt-4.1-mini", False),
        ("claude-opus-5", "us.anthropic.claude-opus-5-v1:0", True),
        ("claude-opus-5", "claude-opus-5-20260901", True),
        ("claude-opus-5@20260901", "anthropic.claude-opus-5", True),
        ("nova-lite-v1:0", "us.amazon.nova-lite-v1:0", True),
        ("models/gemini-2.5-flash", "gemini-2.5-flash-001", True),
        ("gemini-2.5-flash", "gemini-2.5-pro", False),
        ("gemini-2.5-flash", "gemini-2.5-flash-lite", False),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.meta.llama4-v1:0", "meta.llama4-v1:0", True),
        ("gpt-4o", None, False),
    ],
)
def test_names_of_one_model(one: str, other: str | None, same: bool) -> None:
    """Without vendor, region, version and date, and not one inside the other."""
    assert is_same_model([one, None], [other]) is same
