"""What leaves the process: with logging off no word of a call, and never a credential; searched in all that was sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai_shapes import chunk, completion
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from provider_server import ProviderServer, Reply
from response_shapes import call, events, response

import payi_otel
from payi_otel.testing import IngestServer

openai = pytest.importorskip("openai")
CANARY = "canary"
SECRETS = {
    "Authorization": "Bearer secret-1",
    "api-key": "secret-2",
    "X-API-Key": "secret-3",
    "Cookie": "session=secret-4",
    "Proxy-Authorization": "Basic secret-5",
    "Ocp-Apim-Subscription-Key": "secret-6",
    "X-Goog-Api-Key": "secret-7",
    "X-Amz-Security-Token": "secret-8",
    "X-Auth-Token": "secret-9",
    "X-Client-Secret": "secret-10",
}
ANSWER_SECRETS = {"Set-Cookie": "session=secret-11", "X-Access-Token": "secret-12"}


class Kept(logging.Handler):
    """Every line of every logger of ours, whole."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the line, and what it was made of."""
        self.lines.append(self.format(record) + repr(record.args) + repr(record.__dict__.get("exc_text")))


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What we log, at every level."""
    logger, handler = logging.getLogger("payi.instrument"), Kept()
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Callable[..., InMemorySpanExporter]:
    """An application's own tracer provider, which may come at any time; a real one cannot be set twice in a process."""

    def start(**arguments: Any) -> InMemorySpanExporter:
        exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False, **arguments)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        return exporter

    return start


def chat(client: Any, **changes: Any) -> Any:
    """A call with a canary in every place that may hold one."""
    return client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "system", "content": "canary system"}, {"role": "user", "content": "canary prompt", "name": "canary_name"}],
        tools=[{"type": "function", "function": {"name": "weather", "description": "canary tool", "parameters": {"canary": 1}}}],
        metadata={"canary_key": "canary value"},
        user="canary-user",
        extra_headers={"x-note": "canary header", **changes.pop("headers", {})},
        extra_body={"canary_extra": "canary"},
        **changes,
    )


def canary_answer() -> dict[str, Any]:
    """An answer with a canary in every place that may hold one; only a tool's name may be said."""
    tool = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"canary arguments"}'}}
    said = {"role": "assistant", "content": "canary answer", "refusal": "canary refusal", "tool_calls": [tool]}
    return completion(choices=[{"index": 0, "message": said, "finish_reason": "tool_calls"}])


def assert_quiet(ingest: IngestServer, exporter: InMemorySpanExporter, lines: list[str], count: int = 1) -> None:
    """No canary in what was sent, shown on spans or logged."""
    assert payi_otel.flush(10)
    assert len(ingest.packets) == count
    for place in (repr(ingest.requests), repr(shown(exporter)), "\n".join(lines)):
        assert CANARY not in place.lower(), place
    for packet in ingest.packets:
        assert packet["headers"].get("xproxy-logging-disable") == "True"


def shown(exporter: InMemorySpanExporter) -> list[str]:
    """All of the spans."""
    return [span.to_json() for span in exporter.get_finished_spans()]


WAYS = ["argument", "scope", "header"]


def quietly(way: str, instrument: Callable[..., None]) -> tuple[Any, dict[str, str]]:
    """Switches logging off in one of the three ways; a context to call in, and headers to call with."""
    instrument(**({"log_prompt_and_response": False} if way == "argument" else {}))
    scope = payi_otel.track_context(**({"log_prompt_and_response": False} if way == "scope" else {}))
    return scope, {"xProxy-Logging-Disable": "True"} if way == "header" else {}


@pytest.mark.parametrize("way", WAYS)
def test_plain_call_says_nothing(
    instrument: Any, client: Any, provider: Any, ingest: Any, application: Any, lines: list[str], way: str
) -> None:
    """Prompt, tools, metadata, user, headers, answer and tool arguments stay here."""
    exporter = application()
    scope, headers = quietly(way, instrument)
    provider.script(Reply(canary_answer(), headers={"x-echo": "canary echo"}))
    with scope:
        assert chat(client, headers=headers).choices[0].message.content == "canary answer"
    assert_quiet(ingest, exporter, lines)
    body = ingest.packets[0]["body"]
    assert body["provider_response_function_calls"] == [{"name": "weather"}]
    assert body["units"] == {"text": {"input": 12, "output": 5}}
    assert not {"provider_request_json", "provider_response_json", "provider_request_headers"} & body.keys()


@pytest.mark.parametrize("way", WAYS)
def test_stream_says_nothing(
    instrument: Any, client: Any, provider: Any, ingest: Any, application: Any, lines: list[str], way: str
) -> None:
    """Nor does a stream, also one that ends in an error of the provider's."""
    exporter = application()
    scope, headers = quietly(way, instrument)
    provider.script(Reply(events=[chunk("canary one"), chunk("canary two"), {"error": {"message": "canary error", "code": "canary code"}}]))
    with scope, pytest.raises(openai.APIError, match="canary error"):
        list(chat(client, stream=True, headers=headers))
    assert_quiet(ingest, exporter, lines)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [400, 500])
def test_refusal_says_nothing(
    instrument: Any, client: Any, provider: Any, ingest: Any, application: Any, lines: list[str], way: str, status: int
) -> None:
    """A provider's error text may quote the prompt."""
    exporter = application()
    scope, headers = quietly(way, instrument)
    provider.script(Reply({"error": {"message": "canary body", "code": "canary code", "type": "canary type"}}, status=status))
    with scope, pytest.raises(openai.APIStatusError):
        chat(client, headers=headers)
    assert_quiet(ingest, exporter, lines)
    assert ingest.packets[0]["body"]["http_status_code"] == status


@pytest.mark.parametrize("way", WAYS)
def test_exception_says_its_type_only(
    instrument: Any, client: Any, provider: Any, ingest: Any, application: Any, lines: list[str], way: str
) -> None:
    """Its text is the prompt's neighbour, and so is the source line that made the call."""
    exporter = application()
    scope, headers = quietly(way, instrument)

    def explode(*_: Any) -> Any:
        raise ValueError("canary text")

    with scope, pytest.raises((ValueError, openai.APIConnectionError)):
        client.with_options(http_client=exploding(explode)).chat.completions.create(
            model="m", messages=[{"role": "user", "content": "canary in the source line"}], extra_headers=headers
        )
    assert_quiet(ingest, exporter, lines)
    stack = json.loads(ingest.packets[0]["body"]["properties"]["system.stack_trace"])
    assert any("test_openai_privacy.py" in line for line in stack)
    assert not [line for line in stack if "\n" in line]


def exploding(explode: Callable[..., Any]) -> Any:
    """An HTTP client whose transport fails."""
    from test_openai_flavours import http_library

    return http_library().Client(transport=http_library().MockTransport(explode))


@pytest.mark.parametrize("way", WAYS)
def test_failures_inside_answers_say_nothing(
    instrument: Any, client: Any, provider: Any, ingest: Any, application: Any, lines: list[str], way: str
) -> None:
    """An answer fails inside a 200, by event or by status; some servers put sentences where codes belong."""
    exporter = application()
    scope, headers = quietly(way, instrument)
    error = {"code": "canary code, a sentence", "message": "canary message"}
    failed = response(id="resp_2", status="failed", error=error, output=[call("weather", '{"city":"canary"}')])
    event = {"type": "error", "code": "canary code, a sentence", "message": "canary message", "param": "canary", "sequence_number": 9}
    broken = {"error": {"type": "canary type, a sentence", "message": "canary message"}}
    provider.script(Reply(failed), Reply(events=[*events()[:6], event], done=False), Reply(events=[chunk("canary"), broken]))
    with scope:
        client.responses.create(model="gpt-4.1", input="canary", instructions="canary", extra_headers=headers)
        list(client.responses.create(model="gpt-4.1", input="canary", stream=True, extra_headers=headers))
        asked = {"model": "gpt-4.1", "messages": [], "stream": True, "extra_headers": headers}
        with client.chat.completions.with_streaming_response.create(**asked) as streamed:  # whose reader raises nothing
            assert b"canary type" in b"".join(streamed.iter_bytes())
    assert_quiet(ingest, exporter, lines, 3)


def test_mismatch_warning_quotes_nothing(
    instrument: Any, client: Any, provider: Any, ingest: Any, application: Any, lines: list[str]
) -> None:
    """A usage that is no number is said to be none, not repeated."""
    exporter = application()
    instrument(log_prompt_and_response=False)
    provider.script(Reply(completion(usage={"prompt_tokens": "canary", "completion_tokens": 5})))
    chat(client)
    assert_quiet(ingest, exporter, lines)
    assert any("prompt_tokens is no count" in line for line in lines)


@pytest.mark.parametrize("logs", [True, False])
def test_credentials_never_leave(
    instrument: Any, client: Any, provider: Any, ingest: Any, application: Any, lines: list[str], *, logs: bool
) -> None:
    """No key, token or cookie of either direction, with logging on or off; the provider gets what the caller gave."""
    exporter = application()
    instrument(log_prompt_and_response=logs)
    provider.script(Reply(completion(), headers=ANSWER_SECRETS), Reply(completion(id="chatcmpl-2"), headers=ANSWER_SECRETS))
    chat(client, headers={**SECRETS, "x-tenant": "blue"})
    client.with_options(api_key="secret-13", default_headers={"x-secret-header": "secret-14"}).chat.completions.create(
        model="gpt-4o-mini", messages=[]
    )
    assert provider.requests[0]["headers"]["x-api-key"] == "secret-3"
    assert payi_otel.flush(10)
    sent = [request["body"] for request in ingest.requests]
    stack_free = json.dumps([{**body, "properties": {**body["properties"], "system.stack_trace": None}} for body in sent])
    for place in (stack_free, repr(shown(exporter)), "\n".join(lines)):
        assert "secret" not in place
    assert ("blue" in stack_free) == logs


def test_our_objects_show_no_key(instrument: Any, ingest: IngestServer) -> None:
    """A repr ends in logs and crash reports."""
    payi = payi_otel.Payi(api_key="secret-key", base_url=ingest.url, default_headers={"x-note": "secret-note"})
    from payi_otel.clients import to_target

    assert "secret" not in repr(payi) + str(payi) + repr(to_target(payi)) + str(vars(payi).keys())


@pytest.mark.parametrize("logs", [True, False])
def test_spans_never_hold_content(
    instrument: Any, client: Any, provider: Any, ingest: Any, application: Any, packets: Any, *, logs: bool
) -> None:
    """A shared trace backend gets no prompts because cost is tracked: no attribute, event, link or description."""
    exporter = application()
    instrument(log_prompt_and_response=logs)
    provider.script(Reply(canary_answer()), Reply({"error": {"message": "canary body"}}, status=400))
    chat(client)
    with pytest.raises(openai.BadRequestError):
        chat(client)
    packets(2)
    assert CANARY not in repr(shown(exporter)).lower()
    assert all(not span.events and span.status.description is None for span in exporter.get_finished_spans())


# ---- what a span is


def test_span_of_a_plain_call(instrument: Any, client: Any, provider: Any, application: Any, packets: Any) -> None:
    """All attributes of the simplest call, and the parent it has."""
    exporter = application()
    instrument()
    provider.script(Reply(completion(service_tier="flex")))
    with trace.get_tracer_provider().get_tracer("app").start_as_current_span("outer"):
        client.chat.completions.create(model="gpt-4o-mini", messages=[], temperature=0.5, max_tokens=7)
    packets()
    inner, outer = exporter.get_finished_spans()
    assert (inner.name, inner.kind, inner.status.status_code) == ("chat gpt-4o-mini", trace.SpanKind.CLIENT, trace.StatusCode.UNSET)
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert dict(inner.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "payi.category": "system.openai",
        "openai.api.type": "chat_completions",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 7,
        "server.address": "127.0.0.1",
        "server.port": int(provider.url.rpartition(":")[2]),
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 5,
        "openai.response.service_tier": "flex",
    }


def test_span_of_a_stream(instrument: Any, client: Any, provider: Any, application: Any, packets: Any) -> None:
    """All attributes of a stream, with usage details."""
    exporter = application()
    instrument()
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 30},
        "total_tokens": 150,
    }
    provider.script(Reply(events=events(response(usage=usage)), done=False))
    list(client.responses.create(model="gpt-4.1", input="Hi.", stream=True))
    packets()
    (span,) = exporter.get_finished_spans()
    attributes = dict(span.attributes)
    assert 0 <= attributes.pop("gen_ai.response.time_to_first_chunk") < 60
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "payi.category": "system.openai",
        "openai.api.type": "responses",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.request.stream": True,
        "server.address": "127.0.0.1",
        "server.port": int(provider.url.rpartition(":")[2]),
        "gen_ai.response.id": "resp_1",
        "gen_ai.response.model": "gpt-4.1-2025-04-14",
        "gen_ai.response.finish_reasons": ("completed",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 50,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_write.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 30,
    }


def test_span_of_an_error(instrument: Any, client: Any, provider: Any, application: Any, packets: Any) -> None:
    """All attributes of a refused call."""
    exporter = application()
    instrument()
    provider.script(Reply({"error": {"message": "no"}}, status=400, headers={"x-request-id": "req_1"}))
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="e", input="Hi.")
    (packet,) = packets()
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "payi.category": "system.openai",
        "gen_ai.request.model": "e",
        "server.address": "127.0.0.1",
        "server.port": int(provider.url.rpartition(":")[2]),
        "error.type": "openai.BadRequestError",
        "gen_ai.response.id": packet["body"]["provider_response_id"],
        "payi.end_reason": "error",
    }


def test_provider_set_later_is_joined(instrument: Any, client: Any, provider: Any, application: Any, packets: Any) -> None:
    """An application may set OpenTelemetry up after us; calls before and after are one packet each."""
    instrument()
    provider.script(Reply(completion()), Reply(completion(id="chatcmpl-2")))
    client.chat.completions.create(model="m", messages=[])
    exporter = application()
    client.chat.completions.create(model="m", messages=[])
    packets(2)
    assert [span.attributes["gen_ai.response.id"] for span in exporter.get_finished_spans()] == ["chatcmpl-2"]


def test_instrumented_again_in_one_provider(
    instrument: Any, client: Any, provider: Any, application: Any, ingest: IngestServer, packets: Any
) -> None:
    """A provider never lets go of a processor; after a shutdown the old one must not take the new one's calls."""
    exporter = application()
    provider.script(Reply(completion()), Reply(completion(id="chatcmpl-2")))
    instrument()
    client.chat.completions.create(model="m", messages=[])
    payi_otel.shutdown(5)
    instrument()
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "second"}])
    packets(2)
    assert "second" in ingest.packets[1]["body"]["provider_request_json"]
    assert len(exporter.get_finished_spans()) == 2


def test_cost_is_not_sampled(instrument: Any, client: Any, provider: Any, application: Any, packets: Any) -> None:
    """A sampler that drops every span drops no packet, of streams and errors neither."""
    exporter = application(sampler=TraceIdRatioBased(0.0))
    instrument()
    provider.script(Reply(completion()), Reply(events=events(), done=False), Reply({"error": {}}, status=400))
    client.chat.completions.create(model="m", messages=[])
    list(client.responses.create(model="gpt-4.1", input="Hi.", stream=True))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="m", messages=[])
    assert sorted(packet["body"]["http_status_code"] for packet in packets(3)) == [200, 200, 400]
    assert exporter.get_finished_spans() == ()


def test_our_baggage_stays_here(instrument: Any, provider: ProviderServer, packets: Any, application: Any) -> None:
    """An HTTP instrumentation injects the current context: the call's span and others' baggage, none of ours."""
    from test_openai_flavours import http_library

    application()
    instrument()
    library = http_library()
    propagator = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
    seen: dict[str, str] = {}

    def hook(request: Any) -> None:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        propagator.inject(carrier)
        seen.update(carrier)
        request.headers.update(carrier)

    provider.script(Reply(completion()))
    http_client = library.Client(event_hooks={"request": [hook]}, trust_env=False)
    token = context.attach(baggage.set_baggage("tenant", "blue"))
    try:
        with (
            openai.OpenAI(api_key="k", base_url=provider.url + "/v1", http_client=http_client, max_retries=0) as client,
            payi_otel.track_context(use_case_name="asking", account_name="acme", user_id="ada"),
        ):
            assert "payi.account_name" in baggage.get_all()
            client.chat.completions.create(model="m", messages=[])
            assert "payi.account_name" in baggage.get_all()
    finally:
        context.detach(token)
    packets()
    assert seen["baggage"] == "tenant=blue"
    assert "traceparent" in seen
    assert "payi" not in repr(provider.requests[0]["headers"])
