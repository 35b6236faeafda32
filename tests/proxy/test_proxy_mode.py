"""Proxy mode: calls of unchanged clients go through Pay-i's proxy, which counts them; the caller and the provider see no difference."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import unquote

import pytest
from aws_frames import EVENT_STREAM, frame
from comparing import SCOPE
from flavours import openai_module
from opentelemetry import trace
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.status import StatusCode
from payi_proxy import PayiProxy
from provider_server import Reply
from proxied_calls import (
    ARN,
    ASK,
    AWS_MODEL,
    BY_NAME,
    CALLS,
    CHAT,
    CHUNKS,
    COMPLETION,
    CONVERSED,
    CONVERSED_EVENTS,
    DEFAULTS,
    MESSAGE,
    MESSAGES,
    MODEL,
    ON_AWS,
    PLAIN,
    USAGE,
    CallCase,
    aio_client,
    boto3_client,
    databricks_api,
    full_name,
    new_client,
    requests_of,
    stripped,
)

import payi_otel
from payi_otel import Payi, compat, create_headers, track, track_context

CONTEXT: dict[str, Any] = {
    "limit_ids": ["limit-1", "limit-2"],
    "user_id": "ann",
    "account_name": "acme inc",
    "use_case_name": "support-bot",
    "use_case_id": "case-7",
    "use_case_version": 0,
    "use_case_step": "plan",
    "use_case_properties": {"team": "blue"},
    "request_properties": {"channel": "web", "city": "Zürich"},
    "price_as_category": "system.openai",
    "price_as_resource": "gpt-5",
    "resource_scope": "datazone.eu",
    "log_prompt_and_response": False,
}
"""Every field that there is, as `track_context` takes it and as the proxy reads it."""
NEW_AT_EACH_SENDING = ("x-amz-date", "amz-sdk-invocation-id", "traceparent", "connection")

DISTINCT = tuple(
    BY_NAME[name]
    for name in ("sync-openai-chat.completions-plain", "async-anthropic-messages-plain", "boto3-converse", "databricks-sdk-query")
)
"""One of each kind of transport."""

every_call = pytest.mark.parametrize("case", CALLS, ids=lambda case: case.name)
every_client = pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
with_headers = pytest.mark.parametrize("case", [case for case in PLAIN if case.headers], ids=lambda case: case.name)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[ReadableSpan]]:
    """Gives the spans that are ours; an SDK's own are not."""
    application, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    application.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", application)

    def finished() -> list[ReadableSpan]:
        return [
            span
            for span in exporter.get_finished_spans()
            if str(span.instrumentation_scope and span.instrumentation_scope.name).startswith("payi_otel.")
        ]

    return finished


@pytest.fixture
def nothing_ingested(proxy: PayiProxy) -> Iterator[Callable[[], None]]:
    """Says that no packet was sent, which is looked at once more behind the test."""

    def check() -> None:
        assert payi_otel.flush(10)
        assert proxy.requests == []

    yield check
    check()


def as_sent(request: dict[str, Any]) -> dict[str, Any]:
    """A request as the provider got it, without what is another one at each sending."""
    headers = {name: value for name, value in request["headers"].items() if name not in NEW_AT_EACH_SENDING}
    if headers.get("authorization", "").startswith("AWS4-"):
        headers["authorization"] = headers["authorization"].partition("Signature=")[0]
    return {**request, "headers": headers}


def path_behind(base: str, request: dict[str, Any]) -> str:
    """What the proxy's path ends with, of a request that went to the provider itself."""
    assert request["path"].startswith(base), request["path"]
    path: str = request["path"][len(base) :]
    return path


def shown(span: ReadableSpan) -> dict[str, Any]:
    """What these tests look at of a span."""
    attributes = dict(span.attributes or {})
    names = ("payi.proxied", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")
    return {name: attributes[name] for name in names if name in attributes}


@every_call
def test_a_call_goes_through_the_proxy(
    case: CallCase, instrument: Any, provider: Any, proxy: Any, spans: Any, nothing_ingested: Any
) -> None:
    """The provider gets the very request, the caller the very answer, Pay-i the scope in headers, and there is a span but no packet."""
    provider.script(case.reply)
    bare = case.run(provider.url)
    instrument({"proxy": True})
    provider.script(case.reply)
    with track_context(**CONTEXT):
        seen = case.run(provider.url)
    assert stripped(seen) == bare
    (call,) = proxy.calls
    assert call.problems == ()
    before, after = requests_of(provider)
    assert as_sent(after) == as_sent(before)
    assert not any(name.startswith("xproxy-") for name in after["headers"])
    assert (call.provider, call.base_uri) == (case.provider, provider.url + case.base)
    assert call.path + (f"?{call.query}" if call.query else "") == path_behind(case.base, before)
    assert call.credentials
    assert call.scope == CONTEXT
    (span,) = spans()
    counted = {"gen_ai.usage.input_tokens": USAGE[0], "gen_ai.usage.output_tokens": 0 if "embeddings" in case.name else USAGE[1]}
    assert shown(span) == {"payi.proxied": True, **counted}
    nothing_ingested()


@every_call
def test_a_blocked_limit_is_the_sdk_s_own_error(
    case: CallCase, instrument: Any, provider: Any, proxy: Any, spans: Any, nothing_ingested: Any
) -> None:
    """The one it raises of any 400; the provider is not called."""
    proxy.block("limit-1")
    instrument({"proxy": True})
    with track_context(limit_ids=["limit-1"]), pytest.raises(Exception) as caught:
        case.run(provider.url)
    assert full_name(caught.type) == case.error
    assert "limit-1" in str(caught.value)
    assert [call.is_blocked for call in proxy.calls] == [True]
    assert requests_of(provider) == []
    (span,) = spans()
    assert (shown(span), span.status.status_code) == ({"payi.proxied": True}, StatusCode.ERROR)
    nothing_ingested()


@every_client
def test_the_scope_is_the_context_s_and_nothing_else(case: CallCase, instrument: Any, provider: Any, proxy: Any) -> None:
    """What nobody said is in no header."""
    instrument({"proxy": True, "use_case_name": "", "use_case_id": "", "limit_ids": ["everyone"]})
    provider.script(case.reply, case.reply)
    case.run(provider.url)
    with track_context(limit_ids=["limit-1"], user_id="ann", request_properties={"a": None}):
        case.run(provider.url)
    scopes = [{key: value for key, value in call.scope.items() if not key.startswith("use_case_")} for call in proxy.calls]
    if case.provider == "openai/v1" and case.base == "/serving-endpoints":  # its path does not tell whose prices hold
        assert {scope.pop("price_as_category", "system.databricks") for scope in scopes} == {"system.databricks"}
    assert scopes == [
        {"limit_ids": ["everyone"]},
        {"limit_ids": ["everyone", "limit-1"], "user_id": "ann", "request_properties": {"a": None}},
    ]


@every_client
def test_a_scope_may_go_direct(case: CallCase, instrument: Any, provider: Any, proxy: Any, packets: Any, spans: Any) -> None:
    """`proxy=False` in a process in proxy mode; the call is ingested as ever."""
    instrument({"proxy": True})
    provider.script(case.reply, case.reply)
    with track_context(proxy=False, user_id="ann"):
        case.run(provider.url)
    (packet,) = packets()
    assert proxy.calls == []
    assert packet["scope"] == {**SCOPE, "xproxy-user-id": "ann"}
    assert packet["body"]["units"] == {"text": {"input": USAGE[0], "output": USAGE[1]}}
    assert not any(name.startswith("xproxy-") for name in requests_of(provider)[0]["headers"])
    case.run(provider.url)
    packets()  # no other
    assert [span.attributes.get("payi.proxied", False) for span in spans()] == [False, True]
    assert len(proxy.calls) == 1


@every_client
def test_a_scope_alone_may_go_through_the_proxy(
    case: CallCase, instrument: Any, provider: Any, proxy: Any, packets: Any, spans: Any
) -> None:
    """`proxy=True` in a process that is not in proxy mode."""
    instrument()
    provider.script(case.reply, case.reply)
    with track_context(proxy=True, user_id="ann"):
        case.run(provider.url)
    (call,) = proxy.calls
    assert call.scope["user_id"] == "ann"
    packets(0)
    case.run(provider.url)
    packets(1)
    assert [span.attributes.get("payi.proxied", False) for span in spans()] == [True, False]
    assert len(proxy.calls) == 1


def test_a_function_may_go_through_the_proxy(instrument: Any, provider: Any, proxy: Any, packets: Any) -> None:
    """`@track(proxy=True)`, and within it a block that does not; the client is the same, and keeps its base URL."""
    instrument()
    provider.always("/chat/completions", Reply(COMPLETION))
    with new_client("openai", "OpenAI", provider.url, {"api_key": "sk", "base_url": "{}/v1"}) as client:

        @track(proxy=True)
        def outer() -> None:
            client.chat.completions.create(**CHAT)
            with track_context(proxy=False):
                client.chat.completions.create(**CHAT)
            client.chat.completions.create(**CHAT)

        outer()
        assert str(client.base_url) == provider.url + "/v1/"
    assert len(proxy.calls) == 2
    packets(1)


def test_the_variable_is_enough(instrument: Any, provider: Any, proxy: Any, nothing_ingested: Any, monkeypatch: Any) -> None:
    """`PAYI_OTEL_PROXY`."""
    monkeypatch.setenv("PAYI_OTEL_PROXY", "true")
    instrument()
    case = PLAIN[0]
    provider.script(case.reply)
    case.run(provider.url)
    assert len(proxy.calls) == 1
    nothing_ingested()


@every_client
def test_after_shutdown_calls_go_direct(case: CallCase, instrument: Any, provider: Any, proxy: Any) -> None:
    """As if there had never been a proxy."""
    instrument({"proxy": True})
    payi_otel.shutdown(5)
    provider.script(case.reply)
    case.run(provider.url)
    assert (proxy.calls, proxy.requests, len(requests_of(provider))) == ([], [], 1)


# ---- whose key, and where to


@every_client
def test_the_key_and_the_url_are_the_client_s(case: CallCase, provider: Any, proxy: Any, monkeypatch: Any, nothing_ingested: Any) -> None:
    """Those of `payi=Payi(...)`, whatever the environment says; a path in the base URL stays."""
    monkeypatch.setenv("PAYI_API_KEY", "another")
    monkeypatch.setenv("PAYI_BASE_URL", "http://127.0.0.1:9")
    payi_otel.payi_instrument(payi=Payi(api_key=proxy.api_key, base_url=proxy.url + "/"), config={"proxy": True, **DEFAULTS})
    try:
        provider.script(case.reply)
        case.run(provider.url)
        (call,) = proxy.calls
        assert call.header("xproxy-api-key") == proxy.api_key
        nothing_ingested()
    finally:
        payi_otel.shutdown(5)


def test_the_environment_has_the_key_where_nobody_gives_it(provider: Any, proxy: Any, monkeypatch: Any) -> None:
    """`PAYI_API_KEY` and `PAYI_BASE_URL`."""
    monkeypatch.setenv("PAYI_API_KEY", proxy.api_key)
    monkeypatch.setenv("PAYI_BASE_URL", proxy.url)
    payi_otel.payi_instrument(config={"proxy": True})
    try:
        provider.script(PLAIN[0].reply)
        PLAIN[0].run(provider.url)
        assert len(proxy.calls) == 1
    finally:
        payi_otel.shutdown(5)


def _aio_converse() -> Any:
    async def call() -> None:
        async with aio_client(None) as client:
            await client.converse(modelId=ARN, messages=MESSAGES)

    return asyncio.run(call())


def _converse() -> None:
    with boto3_client(None) as client:
        client.converse(modelId=ARN, messages=MESSAGES)


def _with(sdk: str, name: str, **arguments: Any) -> Callable[[], Any]:
    def call() -> Any:
        with new_client(sdk, name, "", arguments) as client:
            return client.chat.completions.create(**CHAT) if sdk == "openai" else client.messages.create(**ASK)

    return call


def _async_with(sdk: str, name: str, **arguments: Any) -> Callable[[], Any]:
    async def call() -> Any:
        async with new_client(sdk, name, "", arguments) as client:
            return await (client.chat.completions.create(**CHAT) if sdk == "openai" else client.messages.create(**ASK))

    return lambda: asyncio.run(call())


AWS_HOST, AZURE_HOST, FOUNDRY_HOST = (
    "https://bedrock-runtime.us-east-1.amazonaws.com",
    "https://my.openai.azure.com",
    "https://my.services.ai.azure.com",
)
DATABRICKS_HOST = "https://adb-1.azuredatabricks.net"
AZURE_ARGUMENTS = {"api_key": "k", "azure_endpoint": AZURE_HOST, "api_version": "2024-10-21"}
AWS_ARGUMENTS = {key: value for key, value in ON_AWS.items() if key != "base_url"}
DATABRICKS_PRICES = {"price_as_category": "system.databricks.azure"}
REAL_HOSTS: dict[str, tuple[Callable[[], Any], Any, str, str | None, str, dict[str, Any]]] = {
    "openai": (_with("openai", "OpenAI", api_key="k"), COMPLETION, "https://api.openai.com", None, "/v1/chat/completions", {}),
    "async-openai": (
        _async_with("openai", "AsyncOpenAI", api_key="k"),
        COMPLETION,
        "https://api.openai.com",
        None,
        "/v1/chat/completions",
        {},
    ),
    "azure": (
        _with("openai", "AzureOpenAI", **AZURE_ARGUMENTS),
        COMPLETION,
        AZURE_HOST,
        AZURE_HOST,
        f"/openai/deployments/{MODEL}/chat/completions?api-version=2024-10-21",
        {},
    ),
    "databricks": (
        _with("openai", "OpenAI", api_key="k", base_url=DATABRICKS_HOST + "/serving-endpoints"),
        COMPLETION,
        DATABRICKS_HOST,
        DATABRICKS_HOST + "/serving-endpoints",
        "/serving-endpoints/chat/completions",
        DATABRICKS_PRICES,
    ),
    "anthropic": (_with("anthropic", "Anthropic", api_key="k"), MESSAGE, "https://api.anthropic.com", None, "/v1/messages", {}),
    "async-anthropic": (
        _async_with("anthropic", "AsyncAnthropic", api_key="k"),
        MESSAGE,
        "https://api.anthropic.com",
        None,
        "/v1/messages",
        {},
    ),
    "foundry": (
        _with("anthropic", "AnthropicFoundry", api_key="k", resource="my"),
        MESSAGE,
        FOUNDRY_HOST,
        FOUNDRY_HOST + "/anthropic",
        "/anthropic/v1/messages",
        {},
    ),
    "anthropic-bedrock": (
        _with("anthropic", "AnthropicBedrock", **AWS_ARGUMENTS),
        MESSAGE,
        AWS_HOST,
        AWS_HOST,
        f"/model/{MODEL}/invoke",
        {},
    ),
    "boto3": (_converse, CONVERSED, AWS_HOST, AWS_HOST, f"/model/{ARN.replace(':', '%3A').replace('/', '%2F')}/converse", {}),
    "aiobotocore": (_aio_converse, CONVERSED, AWS_HOST, AWS_HOST, f"/model/{ARN.replace(':', '%3A').replace('/', '%2F')}/converse", {}),
}
"""By client with its provider's own address: a call, its answer, the host, what the proxy is told of it, the path there, and the prices."""


@pytest.mark.parametrize("name", REAL_HOSTS)
def test_the_provider_s_own_address_is_told(name: str, instrument: Any, provider: Any, proxy: Any, nothing_ingested: Any) -> None:
    """But for the two that the proxy knows; AWS's signature holds for AWS's host."""
    call, answer, host, base_uri, path, prices = REAL_HOSTS[name]
    proxy.hosts[host] = provider.url
    instrument({"proxy": True})
    provider.script(Reply(answer))
    call()
    (proxied,) = proxy.calls
    assert (proxied.base_uri, proxied.scope) == (base_uri, {**DEFAULTS, **prices})
    (request,) = provider.requests
    assert (request["headers"]["host"], request["path"]) == (host.removeprefix("https://"), path)
    nothing_ingested()


def test_databricks_s_own_address_is_told(instrument: Any, provider: Any, proxy: Any, nothing_ingested: Any) -> None:
    """The workspace, and in whose cloud it is."""
    api = databricks_api(provider.url, DATABRICKS_HOST)
    proxy.hosts[DATABRICKS_HOST] = provider.url
    instrument({"proxy": True})
    provider.script(Reply(COMPLETION))
    serving = importlib.import_module("databricks.sdk.service.serving")
    api.query("my-endpoint", messages=[serving.ChatMessage(role=serving.ChatMessageRole.USER, content="Hi.")])
    (call,) = proxy.calls
    assert (call.base_uri, call.path) == (DATABRICKS_HOST + "/serving-endpoints", "/my-endpoint/invocations")
    assert call.scope == {**DEFAULTS, **DATABRICKS_PRICES}
    nothing_ingested()


POINTED: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "openai": ("openai", "OpenAI", {"api_key": "sk"}, "openai/v1", "/v1"),
    "async-openai": ("openai", "AsyncOpenAI", {"api_key": "sk"}, "openai/v1", "/v1"),
    "azure": ("openai", "AzureOpenAI", {"api_key": "az", "api_version": "2024-10-21"}, "azure.openai", ""),
    "anthropic": ("anthropic", "Anthropic", {"api_key": "sk"}, "anthropic", ""),
    "async-anthropic": ("anthropic", "AsyncAnthropic", {"api_key": "sk"}, "anthropic", ""),
    "foundry": ("anthropic", "AnthropicFoundry", {"api_key": "az"}, "azure.anthropic", "/anthropic"),
}
POINTERS = {
    "openai/v1": compat.payi_openai_url,
    "anthropic": compat.payi_anthropic_url,
    "azure.openai": compat.payi_azure_openai_url,
    "azure.anthropic": compat.payi_azure_anthropic_url,
}


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("name", POINTED)
def test_a_client_that_points_at_the_proxy_keeps_its_own(
    name: str, everywhere: bool, provider: Any, proxy: Any, nothing_ingested: Any
) -> None:
    """URL, key and base URI are the client's, and stand there once; the scope is the context's, in proxy mode or not."""
    sdk, kind, arguments, key, base = POINTED[name]
    url = POINTERS[key](proxy.url)
    where = {"azure_endpoint": url} if kind == "AzureOpenAI" else {"base_url": url}
    own = {"xProxy-api-key": proxy.api_key, "xProxy-Provider-BaseUri": provider.url + base}
    payi_otel.payi_instrument(payi=Payi(api_key="another", base_url=proxy.url), config={"proxy": everywhere})
    provider.always("", Reply(COMPLETION if sdk == "openai" else MESSAGE))
    ask = _async_with if name.startswith("async") else _with
    try:
        with track_context(**CONTEXT):
            ask(sdk, kind, **arguments, **where, default_headers=own)()
        (call,) = proxy.calls
        assert (call.problems, call.provider, call.base_uri, call.scope) == ((), key, own["xProxy-Provider-BaseUri"], CONTEXT)
        assert call.header("xproxy-api-key") == proxy.api_key
        assert requests_of(provider)[0]["path"].startswith(base or "/")
        nothing_ingested()
    finally:
        payi_otel.shutdown(5)


# ---- what is said of a call


@with_headers
def test_the_call_s_own_headers_win(case: CallCase, instrument: Any, provider: Any, proxy: Any, nothing_ingested: Any) -> None:
    """They replace what the context says, field by field, and are encoded like that; an empty one clears; the provider gets the others."""
    instrument({"proxy": True})
    provider.script(case.reply)
    own = create_headers(
        user_id="bob", limit_ids=["limit-9"], request_properties={"a": "é"}, use_case_version=4, log_prompt_and_response=False
    )
    with track_context(**{**CONTEXT, "log_prompt_and_response": None}):
        case.run(provider.url, **{case.headers: {**own, "xproxy-account-name": "", "X-Own": "1"}})
    (call,) = proxy.calls
    changed = {"user_id": "bob", "limit_ids": ["limit-9"], "request_properties": {"a": "é"}, "use_case_version": 4}
    assert call.scope == {key: value for key, value in {**CONTEXT, **changed}.items() if key != "account_name"}
    headers = requests_of(provider)[0]["headers"]
    assert headers["x-own"] == "1"
    assert not any(name.startswith("xproxy-") for name in headers)


@pytest.mark.parametrize("name", [name for name in POINTED if not name.startswith("async")])
def test_a_pointed_client_s_call_has_its_own_headers_too(name: str, instrument: Any, provider: Any, proxy: Any) -> None:
    """Properties as `create_headers` writes them are encoded for the proxy."""
    sdk, kind, arguments, key, base = POINTED[name]
    url = POINTERS[key](proxy.url)
    where = {"azure_endpoint": url} if kind == "AzureOpenAI" else {"base_url": url}
    own = {"xProxy-api-key": proxy.api_key, "xProxy-Provider-BaseUri": provider.url + base}
    instrument({"proxy": True})
    provider.script(Reply(COMPLETION if sdk == "openai" else MESSAGE))
    said = create_headers(request_properties={"a": "b"}, user_id="bob")
    with track_context(user_id="ann"), new_client(sdk, kind, "", {**arguments, **where, "default_headers": own}) as client:
        if sdk == "openai":
            client.chat.completions.create(**CHAT, extra_headers=said)
        else:
            client.messages.create(**ASK, extra_headers=said)
    assert [call.scope for call in proxy.calls] == [{**DEFAULTS, "user_id": "bob", "request_properties": {"a": "b"}}]


@pytest.mark.parametrize("case", DISTINCT, ids=lambda case: case.name)
@pytest.mark.parametrize(
    "name", ["Zoë", "学生", "a\nb", " a ", "\ud800", "x" * 20_000], ids=["latin", "wide", "line", "blanks", "surrogate", "long"]
)
def test_no_name_breaks_a_call(name: str, case: CallCase, instrument: Any, provider: Any, proxy: Any, nothing_ingested: Any) -> None:
    """What cannot stand in a header is escaped, as it is in a packet's; what is too long is cut."""
    instrument({"proxy": True})
    provider.script(case.reply)
    with track_context(user_id=name, account_name=name):
        case.run(provider.url)
    (call,) = proxy.calls
    assert call.problems == ()
    sent = unquote(call.scope["user_id"], errors="strict")
    assert sent == call.scope["account_name"] or sent == unquote(call.scope["account_name"])
    if name in ("Zoë", "学生", "a\nb"):
        assert sent == name
    elif name.startswith("x"):
        assert 0 < len(sent) < 8192
        assert name.startswith(sent)
    nothing_ingested()


MAPPING = {"model": MODEL, "price_as_category": "system.anthropic", "price_as_resource": "claude-5", "resource_scope": "region.eu"}


def mappings(*mapped: dict[str, Any]) -> dict[str, Any]:
    """Configuration with these model mappings for every SDK that has any."""
    return {"proxy": True, **{f"{sdk}_config": {"model_mappings": list(mapped)} for sdk in ("openai", "anthropic", "aws")}}


PRICED = tuple(case for case in PLAIN if case.name != "databricks-sdk-query")


@pytest.mark.parametrize("case", PRICED, ids=lambda case: case.name)
def test_a_mapped_model_is_priced_as_it_is_mapped(case: CallCase, instrument: Any, provider: Any, proxy: Any) -> None:
    """In headers, each field on its own: the context's before the mapping's."""
    model = AWS_MODEL if "converse" in case.name else MODEL
    instrument(mappings({**MAPPING, "model": model}))
    provider.script(case.reply, case.reply)
    case.run(provider.url)
    with track_context(price_as_resource="claude-6"):
        case.run(provider.url)
    prices = {key: value for key, value in MAPPING.items() if key != "model"}
    assert [call.scope for call in proxy.calls] == [{**DEFAULTS, **prices}, {**DEFAULTS, **prices, "price_as_resource": "claude-6"}]


@pytest.mark.parametrize("case", PRICED, ids=lambda case: case.name)
def test_a_mapping_s_host_is_the_provider_s(case: CallCase, instrument: Any, provider: Any, proxy: Any) -> None:
    """The one the client points at, not the proxy's; another model's mapping does not count."""
    model = AWS_MODEL if "converse" in case.name else MODEL
    at = {"proxy": proxy.url.removeprefix("http://"), "provider": provider.url.removeprefix("http://")}
    mapped = [{"model": model, "host": host, "price_as_resource": name} for name, host in at.items()]
    instrument(mappings({"model": "other", "price_as_resource": "other"}, *mapped))
    provider.script(case.reply)
    case.run(provider.url)
    assert [call.scope for call in proxy.calls] == [{**DEFAULTS, "price_as_resource": "provider"}]


def test_a_mapped_host_is_priced_as_it_is_mapped(instrument: Any, provider: Any, proxy: Any) -> None:
    """As in a packet: `host_mappings` before what the client is."""
    proxy.hosts[DATABRICKS_HOST] = provider.url
    instrument({"proxy": True, "host_mappings": {DATABRICKS_HOST: {"price_as_category": "system.databricks.aws"}}})
    provider.script(Reply(COMPLETION))
    REAL_HOSTS["databricks"][0]()
    assert [call.scope for call in proxy.calls] == [{**DEFAULTS, "price_as_category": "system.databricks.aws"}]


@pytest.mark.parametrize("case", DISTINCT, ids=lambda case: case.name)
@pytest.mark.parametrize("where", ["argument", "config", "scope"])
def test_logging_off_is_told(where: str, case: CallCase, instrument: Any, provider: Any, proxy: Any) -> None:
    """The proxy sees prompt and answer in any case; it is told not to keep them."""
    off = {"log_prompt_and_response": False}
    instrument({"proxy": True, **(off if where == "config" else {})}, **(off if where == "argument" else {}))
    provider.script(case.reply)
    with track_context(user_id="ann", price_as_category="system.openai", **(off if where == "scope" else {})):
        case.run(provider.url)
    assert [call.scope for call in proxy.calls] == [{**DEFAULTS, "user_id": "ann", "price_as_category": "system.openai", **off}]


@pytest.mark.parametrize("pointed", [False, True])
def test_no_baggage_of_ours_is_sent(pointed: bool, instrument: Any, provider: Any, proxy: Any, nothing_ingested: Any) -> None:
    """An HTTP instrumentation writes the context's into every request; the proxy is told in headers of its own."""
    sdk, library = openai_module()
    instrument({"proxy": True, "propagate": ["user_id", "account_name"]})
    own = {"xProxy-api-key": proxy.api_key, "xProxy-Provider-BaseUri": provider.url + "/v1"} if pointed else {}
    url = compat.payi_openai_url(proxy.url) if pointed else provider.url + "/v1"
    provider.script(Reply(COMPLETION))
    with library.Client(event_hooks={"request": [lambda request: inject(request.headers)]}, trust_env=False) as http:
        client = sdk.OpenAI(api_key="k", base_url=url, http_client=http, default_headers=own)
        with track_context(user_id="ann", account_name="acme"):
            client.chat.completions.create(**CHAT)
    (call,) = proxy.calls
    assert (call.header("baggage"), call.scope) == (None, {**DEFAULTS, "user_id": "ann", "account_name": "acme"})
    nothing_ingested()


# ---- many at once


def _mine(call: Any) -> tuple[str, str]:
    """The user that a call is sent for, and the one that its prompt names."""
    content = call.json["messages"][0]["content"]
    return call.scope["user_id"], content if isinstance(content, str) else content[0]["text"]


@pytest.mark.parametrize("sdk", ["openai", "anthropic", "aiobotocore"])
async def test_tasks_at_once_are_each_their_own_user_s(sdk: str, instrument: Any, provider: Any, proxy: Any, nothing_ingested: Any) -> None:
    """A hundred, with one client."""
    instrument({"proxy": True})
    provider.always("", Reply({"openai": COMPLETION, "anthropic": MESSAGE, "aiobotocore": CONVERSED}[sdk]))
    clients = {
        "openai": lambda: new_client("openai", "AsyncOpenAI", provider.url, {"api_key": "k", "base_url": "{}/v1"}),
        "anthropic": lambda: new_client("anthropic", "AsyncAnthropic", provider.url, {"api_key": "k", "base_url": "{}"}),
        "aiobotocore": lambda: aio_client(provider.url),
    }

    async def ask(client: Any, user: str) -> None:
        with track_context(user_id=user):
            await asyncio.sleep(0)
            if sdk == "openai":
                await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": user}])
            elif sdk == "anthropic":
                await client.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": user}])
            else:
                await client.converse(modelId=AWS_MODEL, messages=[{"role": "user", "content": [{"text": user}]}])

    users = [f"user-{number}" for number in range(100)]
    async with clients[sdk]() as client:
        await asyncio.gather(*(ask(client, user) for user in users))
    assert sorted(_mine(call) for call in proxy.calls) == sorted((user, user) for user in users)


@pytest.mark.parametrize("sdk", ["openai", "anthropic", "boto3"])
def test_threads_at_once_are_each_their_own_user_s(sdk: str, instrument: Any, provider: Any, proxy: Any, nothing_ingested: Any) -> None:
    """Forty calls of eight threads, with one client; every other one goes direct."""
    instrument({"proxy": True, "ingest_bulk": False})
    provider.always("", Reply({"openai": COMPLETION, "anthropic": MESSAGE, "boto3": CONVERSED}[sdk]))
    with ExitStack() as stack:
        if sdk == "boto3":
            client = stack.enter_context(boto3_client(provider.url))
        else:
            arguments = {"api_key": "k", "base_url": "{}/v1" if sdk == "openai" else "{}"}
            client = stack.enter_context(new_client(sdk, "OpenAI" if sdk == "openai" else "Anthropic", provider.url, arguments))

        def ask(user: str) -> None:
            with track_context(user_id=user):
                if sdk == "openai":
                    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": user}])
                elif sdk == "anthropic":
                    client.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": user}])
                else:
                    client.converse(modelId=AWS_MODEL, messages=[{"role": "user", "content": [{"text": user}]}])

        users = [f"user-{number}" for number in range(40)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, users))
    assert sorted(_mine(call) for call in proxy.calls) == sorted((user, user) for user in users)


# ---- what goes wrong


def raised_by(call: Callable[[], Any]) -> tuple[str, Any, Any]:
    """What a caller learns of an error: its type, its status and the provider's message."""
    with pytest.raises(Exception) as caught:
        call()
    error: Any = caught.value
    response = error.response if isinstance(getattr(error, "response", None), dict) else {}
    status = getattr(error, "status_code", None) or response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return full_name(caught.type), status, stripped(getattr(error, "body", None)) or response.get("Error", {}).get("Message")


@every_client
def test_a_provider_s_refusal_is_the_caller_s(
    case: CallCase, instrument: Any, provider: Any, proxy: Any, spans: Any, nothing_ingested: Any
) -> None:
    """The same error as without us."""
    refusal = Reply({"error": {"message": "slow down", "type": "t"}, "message": "slow down", "error_code": "X"}, status=403)
    provider.script(refusal, refusal)
    bare = raised_by(lambda: case.run(provider.url))
    instrument({"proxy": True})
    assert raised_by(lambda: case.run(provider.url)) == bare
    assert "slow down" in str(bare) or case.provider == "openai/v1"
    (span,) = spans()
    assert (shown(span), span.status.status_code) == ({"payi.proxied": True}, StatusCode.ERROR)
    nothing_ingested()


@pytest.mark.parametrize("sdk", ["openai", "anthropic", "boto3"])
def test_a_second_try_is_sent_like_the_first(
    sdk: str, instrument: Any, provider: Any, proxy: Any, spans: Any, nothing_ingested: Any
) -> None:
    """An SDK's own retries are one call; each request is whole, and signed anew where it is signed."""
    instrument({"proxy": True})
    answers = {"openai": COMPLETION, "anthropic": MESSAGE, "boto3": CONVERSED}
    provider.script(Reply({"message": "again"}, status=500, headers={"retry-after": "0"}), Reply(answers[sdk]))
    with ExitStack() as stack, track_context(**CONTEXT):
        if sdk == "boto3":
            stack.enter_context(boto3_client(provider.url, retries=2)).converse(modelId=AWS_MODEL, messages=MESSAGES)
        else:
            arguments = {"api_key": "k", "base_url": "{}/v1" if sdk == "openai" else "{}"}
            client = stack.enter_context(new_client(sdk, "OpenAI" if sdk == "openai" else "Anthropic", provider.url, arguments))
            again = client.with_options(max_retries=1)
            again.chat.completions.create(**CHAT) if sdk == "openai" else again.messages.create(**ASK)
    assert [call.scope for call in proxy.calls] == [CONTEXT, CONTEXT]
    assert len(spans()) == 1
    nothing_ingested()


CUT = {
    "openai": ("sync-openai-chat.completions-stream", Reply(events=CHUNKS, cut_after=1)),
    "async-openai": ("async-openai-chat.completions-stream", Reply(events=CHUNKS, cut_after=1)),
    "anthropic": (
        "sync-anthropic-messages-helper",
        Reply(events=[{"type": "message_start", "message": MESSAGE}, {"type": "ping"}], cut_after=1),
    ),
    "boto3": (
        "boto3-converse_stream",
        Reply(events=[frame(value, kind=kind) for kind, value in CONVERSED_EVENTS], headers=EVENT_STREAM, cut_after=2),
    ),
}


@pytest.mark.parametrize("name", CUT)
def test_a_stream_that_is_cut_fails_as_without_us(
    name: str, instrument: Any, provider: Any, proxy: Any, spans: Any, nothing_ingested: Any
) -> None:
    """The span says how it ended."""
    case, reply = BY_NAME[CUT[name][0]], CUT[name][1]
    provider.script(reply, reply)
    bare = raised_by(lambda: case.run(provider.url))
    instrument({"proxy": True})
    assert raised_by(lambda: case.run(provider.url)) == bare
    (span,) = spans()
    assert (span.attributes["payi.proxied"], span.attributes["payi.end_reason"]) == (True, "error")
    nothing_ingested()


def test_a_stream_that_is_left_early_is_one_span(instrument: Any, provider: Any, proxy: Any, spans: Any, nothing_ingested: Any) -> None:
    """The proxy counts what the provider sent."""
    instrument({"proxy": True})
    provider.script(Reply(events=CHUNKS))
    with new_client("openai", "OpenAI", provider.url, {"api_key": "k", "base_url": "{}/v1"}) as client:
        stream = client.chat.completions.create(**CHAT, stream=True)
        next(stream)
        stream.close()
    (span,) = spans()
    assert (span.attributes["payi.proxied"], span.attributes["payi.end_reason"]) == (True, "closed")
    nothing_ingested()


# ---- whom the proxy does not serve


@pytest.mark.parametrize("streamed", [False, True])
def test_gemini_goes_direct(streamed: bool, instrument: Any, provider: Any, proxy: Any, packets: Any, spans: Any, caplog: Any) -> None:
    """It is ingested as ever, and that is said once."""
    genai = pytest.importorskip("google.genai")
    answer = {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi."}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
        "modelVersion": MODEL,
    }
    provider.always(
        "",
        lambda number: (
            Reply(events=[{**answer, "responseId": f"r{number}"}], done=False)
            if streamed
            else Reply({**answer, "responseId": f"r{number}"})
        ),
    )
    with caplog.at_level(logging.WARNING, logger="payi.instrument"):
        instrument({"proxy": True})
        client = genai.Client(api_key="k", http_options={"base_url": provider.url})
        for _ in range(2):
            with track_context(user_id="ann"):
                if streamed:
                    list(client.models.generate_content_stream(model=MODEL, contents="Hi."))
                else:
                    client.models.generate_content(model=MODEL, contents="Hi.")
        sent = packets(2)
    assert proxy.calls == []
    assert [packet["scope"]["xproxy-user-id"] for packet in sent] == ["ann", "ann"]
    assert [packet["body"]["units"] for packet in sent] == [{"text": {"input": 5, "output": 2}}] * 2
    assert [span.attributes.get("payi.proxied", False) for span in spans()] == [False, False]
    assert len(requests_of(provider)) == 2
    assert len([record for record in caplog.records if "proxy" in record.getMessage().lower()]) == 1


def test_nobody_s_calls_are_left_alone(instrument: Any, provider: Any, proxy: Any, nothing_ingested: Any) -> None:
    """Where nothing is tracked, nothing is rerouted; the result is the provider's."""
    instrument({"proxy": True, "global_instrumentation": False})
    provider.script(PLAIN[0].reply)
    assert json.dumps(PLAIN[0].run(provider.url)).count("xproxy") == 0
    assert (proxy.calls, len(requests_of(provider))) == ([], 1)
