"""The `anthropic` SDK makes spans of its own: they are never billed, and carry nothing of ours to the provider."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from provider_server import Reply

import payi_otel

anthropic = pytest.importorskip("anthropic")
ASK: dict[str, Any] = {"model": "claude-opus-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Say hello."}]}
HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5"}
ANSWER = {
    **HEAD,
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 4, "output_tokens": 2},
}
ADVISED = [
    {"type": "message", "input_tokens": 4, "output_tokens": 2},
    {"type": "advisor_message", "model": "claude-big", "input_tokens": 90, "output_tokens": 9},
]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The spans of an application's own provider."""
    application = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", application)
    exporter = InMemorySpanExporter()
    application.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def test_a_call_that_has_two_spans_is_one_packet(spans: InMemorySpanExporter, instrument: Any, provider: Any, packets: Any) -> None:
    """The SDK's own is the child of ours; the user it is for stays here."""
    instrument({"propagate": ["user_id"]})
    provider.script(Reply(ANSWER))
    with payi_otel.track_context(user_id="alice"), anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        client.messages.create(**ASK)
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 4, "output": 2}}
    assert packet["scope"]["xproxy-user-id"] == "alice"
    assert "alice" not in str(provider.requests[0]["headers"])
    ours = [span for span in spans.get_finished_spans() if span.name == "chat claude-opus-5"]
    assert len(ours) == 1
    for span in spans.get_finished_spans():
        assert span is ours[0] or (span.parent is not None and span.parent.span_id == ours[0].context.span_id)


def test_what_another_model_did_is_a_packet_of_its_own(spans: InMemorySpanExporter, instrument: Any, provider: Any, packets: Any) -> None:
    """At its own price, with the user of the call it is a part of."""
    instrument({"user_id": "alice"})
    provider.script(Reply({**ANSWER, "usage": {**ANSWER["usage"], "iterations": ADVISED}}))
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        client.beta.messages.create(**ASK)
    call, part = sorted(packets(2), key=lambda packet: len(packet["body"]["provider_response_id"]))
    assert (call["body"]["resource"], call["body"]["units"]) == ("claude-opus-5", {"text": {"input": 4, "output": 2}})
    assert part == {
        "body": {
            "category": "system.anthropic",
            "resource": "claude-big",
            "units": {"text": {"input": 90, "output": 9}},
            "http_status_code": 200,
            "provider_response_id": "msg_1.advisor_message.2",
            "properties": {"payi_otel.part_of": "msg_1"},
        },
        "scope": call["scope"],
    }


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_manager_that_is_never_entered_is_no_call(is_async: bool, instrument: Any, provider: Any, packets: Any) -> None:
    """Nothing is sent, and there is nothing to record."""
    instrument()
    if is_async:
        async with anthropic.AsyncAnthropic(api_key="k", base_url=provider.url, max_retries=0) as later:
            manager = later.messages.stream(**ASK)
            with pytest.warns(RuntimeWarning, match="never awaited"):
                del manager
    else:
        with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
            client.messages.stream(**ASK)
    assert provider.requests == []
    packets(0)
