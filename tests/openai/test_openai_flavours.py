"""Which service a client reaches, by its class, its host or its path: category, resource, and what settings make of them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from comparing import SCOPE
from openai_shapes import chat_events, completion
from provider_server import ProviderServer, Reply
from response_shapes import REQUEST as RESPONSE_REQUEST
from response_shapes import events, response

import payi_otel
from payi_otel import PayiCategories
from payi_otel.instrumentors.openai._client import read_client

openai = pytest.importorskip("openai")
MESSAGES = [{"role": "user", "content": "Say hello."}]
CHAT = {"messages": MESSAGES, "model": "gpt-4o-mini"}
UNITS = {"text": {"input": 12, "output": 5}}
AZURE = {"api_key": "k", "api_version": "2024-10-21", "max_retries": 0}


def http_library() -> Any:
    """The HTTP library this SDK is made for: `httpx`, or `httpx2` from version 3 on."""
    base = importlib.import_module("openai._base_client")
    return importlib.import_module("httpx2" if hasattr(base, "httpx2") else "httpx")


def to_loopback(provider: ProviderServer) -> Any:
    """An HTTP client that sends what is meant for any host to the provider: the SDK sees the real base URL."""
    library = http_library()
    target = library.URL(provider.url)

    class Transport(library.HTTPTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            request.url = request.url.copy_with(scheme="http", host=target.host, port=target.port)
            return super().handle_request(request)

    return library.Client(transport=Transport(), trust_env=False)


@pytest.fixture
def at(provider: ProviderServer) -> Iterator[Callable[..., Any]]:
    """Makes plain `OpenAI` clients for any base URL."""
    made: list[Any] = []

    def make(base_url: str) -> Any:
        made.append(openai.OpenAI(api_key="k", base_url=base_url, http_client=to_loopback(provider), max_retries=0))
        return made[-1]

    yield make
    for client in made:
        client.close()


def priced(packet: dict[str, Any]) -> tuple[str, str]:
    """Category and resource."""
    return packet["body"]["category"], packet["body"]["resource"]


def test_azure_call_becomes_one_whole_packet(instrument: Any, provider: Any, packets: Any) -> None:
    """On Azure the model is the deployment's name."""
    instrument()
    provider.script(Reply(completion(), headers={"x-ms-region": "East US"}))
    with openai.AzureOpenAI(azure_endpoint=provider.url, **AZURE) as client:
        client.chat.completions.create(messages=MESSAGES, model="my-gpt4")
    assert provider.requests[0]["path"].startswith("/openai/deployments/my-gpt4/chat/completions")
    (packet,) = packets()
    assert json.loads(packet["body"].pop("provider_request_json")) == {"messages": MESSAGES, "model": "my-gpt4"}
    assert json.loads(packet["body"].pop("provider_response_json")) == completion()
    assert packet == {
        "body": {
            "category": "system.azureopenai",
            "resource": "my-gpt4",
            "units": UNITS,
            "http_status_code": 200,
            "provider_response_id": "chatcmpl-1",
        },
        "scope": SCOPE,
    }


async def test_async_azure_stream_is_one_packet(instrument: Any, provider: Any, packets: Any) -> None:
    """The async class, streamed."""
    instrument()
    provider.script(Reply(events=chat_events()))
    async with openai.AsyncAzureOpenAI(azure_endpoint=provider.url, **AZURE) as client:
        async for _ in await client.chat.completions.create(messages=MESSAGES, model="my-gpt4", stream=True):
            pass
    (packet,) = packets()
    assert priced(packet) == ("system.azureopenai", "my-gpt4")
    assert packet["body"]["units"] == UNITS


prompts = pytest.mark.skipif(
    not hasattr(importlib.import_module("openai.types.responses"), "ResponsePrompt"), reason="this SDK has no stored prompts"
)


@prompts
@pytest.mark.parametrize(
    ("client_deployment", "header", "resource"),
    [("my-dep", {}, "my-dep"), (None, {"x-ms-deployment-name": "their-dep"}, "their-dep"), (None, {}, "gpt-4.1-2025-04-14")],
)
def test_azure_deployment_stands_in_for_a_model(
    instrument: Any, provider: Any, packets: Any, client_deployment: str | None, header: dict[str, str], resource: str
) -> None:
    """Where the call names no model: the client's deployment, or the one the answer names, or else the answer's model."""
    instrument()
    provider.script(Reply(response(), headers=header))
    with openai.AzureOpenAI(azure_endpoint=provider.url, azure_deployment=client_deployment, **AZURE) as client:
        client.responses.create(prompt={"id": "pmpt_1"})
    (packet,) = packets()
    assert priced(packet) == ("system.azureopenai", resource)


@prompts
def test_deployment_header_of_a_stream_counts(instrument: Any, provider: Any, packets: Any) -> None:
    """A stream's headers are there before its events."""
    instrument()
    provider.script(Reply(events=events(), done=False, headers={"x-ms-deployment-name": "their-dep"}))
    with openai.AzureOpenAI(azure_endpoint=provider.url, **AZURE) as client:
        list(client.responses.create(prompt={"id": "pmpt_1"}, stream=True))
    (packet,) = packets()
    assert packet["body"]["resource"] == "their-dep"


@prompts
def test_deployment_in_the_base_url_counts(instrument: Any, provider: Any, packets: Any) -> None:
    """A base URL may name the deployment."""
    instrument()
    provider.script(Reply(response()))
    with openai.AzureOpenAI(base_url=provider.url + "/openai/deployments/url-dep", **AZURE) as client:
        client.responses.create(prompt={"id": "pmpt_1"})
    (packet,) = packets()
    assert packet["body"]["resource"] == "url-dep"


@pytest.mark.parametrize(
    ("base_url", "category"),
    [
        ("https://api.openai.com/v1", "system.openai"),
        ("https://eu.api.openai.com/v1", "system.openai"),
        ("https://acme.openai.azure.com/openai/v1/", "system.azureopenai"),
        ("https://ACME.OpenAI.Azure.com/openai/v1/", "system.azureopenai"),
        ("https://acme.services.ai.azure.com/openai/v1", "system.azureopenai"),
        ("https://acme.cognitiveservices.azure.com/openai/v1", "system.azureopenai"),
        ("https://openai.azure.com.example.com/v1", "system.openai"),
        ("https://dbc-1.cloud.databricks.com/serving-endpoints", "system.databricks.aws"),
        ("https://adb-1.7.azuredatabricks.net/serving-endpoints", "system.databricks.azure"),
        ("https://1.2.gcp.databricks.com/serving-endpoints", "system.databricks.google"),
        ("https://proxy.example.com/serving-endpoints", "system.databricks"),
        ("https://my-app.aws.databricksapps.com/v1", "system.databricks"),
        ("https://databricks-fans.example.com/v1", "system.openai"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1", "system.aws.bedrock"),
        ("https://bedrock-mantle.eu-west-1.api.aws/openai/v1", "system.aws.bedrock"),
        ("https://openrouter.ai/api/v1", "system.openai"),
        ("http://[::1]:8000/v1", "system.openai"),
    ],
)
def test_plain_clients_are_told_by_their_host(instrument: Any, at: Any, provider: Any, packets: Any, base_url: str, category: str) -> None:
    """A plain client reaches many services; host and path say which."""
    instrument()
    provider.script(Reply(completion()))
    at(base_url).chat.completions.create(**CHAT)
    (packet,) = packets()
    assert priced(packet) == (category, "gpt-4o-mini")


@pytest.mark.skipif(not hasattr(openai, "BedrockOpenAI"), reason="this SDK has no BedrockOpenAI")
async def test_bedrock_clients_are_bedrock(instrument: Any, provider: Any, packets: Any) -> None:
    """The classes for Bedrock, and what a user derives of them."""
    instrument()

    class Mine(openai.BedrockOpenAI):  # type: ignore[misc, name-defined]
        pass

    provider.script(*[Reply(completion(id=f"chatcmpl-{number}")) for number in range(3)])
    for cls in (openai.BedrockOpenAI, Mine):
        with cls(api_key="k", base_url=provider.url + "/openai/v1", max_retries=0) as client:
            client.chat.completions.create(messages=MESSAGES, model="openai.gpt-oss-20b-1:0")
    async with openai.AsyncBedrockOpenAI(api_key="k", base_url=provider.url + "/openai/v1", max_retries=0) as client:
        await client.chat.completions.create(messages=MESSAGES, model="openai.gpt-oss-20b-1:0")
    assert [priced(packet) for packet in packets(3)] == [("system.aws.bedrock", "openai.gpt-oss-20b-1:0")] * 3


def test_bedrock_as_a_provider_is_bedrock(instrument: Any, provider: Any, packets: Any) -> None:
    """`OpenAI(provider=bedrock(...))` is a plain `OpenAI` by class."""
    module = pytest.importorskip("openai.providers.bedrock", reason="this SDK has no providers")
    instrument()
    provider.script(Reply(completion()))
    service = module.bedrock(base_url=provider.url + "/openai/v1", api_key="k", region="us-east-1")
    with openai.OpenAI(provider=service, max_retries=0) as client:
        client.chat.completions.create(messages=MESSAGES, model="openai.gpt-oss-20b-1:0")
    (packet,) = packets()
    assert priced(packet) == ("system.aws.bedrock", "openai.gpt-oss-20b-1:0")


@pytest.mark.parametrize("mapped", [None, "system.other"])
def test_vertex_models_are_googles(instrument: Any, at: Any, provider: Any, packets: Any, mapped: str | None) -> None:
    """On Vertex a resource begins with `google.`; priced as another category it is the model alone."""
    module = pytest.importorskip("openai.providers.vertex", reason="this SDK has no Vertex")
    instrument(config={"host_mappings": {"us-central1-aiplatform.googleapis.com": {"price_as_category": mapped}}})
    provider.script(Reply(response()))
    base_url = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/publishers/openai/v1"
    service = module.vertex(base_url=base_url, token_provider=lambda: "t")
    with openai.OpenAI(provider=service, http_client=to_loopback(provider), max_retries=0) as client:
        client.responses.create(**RESPONSE_REQUEST)
    (packet,) = packets()
    expected = ("system.other", "gpt-4.1") if mapped else ("system.google.vertex", "google.gpt-4.1")
    assert priced(packet) == expected


def test_copied_clients_keep_their_kind(instrument: Any, provider: Any, packets: Any) -> None:
    """`with_options` makes a new client of the same class."""
    instrument()
    provider.script(Reply(completion()))
    with openai.AzureOpenAI(azure_endpoint=provider.url, **AZURE) as client:
        client.with_options(timeout=30).chat.completions.create(**CHAT)
    (packet,) = packets()
    assert packet["body"]["category"] == "system.azureopenai"


AZURE_URL = "https://acme.openai.azure.com/openai/v1/"


class ByTenant(openai.OpenAI):  # type: ignore[misc, name-defined]
    """Where its calls go is settled at each of them."""

    tenant: Any = None

    @property
    def base_url(self) -> Any:
        """Its tenant's, or its own."""
        return self.tenant or self._base_url

    @base_url.setter
    def base_url(self, url: Any) -> None:
        self._base_url = url


def test_a_client_whose_property_says_where_its_calls_go_is_asked_at_each(instrument: Any, at: Any, provider: Any, packets: Any) -> None:
    """It may have said what it keeps before."""
    instrument()
    provider.script(Reply(completion(id="chatcmpl-1")), Reply(completion(id="chatcmpl-2")))
    with ByTenant(api_key="k", http_client=to_loopback(provider), max_retries=0) as client:
        client.chat.completions.create(**CHAT)
        client.tenant = http_library().URL(AZURE_URL)
        client.chat.completions.create(**CHAT)
    by_id = {packet["body"]["provider_response_id"]: priced(packet)[0] for packet in packets(2)}
    assert by_id == {"chatcmpl-1": "system.openai", "chatcmpl-2": "system.azureopenai"}


def test_the_client_of_the_module_is_asked_at_each_call(
    instrument: Any, provider: Any, packets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`openai.base_url` may be set at any time."""
    instrument()
    provider.script(Reply(completion(id="chatcmpl-1")), Reply(completion(id="chatcmpl-2")))
    monkeypatch.setattr(openai, "_client", None)
    monkeypatch.setattr(openai, "api_key", "k")
    monkeypatch.setattr(openai, "max_retries", 0)
    with to_loopback(provider) as library:
        monkeypatch.setattr(openai, "http_client", library)
        openai.chat.completions.create(**CHAT)
        monkeypatch.setattr(openai, "base_url", AZURE_URL)
        openai.chat.completions.create(**CHAT)
    by_id = {packet["body"]["provider_response_id"]: priced(packet)[0] for packet in packets(2)}
    assert by_id == {"chatcmpl-1": "system.openai", "chatcmpl-2": "system.azureopenai"}


@pytest.mark.parametrize(
    ("base_url", "uri"),
    [
        ("https://user:secret@gateway.example.com/v1?api-key=secret", "https://gateway.example.com/v1/"),
        ("https://gateway.example.com:8443/v1", "https://gateway.example.com:8443/v1/"),
        ("https://gateway.example.com:443/v1", "https://gateway.example.com/v1/"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/"),
    ],
)
def test_provider_uri_holds_no_key(instrument: Any, at: Any, provider: Any, ingest: Any, packets: Any, base_url: str, uri: str) -> None:
    """Gateways are given passwords and keys in their URL."""
    instrument()
    provider.script(Reply(completion()))
    at(base_url).chat.completions.create(**CHAT)
    packets()
    assert ingest.packets[0]["body"]["provider_uri"].rstrip("/") == uri.rstrip("/")
    assert "secret" not in json.dumps(ingest.requests)


# ---- which clients are recorded


def test_azure_alone_leaves_plain_clients_alone(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """`instruments={azure}`: another client's calls are neither recorded nor changed; our headers still never leave."""
    instrument(instruments={PayiCategories.azure})
    provider.script(Reply(events=chat_events()), Reply(completion(id="chatcmpl-2")))
    plain = list(client.chat.completions.create(**CHAT, stream=True, extra_headers={"xProxy-User-ID": "ada"}))
    assert len(plain) == len(chat_events())
    assert provider.requests[0]["body"] == {**CHAT, "stream": True}
    assert not [name for name in provider.requests[0]["headers"] if name.startswith("xproxy-")]
    with openai.AzureOpenAI(azure_endpoint=provider.url, **AZURE) as azure:
        azure.chat.completions.create(**CHAT)
    (packet,) = packets()
    assert packet["body"]["provider_response_id"] == "chatcmpl-2"


@pytest.mark.parametrize("cloud", [PayiCategories.databricks_aws, PayiCategories.databricks_azure])
def test_databricks_of_an_unknown_cloud_is_recorded(instrument: Any, at: Any, provider: Any, packets: Any, cloud: str) -> None:
    """A workspace whose cloud cannot be told may be the one that is wanted; one that is known to be another is not."""
    instrument(instruments={cloud})
    provider.script(Reply(completion()), Reply(completion(id="chatcmpl-2")), Reply(completion(id="chatcmpl-3")))
    at("https://proxy.example.com/serving-endpoints").chat.completions.create(**CHAT)
    at("https://dbc-1.cloud.databricks.com/serving-endpoints").chat.completions.create(**CHAT)
    at("https://api.openai.com/v1").chat.completions.create(**CHAT)
    packets(2 if cloud == PayiCategories.databricks_aws else 1)


# ---- what settings make of it


def url(text: str) -> Any:
    """An URL of the HTTP library."""
    return http_library().URL(text)


@pytest.mark.parametrize(
    "key",
    ["gateway.example.com", "GATEWAY.example.com", "gateway.example.com:8443", "https://gateway.example.com:8443/v1", url],
)
def test_hosts_are_mapped_however_they_are_named(instrument: Any, at: Any, provider: Any, packets: Any, key: Any) -> None:
    """By host, host and port, URL text or URL object."""
    name = key("https://gateway.example.com:8443/v1") if callable(key) else key
    instrument(config={"host_mappings": {name: {"price_as_category": "system.databricks.azure"}}})
    provider.script(Reply(completion()))
    at("https://gateway.example.com:8443/v1").chat.completions.create(**CHAT)
    (packet,) = packets()
    assert priced(packet) == ("system.databricks.azure", "gpt-4o-mini")


@pytest.mark.parametrize("key", ["gateway.example.com:9", "example.com", "other.example.com", "gateway.example.co"])
def test_other_hosts_are_not_mapped(instrument: Any, at: Any, provider: Any, packets: Any, key: str) -> None:
    """A mapping is of one host, not of its neighbours."""
    instrument(config={"host_mappings": {key: {"price_as_category": "system.databricks.azure"}}})
    provider.script(Reply(completion()))
    at("https://gateway.example.com:8443/v1").chat.completions.create(**CHAT)
    (packet,) = packets()
    assert packet["body"]["category"] == "system.openai"


def test_a_host_and_port_wins_over_the_host(instrument: Any, at: Any, provider: Any, packets: Any) -> None:
    """The more exact mapping counts."""
    mappings = {"gateway.example.com": {"price_as_category": "system.a"}, "gateway.example.com:8443": {"price_as_category": "system.b"}}
    instrument(config={"host_mappings": mappings})
    provider.script(Reply(completion()))
    at("https://gateway.example.com:8443/v1").chat.completions.create(**CHAT)
    (packet,) = packets()
    assert packet["body"]["category"] == "system.b"


MAPPINGS = [
    ([{"model": "gpt-4o-mini", "price_as_resource": "gpt-4"}], ("system.openai", "gpt-4", None)),
    ([{"model": "gpt-4o-mini", "price_as_category": "system.x"}], ("system.x", "gpt-4o-mini", None)),
    ([{"model": "gpt-4o-mini", "resource_scope": "datazone"}], ("system.openai", "gpt-4o-mini", "datazone")),
    ([{"model": "gpt-4o", "price_as_resource": "gpt-4"}], ("system.openai", "gpt-4o-mini", None)),
    ([{"model": "GPT-4o-mini", "price_as_resource": "gpt-4"}], ("system.openai", "gpt-4o-mini", None)),
    (
        [{"model": "gpt-4o-mini", "resource_scope": "region.eu"}, {"model": "gpt-4o-mini", "price_as_resource": "gpt-4"}],
        ("system.openai", "gpt-4o-mini", "region.eu"),
    ),
    (
        [
            {"model": "gpt-4o-mini", "host": "other.example.com", "price_as_resource": "no"},
            {"model": "gpt-4o-mini", "host": "gateway.example.com", "price_as_resource": "yes"},
        ],
        ("system.openai", "yes", None),
    ),
    ([{"model": "gpt-4o-mini", "host": "gateway.example.com:8443", "price_as_resource": "yes"}], ("system.openai", "yes", None)),
    ([{"model": "gpt-4o-mini", "host": "gateway.example.com:1", "price_as_resource": "no"}], ("system.openai", "gpt-4o-mini", None)),
]


@pytest.mark.parametrize(("mappings", "expected"), MAPPINGS)
def test_models_are_mapped_by_the_first_exact_match(
    instrument: Any, at: Any, provider: Any, packets: Any, mappings: list[dict[str, Any]], expected: tuple[str, str, str | None]
) -> None:
    """First match on model and, where given, host; each of its fields on its own."""
    instrument(config={"openai_config": {"model_mappings": mappings}})
    provider.script(Reply(completion()))
    at("https://gateway.example.com:8443/v1").chat.completions.create(**CHAT)
    (packet,) = packets()
    assert (*priced(packet), packet["scope"].get("xproxy-resource-scope")) == expected


@prompts
def test_a_deployment_of_the_answer_is_mapped(instrument: Any, provider: Any, packets: Any) -> None:
    """A mapping by deployment holds wherever the deployment's name comes from."""
    instrument(config={"openai_config": {"model_mappings": [{"model": "their-dep", "price_as_resource": "gpt-4.1"}]}})
    provider.script(Reply(response(), headers={"x-ms-deployment-name": "their-dep"}))
    with openai.AzureOpenAI(azure_endpoint=provider.url, **AZURE) as client:
        client.responses.create(prompt={"id": "pmpt_1"})
    (packet,) = packets()
    assert priced(packet) == ("system.azureopenai", "gpt-4.1")


ORDER: list[tuple[dict[str, str], dict[str, str], bool, bool, tuple[str, str, str | None]]] = [
    (
        {"xProxy-PriceAs-Category": "h.c", "xProxy-PriceAs-Resource": "h-r", "xProxy-Resource-Scope": "global"},
        {"price_as_category": "c.c"},
        True,
        True,
        ("h.c", "h-r", "global"),
    ),
    (
        {"xProxy-PriceAs-Resource": "h-r"},
        {"price_as_category": "c.c", "price_as_resource": "c-r", "resource_scope": "datazone"},
        True,
        True,
        ("c.c", "h-r", "datazone"),
    ),
    ({}, {"price_as_resource": "c-r"}, True, True, ("m.c", "c-r", "region.m")),
    ({}, {}, True, True, ("m.c", "m-r", "region.m")),
    ({}, {}, False, True, ("n.c", "gpt-4o-mini", None)),
    ({}, {}, False, False, ("system.openai", "gpt-4o-mini", None)),
]


@pytest.mark.parametrize(("headers", "context", "by_model", "by_host", "expected"), ORDER)
def test_who_says_the_price(
    instrument: Any,
    client: Any,
    provider: Any,
    packets: Any,
    *,
    headers: dict[str, str],
    context: dict[str, str],
    by_model: bool,
    by_host: bool,
    expected: tuple[str, str, str | None],
) -> None:
    """Header, context, model mapping, host mapping, client: the first that says something, field by field."""
    model = {"model": "gpt-4o-mini", "price_as_category": "m.c", "price_as_resource": "m-r", "resource_scope": "region.m"}
    instrument(
        config={
            "openai_config": {"model_mappings": [model] if by_model else []},
            "host_mappings": {"127.0.0.1": {"price_as_category": "n.c"}} if by_host else {},
        }
    )
    provider.script(Reply(completion()))
    with payi_otel.track_context(**context):
        client.chat.completions.create(**CHAT, extra_headers=headers)
    (packet,) = packets()
    assert (*priced(packet), packet["scope"].get("xproxy-resource-scope")) == expected
    assert not [name for name in provider.requests[0]["headers"] if name.startswith("xproxy-")]


@pytest.mark.parametrize("kind", ["OpenAI", "AsyncOpenAI", "AzureOpenAI"])
def test_a_client_of_the_sdks_own_is_read_once(kind: str, provider: Any) -> None:
    """And again when its URL is another one: to read it takes longer than all else of a request."""
    azure = {"azure_endpoint": "https://acme.openai.azure.com", "api_version": "1"} if kind == "AzureOpenAI" else {}
    client = getattr(openai, kind)(api_key="k", **azure)
    first = read_client(client.chat)
    assert read_client(client.chat) is first
    client.base_url = provider.url
    assert read_client(client.chat) is not first
