"""What Bedrock's answers say was used: by shape of the body, by headers, and by the guardrails' assessments."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from aws_frames import EVENT_STREAM, chunk, frame
from provider_server import ProviderServer, Reply

from payi_otel.instrumentors.bedrock._body import again, read_body

boto3 = pytest.importorskip("boto3")

RUNTIME = boto3.client("bedrock-runtime", region_name="us-east-1", aws_access_key_id="AKID", aws_secret_access_key="secret")
KNOWS_GUARDRAIL_USAGE = "invocationMetrics" in getattr(RUNTIME.meta.service_model.shape_for("GuardrailAssessment"), "members", ())
H = "x-amzn-bedrock-"
CLAUDE = {
    "id": "msg_1",
    "type": "message",
    "content": [{"type": "tool_use", "name": "a", "input": {}}],
    "stop_reason": "tool_use",
    "usage": {
        "input_tokens": 4,
        "output_tokens": 9,
        "cache_creation_input_tokens": 5,
        "cache_creation": {"ephemeral_1h_input_tokens": 2, "ephemeral_5m_input_tokens": 3},
        "output_tokens_details": {"thinking_tokens": 6},
    },
}
OPENAI = {
    "model": "openai.gpt-oss-120b-1:0",
    "choices": [{"message": {"content": "Hi.", "tool_calls": [{"function": {"name": "a", "arguments": "{}"}}]}, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 5},
    },
}
UNIT = {"topicPolicyUnits": 1, "contentPolicyUnits": 2, "sensitiveInformationPolicyFreeUnits": 3}
ASSESSED = {"invocationMetrics": {"usage": UNIT}}


@pytest.fixture
def client(provider: ProviderServer) -> Any:
    """A client made before anything is instrumented."""
    from botocore.config import Config

    config = Config(retries={"max_attempts": 0})
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    one = boto3.client("bedrock-runtime", endpoint_url=provider.url, config=config, **keys)
    yield one
    one.close()


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (CLAUDE, {}, {"text": (4, 3), "text_cache_write": (3, 0), "text_cache_write_1h": (2, 0), "reasoning": (0, 6)}),
        (OPENAI, {}, {"text": (6, 2), "text_cache_read": (4, 0), "reasoning": (0, 5)}),
        ({"generation": "Hi.", "prompt_token_count": 3, "generation_token_count": 2}, {}, {"text": (3, 2)}),
        ({"inputTextTokenCount": 3, "results": [{"tokenCount": 2}, {"tokenCount": 4}]}, {}, {"text": (3, 6)}),
        ({"embedding": [0.1], "inputTextTokenCount": 3}, {}, {"text": (3, 0)}),
        ({"text": "Hi.", "meta": {"billed_units": {"input_tokens": 3, "output_tokens": 2}}}, {}, {"text": (3, 2)}),
        ({"outputs": [{"text": "Hi."}]}, {f"{H}input-token-count": "3", f"{H}output-token-count": "2"}, {"text": (3, 2)}),
        ({"images": ["aGk=", "aGk="], "error": None}, {}, {"image": (0, 2)}),
        ({"seeds": [1], "finish_reasons": [None], "images": ["aGk="]}, {f"{H}input-token-count": "9"}, {"image": (0, 1)}),
        ({"seeds": [1], "finish_reasons": ["Filter reason: prompt"]}, {}, {"image": (0, 0)}),
        ({"result": "success", "artifacts": [{"seed": 1, "base64": "aGk=", "finishReason": "SUCCESS"}]}, {}, {"image": (0, 1)}),
        ({"embeddings": [[0.1]], "images": [{"width": 9}]}, {f"{H}input-token-count": "3"}, {"text": (3, 0)}),
        ({"embeddings": [[0.1]]}, {f"{H}input-token-count": "3"}, {"text": (3, 0)}),
        ({"prompt": {"tokens": [1, 2, 3]}, "completions": [{"data": {"tokens": [1, 2]}}]}, {}, {"text": (3, 2)}),
        (
            {"output": {}, "usage": {"inputTokens": 3, "cacheReadInputTokenCount": 5}},
            {f"{H}output-token-count": "2", f"{H}input-token-count": "9"},
            {"text": (3, 2), "text_cache_read": (5, 0)},
        ),
    ],
)
def test_units_of_every_family(
    body: Any, headers: dict[str, str], expected: dict[str, tuple[int, int]], client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """The ARN of an inference profile names no family: the shape of the answer does, and headers fill what it lacks."""
    instrument()
    provider.script(Reply(body, headers={"x-amzn-requestid": "req-1", **headers}))
    arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"
    read = client.invoke_model(modelId=arn, body=json.dumps({"prompt": "Say hello."}))["body"]
    assert json.loads(read.read()) == body
    (packet,) = packets()
    assert packet["body"]["units"] == {name: {"input": pair[0], "output": pair[1]} for name, pair in expected.items()}
    assert packet["body"]["resource"] == arn
    assert packet["body"]["provider_response_id"] == "req-1"
    calls = packet["body"].get("provider_response_function_calls")
    assert calls == ([{"name": "a", "arguments": "{}"}] if body in (CLAUDE, OPENAI) else None)


@pytest.mark.parametrize("way", ["whole", "parts", "lines", "chunks", "with", "never"])
def test_a_body_is_read_as_ever(way: str, client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """In whichever way, or not at all: it is one packet."""
    from botocore.response import StreamingBody

    instrument()
    answer = {"generation": "Hi.", "prompt_token_count": 3, "generation_token_count": 2}
    provider.script(Reply(answer))
    body = client.invoke_model(modelId="meta.llama3-8b", body="{}")["body"]
    assert type(body) is StreamingBody
    data = json.dumps(answer).encode()
    if way == "whole":
        assert (body.read(), body.read()) == (data, b"")
    elif way == "parts":
        assert body.read(5) + body.read(10_000) == data
    elif way == "lines":
        assert list(body.iter_lines()) == [data]
    elif way == "chunks":
        assert b"".join(body) == data
    elif way == "with":
        with body as raw:
            assert raw.read() == data
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 3, "output": 2}}


class Broken:
    """A response's raw stream that ends in an error after its first piece."""

    def __init__(self) -> None:
        self.pieces = [b"x" * 100]

    def read(self, amount: int | None = None) -> bytes:
        """One piece, and then none."""
        from urllib3.exceptions import ProtocolError

        if not self.pieces:
            raise ProtocolError("cut")
        return self.pieces.pop()

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("whole", [False, True])
def test_a_body_that_breaks_off_breaks_where_it_is_read(whole: bool) -> None:
    """Who reads in parts gets what had come, and then the SDK's own error; who wants it whole gets the error."""
    from botocore.exceptions import ResponseStreamingError
    from botocore.response import StreamingBody

    data, error = read_body(StreamingBody(Broken(), 1000))
    assert data == b"x" * 100
    body = again(StreamingBody(Broken(), 1000), data, error)
    assert type(body) is StreamingBody
    if not whole:
        assert body.read(60) + body.read(60) == data
    with pytest.raises(ResponseStreamingError):
        body.read()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.skipif(not KNOWS_GUARDRAIL_USAGE, reason="this botocore drops what its model of Converse does not have: usage of guardrails")
def test_guardrails_are_asked_for_and_billed(streamed: bool, client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Input and output assessments together; the caller's own configuration is not changed."""
    instrument()
    trace = {"guardrail": {"inputAssessment": {"g1": ASSESSED}, "outputAssessments": {"g1": [ASSESSED, ASSESSED]}}}
    usage = {
        "inputTokens": 4,
        "outputTokens": 6,
        "totalTokens": 10,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 2}],
        "cacheWriteInputTokens": 5,
    }
    config = {"guardrailIdentifier": "g1", "guardrailVersion": "1"}
    asked = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "x"}]}], "guardrailConfig": config}
    if streamed:
        stop, last = (
            frame({"stopReason": "guardrail_intervened"}, kind="messageStop"),
            frame({"usage": usage, "trace": trace}, kind="metadata"),
        )
        provider.script(Reply(events=[stop, last], headers=EVENT_STREAM))
        list(client.converse_stream(**asked)["stream"])
    else:
        provider.script(Reply({"stopReason": "guardrail_intervened", "usage": usage, "trace": trace}))
        client.converse(**asked)
    assert config == {"guardrailIdentifier": "g1", "guardrailVersion": "1"}
    assert provider.requests[0]["body"]["guardrailConfig"] == {**config, "trace": "enabled"}
    (packet,) = packets()
    assert packet["body"]["units"] == {
        "text": {"input": 4, "output": 6},
        "text_cache_write": {"input": 3, "output": 0},
        "text_cache_write_1h": {"input": 2, "output": 0},
        "guardrail_topic": {"input": 3, "output": 0},
        "guardrail_content": {"input": 6, "output": 0},
        "guardrail_sensitive_information_free": {"input": 9, "output": 0},
    }
    assert packet["body"]["properties"] == {
        "system.aws.bedrock.guardrail.id": "g1",
        "system.aws.bedrock.guardrail.version": "1",
        "system.aws.bedrock.guardrail.action": "INTERVENED",
        "system.failure": "INTERVENED",
        "system.failure.description": "Bedrock Guardrails intervened",
    }


@pytest.mark.parametrize(("setting", "chosen", "sent"), [(True, None, "enabled"), (False, None, None), (True, "disabled", "disabled")])
def test_the_trace_is_the_callers_or_the_settings(
    setting: bool, chosen: str | None, sent: str | None, client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """It is set only where nobody chose."""
    instrument({"aws_config": {"guardrail_trace": setting}})
    provider.script(Reply({"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}))
    config = {"guardrailIdentifier": "g1", "guardrailVersion": "1", **({"trace": chosen} if chosen else {})}
    client.converse(modelId="m", messages=[{"role": "user", "content": [{"text": "x"}]}], guardrailConfig=config)
    assert provider.requests[0]["body"]["guardrailConfig"].get("trace") == sent
    packets()


def test_claude_streamed_is_read_as_claude(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Its own events tell cache writes apart, which Bedrock's metrics do not."""
    instrument()
    start = {"type": "message_start", "message": {"id": "msg_1", "usage": {**CLAUDE["usage"], "output_tokens": 1}}}
    tool = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "a", "input": {}}}
    delta = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}
    stop = {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 4, "outputTokenCount": 9}}
    provider.script(Reply(events=[chunk(value) for value in (start, tool, delta, stop)], headers=EVENT_STREAM))
    assert len(list(client.invoke_model_with_response_stream(modelId="us.anthropic.claude-opus-5", body="{}")["body"])) == 4
    (packet,) = packets()
    assert packet["body"]["units"]["text"] == {"input": 4, "output": 3}
    assert packet["body"]["units"]["text_cache_write_1h"] == {"input": 2, "output": 0}
    assert packet["body"]["provider_response_function_calls"] == [{"name": "a", "arguments": "{}"}]


def test_tool_calls_in_pieces_are_put_together(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Of families whose streams have OpenAI's shape: the first piece of a call has its name, the others the rest of its arguments."""
    instrument()
    pieces: list[list[dict[str, Any]]] = [
        [{"index": 0, "id": "c1", "function": {"name": "a", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"b":'}}],
        [{"index": 0, "function": {"arguments": " 1}"}}, {"index": 1, "id": "c2", "function": {"name": "c"}}],
    ]
    events = [chunk({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}) for calls in pieces]
    metrics = {"inputTokenCount": 4, "outputTokenCount": 9}
    events.append(chunk({"choices": [{"index": 0, "finish_reason": "tool_calls"}], "amazon-bedrock-invocationMetrics": metrics}))
    provider.script(Reply(events=events, headers=EVENT_STREAM))
    list(client.invoke_model_with_response_stream(modelId="openai.gpt-oss-120b-1:0", body="{}")["body"])
    (packet,) = packets()
    assert packet["body"]["provider_response_function_calls"] == [{"name": "a", "arguments": '{"b": 1}'}, {"name": "c"}]


def test_whole_tool_calls_in_several_events_stay_apart(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Mistral's have no index."""
    instrument()
    said = [{"id": name, "function": {"name": name, "arguments": f'{{"{name}": 1}}'}} for name in ("a", "b")]
    events = [chunk({"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [call]}}]}) for call in said]
    events.append(chunk({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 4, "outputTokenCount": 9}}))
    provider.script(Reply(events=events, headers=EVENT_STREAM))
    list(client.invoke_model_with_response_stream(modelId="mistral.mistral-large-2407-v1:0", body="{}")["body"])
    (packet,) = packets()
    assert packet["body"]["provider_response_function_calls"] == [call["function"] for call in said]


def test_an_error_in_a_stream_is_one(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """The SDK raises it; the packet carries no 200."""
    from botocore.exceptions import EventStreamError

    instrument()
    broken = frame({"message": "slow down"}, kind="throttlingException", exception=True)
    provider.script(Reply(events=[frame({"role": "assistant"}, kind="messageStart"), broken], headers=EVENT_STREAM))
    stream = client.converse_stream(modelId="m", messages=[{"role": "user", "content": [{"text": "x"}]}])["stream"]
    with pytest.raises(EventStreamError):
        list(stream)
    stream.close()
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 299
    assert packet["body"]["properties"]["system.failure"] == "throttlingException"


def test_other_calls_pass(provider: Any, instrument: Any, packets: Any) -> None:
    """Another service's."""
    instrument()
    provider.script(Reply({"modelSummaries": []}))
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("bedrock", endpoint_url=provider.url, **keys)
    assert client.list_foundation_models()["modelSummaries"] == []
    client.close()
    packets(0)


@pytest.mark.skipif(not hasattr(RUNTIME, "apply_guardrail"), reason="this botocore has no ApplyGuardrail")
def test_a_guardrail_that_is_applied_alone_is_one_packet(instrument: Any, client: Any, provider: ProviderServer, packets: Any) -> None:
    """Its own totals, not those of its assessments once more; the guardrail stands where a model would."""
    instrument()
    answer = {"usage": UNIT, "action": "GUARDRAIL_INTERVENED", "outputs": [{"text": "No."}], "assessments": [ASSESSED]}
    provider.script(Reply(answer))
    asked = {"source": "INPUT", "content": [{"text": {"text": "Hi."}}]}
    seen = client.apply_guardrail(guardrailIdentifier="g1", guardrailVersion="2", **asked)
    (packet,) = packets()
    body = packet["body"]
    assert json.loads(body.pop("provider_request_json")) == asked
    assert json.loads(body.pop("provider_response_json")) == {
        name: value for name, value in seen.items() if name not in ("ResponseMetadata", "xproxy_result")
    }
    assert body == {
        "category": "system.aws.bedrock",
        "resource": "g1",
        "units": {
            "guardrail_topic": {"input": 1, "output": 0},
            "guardrail_content": {"input": 2, "output": 0},
            "guardrail_sensitive_information_free": {"input": 3, "output": 0},
        },
        "http_status_code": 200,
        "provider_response_id": body["provider_response_id"],
        "properties": {
            "system.aws.bedrock.guardrail.id": "g1",
            "system.aws.bedrock.guardrail.version": "2",
            "system.aws.bedrock.guardrail.action": "INTERVENED",
            "system.failure": "INTERVENED",
            "system.failure.description": "Bedrock Guardrails intervened",
        },
    }


LONG = {"inputTokens": 200_001, "outputTokens": 5, "totalTokens": 200_008, "cacheReadInputTokens": 2}
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("model", "suffix"), [(SONNET, "_large_context"), ("us.anthropic.claude-opus-5", "")])
def test_a_long_prompt_has_its_price_by_converse(
    model: str, suffix: str, streamed: bool, client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """As by any other way to the same model; a guardrail has one price."""
    instrument()
    trace = {"guardrail": {"inputAssessment": {"g1": ASSESSED}}}
    said = {"usage": LONG, "trace": trace}
    asked = {"modelId": model, "messages": [{"role": "user", "content": [{"text": "x"}]}]}
    if streamed:
        frames = [frame({"stopReason": "end_turn"}, kind="messageStop"), frame(said, kind="metadata")]
        provider.script(Reply(events=frames, headers=EVENT_STREAM))
        list(client.converse_stream(**asked)["stream"])
    else:
        provider.script(Reply({"stopReason": "end_turn", **said}))
        client.converse(**asked)
    (packet,) = packets()
    units = packet["body"]["units"]
    assert {name: unit for name, unit in units.items() if "cache" in name or name.startswith("text")} == {
        f"text{suffix}": {"input": 200_001, "output": 5},
        **({f"text_cache_read{suffix}": {"input": 2, "output": 0}} if streamed or "cacheReadInputTokens" in token_usage() else {}),
    }
    assert ("guardrail_topic" in units) == (streamed or KNOWS_GUARDRAIL_USAGE)


def token_usage() -> Any:
    """What this botocore knows of Converse's usage; a stream's is read as it came."""
    return RUNTIME.meta.service_model.shape_for("TokenUsage").members


def test_a_long_prompt_has_its_price_whatever_the_models_name(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """An inference profile's ARN names no model; Claude's answer does."""
    instrument()
    body = {"type": "message", "model": "claude-sonnet-4-5-20250929", "usage": {"input_tokens": 200_001, "output_tokens": 5}}
    provider.script(Reply(body))
    client.invoke_model(modelId="arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", body="{}")
    (packet,) = packets()
    assert packet["body"]["units"] == {"text_large_context": {"input": 200_001, "output": 5}}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            {"generation": "Hel", "prompt_token_count": 25, "generation_token_count": 1},
            {"generation": "lo", "prompt_token_count": None, "generation_token_count": 2},
        ),
        ({"outputText": "Hel", "inputTextTokenCount": 25}, {"outputText": "lo", "totalOutputTextTokenCount": 2}),
    ],
)
def test_a_stream_that_is_left_is_billed_by_its_totals_so_far(
    first: dict[str, Any], second: dict[str, Any], client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """Bedrock's metrics come with the last chunk alone; without both counts they are estimated."""
    instrument()
    last = {"generation": ".", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 25, "outputTokenCount": 3}}
    provider.script(Reply(events=[chunk(value) for value in (first, second, last)], headers=EVENT_STREAM))
    stream = client.invoke_model_with_response_stream(modelId="meta.llama3-8b", body='{"prompt": "Say hello."}')["body"]
    for event in stream:
        if b"lo" in event["chunk"]["bytes"]:
            break
    stream.close()
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 25, "output": 2}}
    assert packet["body"]["properties"] == {"payi_otel.end_reason": "closed"}


@pytest.mark.parametrize("wanted", [False, True])
def test_the_images_of_a_body_are_left_out_unless_they_are_wanted(
    wanted: bool, instrument: Any, client: Any, provider: ProviderServer, packets: Any
) -> None:
    """Those that were given, by every family's name for them, and those that were made; words stay."""
    data = base64.b64encode(bytes(300)).decode()
    asked = {
        "taskType": "INPAINTING",
        "inPaintingParams": {"image": data, "maskImage": data, "text": "A cat."},
        "imageVariationParams": {"images": [data, "short"]},
        "inputImage": data,
        "init_image": data,
    }
    made = {"images": [data], "artifacts": [{"base64": data, "finishReason": "SUCCESS"}]}
    instrument({"instrument_inline_data": wanted})
    provider.script(Reply(made))
    client.invoke_model(modelId="amazon.nova-canvas-v1:0", body=json.dumps(asked))["body"].read()
    (packet,) = packets()
    kept = data if wanted else "<not_instrumented>"
    assert json.loads(packet["body"]["provider_request_json"]) == {
        "taskType": "INPAINTING",
        "inPaintingParams": {"image": kept, "maskImage": kept, "text": "A cat."},
        "imageVariationParams": {"images": [kept, "short"]},
        "inputImage": kept,
        "init_image": kept,
    }
    answer = json.loads(packet["body"]["provider_response_json"])
    assert answer == {"images": [kept], "artifacts": [{"base64": kept, "finishReason": "SUCCESS"}]}
