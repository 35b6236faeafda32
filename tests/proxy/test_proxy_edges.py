"""Proxy mode at its edges: what a call does beside its own request, the rarer methods and clients, and what is known of an answer."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flavours import openai_at
from provider_server import ProviderServer, Reply
from proxied_calls import (
    ASK,
    AWS_MODEL,
    BY_NAME,
    CHAT,
    CHUNKS,
    COMPLETION,
    CONVERSED,
    COUNTED,
    DEFAULTS,
    MESSAGE,
    MESSAGES,
    MODEL,
    PLAIN,
    RESPONSE,
    CallCase,
    databricks_api,
    new_client,
    requests_of,
    stripped,
)

import payi_otel
from payi_otel import Payi, get_context, track_context

STREAMS = ("sync-openai-chat.completions-stream", "sync-openai-responses-stream", "sync-anthropic-messages-helper")
ANSWERED = (*(case for case in PLAIN if not case.name.startswith(("async", "aio"))), *(BY_NAME[name] for name in STREAMS))
"""Those that are made in the test's own context."""


@pytest.fixture
def other() -> Iterator[ProviderServer]:
    """A service that is none of a model."""
    server = ProviderServer()
    yield server
    server.close()


def ask_openai(provider: Any, **arguments: Any) -> Any:
    """A chat completion with a client that has these arguments."""
    with new_client("openai", "OpenAI", provider.url, {"base_url": "{}/v1", **arguments}) as client:
        return client.chat.completions.create(**CHAT)


# ---- what a call asks others for

ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey><SessionToken>token</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
PROFILES = """[profile keys]
aws_access_key_id = AKID
aws_secret_access_key = secret
[profile role]
role_arn = arn:aws:iam::1:role/r
source_profile = keys
region = us-east-1
"""


@pytest.fixture
def role(other: ProviderServer, proxy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProviderServer:
    """AWS's token service, which the profile `role` needs for its first signature."""
    (tmp_path / "config").write_text(PROFILES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", other.url)
    other.always("", Reply(ASSUMED, headers={"content-type": "text/xml"}))
    proxy.aws_secrets = {"ASIA": "role-secret"}
    return other


def converse_as_role(provider: Any) -> None:
    """By boto3."""
    boto3 = pytest.importorskip("boto3")
    client = boto3.Session(profile_name="role").client("bedrock-runtime", endpoint_url=provider.url)
    client.converse(modelId=AWS_MODEL, messages=MESSAGES)
    client.close()


def converse_as_role_async(provider: Any) -> None:
    """By aiobotocore."""
    session = pytest.importorskip("aiobotocore.session")

    async def call() -> None:
        async with session.AioSession(profile="role").create_client("bedrock-runtime", endpoint_url=provider.url) as client:
            await client.converse(modelId=AWS_MODEL, messages=MESSAGES)

    asyncio.run(call())


def message_as_role(provider: Any) -> None:
    """By the `anthropic` SDK, which signs with botocore."""
    arguments = {"aws_profile": "role", "aws_region": "us-east-1", "base_url": "{}"}
    with new_client("anthropic", "AnthropicBedrock", provider.url, arguments) as client:
        client.messages.create(**ASK)


AS_ROLE = {
    "boto3": (converse_as_role, CONVERSED),
    "aiobotocore": (converse_as_role_async, CONVERSED),
    "anthropic": (message_as_role, MESSAGE),
}


@pytest.mark.parametrize("name", AS_ROLE)
def test_credentials_are_fetched_from_aws(name: str, instrument: Any, provider: Any, proxy: Any, role: Any) -> None:
    """Not through the proxy, which is to see neither role nor keys; the call is signed with what came."""
    instrument({"proxy": True})
    ask, answer = AS_ROLE[name]
    provider.script(Reply(answer))
    ask(provider)
    assert [b"AssumeRole" in request["body"] for request in role.requests] == [True]
    assert not any(header.startswith("xproxy-") for header in role.requests[0]["headers"])
    assert [call.provider for call in proxy.calls] == ["aws.bedrock"]
    assert [call.scope for call in proxy.calls] == [DEFAULTS]
    assert proxy.calls[0].credentials["x-amz-security-token"] == "token"


def test_a_key_may_be_fetched_within_the_call(instrument: Any, provider: Any, proxy: Any, other: Any) -> None:
    """By whatever the application fetches it with: that is no part of the call."""
    boto3, openai = pytest.importorskip("boto3"), pytest.importorskip("openai")
    if "Callable" not in str(inspect.signature(openai.OpenAI.__init__).parameters["api_key"]):
        pytest.skip("this version of openai takes no function for its key")
    arguments = {"region_name": "us-east-1", "aws_access_key_id": "AKID", "aws_secret_access_key": "secret"}
    secrets = boto3.client("secretsmanager", endpoint_url=other.url, **arguments)
    other.always("", Reply({"SecretString": "sk-fetched"}))
    workspace = databricks_api(other.url)

    def fetch() -> str:
        workspace._api.do("GET", "/api/2.0/secrets/get")
        key: str = secrets.get_secret_value(SecretId="key")["SecretString"]
        return key

    instrument({"proxy": True})
    provider.script(Reply(COMPLETION))
    ask_openai(provider, api_key=fetch)
    secrets.close()
    assert [request["method"] for request in requests_of(other)] == ["GET", "POST"]
    assert not any(header.startswith("xproxy-") for request in other.requests for header in request["headers"])
    assert [call.credentials for call in proxy.calls] == [{"authorization": "Bearer sk-fetched"}]


def test_a_data_plane_is_looked_up_in_its_workspace(instrument: Any, provider: Any, proxy: Any, other: Any) -> None:
    """`databricks-sdk` asks the workspace where an endpoint is, within the query."""
    serving = pytest.importorskip("databricks.sdk.service.serving")
    control = databricks_api(other.url)
    info = {"query_info": {"endpoint_url": provider.url + "/serving-endpoints/my-endpoint/invocations", "authorization_details": "[]"}}
    other.always("/my-endpoint", Reply({"name": "my-endpoint", "data_plane_info": info}))
    if "dpts" not in inspect.signature(serving.ServingEndpointsDataPlaneAPI.__init__).parameters:
        pytest.skip("this version of databricks-sdk has another data plane")
    tokens = SimpleNamespace(token=lambda url, details: SimpleNamespace(access_token="t", token_type="Bearer"))
    api = serving.ServingEndpointsDataPlaneAPI(control._api, control, tokens)
    instrument({"proxy": True})
    provider.script(Reply(COMPLETION))
    asked = [serving.ChatMessage(role=serving.ChatMessageRole.USER, content="Hi.")]
    assert stripped(api.query("my-endpoint", messages=asked).as_dict())["usage"] == COUNTED
    assert [(request["method"], request["path"]) for request in requests_of(other)] == [("GET", "/api/2.0/serving-endpoints/my-endpoint")]
    assert [(call.path, call.base_uri) for call in proxy.calls] == [("/my-endpoint/invocations", provider.url + "/serving-endpoints")]


# ---- nothing is asked for that the caller did not ask for


def test_a_stream_without_usage_stays_without(instrument: Any, provider: Any, proxy: Any) -> None:
    """The proxy counts by itself: the provider is asked for no more, and nothing is hidden."""

    def ask() -> Any:
        with new_client("openai", "OpenAI", provider.url, {"api_key": "k", "base_url": "{}/v1"}) as client:
            return [chunk.to_dict() for chunk in client.chat.completions.create(**CHAT, stream=True)]

    provider.script(Reply(events=CHUNKS[:2]), Reply(events=CHUNKS[:2]))
    bare = ask()
    instrument({"proxy": True})
    assert stripped(ask()) == bare
    assert [request["body"] for request in provider.requests] == [{**CHAT, "stream": True}] * 2


# ---- rarer methods

IMAGE = {"created": 1, "data": [{"b64_json": "eA=="}], "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}}
TEXT = {"text": "Hi.", "usage": {"type": "tokens", "input_tokens": 5, "output_tokens": 2, "total_tokens": 7}}
WORDS = {**COMPLETION, "object": "text_completion", "choices": [{"index": 0, "text": "Hi.", "finish_reason": "stop"}]}
SOUND = Reply(b"\xff\xf3sound", headers={"content-type": "audio/mpeg"})
RARER: dict[str, tuple[Callable[[Any], Any], Reply, str]] = {
    "completions": (lambda client: client.completions.create(model=MODEL, prompt="Hi.").to_dict(), Reply(WORDS), "/completions"),
    "images": (lambda client: client.images.generate(model=MODEL, prompt="A cat.").to_dict(), Reply(IMAGE), "/images/generations"),
    "transcriptions": (
        lambda client: client.audio.transcriptions.create(model=MODEL, file=("a.wav", b"RIFF" * 9)).to_dict(),
        Reply(TEXT),
        "/audio/transcriptions",
    ),
    "speech": (lambda client: client.audio.speech.create(model=MODEL, voice="alloy", input="Hi.").content, SOUND, "/audio/speech"),
    "retrieve": (lambda client: client.responses.retrieve("resp_1").to_dict(), Reply(RESPONSE), "/responses/resp_1"),
    "query": (
        lambda client: client.chat.completions.create(**CHAT, extra_query={"a": "é/?"}).to_dict(),
        Reply(COMPLETION),
        "/chat/completions",
    ),
}


@pytest.mark.parametrize("name", RARER)
def test_a_rarer_method_goes_the_same_way(name: str, instrument: Any, provider: Any, proxy: Any) -> None:
    """Forms, sounds and queries, too."""
    ask, reply, path = RARER[name]

    def run() -> Any:
        with new_client("openai", "OpenAI", provider.url, {"api_key": "k", "base_url": "{}/v1"}) as client:
            return ask(client)

    provider.script(reply, reply)
    bare = run()
    instrument({"proxy": True})
    assert stripped(run()) == bare
    before, after = ((request["method"], request["path"]) for request in provider.requests)
    assert after == before
    assert [(call.method, call.path) for call in proxy.calls] == [(before[0], path)]
    assert payi_otel.flush(10)
    assert proxy.requests == []


def test_a_response_in_the_background_is_the_proxy_s(instrument: Any, provider: Any, proxy: Any) -> None:
    """Begun and fetched: both go there, and no packet from here."""
    openai = pytest.importorskip("openai")
    if "background" not in inspect.signature(openai.OpenAI(api_key="k").responses.create).parameters:
        pytest.skip("this version of openai has none")
    instrument({"proxy": True})
    queued = {**RESPONSE, "status": "queued", "background": True, "output": [], "usage": None}
    provider.script(Reply(queued), Reply({**RESPONSE, "background": True}))
    with new_client("openai", "OpenAI", provider.url, {"api_key": "k", "base_url": "{}/v1"}) as client:
        begun = client.responses.create(model=MODEL, input="Hi.", background=True)
        assert client.responses.retrieve(begun.id).status == "completed"
    assert [(call.method, call.path) for call in proxy.calls] == [("POST", "/responses"), ("GET", "/responses/resp_1")]
    payi_otel.shutdown(5)
    assert proxy.requests == []


# ---- rarer clients

ODD = "my dep/é?#"
ON_AWS = {"aws_access_key": "AKID", "aws_secret_key": "secret", "aws_region": "us-east-1"}
RARE_CLIENTS: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "azure-odd": (
        "openai",
        "AzureOpenAI",
        {"api_key": "k", "azure_endpoint": "{}", "api_version": "1", "azure_deployment": ODD},
        "azure.openai",
        "",
    ),
    "openai-on-bedrock": (
        "openai",
        "BedrockOpenAI",
        {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "aws_region": "us-east-1", "base_url": "{}/openai/v1"},
        "aws.bedrock",
        "",
    ),
    "mantle": ("anthropic", "AnthropicBedrockMantle", {**ON_AWS, "base_url": "{}/anthropic"}, "aws.bedrock", ""),
    "anthropic-aws": ("anthropic", "AnthropicAWS", {**ON_AWS, "base_url": "{}", "workspace_id": "w"}, "aws.bedrock", ""),
    "bedrock-key": ("anthropic", "AnthropicBedrock", {"api_key": "k", "aws_region": "us-east-1", "base_url": "{}"}, "aws.bedrock", ""),
}


@pytest.mark.parametrize("name", RARE_CLIENTS)
def test_a_rarer_client_goes_the_same_way(name: str, instrument: Any, provider: Any, proxy: Any) -> None:
    """On AWS the whole path is sent, whatever API it is of; a signature holds for AWS."""
    sdk, kind, arguments, key, base = RARE_CLIENTS[name]
    if kind == "BedrockOpenAI" and int(pytest.importorskip("openai").__version__.split(".")[0]) < 3:
        pytest.skip("this version of openai signs `connection`, which no proxy forwards")
    reply = Reply(COMPLETION if sdk == "openai" else MESSAGE)

    def run() -> Any:
        try:
            client = new_client(sdk, kind, provider.url, arguments)
        except TypeError:
            pytest.skip(f"this version of {kind} takes other arguments")
        with client:
            return (client.chat.completions.create(**CHAT) if sdk == "openai" else client.messages.create(**ASK)).to_dict()

    provider.script(reply, reply)
    bare = run()
    instrument({"proxy": True})
    assert stripped(run()) == bare
    before, after = (request["path"] for request in provider.requests)
    assert after == before
    (call,) = proxy.calls
    assert (call.provider, call.base_uri) == (key, provider.url + base)
    assert call.scope == DEFAULTS


def test_azure_without_its_client_goes_azure_s_way(instrument: Any, provider: Any, proxy: Any) -> None:
    """A plain client at an Azure host."""
    host = "https://my.openai.azure.com"
    proxy.hosts[host] = provider.url
    instrument({"proxy": True})
    provider.script(Reply(COMPLETION))
    with new_client("openai", "OpenAI", "", {"api_key": "k", "base_url": host + "/openai/v1/"}) as client:
        client.chat.completions.create(**CHAT)
    (call,) = proxy.calls
    assert (call.provider, call.base_uri, call.path) == ("azure.openai", host, "/openai/v1/chat/completions")
    assert call.scope == DEFAULTS


def test_a_client_of_another_http_library_is_redirected(instrument: Any, provider: Any, proxy: Any) -> None:
    """One that the application made, for a host that it alone knows the way to: the proxy is reached by it all the same."""
    proxy.hosts["https://api.openai.com"] = provider.url
    instrument({"proxy": True})
    provider.script(Reply(COMPLETION))
    with openai_at("https://api.openai.com/v1", proxy.url) as client:
        client.chat.completions.create(**CHAT)
    assert [(call.base_uri, call.path) for call in proxy.calls] == [(None, "/chat/completions")]


VERTEX = {"region": "us-east5", "project_id": "p", "access_token": "t", "base_url": "{}/v1"}


def test_claude_on_google_goes_direct(instrument: Any, provider: Any, proxy: Any, packets: Any, caplog: Any) -> None:
    """As all of Google's; said once."""
    pytest.importorskip("google.auth")
    provider.script(Reply(MESSAGE), Reply({**MESSAGE, "id": "msg_2"}))
    with caplog.at_level(logging.WARNING, logger="payi.instrument"):
        instrument({"proxy": True})
        for _ in range(2):
            with new_client("anthropic", "AnthropicVertex", provider.url, VERTEX) as client:
                client.messages.create(**ASK)
        assert [packet["body"]["category"] for packet in packets(2)] == ["system.google.vertex"] * 2
    assert proxy.calls == []
    assert len([record for record in caplog.records if "proxy" in record.getMessage().lower()]) == 1


# ---- what is known of an answer


@pytest.mark.parametrize("case", ANSWERED, ids=lambda case: case.name)
def test_the_last_result_is_the_proxy_s(case: CallCase, instrument: Any, provider: Any, proxy: Any) -> None:
    """Each call's own, with its cost, at once: nobody has to be asked."""
    instrument({"proxy": True})
    provider.script(case.reply, case.reply)
    with track_context(user_id="ann"):
        for number in range(2):
            case.run(provider.url)
            result = get_context()["last_result"]
            assert result.request_id == proxy.calls[number].result["request_id"]
            assert result.cost.total.base == proxy.calls[number].result["cost"]["total"]["base"]
    assert proxy.requests == []


def test_limits_are_told_of_by_the_proxy_s_answers(instrument: Any, provider: Any, proxy: Any) -> None:
    """As by those to packets, whether it let a call pass or not."""
    told: list[tuple[str, str]] = []
    instrument({"proxy": True, "on_limit": lambda limit_id, state: told.append((limit_id, state)), "limit_ids": ["limit-1"]})
    provider.always("", Reply(COMPLETION))
    openai = pytest.importorskip("openai")
    ask_openai(provider, api_key="k")
    proxy.set_limit("limit-1", "exceeded")
    ask_openai(provider, api_key="k")
    proxy.block("limit-1")
    with pytest.raises(openai.BadRequestError):
        ask_openai(provider, api_key="k")
    assert told == [("limit-1", "exceeded"), ("limit-1", "blocked")]


def test_a_key_that_is_refused_is_looked_for_again(provider: Any, proxy: Any) -> None:
    """The call fails, for it cannot be made; the next one has the new key."""
    openai = pytest.importorskip("openai")
    keys = ["old", proxy.api_key]
    payi_otel.payi_instrument(payi=Payi(api_key=lambda: keys[0], base_url=proxy.url), config={"proxy": True})
    try:
        provider.always("", Reply(COMPLETION))
        keys.pop(0)
        with pytest.raises(openai.AuthenticationError):
            ask_openai(provider, api_key="k")
        proxy.problems.clear()
        ask_openai(provider, api_key="k")
        assert [call.header("xproxy-api-key") for call in proxy.calls] == ["old", proxy.api_key]
    finally:
        payi_otel.shutdown(5)


def test_where_the_proxy_is_not_there_the_call_fails(provider: Any, proxy: Any) -> None:
    """As where the provider is not: it is not sent past the proxy, whose limits are to hold."""
    openai = pytest.importorskip("openai")
    payi_otel.payi_instrument(payi=Payi(api_key="k", base_url="http://127.0.0.1:9"), config={"proxy": True})
    try:
        with pytest.raises(openai.APIConnectionError):
            ask_openai(provider, api_key="k")
        assert requests_of(provider) == []
    finally:
        payi_otel.shutdown(0)


async def test_tasks_may_go_either_way_at_once(instrument: Any, provider: Any, proxy: Any, ingest: Any) -> None:
    """With one client."""
    instrument({"proxy": True})
    provider.always("", lambda number: Reply({**COMPLETION, "id": f"c{number}"}))

    async def ask(client: Any, number: int) -> None:
        with track_context(user_id=f"user-{number}", proxy=number % 2 == 0):
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"user-{number}"}])

    async with new_client("openai", "AsyncOpenAI", provider.url, {"api_key": "k", "base_url": "{}/v1"}) as client:
        await asyncio.gather(*(ask(client, number) for number in range(40)))
    assert await asyncio.to_thread(ingest.wait_for_packets, 20)
    assert {call.scope["user_id"] for call in proxy.calls} == {f"user-{number}" for number in range(0, 40, 2)}
    assert {packet["headers"]["xproxy-user-id"] for packet in ingest.packets} == {f"user-{number}" for number in range(1, 40, 2)}


@pytest.mark.parametrize("name", ["boto3", "aiobotocore"])
def test_what_is_asked_of_a_token_service_is_no_prompt(name: str, instrument: Any, provider: Any, role: Any, packets: Any) -> None:
    """Without a proxy too: the packet's request is the model's."""
    instrument()
    ask, answer = AS_ROLE[name]
    provider.script(Reply(answer))
    ask(provider)
    (packet,) = packets()
    assert json.loads(packet["body"]["provider_request_json"])["messages"] == MESSAGES
