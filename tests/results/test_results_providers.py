"""`xproxy_result` for every kind of client, and where the responses are no objects of a class: Bedrock's dicts and events."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aws_frames import EVENT_STREAM, chunk, frame
from flavours import CONVERSED, FLAVOURS, GENERATED, INVOKED, Flavour
from provider_server import ProviderServer, Reply

from payi_otel import cost_of, get_context, track_context

COST = 9 / 1_000_000
MODEL = "amazon.titan-text-express-v1"
ASK: dict[str, Any] = {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": "Hi."}]}]}
BODY: dict[str, Any] = {"modelId": MODEL, "body": json.dumps({"inputText": "Hi."})}
EVENTS = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi."}}),
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7}, "metrics": {"latencyMs": 1}}),
]
CONVERSE_STREAMED = Reply(events=[frame(value, kind=kind) for kind, value in EVENTS], headers=EVENT_STREAM)
METRICS = {"inputTokenCount": 5, "outputTokenCount": 2, "invocationLatency": 2, "firstByteLatency": 1}
CHUNKS = [{"outputText": "Hi."}, {"completionReason": "FINISH", "amazon-bedrock-invocationMetrics": METRICS}]
INVOKE_STREAMED = Reply(events=[chunk(one) for one in CHUNKS], headers=EVENT_STREAM)
KEYS = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)
def test_every_kind_of_client_has_a_last_result(flavour: Flavour, instrument: Any, provider: ProviderServer) -> None:
    """Whatever its responses are."""
    pytest.importorskip(flavour.sdk)
    instrument()
    provider.script(flavour.reply)
    with track_context():
        flavour.call(provider.url, {})
        assert get_context()["last_result"].cost.total.base == COST


@pytest.fixture
def bedrock(provider: ProviderServer) -> Iterator[Any]:
    """A client of boto3."""
    boto3 = pytest.importorskip("boto3")
    client = boto3.client("bedrock-runtime", endpoint_url=provider.url, **KEYS)
    yield client
    client.close()


@asynccontextmanager
async def aiobedrock(provider: ProviderServer) -> AsyncIterator[Any]:
    """A client of aiobotocore."""
    session = pytest.importorskip("aiobotocore.session")
    async with session.get_session().create_client("bedrock-runtime", endpoint_url=provider.url, **KEYS) as client:
        yield client


class TestBedrock:
    """A response is a plain dict: the result is under a key, as with the published SDK."""

    def test_converse(self, instrument: Any, bedrock: Any, provider: ProviderServer) -> None:
        """The dict serialises as before, and its copies are plain."""
        instrument()
        provider.script(CONVERSED)
        response = bedrock.converse(**ASK)
        assert json.loads(json.dumps(response))["output"] == CONVERSED.body["output"]
        assert response["xproxy_result"].cost.total.base == COST
        assert json.loads(json.dumps(response))["xproxy_result"]["cost"]["total"]["base"] == COST
        assert cost_of(response).amount == COST
        for copied in (copy.deepcopy(response), pickle.loads(pickle.dumps(response))):
            assert type(copied["xproxy_result"]) is dict

    def test_what_was_said_does_not_hold_it(self, instrument: Any, bedrock: Any, provider: ProviderServer, packets: Any) -> None:
        """The packet has the provider's answer."""
        instrument()
        provider.script(CONVERSED)
        bedrock.converse(**ASK)
        (packet,) = packets()
        assert "xproxy_result" not in packet["body"]["provider_response_json"]

    def test_invoke_model(self, instrument: Any, bedrock: Any, provider: ProviderServer) -> None:
        """The body is read as before."""
        instrument()
        provider.script(INVOKED)
        response = bedrock.invoke_model(**BODY)
        assert response["xproxy_result"]["cost"]["total"]["base"] == COST
        assert json.loads(response["body"].read()) == INVOKED.body

    @pytest.mark.parametrize(
        ("method", "asked", "key", "reply"),
        [
            ("converse_stream", ASK, "stream", CONVERSE_STREAMED),
            ("invoke_model_with_response_stream", BODY, "body", INVOKE_STREAMED),
        ],
    )
    @pytest.mark.parametrize("adds", [True, False])
    def test_streams(
        self,
        method: str,
        asked: dict[str, Any],
        key: str,
        reply: Reply,
        adds: bool,
        instrument: Any,
        bedrock: Any,
        provider: ProviderServer,
    ) -> None:
        """The last event has it where the setting says so; the response always."""
        provider.script(reply, reply)
        bare = list(getattr(bedrock, method)(**asked)[key])
        instrument({"aws_config": {"add_streaming_xproxy_result": adds}})
        response = getattr(bedrock, method)(**asked)
        events = list(response[key])
        assert ["xproxy_result" in event for event in events] == [*[False] * (len(events) - 1), adds]
        assert response["xproxy_result"].cost.total.base == COST
        if adds:
            assert events[-1].pop("xproxy_result").cost.total.base == COST
        assert events == bare

    def test_it_is_read_while_the_stream_is(self, instrument: Any, bedrock: Any, provider: ProviderServer, packets: Any) -> None:
        """What the setting is for."""
        instrument({"aws_config": {"add_streaming_xproxy_result": True}})
        provider.script(CONVERSE_STREAMED)
        stream = bedrock.converse_stream(**ASK)["stream"]
        assert [event["xproxy_result"].cost.total.base for event in stream if "xproxy_result" in event] == [COST]
        assert packets()[0]["body"]["units"] == {"text": {"input": 5, "output": 2}}

    def test_claudes_last_event_is_bedrocks(self, instrument: Any, bedrock: Any, provider: ProviderServer, packets: Any) -> None:
        """The metrics, and with them a guardrail's, come behind Claude's own end."""
        instrument({"aws_config": {"add_streaming_xproxy_result": True}})
        start = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}}
        events = [
            {"type": "message_start", "message": start},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
            {"type": "message_stop", "amazon-bedrock-invocationMetrics": METRICS},
        ]
        provider.script(Reply(events=[chunk(one) for one in events], headers=EVENT_STREAM))
        stream = bedrock.invoke_model_with_response_stream(modelId="anthropic.claude-x", body="{}")["body"]
        assert [event["xproxy_result"].cost.total.base if "xproxy_result" in event else None for event in stream] == [None, None, COST]
        assert packets()[0]["body"]["units"] == {"text": {"input": 5, "output": 2}}

    async def test_async(self, instrument: Any, provider: ProviderServer) -> None:
        """aiobotocore's the same."""
        instrument({"aws_config": {"add_streaming_xproxy_result": True}})
        async with aiobedrock(provider) as client:
            provider.script(CONVERSED, CONVERSE_STREAMED)
            response = await client.converse(**ASK)
            assert (await response["xproxy_result"]).cost.total.base == COST
            events = [event async for event in (await client.converse_stream(**ASK))["stream"]]
        assert ["xproxy_result" in event for event in events] == [False, False, False, True]
        assert (await events[-1]["xproxy_result"]).cost.total.base == COST


class TestGoogle:
    """Pydantic models of another kind, and streams that are generators."""

    def test_response_and_stream(self, instrument: Any, provider: ProviderServer) -> None:
        """The last chunk, for a stream."""
        genai = pytest.importorskip("google.genai")
        instrument()
        client = genai.Client(api_key="k", http_options=genai.types.HttpOptions(base_url=provider.url))
        provider.script(GENERATED)
        answer = client.models.generate_content(model="m", contents="Hi.")
        assert answer.xproxy_result.cost.total.base == COST
        assert "xproxy_result" not in answer.model_dump()
        first = {"candidates": [{"content": {"role": "model", "parts": [{"text": "H"}]}}], "responseId": "r1", "modelVersion": "m"}
        provider.script(Reply(events=[first, GENERATED.body], done=False))
        chunks = list(client.models.generate_content_stream(model="m", contents="Hi."))
        assert [hasattr(one, "xproxy_result") for one in chunks] == [False, True]
        assert chunks[-1].xproxy_result.cost.total.base == COST
        client.close()
