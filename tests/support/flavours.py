"""Every kind of client, each with one call to a provider on loopback: for rules that hold for all of them alike."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from provider_server import Reply

Call = Callable[[str, dict[str, str]], None]
"""Makes one call to the provider at this URL, with these per-call headers."""
MODEL = "my-model"
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi."}]}
MESSAGE: dict[str, Any] = {**CHAT, "max_tokens": 9}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
COMPLETED = Reply(
    {
        **{"id": "c1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [CHOICE]},
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
)
MESSAGED = Reply(
    {
        **{"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [], "stop_reason": "end_turn"},
        "usage": {"input_tokens": 5, "output_tokens": 2, "inference_geo": "eu"},
    }
)
CONVERSED = Reply(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7},
        "metrics": {"latencyMs": 1},
    }
)
INVOKED = Reply({"inputTextTokenCount": 5, "results": [{"tokenCount": 2, "outputText": "Hi.", "completionReason": "FINISH"}]})
GENERATED = Reply(
    {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi."}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
        "modelVersion": MODEL,
        "responseId": "r1",
    }
)


@dataclass(frozen=True)
class Flavour:
    """One kind of client."""

    name: str
    sdk: str
    """The module without which it cannot be had."""
    category: str
    call: Call
    reply: Reply
    prefix: str = ""
    """Stands before the model in the resource."""
    section: str = ""
    """The settings that hold its model mappings, where it has any."""
    host: str = "127.0.0.1"
    takes_headers: bool = True
    """Whether its calls take headers of their own."""
    scope: str | None = None
    """The resource scope that its answer tells."""


def openai_module() -> Any:
    """The SDK, and the HTTP library it is made for."""
    openai = pytest.importorskip("openai")
    base = importlib.import_module("openai._base_client")
    return openai, importlib.import_module("httpx2" if hasattr(base, "httpx2") else "httpx")


@contextmanager
def openai_at(base_url: str, url: str) -> Iterator[Any]:
    """A plain client of this base URL, whose requests all go to the provider."""
    openai, library = openai_module()
    target = library.URL(url)

    class Transport(library.HTTPTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            request.url = request.url.copy_with(scheme="http", host=target.host, port=target.port)
            return super().handle_request(request)

    http = library.Client(transport=Transport(), trust_env=False)
    with openai.OpenAI(api_key="k", base_url=base_url, http_client=http, max_retries=0) as client:
        yield client


def chat(make: Callable[[Any, str], AbstractContextManager[Any]]) -> Call:
    """A call of chat completions with a client of the `openai` SDK."""

    def call(url: str, headers: dict[str, str]) -> None:
        openai, _ = openai_module()
        with make(openai, url) as client:
            client.chat.completions.create(**CHAT, extra_headers=headers)

    return call


def messages(name: str, **arguments: Any) -> Call:
    """A call of messages with a client class of the `anthropic` SDK; `{}` in an argument is the provider's URL."""

    def call(url: str, headers: dict[str, str]) -> None:
        anthropic = pytest.importorskip("anthropic")
        if not hasattr(anthropic, name):
            pytest.skip(f"this version has no {name}")
        filled = {key: value.format(url) if isinstance(value, str) else value for key, value in arguments.items()}
        with getattr(anthropic, name)(max_retries=0, **filled) as client:
            client.messages.create(**MESSAGE, extra_headers=headers)

    return call


def bedrock(operation: str) -> Call:
    """A call of Bedrock's runtime with boto3, which has no headers for one call."""

    def call(url: str, headers: dict[str, str]) -> None:
        boto3 = pytest.importorskip("boto3")
        keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = boto3.client("bedrock-runtime", endpoint_url=url, **keys)
        if operation == "converse":
            client.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "Hi."}]}])
        else:
            client.invoke_model(modelId=MODEL, body=json.dumps({"inputText": "Hi."}))["body"].read()
        client.close()

    return call


def gemini(**arguments: Any) -> Call:
    """A call of `generate_content` with `google-genai`."""

    def call(url: str, headers: dict[str, str]) -> None:
        genai = pytest.importorskip("google.genai")
        client = genai.Client(
            http_options={"base_url": url}, **{key: made() if callable(made) else made for key, made in arguments.items()}
        )
        client.models.generate_content(model=MODEL, contents="Hi.", config={"http_options": {"headers": headers}})

    return call


def google_credentials() -> Any:
    """Credentials that ask nobody."""
    credentials = pytest.importorskip("google.oauth2.credentials")
    return credentials.Credentials(token="t")


def query(host: str) -> Call:
    """A query with `databricks-sdk`, whose requests for any host go to the provider."""

    def call(url: str, headers: dict[str, str]) -> None:
        sdk = pytest.importorskip("databricks.sdk")
        adapters = importlib.import_module("requests.adapters")
        target = urlsplit(url)

        class Adapter(adapters.HTTPAdapter):  # type: ignore[misc, name-defined]
            def send(self, request: Any, **kwargs: Any) -> Any:
                request.url = urlsplit(request.url)._replace(scheme="http", netloc=target.netloc).geturl()
                return super().send(request, **kwargs)

        config = sdk.config.Config(host=url, token="secret", auth_type="pat")
        config.host = f"https://{host}"  # after it has looked around at its host
        api = sdk.core.ApiClient(config)
        api._api_client._session.mount("https://", Adapter())
        asked = [sdk.service.serving.ChatMessage(role=sdk.service.serving.ChatMessageRole.USER, content="Hi.")]
        sdk.service.serving.ServingEndpointsAPI(api).query(MODEL, messages=asked)

    return call


def host(name: str, path: str) -> Call:
    """Chat completions with a plain client of the `openai` SDK at this host."""

    def call(url: str, headers: dict[str, str]) -> None:
        with openai_at(f"https://{name}{path}", url) as client:
            client.chat.completions.create(**CHAT, extra_headers=headers)

    return call


AWS = {"aws_access_key": "AKID", "aws_secret_key": "secret", "aws_region": "us-east-1"}
VERTEX = {"region": "us-east5", "project_id": "p", "access_token": "t"}
AZURE_HOST, DATABRICKS = "my.openai.azure.com", "/serving-endpoints"
ON_AZURE, ON_AWS, ON_GOOGLE = "adb-1.azuredatabricks.net", "dbc-1.cloud.databricks.com", "1.gcp.databricks.com"
OPENAI, ANTHROPIC, BEDROCK = "openai_config", "anthropic_config", "aws_config"

FLAVOURS = (
    Flavour(
        "openai", "openai", "system.openai", chat(lambda sdk, url: sdk.OpenAI(api_key="k", base_url=url + "/v1")), COMPLETED, section=OPENAI
    ),
    Flavour(
        "azure-openai",
        "openai",
        "system.azureopenai",
        chat(lambda sdk, url: sdk.AzureOpenAI(api_key="k", azure_endpoint=url, api_version="2024-10-21")),
        COMPLETED,
        section=OPENAI,
    ),
    Flavour("openai-on-azure", "openai", "system.azureopenai", host(AZURE_HOST, "/openai/v1"), COMPLETED, section=OPENAI, host=AZURE_HOST),
    Flavour(
        "openai-on-bedrock",
        "openai",
        "system.aws.bedrock",
        host("bedrock-runtime.us-east-1.amazonaws.com", "/openai/v1"),
        COMPLETED,
        section=OPENAI,
        host="bedrock-runtime.us-east-1.amazonaws.com",
    ),
    *(
        Flavour(f"openai-on-{name}", "openai", f"system.databricks.{cloud}", host(name, DATABRICKS), COMPLETED, section=OPENAI, host=name)
        for name, cloud in ((ON_AZURE, "azure"), (ON_AWS, "aws"), (ON_GOOGLE, "google"))
    ),
    Flavour("anthropic", "anthropic", "system.anthropic", messages("Anthropic", api_key="k", base_url="{}"), MESSAGED, "", ANTHROPIC),
    Flavour(
        "anthropic-bedrock", "anthropic", "system.aws.bedrock", messages("AnthropicBedrock", base_url="{}", **AWS), MESSAGED, "", ANTHROPIC
    ),
    Flavour(
        "anthropic-mantle",
        "anthropic",
        "system.aws.bedrock",
        messages("AnthropicBedrockMantle", base_url="{}/anthropic", **AWS),
        MESSAGED,
        "",
        ANTHROPIC,
    ),
    Flavour(
        "anthropic-aws",
        "anthropic",
        "system.aws.bedrock",
        messages(
            "AnthropicAWS", base_url="{}", workspace_id="w", **{"aws_access_key": "AKID", "aws_secret_key": "s", "aws_region": "us-east-1"}
        ),
        MESSAGED,
        "",
        ANTHROPIC,
    ),
    Flavour(
        "anthropic-vertex",
        "anthropic",
        "system.google.vertex",
        messages("AnthropicVertex", base_url="{}/v1", **VERTEX),
        MESSAGED,
        "anthropic.",
        ANTHROPIC,
    ),
    Flavour(
        "anthropic-google-cloud",
        "anthropic",
        "system.google.vertex",
        messages("AnthropicGoogleCloud", base_url="{}", token_provider=lambda: "t", project="p", workspace_id="w"),
        MESSAGED,
        "anthropic.",
        ANTHROPIC,
    ),
    Flavour(
        "anthropic-foundry",
        "anthropic",
        "system.azure",
        messages("AnthropicFoundry", api_key="k", base_url="{}/anthropic/"),
        MESSAGED,
        "",
        ANTHROPIC,
    ),
    Flavour("bedrock-converse", "boto3", "system.aws.bedrock", bedrock("converse"), CONVERSED, section=BEDROCK, takes_headers=False),
    Flavour("bedrock-invoke", "boto3", "system.aws.bedrock", bedrock("invoke"), INVOKED, section=BEDROCK, takes_headers=False),
    Flavour("gemini", "google.genai", "system.google.vertex", gemini(api_key="k"), GENERATED, "google."),
    Flavour(
        "gemini-on-vertex",
        "google.genai",
        "system.google.vertex",
        gemini(vertexai=True, project="p", location="l", credentials=google_credentials),
        GENERATED,
        "google.",
    ),
    *(
        Flavour(
            f"databricks-on-{cloud}", "databricks.sdk", f"system.databricks.{cloud}", query(name), COMPLETED, host=name, takes_headers=False
        )
        for name, cloud in ((ON_AZURE, "azure"), (ON_AWS, "aws"), (ON_GOOGLE, "google"))
    ),
)
"""Where a client is not the provider's own, the host says which service it reaches."""
