"""Defects seen in the published SDK's instrumentation of Bedrock (docs/differences.md), done to the real boto3 and aiobotocore."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_frames import EVENT_STREAM, frame
from provider_server import ProviderServer, Reply

boto3 = pytest.importorskip("boto3")

ASK: dict[str, Any] = {"modelId": "us.anthropic.claude-opus-5", "messages": [{"role": "user", "content": [{"text": "Say hello."}]}]}
USAGE = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
COUNTED = {"x-amzn-bedrock-input-token-count": "3", "x-amzn-bedrock-output-token-count": "2"}
UNITS = {"text": {"input": 3, "output": 2}}
LLAMA = {"generation": "Hi.", "prompt_token_count": 3, "generation_token_count": 2}
SECRET = b"\x00\xff\xfe"
"""Bytes that are no text, as the SDK hands them out."""
HIDDEN = {"reasoningContent": {"redactedContent": base64.b64encode(SECRET).decode()}}


def settings(url: str) -> dict[str, Any]:
    """Where a client calls, and with what; it retries nothing."""
    from botocore.config import Config

    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    return {"endpoint_url": url, "config": Config(retries={"max_attempts": 0}), **keys}


@pytest.fixture
def client(provider: ProviderServer) -> Iterator[Any]:
    """A client of boto3."""
    one = boto3.client("bedrock-runtime", **settings(provider.url))
    yield one
    one.close()


def read_into(body: Any) -> bytes:
    """Into a buffer of the caller's, where this version of the SDK can."""
    if not hasattr(body, "readinto"):
        return body.read()
    buffer = bytearray(1000)
    return bytes(buffer[: body.readinto(buffer)])


WAYS: dict[str, Callable[[Any], bytes]] = {
    "in two parts": lambda body: body.read(4) + body.read(),
    "twice": lambda body: body.read() + body.read(),
    "into a buffer": read_into,
    "by readlines": lambda body: b"".join(body.readlines()),
    "by iter_lines": lambda body: b"\n".join(body.iter_lines()),
    "by iter_chunks": lambda body: b"".join(body.iter_chunks(3)),
    "by next": next,
    "within with": lambda body: body.__enter__().read(),
}


@pytest.mark.parametrize("answer", ["[1, 2]", "3", "null", "no JSON at all", "\u00e9\n{"])
@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_is_no_object_is_read_as_ever(way: str, answer: str, client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Whatever a model of the caller's own answers, in whichever way it is read: nothing raises, and the headers are billed."""
    instrument()
    provider.script(Reply(answer, headers=COUNTED))
    assert WAYS[way](client.invoke_model(modelId="mine", body="{}")["body"]) == answer.encode()
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


async def test_an_async_body_that_is_no_object_is_read_as_ever(provider: Any, instrument: Any, packets: Any) -> None:
    """The same through aiobotocore, in parts."""
    session = pytest.importorskip("aiobotocore.session")
    from aiobotocore.config import AioConfig

    instrument()
    provider.script(Reply("[1, 2]", headers=COUNTED))
    async with session.get_session().create_client(
        "bedrock-runtime", **{**settings(provider.url), "config": AioConfig(retries={"max_attempts": 0})}
    ) as one:
        body = (await one.invoke_model(modelId="mine", body="{}"))["body"]
        assert await body.read(2) + await body.read() + await body.read() == b"[1, 2]"
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


def test_an_answer_with_bytes_in_it_is_one_packet(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """An image is bytes, which no JSON takes."""
    instrument()
    said = {"image": {"format": "png", "source": {"bytes": base64.b64encode(SECRET).decode()}}}
    provider.script(Reply({"output": {"message": {"role": "assistant", "content": [said]}}, "stopReason": "end_turn", "usage": USAGE}))
    content = client.converse(**ASK)["output"]["message"]["content"]
    assert content == [{"image": {"format": "png", "source": {"bytes": SECRET}}}]
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


def test_a_stream_with_bytes_in_it_is_one_packet(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Hidden reasoning in a stream's event."""
    if "ReasoningContentBlockDelta" not in client.meta.service_model.shape_names:
        pytest.skip("this SDK does not know of reasoning")
    instrument()
    frames = [
        frame({"contentBlockIndex": 0, "delta": HIDDEN}, kind="contentBlockDelta"),
        frame({"stopReason": "end_turn"}, kind="messageStop"),
        frame({"usage": USAGE}, kind="metadata"),
    ]
    provider.script(Reply(events=frames, headers=EVENT_STREAM))
    events = list(client.converse_stream(**ASK)["stream"])
    assert events[0]["contentBlockDelta"]["delta"] == {"reasoningContent": {"redactedContent": SECRET}}
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


def test_a_prompt_with_bytes_in_it_is_one_packet(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """An image is given as bytes."""
    instrument()
    provider.script(Reply({"stopReason": "end_turn", "usage": USAGE}))
    image = {"image": {"format": "png", "source": {"bytes": SECRET}}}
    client.converse(modelId="m", messages=[{"role": "user", "content": [image]}])
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


MADE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "boto3, by keyword": lambda given: boto3.client(service_name="bedrock-runtime", **given),
    "boto3, by position": lambda given: boto3.client("bedrock-runtime", **given),
    "boto3 session, by keyword": lambda given: boto3.session.Session().client(service_name="bedrock-runtime", **given),
    "botocore session, by keyword": lambda given: botocore_session().create_client(service_name="bedrock-runtime", **given),
    "botocore session, by position": lambda given: botocore_session().create_client("bedrock-runtime", **given),
}


def botocore_session() -> Any:
    """A session of botocore's own."""
    import botocore.session

    return botocore.session.Session()


@pytest.mark.parametrize("before", [False, True], ids=["made after", "made before"])
@pytest.mark.parametrize("made", MADE)
def test_however_a_client_is_made_a_call_is_one_packet(made: str, before: bool, provider: Any, instrument: Any, packets: Any) -> None:
    """One layer of instrumentation, and results that JSON takes."""
    one = MADE[made](settings(provider.url)) if before else None
    instrument()
    one = MADE[made](settings(provider.url)) if one is None else one
    provider.script(Reply({"stopReason": "end_turn", "usage": USAGE}), Reply(LLAMA))
    assert json.loads(json.dumps(one.converse(**ASK)))["usage"] == USAGE
    assert json.loads(one.invoke_model(modelId="meta.llama3-8b", body="{}")["body"].read()) == LLAMA
    one.close()
    assert [packet["body"]["units"] for packet in packets(2)] == [UNITS, UNITS]


def test_a_client_that_cannot_be_made_is_tried_once(provider: Any, instrument: Any) -> None:
    """Its error is the caller's own hook's, raised once."""
    instrument()
    session, tries = botocore_session(), list[str]()

    def fail(**about: Any) -> None:
        tries.append("once")
        raise LookupError("no client today")

    session.register("creating-client-class.bedrock-runtime", fail)
    with pytest.raises(LookupError):
        session.create_client(service_name="bedrock-runtime", **settings(provider.url))
    assert tries == ["once"]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"inputTokens": 0, "outputTokens": 0, "cacheReadInputTokenCount": 7, "cacheWriteInputTokenCount": 5},
            {"text": (0, 0), "text_cache_read": (7, 0), "text_cache_write": (5, 0)},
        ),
        ({**USAGE, "cacheReadInputTokenCount": None, "cacheWriteInputTokenCount": 0}, {"text": (3, 2)}),
    ],
)
def test_novas_cache_is_billed(
    usage: dict[str, Any], expected: dict[str, tuple[int, int]], client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """Also where nothing else is, and where it is null."""
    instrument()
    provider.script(Reply({"output": {}, "usage": usage}))
    client.invoke_model(modelId="us.amazon.nova-lite-v1:0", body="{}")
    (packet,) = packets()
    assert packet["body"]["units"] == {name: {"input": pair[0], "output": pair[1]} for name, pair in expected.items()}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("tier", "shown"), [("priority", "priority"), ("default", None)])
def test_converses_service_tier_is_said(
    tier: str, shown: str | None, streamed: bool, client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """It has a price of its own; the default one is not worth a word. Older SDKs do not read it off the answer."""
    members = client.meta.service_model.operation_model("Converse").output_shape.members
    if "serviceTier" not in members:
        pytest.skip("this SDK does not know of service tiers")
    instrument()
    said = {"usage": USAGE, "serviceTier": {"type": tier}}
    if streamed:
        frames = [frame({"stopReason": "end_turn"}, kind="messageStop"), frame(said, kind="metadata")]
        provider.script(Reply(events=frames, headers=EVENT_STREAM))
        list(client.converse_stream(**ASK)["stream"])
    else:
        provider.script(Reply({"stopReason": "end_turn", **said}))
        client.converse(**ASK)
    (packet,) = packets()
    assert packet["body"].get("properties", {}).get("payi_otel.service_tier") == shown


def test_invoke_models_host_is_told_and_mapped(client: Any, provider: Any, instrument: Any, packets: Any, ingest: Any) -> None:
    """As any other call's."""
    instrument({"host_mappings": {"127.0.0.1": {"price_as_category": "system.other"}}})
    provider.script(Reply(LLAMA))
    client.invoke_model(modelId="meta.llama3-8b", body="{}")
    (packet,) = packets()
    assert packet["body"]["category"] == "system.other"
    assert ingest.packets[0]["body"]["provider_uri"].startswith(provider.url)


def test_nothing_is_put_on_the_sdks_objects(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """A body, a stream and a client have no name that they have not without us; a result has one key, which is promised."""

    def looked_at() -> list[Any]:
        provider.script(Reply(LLAMA), Reply(events=[frame({"usage": USAGE}, kind="metadata")], headers=EVENT_STREAM))
        invoked = client.invoke_model(modelId="meta.llama3-8b", body="{}")
        conversed = client.converse_stream(**ASK)
        seen = [sorted({*invoked} - {"xproxy_result"}), sorted({*conversed} - {"xproxy_result"}), dir(client), dir(client.meta)]
        seen += [(type(one), dir(one)) for one in (invoked["body"], conversed["stream"])]
        list(conversed["stream"])
        return seen

    before = looked_at()
    instrument()
    assert looked_at() == before
    packets(2)
