"""Background responses: asked for by one call, fetched by others, billed exactly once, and to the one that asked."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from comparing import SCOPE
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from provider_server import Reply
from response_shapes import REQUEST, RESPONSE_USAGE, UNITS, events, finished, response, unfinished

import payi_otel
from payi_otel.testing import IngestServer

openai = pytest.importorskip("openai")
RESPONSES = importlib.import_module("openai.resources.responses").Responses
has_cancel = pytest.mark.skipif(not hasattr(RESPONSES, "cancel"), reason="this SDK has no responses.cancel")
STREAM = inspect.signature(getattr(RESPONSES, "stream", lambda: None)).parameters
has_resuming = pytest.mark.skipif("response_id" not in STREAM, reason="this SDK's responses.stream cannot resume")
BACKGROUND = {"extra_body": {"background": True}}
"""As a keyword argument it is younger than the oldest supported SDK."""
ASKED = {**REQUEST, "background": True}


def ask(client: Any, **changes: Any) -> Any:
    """Asks for a response in the background."""
    return client.responses.create(**REQUEST, **BACKGROUND, **changes)


def test_polled_response_is_one_packet_of_the_asking_call(instrument: Any, client: Any, provider: Any, packets: Any, ingest: Any) -> None:
    """Asked once, polled five times, three of them in vain: one packet, with the asker's scope, request and start."""
    instrument()
    provider.script(Reply(unfinished()))
    with payi_otel.track_context(user_id="ada", use_case_name="asking", use_case_id="case-2", limit_ids=["limit-1"]):
        ask(client, extra_headers={"x-tenant": "blue"})
    packets(0)
    provider.script(*[Reply(unfinished(status)) for status in ("queued", "in_progress", "in_progress")], *[Reply(finished())] * 2)
    with payi_otel.track_context(user_id="bob", use_case_name="polling"):
        answers = [client.responses.retrieve("resp_1").status for _ in range(5)]
    assert answers == ["queued", "in_progress", "in_progress", "completed", "completed"]
    (packet,) = packets(1)
    assert json.loads(packet["body"].pop("provider_request_json")) == ASKED
    assert json.loads(packet["body"].pop("provider_response_json")) == finished()
    assert packet == {
        "body": {
            "category": "system.openai",
            "resource": "gpt-4.1",
            "units": UNITS,
            "http_status_code": 200,
            "provider_response_id": "resp_1",
            "provider_request_headers": [{"name": "x-tenant", "value": "blue"}],
        },
        "scope": {
            "xproxy-user-id": "ada",
            "xproxy-usecase-name": "asking",
            "xproxy-usecase-id": "case-2",
            "xproxy-limit-ids": "limit-1",
        },
    }
    assert "test_openai_background.py" in ingest.packets[0]["body"]["properties"]["system.stack_trace"]


def test_latency_runs_from_the_asking_call(instrument: Any, client: Any, provider: Any, ingest: IngestServer) -> None:
    """The packet starts when the response was asked for, and ends when it was fetched."""
    instrument()
    provider.script(Reply(unfinished()), Reply(finished()))
    ask(client)
    opened = threading.Event()
    opened.wait(0.15)
    client.responses.retrieve("resp_1")
    assert payi_otel.flush(10)
    assert ingest.packets[0]["body"]["end_to_end_latency_ms"] >= 150


async def test_async_polling_is_one_packet(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """The async twins do the same."""
    instrument()
    provider.script(Reply(unfinished()), Reply(unfinished("in_progress")), Reply(finished()), Reply(finished()))
    with payi_otel.track_context(user_id="ada"):
        await async_client.responses.create(**REQUEST, **BACKGROUND)
    for _ in range(3):
        await async_client.responses.retrieve("resp_1")
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS
    assert packet["scope"] == {**SCOPE, "xproxy-user-id": "ada"}


def test_spans_of_asking_and_polling_show_no_usage(instrument: Any, client: Any, provider: Any, packets: Any, spans: Any) -> None:
    """Only the fetch that bills shows usage: a sum over spans is what was billed."""
    instrument()
    provider.script(Reply(unfinished()), Reply(unfinished()), Reply(finished()), Reply(finished()))
    ask(client)
    for _ in range(3):
        client.responses.retrieve("resp_1")
    packets(1)
    shown = [(span.name, span.attributes.get("gen_ai.usage.input_tokens")) for span in spans.get_finished_spans()]
    assert shown == [("chat gpt-4.1", None), ("fetch_response", None), ("fetch_response", 36), ("fetch_response", None)]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What an application's own exporter gets."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def test_background_stream_is_billed_at_its_end(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A stream that is read to its end is the bill; a fetch afterwards is free."""
    instrument()
    provider.script(Reply(events=events(finished()), done=False), Reply(finished()))
    list(ask(client, stream=True))
    client.responses.retrieve("resp_1")
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS
    assert "properties" not in packet["body"]


@pytest.mark.parametrize("how", ["closed", "cut", "unread"])
def test_broken_background_stream_is_billed_by_the_fetch(instrument: Any, client: Any, provider: Any, packets: Any, how: str) -> None:
    """The response goes on without its stream; it is no estimate, for the fetch knows."""
    instrument()
    provider.script(Reply(events=events(finished()), done=False, cut_after=6 if how == "cut" else None), Reply(finished()))
    with payi_otel.track_context(user_id="ada"):
        stream = ask(client, stream=True)
    if how == "cut":
        with pytest.raises(Exception, match=r"."):
            list(stream)
    else:
        next(stream)
        stream.close()
    packets(0)
    client.responses.retrieve("resp_1")
    (packet,) = packets()
    assert json.loads(packet["body"]["provider_request_json"]) == {**ASKED, "stream": True}
    assert packet["body"]["units"] == UNITS
    assert "properties" not in packet["body"]
    assert packet["scope"] == {**SCOPE, "xproxy-user-id": "ada"}


@pytest.mark.parametrize("drop", [(), ("background",)])
def test_asked_for_by_argument_is_enough(
    instrument: Any, client: Any, provider: Any, packets: Any, drop: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not repeat `background` in its answers is billed once, too."""
    if "background" not in openai.types.responses.response_create_params.ResponseCreateParamsBase.__annotations__:
        pytest.skip("this SDK has no argument for it")
    instrument()
    provider.script(Reply(unfinished(drop=drop)), Reply(unfinished(drop=drop)), *[Reply(finished(drop=drop))] * 2)
    client.responses.create(**ASKED)
    for _ in range(3):
        client.responses.retrieve("resp_1")
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


def test_answered_at_once_is_billed_at_once(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A background response that is done when it is asked for needs no fetch, and a fetch costs nothing more."""
    instrument()
    provider.script(Reply(finished()), Reply(finished()))
    ask(client)
    packets(1)
    client.responses.retrieve("resp_1")
    packets(1)


def test_refused_background_call_is_a_packet_of_its_own(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """An error is told at once: there is nothing to fetch."""
    instrument()
    provider.script(Reply({"error": {"message": "no", "code": "bad"}}, status=400))
    with pytest.raises(openai.BadRequestError):
        ask(client)
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 400


@pytest.mark.parametrize("status", ["failed", "cancelled", "incomplete"])
def test_end_without_usage_is_one_packet(instrument: Any, client: Any, provider: Any, packets: Any, status: str) -> None:
    """A response that failed or was cancelled is over: one packet, without units, and nothing is left open."""
    instrument()
    error = {"code": "server_error", "message": "gave up"} if status == "failed" else None
    over = unfinished(status, error=error)
    provider.script(Reply(unfinished()), Reply(unfinished()), Reply(over), Reply(over))
    ask(client)
    for _ in range(3):
        client.responses.retrieve("resp_1")
    (packet,) = packets()
    properties = packet["body"].get("properties", {})
    if status == "incomplete":
        assert packet["body"]["units"] == {"text": {"input": 3, "output": 0}}
        assert properties == {"payi_otel.usage_estimated": "input,output"}
    else:
        assert packet["body"]["units"] == {}
        failure = {"system.failure": "server_error", "system.failure.description": "gave up"}
        assert properties == (failure if status == "failed" else {"payi_otel.end_reason": "cancelled"})


@has_cancel
async def test_cancelling_ends_a_response(instrument: Any, client: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """`cancel` may be where a response is first seen to be over; what it cost until then, its usage says."""
    instrument()
    over = unfinished("cancelled") | {"usage": RESPONSE_USAGE}
    provider.script(Reply(unfinished()), Reply(over), Reply(over))
    ask(client)
    assert (await async_client.responses.cancel("resp_1")).status == "cancelled"
    client.responses.cancel("resp_1")
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS
    assert packet["body"]["properties"] == {"payi_otel.end_reason": "cancelled"}


def test_fetching_an_ordinary_response_is_free(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Its call has billed it; also where the call was made elsewhere, or the server says nothing of the background."""
    instrument()
    provider.script(Reply(response()), Reply(response()), Reply(response(id="resp_2")), Reply(response(id="resp_3", drop=("background",))))
    client.responses.create(**REQUEST)
    for response_id in ("resp_1", "resp_2", "resp_3"):
        client.responses.retrieve(response_id)
    (packet,) = packets()
    assert packet["body"]["provider_response_id"] == "resp_1"


def test_response_of_another_process_is_billed_to_the_fetcher(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Nobody here knows who asked: the first fetch that shows usage bills it, with its own scope, once."""
    instrument()
    provider.script(Reply(unfinished()), Reply(finished()), Reply(finished()))
    with payi_otel.track_context(user_id="bob"):
        for _ in range(3):
            client.responses.retrieve("resp_1")
    (packet,) = packets()
    assert packet["body"]["resource"] == "gpt-4.1-2025-04-14"
    assert packet["body"]["units"] == UNITS
    assert packet["scope"] == {**SCOPE, "xproxy-user-id": "bob"}
    assert "provider_request_json" not in packet["body"]


def test_failed_response_of_another_process_is_that_process_to_tell(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Without usage and without a call of ours there is nothing to bill."""
    instrument()
    provider.script(Reply(unfinished("failed", error={"code": "server_error", "message": "gave up"})))
    client.responses.retrieve("resp_1")
    packets(0)


@pytest.mark.parametrize("helper", [pytest.param(True, marks=has_resuming), False])
def test_resumed_stream_is_billed_once(instrument: Any, client: Any, provider: Any, packets: Any, ingest: Any, *, helper: bool) -> None:
    """`retrieve(stream=True)` and `responses.stream(response_id=...)` read on where a stream broke off."""
    instrument()
    whole = Reply(events=events(finished()), done=False)
    provider.script(Reply(unfinished()), whole, whole)
    with payi_otel.track_context(user_id="ada"):
        ask(client)
    for _ in range(2):
        if helper:
            with client.responses.stream(response_id="resp_1") as stream:
                stream.until_done()
        else:
            list(client.responses.retrieve("resp_1", **resumed(client)))
    (packet,) = packets()
    assert packet["scope"] == {**SCOPE, "xproxy-user-id": "ada"}
    assert packet["body"]["units"] == UNITS
    assert len(packet["body"]["provider_response_json"]) == len(events())
    body = ingest.packets[0]["body"]
    assert body["time_to_first_token_ms"] <= body["time_to_first_completion_token_ms"] <= body["end_to_end_latency_ms"]


def resumed(client: Any) -> dict[str, Any]:
    """How a stream is asked for, where the SDK can."""
    if "stream" not in inspect.signature(client.responses.retrieve).parameters:
        pytest.skip("this SDK cannot resume a stream")
    return {"stream": True}


async def test_resumed_async_stream_left_early_is_billed_later(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """A resumed stream that is left says nothing of the cost; the fetch after it does."""
    instrument()
    provider.script(Reply(unfinished()), Reply(events=events(finished()), done=False), Reply(finished()))
    await async_client.responses.create(**REQUEST, **BACKGROUND)
    stream = await async_client.responses.retrieve("resp_1", **resumed(async_client))
    async for _ in stream:
        break
    await stream.close()
    packets(0)
    await async_client.responses.retrieve("resp_1")
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


@pytest.mark.parametrize("status", [404, 500])
def test_failing_fetch_is_free_and_forgets_nothing(instrument: Any, client: Any, provider: Any, packets: Any, status: int) -> None:
    """A fetch that the provider refuses bills nothing; the next one that succeeds does."""
    instrument()
    provider.script(Reply(unfinished()), Reply({"error": {"message": "no"}}, status=status), Reply(finished()))
    ask(client)
    with pytest.raises(openai.APIStatusError):
        client.responses.retrieve("resp_1")
    packets(0)
    client.responses.retrieve("resp_1")
    packets(1)


def test_raw_fetches_are_billed_once(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """`with_raw_response` and `with_streaming_response` count as fetches."""
    instrument()
    provider.script(Reply(unfinished()), Reply(unfinished()), Reply(finished()), Reply(finished()))
    client.responses.with_raw_response.create(**REQUEST, **BACKGROUND)
    client.responses.with_raw_response.retrieve("resp_1")
    with client.responses.with_streaming_response.retrieve("resp_1") as raw:
        raw.read()
    client.responses.with_raw_response.retrieve("resp_1")
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS
    assert json.loads(packet["body"]["provider_request_json"]) == ASKED


def test_threads_that_poll_at_once_bill_once(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Whoever comes first bills, and always with the asker's scope."""
    instrument()
    count = 40
    provider.script(*(Reply(unfinished(id=f"resp_{number}")) for number in range(count)))
    with payi_otel.track_context(user_id="ada"):
        for _ in range(count):
            ask(client)
    for number in range(count):
        provider.always(f"/responses/resp_{number}", Reply(finished(id=f"resp_{number}")))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client.responses.retrieve, [f"resp_{number}" for number in range(count) for _ in range(4)]))
    assert {packet["scope"].get("xproxy-user-id") for packet in packets(count)} == {"ada"}


def test_other_client_may_fetch(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A worker fetches with a client of its own; category and host stay those of the call that asked."""
    instrument(config={"host_mappings": {"localhost": {"price_as_category": "system.other"}}})
    provider.script(Reply(unfinished()), Reply(finished()))
    ask(client)
    with openai.OpenAI(api_key="k", base_url=provider.url.replace("127.0.0.1", "localhost") + "/v1", max_retries=0) as other:
        other.responses.retrieve("resp_1")
    (packet,) = packets()
    assert packet["body"]["category"] == "system.openai"


def test_never_seen_to_finish_is_one_line_at_shutdown(
    instrument: Any, client: Any, provider: Any, packets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What was asked for and never fetched is a cost that nobody records: it is said, with its number, once."""
    instrument()
    provider.script(*(Reply(unfinished(id=f"resp_{number}")) for number in range(3)), Reply(finished(id="resp_1")))
    for _ in range(3):
        ask(client)
    client.responses.retrieve("resp_1")
    packets(1)
    with caplog.at_level(logging.WARNING, "payi.instrument"):
        payi_otel.shutdown(5)
        payi_otel.shutdown(5)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["2 background responses were never seen to finish: their cost is not recorded"]


def test_privacy_holds_across_the_two_calls(instrument: Any, client: Any, provider: Any, packets: Any, ingest: IngestServer) -> None:
    """The asker's wish that nothing be said holds for the packet that the fetch makes."""
    instrument()
    provider.script(Reply(unfinished()), Reply(finished()))
    with payi_otel.track_context(log_prompt_and_response=False):
        ask(client)
    client.responses.retrieve("resp_1")
    (packet,) = packets()
    assert packet["scope"] == {**SCOPE, "xproxy-logging-disable": "True"}
    assert "Say hello" not in json.dumps(ingest.requests)
    assert "Hello there" not in json.dumps(ingest.requests)
