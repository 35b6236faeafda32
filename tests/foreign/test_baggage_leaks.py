"""What an HTTP instrumentation carries out of a scope: to a provider nothing of ours, to other services what `propagate` names."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import io
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flavours import FLAVOURS, Flavour
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.propagate import get_global_textmap
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from provider_server import ProviderServer, Reply

import payi_otel
from contract import Contract, Form
from payi_otel import create_headers, track_context
from payi_otel.semconv import PROXY_PATH

for package in ("httpx", "requests", "urllib3", "botocore"):
    pytest.importorskip(f"opentelemetry.instrumentation.{package}")
httpx, httpx2, requests, urllib3 = (pytest.importorskip(name) for name in ("httpx", "httpx2", "requests", "urllib3"))

PROVIDERS = Path(__file__).parent.parent / "contract" / "providers"
SCOPE: Any = {"use_case_name": "search", "use_case_id": "run-1", "account_name": "acme", "user_id": "ann@example.com"}
CONFIG = {"propagate": ["use_case_name", "account_name", "user_id"]}
OTHERS = {"team": "blue"}
EVERYTHING = {**OTHERS, "payi.use_case_name": "search", "payi.account_name": "acme", "payi.user_id": "ann@example.com"}
CARRIERS = ("traceparent", "tracestate", "baggage", "x-amzn-trace-id")


def by_httpx(library: Any) -> Callable[[str], None]:
    """The sync client of httpx, or of httpx2."""

    def get(url: str) -> None:
        with library.Client(trust_env=False) as client:
            client.get(url)

    return get


def by_async_httpx(library: Any) -> Callable[[str], None]:
    """The async one."""

    async def get(url: str) -> None:
        async with library.AsyncClient(trust_env=False) as client:
            await client.get(url)

    return lambda url: asyncio.run(get(url))


def by_requests(url: str) -> None:
    """A session of requests."""
    with requests.Session() as session:
        session.get(url)


def by_urllib3(url: str) -> None:
    """A pool of urllib3."""
    with urllib3.PoolManager() as pool:
        pool.request("GET", url)


def by_aiohttp(url: str) -> None:
    """A session of aiohttp."""
    aiohttp = importlib.import_module("aiohttp")

    async def get() -> None:
        async with aiohttp.ClientSession() as session, session.get(url):
            pass

    asyncio.run(get())


@dataclass(frozen=True)
class Library:
    """An HTTP library, what traces it, and how the application itself uses it."""

    instrumentor: str
    get: Callable[[str], None] | None = None
    settings: Callable[[], dict[str, Any]] = dict

    def start(self, provider: TracerProvider) -> Any:
        """Traces it."""
        module, _, name = self.instrumentor.partition(":")
        instrumentor = getattr(pytest.importorskip(f"opentelemetry.instrumentation.{module}"), name)()
        instrumentor.instrument(tracer_provider=provider, **self.settings())
        return instrumentor


def w3c() -> dict[str, Any]:
    """AWS's instrumentation sends W3C headers where it is told to."""
    return {"propagator": get_global_textmap()}


def x_ray() -> dict[str, Any]:
    """Its default, in words: it keeps what it was told the last time."""
    return {"propagator": importlib.import_module("opentelemetry.propagators.aws").AwsXRayPropagator()}


LIBRARIES = {
    "httpx": Library("httpx:HTTPXClientInstrumentor", by_httpx(httpx)),
    "httpx-async": Library("httpx:HTTPXClientInstrumentor", by_async_httpx(httpx)),
    "httpx2": Library("httpx:HTTPX2ClientInstrumentor", by_httpx(httpx2)),
    "httpx2-async": Library("httpx:HTTPX2ClientInstrumentor", by_async_httpx(httpx2)),
    "requests": Library("requests:RequestsInstrumentor", by_requests),
    "urllib3": Library("urllib3:URLLib3Instrumentor", by_urllib3),
    "aiohttp": Library("aiohttp_client:AioHttpClientInstrumentor", by_aiohttp),
    "botocore": Library("botocore:BotocoreInstrumentor", None, x_ray),
    "botocore-w3c": Library("botocore:BotocoreInstrumentor", None, w3c),
    "aiobotocore-w3c": Library("botocore:AiobotocoreInstrumentor", None, w3c),
}
SYNC = {
    "openai": ("httpx2",),
    "anthropic": ("", "httpx2"),
    "bedrock": ("urllib3", "botocore-w3c", "botocore"),
    "google_genai": ("httpx",),
    "databricks": ("requests", "urllib3"),
}
ASYNC = {
    "openai": ("httpx2-async",),
    "anthropic": ("", "httpx2-async"),
    "bedrock": ("aiohttp", "aiobotocore-w3c"),
    "google_genai": ("httpx-async", "aiohttp"),
}
"""What each SDK sends its requests with. The `anthropic` SDK writes headers by itself, too, also where nothing traces it."""


@contextmanager
def traced(*names: str) -> Iterator[InMemorySpanExporter]:
    """An application that traces these HTTP libraries."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    with ExitStack() as stack:
        for name in filter(None, names):
            stack.callback(LIBRARIES[name].start(provider).uninstrument)
        yield spans


@contextmanager
def serving() -> Iterator[str]:
    """A request that the application serves: its trace, whose id this gives, baggage of its own, and a scope of ours."""
    token = attach(baggage.set_baggage("team", "blue"))
    try:
        with TracerProvider().get_tracer("app").start_as_current_span("serve") as span, track_context(**SCOPE):
            yield f"{span.get_span_context().trace_id:032x}"
    finally:
        detach(token)


@pytest.fixture
def elsewhere() -> Iterator[ProviderServer]:
    """Another service of the application's."""
    server = ProviderServer()
    server.always("/", Reply({}))
    yield server
    server.close()


def carried(request: dict[str, Any]) -> tuple[dict[str, object], str]:
    """The baggage that a request came with, and its trace."""
    traceparent: str = request["headers"]["traceparent"]
    return dict(baggage.get_all(W3CBaggagePropagator().extract(request["headers"], Context()))), traceparent.split("-")[1]


def assert_nothing_of_ours(server: ProviderServer) -> None:
    """Of the scope, a provider learns nothing, in whatever header."""
    assert server.requests
    for request in server.requests:
        assert [line for line in request["headers"].items() if "payi" in str(line).lower() or "xproxy" in str(line).lower()] == []
        assert "ann" not in request["headers"].get("baggage", "")


def contracts_of(provider: str) -> tuple[Contract, ...]:
    """The kinds of calls of a provider; none where its SDK is not installed."""
    spec = importlib.util.spec_from_file_location(f"leaks_of_{provider}", PROVIDERS / provider / "contract.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except pytest.skip.Exception:
        return ()
    contracts: tuple[Contract, ...] = module.CONTRACTS
    return contracts


@asynccontextmanager
async def gemini(url: str, library: str) -> AsyncIterator[Any]:
    """The SDK's async client with httpx, or with aiohttp, of whose sessions it would leave one open."""
    genai, aiohttp = importlib.import_module("google.genai"), pytest.importorskip("aiohttp")
    options = {"httpx_async_client": httpx.AsyncClient()} if library == "httpx-async" else {"aiohttp_client": aiohttp.ClientSession()}
    (opened,) = options.values()
    yield genai.Client(api_key="secret", http_options={"base_url": url, **options})
    await (opened.aclose() if library == "httpx-async" else opened.close())


def cases() -> Iterator[Any]:
    """Every kind of call in every form with everything that may trace it."""
    for is_async, table in ((False, SYNC), (True, ASYNC)):
        for provider, libraries in table.items():
            for contract, library in itertools.product(contracts_of(provider), libraries):
                for form in contract.forms:
                    if (contract.name, form) == ("invoke", "stream") and "botocore" in library:
                        continue  # AWS's instrumentation fails on this stream by itself: it wants text in every event of Titan's
                    words = (provider, contract.name, form, "async" if is_async else "sync", library or "untraced")
                    yield pytest.param(contract, form, is_async, library, id="-".join(words))


async def call_async(contract: Contract, url: str, form: Form, library: str) -> None:
    """One call with an async client."""
    assert contract.async_client is not None
    assert contract.async_call is not None
    async with gemini(url, library) if contract.name == "generate" else contract.async_client(url) as client:
        await contract.async_call(client, form, "ok")


@pytest.mark.parametrize(("contract", "form", "is_async", "library"), list(cases()))
def test_a_provider_learns_nothing_of_the_scope_and_a_service_what_propagate_names(
    contract: Contract, form: Form, is_async: bool, library: str, provider: ProviderServer, elsewhere: ProviderServer, instrument: Any
) -> None:
    """In one scope, with one HTTP library: both get the application's trace and baggage."""
    instrument(CONFIG)
    get = LIBRARIES[library].get if library else None
    with traced(library), ExitStack() as stack:
        client = None if is_async else stack.enter_context(contract.client(provider.url))
        provider.requests.clear()
        provider.script(contract.reply(form, "ok"))
        with serving() as trace:
            asyncio.run(call_async(contract, provider.url, form, library)) if is_async else contract.call(client, form, "ok")
            if get is not None:
                get(elsewhere.url + "/")
    assert_nothing_of_ours(provider)
    if library == "botocore":
        assert [trace[:8] in request["headers"]["x-amzn-trace-id"] for request in provider.requests] == [True]
    else:
        assert [carried(request) for request in provider.requests] == [(OTHERS, trace)]
    assert [carried(request) for request in elsewhere.requests] == ([] if get is None else [(EVERYTHING, trace)])


@pytest.mark.parametrize("is_ours_first", [True, False], ids=["ours first", "ours last"])
@pytest.mark.parametrize(("name", "library"), [("bedrock", "botocore-w3c"), ("openai", "httpx2"), ("google_genai", "httpx")])
def test_nothing_leaks_whichever_instrumentation_was_first(
    name: str, library: str, is_ours_first: bool, provider: ProviderServer, instrument: Any
) -> None:
    """AWS's wraps the very method that ours does."""
    contract = contracts_of(name)[0]
    if is_ours_first:
        instrument(CONFIG)
    with traced(library):
        if not is_ours_first:
            instrument(CONFIG)
        provider.script(contract.reply("plain", "ok"))
        with contract.client(provider.url) as client, serving() as trace:
            contract.call(client, "plain", "ok")
        assert [carried(request) for request in provider.requests] == [(OTHERS, trace)]
        payi_otel.shutdown(10)


SYNC_LIBRARIES = ("httpx", "httpx2", "requests", "urllib3")


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)
def test_no_kind_of_client_sends_what_was_said_for_one_call(flavour: Flavour, provider: ProviderServer, instrument: Any) -> None:
    """Neither in our headers nor in baggage, whichever library sends it."""
    pytest.importorskip(flavour.sdk)
    instrument(CONFIG)
    provider.always("", flavour.reply)
    with traced(*SYNC_LIBRARIES), serving():
        flavour.call(provider.url, create_headers(user_id="ann@example.com", limit_ids=["daily"]) if flavour.takes_headers else {})
    provider.requests[:] = [request for request in provider.requests if "/.well-known/" not in request["path"]]
    assert_nothing_of_ours(provider)
    assert [carried(request)[0] for request in provider.requests] == [OTHERS]


@pytest.mark.parametrize("config", [{}, {"delivery": "inline"}, {"ingest_bulk": True}], ids=["background", "inline", "bulk"])
def test_our_own_requests_are_not_traced_and_carry_nothing(config: Any, provider: ProviderServer, ingest: Any, instrument: Any) -> None:
    """Made from within a scope and a trace, with every library traced."""
    openai = pytest.importorskip("openai")
    instrument({**CONFIG, **config})
    contract = contracts_of("openai")[0]
    with traced(*SYNC_LIBRARIES) as spans, serving(), openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as client:
        for _ in range(5):
            provider.script(contract.reply("plain", "ok"))
            contract.call(client, "plain", "ok")
        payi_otel.shutdown(10)
    assert ingest.requests
    assert [name for request in ingest.requests for name in CARRIERS if name in request["headers"]] == []
    urls = [str(span.attributes) for span in spans.get_finished_spans()]
    assert [provider.url in url for url in urls] == [True] * 5
    assert [url for url in urls if ingest.url in url] == []


def with_openai(call: Callable[[Any], Any], path: str = "/v1") -> Callable[[str], None]:
    """Something else than a call of a model, with the `openai` SDK."""

    def run(url: str) -> None:
        with importlib.import_module("openai").OpenAI(api_key="k", base_url=url + path, max_retries=0) as client:
            call(client)

    return run


def with_anthropic(call: Callable[[Any], Any]) -> Callable[[str], None]:
    """The same with the `anthropic` SDK."""

    def run(url: str) -> None:
        with importlib.import_module("anthropic").Anthropic(api_key="k", base_url=url, max_retries=0) as client:
            call(client)

    return run


def with_boto3(service: str, call: Callable[[Any], Any]) -> Callable[[str], None]:
    """The same with boto3."""

    def run(url: str) -> None:
        keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = importlib.import_module("boto3").client(service, endpoint_url=url, **keys)
        call(client)
        client.close()

    return run


def with_gemini(call: Callable[[Any], Any]) -> Callable[[str], None]:
    """The same with `google-genai`."""
    return lambda url: call(importlib.import_module("google.genai").Client(api_key="k", http_options={"base_url": url}))


def with_databricks(url: str) -> None:
    """A workspace that is looked up, and asked for its jobs."""
    sdk = importlib.import_module("databricks.sdk")
    sdk.core.ApiClient(sdk.config.Config(host=url, token="secret", auth_type="pat")).do("GET", "/api/2.1/jobs/list")


def suppressed(client: Any) -> None:
    """A call that is not recorded; the `anthropic` SDK propagates all the same."""
    with suppress_instrumentation(), suppress(Exception):
        client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi."}])


UNRECORDED: dict[str, tuple[str, Callable[[str], None]]] = {
    "openai models": ("httpx2", with_openai(lambda client: client.models.list())),
    "openai upload": ("httpx2", with_openai(lambda client: client.files.create(file=b"{}", purpose="batch"))),
    "openai download": ("httpx2", with_openai(lambda client: client.files.content("f"))),
    "openai by Pay-i's proxy": ("httpx2", with_openai(lambda client: client.models.list(), f"{PROXY_PATH}openai.system")),
    "anthropic models": ("", with_anthropic(lambda client: client.models.list())),
    "anthropic traced": ("httpx2", with_anthropic(lambda client: client.models.list())),
    "anthropic suppressed": ("", with_anthropic(suppressed)),
    "bedrock models": ("urllib3", with_boto3("bedrock", lambda client: client.list_foundation_models())),
    "bedrock jobs": ("botocore-w3c", with_boto3("bedrock-runtime", lambda client: client.list_async_invokes())),
    "gemini models": ("httpx", with_gemini(lambda client: list(client.models.list()))),
    "gemini upload": ("httpx", with_gemini(lambda client: client.files.upload(file=io.BytesIO(b"a"), config={"mime_type": "text/plain"}))),
    "databricks jobs": ("requests", with_databricks),
}


@pytest.mark.parametrize("case", list(UNRECORDED))
def test_a_request_that_is_no_recorded_call_carries_nothing_of_ours_either(case: str, provider: ProviderServer, instrument: Any) -> None:
    """A provider is asked for more than answers of models."""
    library, call = UNRECORDED[case]
    instrument(CONFIG)
    upload = {"x-goog-upload-url": provider.url + "/upload", "x-goog-upload-status": "final"}
    provider.always("", Reply({"data": [], "has_more": False, "file": {"name": "files/f"}}, headers=upload))
    with traced(library), serving():
        call(provider.url)
    assert provider.requests
    assert [carried(request)[0] for request in provider.requests] == [OTHERS] * len(provider.requests)
