"""Embeddings: input tokens only, an id of ours, and vectors that do not swell the packet."""

from __future__ import annotations

import base64
import json
import re
import struct
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import Reply

import payi_otel
from payi_otel.testing import IngestServer

openai = pytest.importorskip("openai")
VECTOR = [0.25, -1.5, 3.0]
IN_BASE64 = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
REQUEST = {"model": "text-embedding-3-small", "input": "Say hello."}
WHOLE = {
    "body": {
        "category": "system.openai",
        "resource": "text-embedding-3-small",
        "units": {"text": {"input": 8, "output": 0}},
        "http_status_code": 200,
        "provider_response_id": "payi_<uuid4>",
    },
    "scope": SCOPE,
}


def vectors(count: int = 1, *, vector: Any = IN_BASE64, usage: Any = None) -> dict[str, Any]:
    """Embeddings as OpenAI sends them."""
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 8, "total_tokens": 8} if usage is None else usage,
    }


def test_embedding_becomes_one_whole_packet(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The SDK asks for base64 and decodes it for the caller; the packet keeps the place of the vector only."""
    instrument()
    provider.script(Reply(vectors()))
    assert client.embeddings.create(**REQUEST).data[0].embedding == VECTOR
    (packet,) = packets()
    assert json.loads(packet["body"].pop("provider_request_json")) == {**REQUEST, "encoding_format": "base64"}
    assert json.loads(packet["body"].pop("provider_response_json")) == vectors(vector="<not_instrumented>")
    assert packet == WHOLE


def test_vectors_are_kept_on_demand(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """`instrument_inline_data` keeps base64 vectors as the provider sent them."""
    instrument(config={"instrument_inline_data": True})
    provider.script(Reply(vectors()))
    client.embeddings.create(**REQUEST)
    (packet,) = packets()
    assert json.loads(packet["body"]["provider_response_json"]) == vectors()


def test_float_vectors_are_an_answer_like_any(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A caller who asks for numbers gets numbers, and so does the packet."""
    instrument()
    provider.script(Reply(vectors(vector=VECTOR)))
    assert client.embeddings.create(**REQUEST, encoding_format="float").data[0].embedding == VECTOR
    (packet,) = packets()
    assert json.loads(packet["body"].pop("provider_response_json")) == vectors(vector=VECTOR)
    packet["body"].pop("provider_request_json")
    assert packet == WHOLE


async def test_async_batch_is_one_packet(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """A hundred inputs in one call are one call."""
    instrument()
    provider.script(Reply(vectors(100)))
    answer = await async_client.embeddings.create(model=REQUEST["model"], input=["Say hello."] * 100)
    assert [item.embedding for item in answer.data] == [VECTOR] * 100
    (packet,) = packets()
    assert len(json.loads(packet["body"].pop("provider_request_json"))["input"]) == 100
    assert len(json.loads(packet["body"].pop("provider_response_json"))["data"]) == 100
    assert packet == WHOLE


@pytest.mark.parametrize("lazy", [False, True])
async def test_raw_embeddings_are_one_packet(
    instrument: Any, client: Any, async_client: Any, provider: Any, packets: Any, *, lazy: bool
) -> None:
    """Raw forms, sync and async, are billed the same."""
    instrument()
    provider.script(Reply(vectors()), Reply(vectors()))
    if lazy:
        with client.embeddings.with_streaming_response.create(**REQUEST) as raw:
            assert raw.parse().data[0].embedding
        async with async_client.embeddings.with_streaming_response.create(**REQUEST) as raw:
            assert (await raw.parse()).data[0].embedding
    else:
        assert client.embeddings.with_raw_response.create(**REQUEST).parse().data[0].embedding
        assert (await async_client.embeddings.with_raw_response.create(**REQUEST)).parse().data[0].embedding
    for packet in packets(2):
        for name in ("provider_request_json", "provider_response_json", "provider_request_headers"):
            packet["body"].pop(name, None)
        assert packet == WHOLE


def test_every_packet_has_an_id_of_its_own(instrument: Any, client: Any, provider: Any, ingest: IngestServer) -> None:
    """The provider gives none, and a resend must be known from a second call."""
    instrument()
    provider.script(Reply(vectors()), Reply(vectors()))
    client.embeddings.create(**REQUEST)
    client.embeddings.create(**REQUEST)
    assert payi_otel.flush(10)
    ids = [packet["body"]["provider_response_id"] for packet in ingest.packets]
    assert len(set(ids)) == 2
    assert all(re.fullmatch(r"payi_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one) for one in ids)


@pytest.mark.parametrize(
    ("usage", "units", "properties"),
    [
        ({"total_tokens": 8}, {"text": {"input": 8, "output": 0}}, None),
        ({"prompt_tokens": 8}, {"text": {"input": 8, "output": 0}}, None),
        ({}, {"text": {"input": 3, "output": 0}}, {"payi_otel.usage_estimated": "input,output"}),
    ],
)
def test_servers_with_half_a_usage(
    instrument: Any, client: Any, provider: Any, packets: Any, usage: Any, units: Any, properties: Any
) -> None:
    """All of an embedding's total is input; without any, the text's length says what it may have been."""
    instrument()
    provider.script(Reply(vectors(usage=usage)))
    client.embeddings.create(**REQUEST)
    (packet,) = packets()
    assert packet["body"]["units"] == units
    assert packet["body"].get("properties") == properties


def test_token_arrays_are_counted_exactly(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """An input of token numbers needs no estimate of its length, only its count."""
    instrument()
    provider.script(Reply(vectors(usage={})))
    client.embeddings.create(model=REQUEST["model"], input=[[1, 2, 3], [4, 5]])
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 5, "output": 0}}
