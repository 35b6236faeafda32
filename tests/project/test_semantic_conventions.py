"""Every span of every provider keeps to the GenAI semantic conventions: by the table in `conventions`, and by the installed util-genai.

The conventions' own checker, `weaver registry live-check`, is a program that no package index carries, so CI cannot have it. PyPI's
`pytest-genai-semconv` 0.1.0 is not used: its table is a snapshot older than the installed util-genai (no `cache_write`, no modalities),
it refuses `fetch_response` and providers of one's own, which the conventions allow, takes an int for a double, and looks at no name it
does not know.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import conventions
import pytest
import span_calls
from conventions import Facts, violations, violations_of
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.invocation import InferenceInvocation
from provider_server import ProviderServer, Reply
from span_calls import SpanCall

from _source import ROOT
from contract import Contract, Form, Outcome
from payi_otel import semconv
from payi_otel.instrumentors._gemini_request import config_parameters
from payi_otel.instrumentors._parameters import read_parameters
from payi_otel.instrumentors.bedrock._parameters import body_parameters, converse_parameters

CONTRACTS = Path(__file__).parents[1] / "contract" / "test_contract.py"
OUR_SCOPES = "payi_otel."


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"conventions_of_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


suite = _load(CONTRACTS)


class Started(SpanProcessor):
    """What spans have when they start."""

    def __init__(self) -> None:
        self.attributes: dict[int, dict[str, Any]] = {}

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        """Notes it."""
        assert span.context is not None
        self.attributes[span.context.span_id] = dict(span.attributes or {})


class Application:
    """An application's own tracer provider."""

    def __init__(self) -> None:
        self.exporter, self.started = InMemorySpanExporter(), Started()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.started)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def spans(self) -> list[ReadableSpan]:
        """Ours among the finished ones."""
        finished = self.exporter.get_finished_spans()
        return [span for span in finished if span.instrumentation_scope and span.instrumentation_scope.name.startswith(OUR_SCOPES)]

    def span(self) -> ReadableSpan:
        """The only one, with what samplers decide by set at its start."""
        (span,) = self.spans()
        assert span.attributes is not None
        assert span.context is not None
        begun = self.started.attributes[span.context.span_id]
        assert {name: begun.get(name) for name in conventions.AT_START} == {
            name: span.attributes.get(name) for name in conventions.AT_START
        }
        return span


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Application:
    """The application's provider, which ours joins."""
    one = Application()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", one.provider)
    return one


def contract_cases() -> Iterator[Any]:
    """The contract suite's, with logging on."""
    for param in suite.cases():
        contract, form, outcome, is_async, logs = param.values
        if logs:
            yield pytest.param(contract, form, outcome, is_async, id=param.id.removesuffix("-logged"))


@pytest.mark.parametrize(("contract", "form", "outcome", "is_async"), list(contract_cases()))
def test_span_of_every_kind_of_call(
    contract: Contract, form: Form, outcome: Outcome, is_async: bool, provider: ProviderServer, instrument: Any, application: Application
) -> None:
    """Answered, refused, cut and left; by every provider, plain, streamed and raw."""
    instrument(dict(contract.configuration))
    provider.script(contract.reply(form, outcome))
    suite.seen_by_caller(contract, provider.url, form, outcome, is_async=is_async)
    facts = Facts(failed=outcome in ("error", "cut"), streamed=form == "stream", has_begun=outcome != "error")
    assert violations(application.span(), facts) == []


def _made(call: SpanCall, provider: ProviderServer) -> None:
    provider.script(call.reply)
    try:
        result = call.make(provider.url)
        if asyncio.iscoroutine(result):
            asyncio.run(result)
    except Exception:
        if not call.facts.failed:
            raise


@pytest.mark.parametrize("call", [pytest.param(call, id=call.name) for call in span_calls.CALLS])
def test_span_has_what_the_request_carries(call: SpanCall, provider: ProviderServer, instrument: Any, application: Application) -> None:
    """Every parameter under the conventions' name and in their type; the whole of what is not the answer's."""
    instrument()
    _made(call, provider)
    span = application.span()
    assert violations(span, call.facts) == []
    assert span.attributes is not None
    asked = {name: value for name, value in span.attributes.items() if name.startswith(("gen_ai.request.", *span_calls.ASKED))}
    asked.pop("gen_ai.request.stream", None)
    assert asked.pop("gen_ai.request.model", None) == call.model
    assert asked == call.asked
    assert {name: type(value) for name, value in asked.items()} == {name: type(value) for name, value in call.asked.items()}


def theirs(call: SpanCall, url: str) -> ReadableSpan:
    """The span that the installed util-genai makes of the same facts."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handler = TelemetryHandler(tracer_provider=provider)
    address, port = call.server or ("127.0.0.1", int(url.rpartition(":")[2]))
    server = {"server_address": address, "server_port": port}
    invocation: Any
    if call.operation == "embeddings":
        invocation = handler.embedding(call.provider, request_model=call.model, **server)
    elif call.operation == "fetch_response":
        invocation = handler.fetch_response(call.provider, response_id=call.fetched, **server)
    else:
        invocation = handler.inference(call.provider, request_model=call.model, operation_name=call.operation, **server)
    for name, value in call.said.items():
        assert hasattr(invocation, name), name
        setattr(invocation, name, value)
    if call.facts.streamed and isinstance(invocation, InferenceInvocation):
        invocation.record_stream_chunk()
    invocation.fail(call.error) if call.error is not None else invocation.stop()
    (span,) = exporter.get_finished_spans()
    return span


@pytest.mark.parametrize("call", [pytest.param(call, id=call.name) for call in span_calls.CALLS])
def test_span_has_all_that_util_genai_would_emit(
    call: SpanCall, provider: ProviderServer, instrument: Any, application: Application
) -> None:
    """Under the same names, with the same values in the same types; what is more is a provider's own or ours."""
    instrument()
    _made(call, provider)
    ours, model = application.span(), theirs(call, provider.url)
    assert (ours.name, ours.kind, ours.status.status_code) == (model.name, model.kind, model.status.status_code)
    assert ours.status.description is None, "deliberate: a provider's error text may quote the prompt, and util-genai tells it"
    mine, expected = dict(ours.attributes or {}), dict(model.attributes or {})
    for attributes in (mine, expected):
        first = attributes.pop("gen_ai.response.time_to_first_chunk", None)
        assert (type(first) is float) == call.facts.streamed
    assert {name: mine.get(name) for name in expected} == expected
    assert {name: type(mine[name]) for name in expected} == {name: type(value) for name, value in expected.items()}
    more = mine.keys() - expected.keys() - conventions.OURS.keys() - conventions.PROVIDERS_OWN.keys()
    assert more == call.more


def test_parameters_that_only_new_sdks_take_are_read() -> None:
    """What older ones would refuse to send."""
    asked = {
        "outputConfig": {"textFormat": {"type": "json_schema"}, "effort": "low"},
        "additionalModelRequestFields": {"top_k": 5, "seed": 3},
    }
    assert converse_parameters(asked) == {
        "gen_ai.output.type": "json",
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.request.top_k": 5,
        "gen_ai.request.seed": 3,
    }
    config = {"thinkingConfig": {"thinkingLevel": "LOW"}, "responseModalities": ["TEXT", "IMAGE"]}
    assert config_parameters(config) == {"gen_ai.request.reasoning.level": "LOW", "gen_ai.output.type": "image"}


@pytest.mark.parametrize(
    "body", [None, b"", b"{", b"[]", "7", b"\xff", {"max_tokens": 9}, b'{"max_tokens": 9, "prompt": "%s"}' % (b"x" * 70_000)]
)
def test_a_body_that_is_odd_or_long_has_no_parameters(body: Any) -> None:
    """A long one would be parsed in the call for them."""
    assert body_parameters(body) == {}


def test_a_parameter_that_is_none_is_left_out() -> None:
    """An exporter would refuse some, and warn of others."""
    names = {name.rpartition(".")[2]: name for name in conventions.INFERENCE if name.startswith("gen_ai.request.")}
    del names["stream"]
    for odd in ("x", True, 2**64, object(), [], [1], {}, 1.5):
        read = read_parameters(dict.fromkeys(names, odd), names)
        assert all(type(value) in (str, float, tuple) for value in read.values()), read
        assert violations_of({**read, "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}) == []


@pytest.mark.parametrize(
    ("url", "port"), [("https://api.openai.com/v1", 443), ("http://gateway/v1", 80), ("https://gateway:8443/v1", 8443)]
)
def test_port_is_told_where_the_url_leaves_it_out(url: str, port: int, instrument: Any, application: Application) -> None:
    """`server.port` is required beside `server.address`; the scheme's own is told, too."""
    openai = pytest.importorskip("openai")
    instrument()
    with openai.OpenAI(api_key="k", base_url=url, max_retries=0, timeout=0.01) as client, pytest.raises(Exception):  # noqa: B017
        client.chat.completions.create(model="m", messages=[])
    span = application.span()
    assert span.attributes is not None
    assert span.attributes["server.port"] == port
    assert violations(span, Facts(failed=True)) == []


def test_parts_of_another_model_are_spans_like_any(instrument: Any, provider: ProviderServer, application: Application) -> None:
    """A child span is made of an answer's usage alone."""
    anthropic = pytest.importorskip("anthropic")
    instrument()
    iterations = [{"type": "advisor_message", "model": "claude-big", "input_tokens": 90, "output_tokens": 9}]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5", "stop_reason": "end_turn"}
    usage = {"input_tokens": 4, "output_tokens": 2, "iterations": iterations}
    provider.script(Reply({**head, "content": [{"type": "text", "text": "Hello."}], "usage": usage}))
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        client.beta.messages.create(model="claude-opus-5", max_tokens=9, messages=[{"role": "user", "content": "Hi."}])
    spans = application.spans()
    assert len(spans) == 2
    assert [violations(span, Facts()) for span in spans] == [[], []]


def test_document_names_every_attribute() -> None:
    """docs/spans.md, and no other."""
    known = {**conventions.INFERENCE, **conventions.EMBEDDINGS, **conventions.FETCH, **conventions.OURS}
    emitted = {value for value in vars(semconv).values() if isinstance(value, str) and value in known}
    heads = "gen_ai|openai|aws|server|error|payi"
    named = set(re.findall(rf"`((?:{heads})\.[a-z0-9_.]+)`", (ROOT / "docs" / "spans.md").read_text()))
    assert named - conventions.VALUES["gen_ai.provider.name"] - {semconv.EVENT_INFERENCE_DETAILS} == emitted


def test_table_finds_what_is_wrong(application: Application) -> None:
    """The checker is no rubber stamp."""
    tracer = application.provider.get_tracer(OUR_SCOPES)
    wrong = {
        "gen_ai.operation.name": "talk",
        "gen_ai.request.model": "m",
        "gen_ai.request.temperature": 1,
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.system": "openai",
        "server.address": "h",
    }
    tracer.start_span("talk", attributes=wrong).end()
    assert violations(application.spans()[0], Facts(failed=True)) == [
        "its name is 'talk'",
        "its kind is INTERNAL",
        "its status is UNSET, failed is True",
        "gen_ai.provider.name is required",
        "gen_ai.operation.name is 'talk'",
        "gen_ai.request.temperature is 1, not a double",
        "gen_ai.system is no attribute of talk",
        "server.port is required where server.address is set",
        "error.type is None, failed is True",
        "gen_ai.usage.input_tokens is 1, its parts make 2",
    ]
