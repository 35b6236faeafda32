"""Defects seen in the published SDK's instrumentation of Anthropic (docs/differences.md), done to the real `anthropic` SDK."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_frames import EVENT_STREAM, chunk
from provider_server import ProviderServer, Reply

anthropic = pytest.importorskip("anthropic")

MESSAGES = [{"role": "user", "content": "Say hello."}]
ASK: dict[str, Any] = {"model": "claude-opus-5", "max_tokens": 9, "messages": MESSAGES}
HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5"}
USAGE = {"input_tokens": 10, "output_tokens": 5}
UNITS = {"text": {"input": 10, "output": 5}}
NULLS = dict.fromkeys(("cache_creation", "cache_creation_input_tokens", "cache_read_input_tokens", "server_tool_use", "service_tier"))


def answer(text: str = "Hello.", number: int = 1, **usage: Any) -> dict[str, Any]:
    """A whole message."""
    return {
        **HEAD,
        "id": f"msg_{number}",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {**USAGE, **usage},
    }


def events(start: dict[str, Any] | None = None, delta: dict[str, Any] | None = None, number: int = 1) -> list[dict[str, Any]]:
    """A whole stream, its usage in two places."""
    usage = {**USAGE, "output_tokens": 1, **(start or {})}
    begun = {**HEAD, "id": f"msg_{number}", "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    return [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 5, **(delta or {})},
        },
        {"type": "message_stop"},
    ]


def streamed(*all_events: dict[str, Any]) -> Reply:
    """A stream as the provider sends it."""
    return Reply(events=all_events or events(), done=False)


@pytest.fixture
def client(provider: ProviderServer) -> Iterator[Any]:
    """A client that retries nothing."""
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as one:
        yield one


@pytest.fixture
async def async_client(provider: ProviderServer) -> Any:
    """Its async twin."""
    async with anthropic.AsyncAnthropic(api_key="k", base_url=provider.url, max_retries=0) as one:
        yield one


async def parsed(response: Any) -> Any:
    """What a raw response parses to, which some versions give and others let await."""
    result = response.parse()
    return await result if hasattr(result, "__await__") else result


@pytest.mark.parametrize("beta", [False, True])
async def test_the_async_helper_is_entered_and_read_as_ever(
    beta: bool, async_client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """It is used without an `await` before it, its events, its texts and its message are all there, and it is one packet."""
    instrument()
    provider.script(*[streamed(*events(number=number)) for number in (1, 2, 3)])
    messages = async_client.beta.messages if beta else async_client.messages
    async with messages.stream(**ASK) as stream:
        assert [text async for text in stream.text_stream] == ["Hello."]
    async with messages.stream(**ASK) as stream:
        assert "message_stop" in [event.type async for event in stream]
    async with messages.stream(**ASK) as stream:
        assert (await stream.get_final_message()).usage.output_tokens == 5
    assert [packet["body"]["units"] for packet in packets(3)] == [UNITS] * 3


def test_a_streaming_response_is_read_as_ever(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """`with_streaming_response` of a plain call and of a stream."""
    instrument()
    provider.script(Reply(answer()), streamed(*events(number=2)))
    with client.messages.with_streaming_response.create(**ASK) as response:
        assert json.loads(response.read()) == answer()
    with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        assert len(list(response.parse())) == len(events())
    assert [packet["body"]["units"] for packet in packets(2)] == [UNITS, UNITS]


async def test_an_async_streaming_response_is_read_as_ever(async_client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """The async twin."""
    instrument()
    provider.script(Reply(answer()), streamed(*events(number=2)))
    async with async_client.messages.with_streaming_response.create(**ASK) as response:
        assert (await parsed(response)).id == "msg_1"
    async with async_client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        assert len([event async for event in await parsed(response)]) == len(events())
    assert [packet["body"]["units"] for packet in packets(2)] == [UNITS, UNITS]


def test_a_raw_response_of_a_stream_is_one_packet(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """`with_raw_response` and `stream=True`, through which agents stream."""
    instrument()
    provider.script(streamed())
    response = client.messages.with_raw_response.create(**ASK, stream=True)
    assert response.headers["content-type"] == "text/event-stream"
    assert len(list(response.parse())) == len(events())
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


def test_null_means_nothing(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Null counts and a null `server_tool_use`, plain and in both places of a stream."""
    instrument()
    provider.script(Reply(answer(**NULLS)), streamed(*events(NULLS, {**NULLS, "input_tokens": None}, number=2)))
    assert client.messages.create(**ASK).usage.server_tool_use is None
    assert len(list(client.messages.create(**ASK, stream=True))) == len(events())
    for packet in packets(2):
        assert (packet["body"]["units"], packet["body"].get("properties")) == (UNITS, None)


@pytest.mark.parametrize("form", ["create", "create streamed", "stream"])
def test_messages_from_a_generator_reach_the_provider_whole(form: str, client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """They can be read once, and that is the SDK's to do."""

    def messages() -> Iterator[dict[str, str]]:
        yield from MESSAGES

    instrument()
    asked = {**ASK, "messages": messages()}
    provider.script(Reply(answer()) if form == "create" else streamed())
    if form == "create":
        client.messages.create(**asked)
    elif form == "create streamed":
        list(client.messages.create(**asked, stream=True))
    else:
        with client.messages.stream(**asked) as stream:
            stream.until_done()
    assert provider.requests[0]["body"]["messages"] == MESSAGES
    (packet,) = packets()
    assert json.loads(packet["body"]["provider_request_json"])["messages"] == MESSAGES


@pytest.mark.parametrize("helper", [False, True])
def test_an_error_in_a_stream_is_the_sdks_own_and_one_packet(
    helper: bool, client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """What came before it was billed; it was answered with a 200, and is none."""
    instrument()
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    provider.script(streamed(*events()[:3], error))

    def read() -> None:
        with client.messages.stream(**ASK) if helper else client.messages.create(**ASK, stream=True) as stream:
            list(stream)

    with pytest.raises(anthropic.APIStatusError):
        read()
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 299
    assert packet["body"]["units"]["text"]["input"] == 10
    assert packet["body"]["properties"]["payi_otel.end_reason"] == "error"


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_tool_is_named_whatever_its_place_and_input(is_streamed: bool, client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """In the first block, and without any input."""
    instrument()
    tool = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
    block = {"type": "content_block_start", "index": 0, "content_block": tool}
    provider.script(streamed(events()[0], block, *events()[3:]) if is_streamed else Reply({**answer(), "content": [tool]}))
    result = client.messages.create(**ASK, stream=is_streamed)
    if is_streamed:
        list(result)
    (packet,) = packets()
    assert packet["body"]["provider_response_function_calls"] == [{"name": "now", "arguments": "{}"}]


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K" * 40}}


def test_input_repeated_at_a_streams_end_is_not_added(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """The end says the input once more, images or not: the units add up to it."""
    instrument()
    provider.script(streamed(*events({"input_tokens": 100}, {"input_tokens": 100})))
    content = [{"type": "text", "text": "What is it?"}, IMAGE]
    list(client.messages.create(**{**ASK, "messages": [{"role": "user", "content": content}]}, stream=True))
    (packet,) = packets()
    assert sum(unit["input"] for unit in packet["body"]["units"].values()) == 100
    assert sum(unit["output"] for unit in packet["body"]["units"].values()) == 5


def test_a_stream_without_a_start_is_billed_by_its_end(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Some gateways leave the start out."""
    instrument()
    provider.script(streamed(*events(delta={"input_tokens": 10})[1:]))
    assert len(list(client.messages.create(**ASK, stream=True))) == len(events()) - 1
    (packet,) = packets()
    assert packet["body"]["units"] == UNITS


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's, of a model that will go
@pytest.mark.parametrize(
    ("model", "read", "suffix"),
    [("claude-sonnet-4-5", 199_990, ""), ("claude-sonnet-4-5", 199_991, "_large_context"), ("claude-opus-5", 300_000, "")],
)
def test_a_long_prompt_is_longer_than_200_000(
    model: str, read: int, suffix: str, client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """With what was read from a cache, and for the models that have such a price."""
    instrument()
    provider.script(Reply({**answer(cache_read_input_tokens=read), "model": model}))
    client.messages.create(**{**ASK, "model": model})
    (packet,) = packets()
    assert packet["body"]["units"] == {
        f"text{suffix}": {"input": 10, "output": 5},
        f"text_cache_read{suffix}": {"input": read, "output": 0},
    }


def test_all_a_message_says_of_its_price_is_recorded(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Thinking, searches, fetches, speed, tier and place; a compaction is in no total and billed."""
    instrument()
    usage = {
        "output_tokens_details": {"thinking_tokens": 4},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 3},
        "service_tier": "priority",
        "inference_geo": "us",
        "speed": "fast",
        "iterations": [{"type": "message", **USAGE}, {"type": "compaction", "input_tokens": 90, "output_tokens": 9}],
    }
    provider.script(Reply(answer(**usage)))
    client.beta.messages.create(**ASK)
    (packet,) = packets()
    assert packet["body"]["units"] == {
        "text": {"input": 100, "output": 10},
        "reasoning": {"input": 0, "output": 4},
        "web_search_request": {"input": 0, "output": 2},
    }
    assert packet["body"]["properties"] == {
        "payi_otel.speed": "fast",
        "payi_otel.service_tier": "priority",
        "payi_otel.web_fetch_requests": "3",
    }
    assert packet["scope"]["xproxy-resource-scope"] == "datazone.us"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # 0.125 renamed the argument
@pytest.mark.parametrize("beta", [False, True])
async def test_a_parsed_message_is_one_packet(
    beta: bool, client: Any, async_client: Any, provider: Any, instrument: Any, packets: Any
) -> None:
    """`parse` posts by itself."""
    pydantic = pytest.importorskip("pydantic")
    if not hasattr(client.messages, "parse"):
        pytest.skip("this SDK does not parse")

    class Word(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        word: str

    instrument()
    provider.script(*[Reply(answer('{"word": "hello"}', number)) for number in (1, 2)])
    given = (client.beta.messages if beta else client.messages).parse(**ASK, output_format=Word)
    later = await (async_client.beta.messages if beta else async_client.messages).parse(**ASK, output_format=Word)
    assert given.parsed_output == later.parsed_output == Word(word="hello")
    assert [packet["body"]["units"] for packet in packets(2)] == [UNITS, UNITS]


def test_a_beta_stream_helper_is_one_packet(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """Read to its end, or left."""
    instrument()
    provider.script(streamed(), streamed(*events(number=2)))
    with client.beta.messages.stream(**ASK) as stream:
        assert stream.get_final_message().id == "msg_1"
    with client.beta.messages.stream(**ASK) as stream:
        next(iter(stream))
    whole, left = sorted(packets(2), key=lambda packet: packet["body"]["provider_response_id"])
    assert whole["body"]["units"] == UNITS
    assert left["body"]["properties"]["payi_otel.end_reason"] == "closed"


def vertex(url: str) -> Any:
    """A client of Vertex AI."""
    pytest.importorskip("google.auth")
    return anthropic.AnthropicVertex(region="us-east5", project_id="p", access_token="t", base_url=url + "/v1", max_retries=0)


def bedrock(url: str) -> Any:
    """A client of Bedrock."""
    pytest.importorskip("botocore")
    return anthropic.AnthropicBedrock(aws_access_key="AKID", aws_secret_key="s", aws_region="us-east-1", base_url=url, max_retries=0)


def test_vertexs_beta_messages_are_recorded(provider: Any, instrument: Any, packets: Any) -> None:
    """Plain and streamed, by methods that class has taken from the first-party one when it was imported."""
    instrument()
    provider.script(Reply(answer()), streamed(*events(number=2)))
    with vertex(provider.url) as one:
        one.beta.messages.create(**ASK)
        assert len(list(one.beta.messages.create(**ASK, stream=True))) == len(events())
    for packet in packets(2):
        assert (packet["body"]["category"], packet["body"]["resource"]) == ("system.google.vertex", "anthropic.claude-opus-5")
        assert packet["body"]["units"] == UNITS


def test_bedrocks_beta_messages_are_recorded(provider: Any, instrument: Any, packets: Any) -> None:
    """Plain, and streamed in frames."""
    instrument()
    provider.script(Reply(answer()), Reply(events=[chunk(event) for event in events(number=2)], headers=EVENT_STREAM))
    with bedrock(provider.url) as one:
        one.beta.messages.create(**ASK)
        assert len(list(one.beta.messages.create(**ASK, stream=True))) == len(events())
    for packet in packets(2):
        assert (packet["body"]["category"], packet["body"]["resource"]) == ("system.aws.bedrock", "claude-opus-5")
        assert packet["body"]["units"] == UNITS


AWS = {"aws_access_key": "AKID", "aws_secret_key": "s", "aws_region": "us-east-1"}
CLIENTS: dict[str, tuple[Callable[[str], dict[str, Any]], str, str]] = {
    "Anthropic": (lambda url: {"api_key": "k", "base_url": url}, "system.anthropic", "claude-opus-5"),
    "AnthropicAWS": (lambda url: {**AWS, "workspace_id": "w", "base_url": url}, "system.aws.bedrock", "claude-opus-5"),
    "AnthropicBedrock": (lambda url: {**AWS, "base_url": url}, "system.aws.bedrock", "claude-opus-5"),
    "AnthropicBedrockMantle": (lambda url: {**AWS, "base_url": url + "/anthropic"}, "system.aws.bedrock", "claude-opus-5"),
    "AnthropicVertex": (
        lambda url: {"region": "us-east5", "project_id": "p", "access_token": "t", "base_url": url + "/v1"},
        "system.google.vertex",
        "anthropic.claude-opus-5",
    ),
    "AnthropicGoogleCloud": (
        lambda url: {"token_provider": lambda: "t", "project": "p", "workspace_id": "w", "base_url": url},
        "system.google.vertex",
        "anthropic.claude-opus-5",
    ),
    "AnthropicFoundry": (lambda url: {"api_key": "k", "base_url": url + "/anthropic/"}, "system.azure", "claude-opus-5"),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_has_its_category(name: str, provider: Any, instrument: Any, packets: Any) -> None:
    """Also those that are subclasses of `Anthropic`."""
    for needed in ("botocore", "google.auth"):
        pytest.importorskip(needed)
    if not hasattr(anthropic, name):
        pytest.skip("this SDK has no such client")
    arguments, category, resource = CLIENTS[name]
    instrument()
    provider.script(Reply(answer()))
    with getattr(anthropic, name)(**arguments(provider.url), max_retries=0) as one:
        one.messages.create(**ASK)
    (packet,) = packets()
    assert (packet["body"]["category"], packet["body"]["resource"]) == (category, resource)


def test_nothing_is_put_on_the_sdks_objects(client: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """A message, a stream, a manager and a client have no name that they have not without us."""

    def looked_at() -> list[Any]:
        provider.script(Reply(answer()), streamed(), streamed())
        with client.messages.stream(**ASK) as helper:
            names = [dir(helper), dir(client.messages.create(**ASK))]
            with client.messages.create(**ASK, stream=True) as stream:
                return [*names, type(stream), dir(stream), dir(stream.response), dir(client), dir(client.messages)]

    before = looked_at()
    instrument()
    assert looked_at() == before
    packets(3)


@pytest.mark.parametrize("raw", [False, True])
def test_pings_take_no_events_place(client: Any, provider: Any, instrument: Any, packets: Any, raw: bool) -> None:
    """The service sends them between events, and the SDK keeps them to itself: the record of a stream is whole, its last tool call, too."""
    instrument()
    tool = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    head, *tail = events()
    asked = [
        {"type": "content_block_start", "index": 0, "content_block": tool},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
        *tail[2:],
    ]
    sent = [head, *[{"type": "ping"}] * 5, *asked]
    provider.script(streamed(*sent))
    if raw:
        with client.messages.with_streaming_response.create(stream=True, **ASK) as response:
            response.read()
    else:
        list(client.messages.create(stream=True, **ASK))
    body = packets()[0]["body"]
    assert [json.loads(event) for event in body["provider_response_json"]] == [head, *asked]
    assert body["provider_response_function_calls"] == [{"name": "look", "arguments": '{"a": 1}'}]
    assert body["units"] == UNITS
