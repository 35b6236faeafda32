"""Requests beside packets: a call that nobody records shows, and nothing else does."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from flavours import GENERATED
from openai_shapes import completion, numbered
from provider_server import ProviderServer, Reply
from proxied_calls import PLAIN, CallCase

import payi_otel
from payi_otel import _guard
from payi_otel._hosts import categories_of, serves_more_than_models
from payi_otel._requests import RequestCounter, requests, without_port
from payi_otel._tally import Tally
from payi_otel.delivery.stats import HostCalls, Stats
from payi_otel.semconv import PayiCategories
from payi_otel.testing import IngestServer

openai = pytest.importorskip("openai")

CALL: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi."}]}
HOST = "127.0.0.1"
Start = Callable[..., None]


@pytest.fixture
def start(instrument: Start, provider: ProviderServer) -> Start:
    """`payi_instrument`, with the provider's host among those that are known."""
    provider.always("/chat/completions", numbered)

    def begin(config: dict[str, Any] | None = None, **arguments: Any) -> None:
        known = {"host_mappings": {urlsplit(provider.url).netloc: {"price_as_category": "system.openai"}}}
        instrument({**known, **(config or {})}, **arguments)

    return begin


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said of calls that are not recorded."""
    return [record.getMessage() for record in caplog.records if "may not be recorded" in record.getMessage()]


def chat(provider: ProviderServer, **settings: Any) -> None:
    """One call through the SDK."""
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", **{"max_retries": 0, **settings}) as client:
        client.chat.completions.create(**CALL)


def hosts() -> dict[str, HostCalls]:
    """Requests and packets, once everything is delivered."""
    assert payi_otel.flush(10)
    return dict(payi_otel.stats().hosts)


def test_a_call_that_is_recorded_is_a_request_and_a_packet(
    start: Start, provider: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And the end of the process says nothing."""
    start()
    chat(provider)
    assert hosts() == {HOST: HostCalls(requests=1, packets=1)}
    payi_otel.shutdown(5)
    assert lines(caplog) == []
    assert payi_otel.stats().hosts == {HOST: HostCalls(requests=1, packets=1)}


def test_async_calls_are_counted_too(start: Start, provider: ProviderServer) -> None:
    """By the asynchronous transport."""

    async def call() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client:
            await asyncio.gather(*(client.chat.completions.create(**CALL) for _ in range(3)))

    start()
    asyncio.run(call())
    assert hosts() == {HOST: HostCalls(requests=3, packets=3)}


def by_httpx(url: str) -> None:
    """httpx itself."""
    httpx.post(url, json={}, trust_env=False).raise_for_status()


def by_http_client(url: str) -> None:
    """The standard library."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("POST", urlsplit(url).path, body=b"{}")
    connection.getresponse().read()
    connection.close()


def by_urllib(url: str) -> None:
    """The same below another face."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, data=b"{}") as answer:
        answer.read()


def by_urllib3(url: str) -> None:
    """What requests and botocore stand on."""
    urllib3 = pytest.importorskip("urllib3")
    with urllib3.PoolManager() as pool:
        pool.request("POST", url, body=b"{}")


def by_requests(url: str) -> None:
    """requests."""
    pytest.importorskip("requests").post(url, json={}, proxies={"http": ""})


def by_aiohttp(url: str) -> None:
    """aiohttp, with a text, a URL and a path below a base."""
    aiohttp = pytest.importorskip("aiohttp")

    async def call() -> None:
        async with aiohttp.ClientSession() as session, session.post(url, json={}) as answer:
            await answer.read()

    asyncio.run(call())


def by_httpx2(url: str) -> None:
    """httpx2."""
    pytest.importorskip("httpx2").post(url, json={}, trust_env=False)


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_every_kind_of_client_makes_as_many_requests_as_packets(
    case: CallCase, start: Start, provider: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Sync and async, whatever HTTP library it stands on."""
    start()
    provider.script(case.reply, case.reply)
    case.run(provider.url)
    case.run(provider.url)
    assert hosts() == {HOST: HostCalls(requests=2, packets=2)}
    payi_otel.shutdown(5)
    assert lines(caplog) == []


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")  # google-genai's own
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_gemini_too(is_async: bool, start: Start, provider: ProviderServer) -> None:
    """The asynchronous client stands on aiohttp or httpx."""
    genai = pytest.importorskip("google.genai")
    start()
    provider.script(GENERATED, GENERATED)
    client = genai.Client(api_key="k", http_options={"base_url": provider.url})

    async def call() -> None:
        await client.aio.models.generate_content(model="m", contents="Hi.")
        await client.aio.aclose()

    if is_async:
        asyncio.run(call())
    else:
        client.models.generate_content(model="m", contents="Hi.")
    assert hosts() == {HOST: HostCalls(requests=1, packets=1)}


CLIENTS = [by_httpx, by_http_client, by_urllib, by_urllib3, by_requests, by_aiohttp, by_httpx2]


@pytest.mark.parametrize("call", CLIENTS, ids=lambda call: call.__name__)
def test_a_request_that_no_instrumentation_sees_is_named(
    call: Callable[[str], None], start: Start, provider: ProviderServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, whatever the client, and however many layers it has."""
    start()
    call(f"{provider.url}/v1/chat/completions")
    assert hosts() == {HOST: HostCalls(requests=1)}
    payi_otel.shutdown(5)
    assert lines(caplog) == [
        "calls may not be recorded: 127.0.0.1 1 request, 0 packets (payi-otel doctor -- python ... says which SDKs are instrumented)"
    ]
    caplog.clear()
    call(f"{provider.url}/v1/chat/completions")
    assert payi_otel.stats().hosts == {HOST: HostCalls(requests=1)}


def test_what_is_no_call_is_not_counted(start: Start, provider: ProviderServer) -> None:
    """Reading (GET), and any host that is neither known nor named."""
    start()
    provider.script(Reply({}), Reply({}))
    httpx.get(f"{provider.url}/v1/models", trust_env=False)
    with ProviderServer_() as other:
        httpx.post(f"{other.url}/v1/chat/completions", trust_env=False)
    assert hosts() == {}


class ProviderServer_(ProviderServer):  # noqa: N801 - the same, for `with`
    """A provider of its own."""

    def __enter__(self) -> ProviderServer_:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def test_a_mock_makes_no_request(start: Start, provider: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    """A packet without a request is no problem."""
    start()
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=completion()))
    chat(provider, http_client=httpx.Client(transport=transport))
    assert hosts() == {HOST: HostCalls(packets=1)}
    payi_otel.shutdown(5)
    assert lines(caplog) == []


def test_attempts_of_a_call_are_requests(start: Start, provider: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    """More requests than calls are no reason for a line."""
    start()
    provider.always("/chat/completions", lambda number: Reply({}, status=500, headers={"retry-after-ms": "1"}))
    for _ in range(10):
        with pytest.raises(openai.InternalServerError):
            chat(provider, max_retries=2)
    assert hosts() == {HOST: HostCalls(requests=30, packets=10)}
    payi_otel.shutdown(5)
    assert lines(caplog) == []


def test_our_own_requests_do_not_count(instrument: Start, ingest: IngestServer, provider: ProviderServer) -> None:
    """Even where Pay-i's host is named: packets would be calls that make packets."""
    provider.always("/chat/completions", Reply(completion()))
    instrument({"host_mappings": {name: {"price_as_category": "system.openai"} for name in (HOST, urlsplit(ingest.url).netloc)}})
    chat(provider)
    assert hosts() == {HOST: HostCalls(requests=1, packets=1)}


def test_what_is_suppressed_is_not_missed(start: Start, provider: ProviderServer) -> None:
    """It makes no packet by the user's own wish."""
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    start()
    with suppress_instrumentation():
        chat(provider)
    assert hosts() == {}


def test_proxied_calls_are_no_packets_and_no_requests(start: Start, caplog: pytest.LogCaptureFixture, provider: ProviderServer) -> None:
    """They are requests to Pay-i, which records them."""
    start({"proxy": True})
    with pytest.raises(openai.NotFoundError):  # this Pay-i has no proxy
        chat(provider)
    assert provider.requests == []
    assert hosts() == {}
    payi_otel.shutdown(5)
    assert lines(caplog) == []


def test_losses_and_unbilled_calls_are_one_line(start: Start, provider: ProviderServer, caplog: pytest.LogCaptureFixture) -> None:
    """At the end."""
    start()
    payi_otel.flush(5)
    by_httpx(f"{provider.url}/v1/chat/completions")
    with caplog.at_level(logging.WARNING, "payi.instrument"):
        payi_otel.shutdown(5)
    assert [record.levelname for record in caplog.records if "1 request, 0 packets" in record.getMessage()] == ["WARNING"]


def test_shutdown_takes_the_patches_away(start: Start) -> None:
    """The libraries are as they were; what another has put on top of ours stays, and counts nothing."""
    before = (httpx.HTTPTransport.__dict__["handle_request"], http.client.HTTPConnection.__dict__["putrequest"])
    start()
    assert httpx.HTTPTransport.__dict__["handle_request"] is not before[0]
    assert httpx.HTTPTransport.handle_request.__name__ == "handle_request"
    payi_otel.shutdown(5)
    assert (httpx.HTTPTransport.__dict__["handle_request"], http.client.HTTPConnection.__dict__["putrequest"]) == before


def test_another_wrapper_around_ours_stays(start: Start, provider: ProviderServer) -> None:
    """It works on, and a second start does not count twice."""
    from wrapt import FunctionWrapper

    seen = []

    def other(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        seen.append(type(instance).__name__)
        return wrapped(*args, **kwargs)

    original = httpx.HTTPTransport.__dict__["handle_request"]
    start()
    theirs = FunctionWrapper(httpx.HTTPTransport.__dict__["handle_request"], other)
    httpx.HTTPTransport.handle_request = theirs  # type: ignore[method-assign]
    try:
        payi_otel.shutdown(5)
        assert httpx.HTTPTransport.__dict__["handle_request"] is theirs
        by_httpx(f"{provider.url}/v1/chat/completions")
        start()
        by_httpx(f"{provider.url}/v1/chat/completions")
        assert hosts() == {HOST: HostCalls(requests=1)}
        assert seen == ["HTTPTransport"] * 2
        payi_otel.shutdown(5)
    finally:
        httpx.HTTPTransport.handle_request = original  # type: ignore[method-assign]


def test_a_wrapper_below_ours_gets_its_instance(start: Start, provider: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another HTTP instrumentation was there first."""
    from wrapt import FunctionWrapper

    seen = []

    def other(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        seen.append((type(instance).__name__, len(args)))
        return wrapped(*args, **kwargs)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", FunctionWrapper(httpx.HTTPTransport.__dict__["handle_request"], other))
    start()
    by_httpx(f"{provider.url}/v1/chat/completions")
    assert seen == [("HTTPTransport", 1)]
    assert hosts() == {HOST: HostCalls(requests=1)}
    payi_otel.shutdown(5)


class Hostile:
    """A request whose every attribute fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{name} is secret")


def test_a_fault_of_ours_never_reaches_the_application(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is its text said; what the library itself thinks of such a request is the library's."""
    monkeypatch.setattr(_guard, "raise_faults", False)
    start()
    with pytest.raises(RuntimeError, match="is secret"), httpx.HTTPTransport() as transport:
        transport.handle_request(Hostile())  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records if "is secret" in record.getMessage()] == []
    assert any("counting a request" in record.getMessage() for record in caplog.records)


def test_providers_that_are_not_wanted_are_not_missed() -> None:
    """`instruments` leaves them out: they have requests, and are no problem."""
    counter = RequestCounter()
    counter.start((), frozenset({PayiCategories.openai}), None)
    try:
        for host in ("api.openai.com", "api.anthropic.com", "adb-1.azuredatabricks.net"):
            counter.note(host, None)
        assert counter.read() == {"api.openai.com": 1, "api.anthropic.com": 1, "adb-1.azuredatabricks.net": 1}
        assert [one.host for one in counter.unbilled()] == ["api.openai.com"]
    finally:
        counter.stop()


@pytest.mark.parametrize(
    ("instruments", "disabled", "is_named"),
    [(None, "", True), ({"system.anthropic"}, "", False), (None, "payi_openai", False), ({"system.openai"}, "payi_anthropic", True)],
)
def test_whose_calls_are_wanted_is_what_the_settings_say(
    instruments: Any, disabled: str, is_named: bool, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`instruments` and the switch of each instrumentor."""
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", disabled)
    start(instruments=instruments)
    requests.note("api.openai.com", None)
    assert hosts() == {"api.openai.com": HostCalls(requests=1)}
    payi_otel.shutdown(5)
    assert bool(lines(caplog)) is is_named


@pytest.mark.parametrize(
    ("made", "calls", "is_named"),
    [
        (1, 0, True),
        (3, 1, False),
        (19, 1, False),  # one call with many retries of the user's own
        (20, 3, True),
        (20, 4, False),
        (600, 100, False),
        (601, 100, True),
        (5, 5, False),
        (5, 50, False),  # most of them mocks
    ],
)
def test_how_many_requests_a_packet_explains(made: int, calls: int, is_named: bool) -> None:
    """Six, from twenty requests on; none at all is always named."""
    counter = RequestCounter()
    counter.start((), frozenset({PayiCategories.openai}), None)
    try:
        for _ in range(made):
            counter.note("api.openai.com", None)
        for _ in range(calls):
            counter.calls.add("api.openai.com:443")
        assert bool(counter.unbilled()) is is_named
    finally:
        counter.stop()


def test_calls_of_unknown_hosts_explain_requests() -> None:
    """Spans of other instrumentations may say nothing of theirs."""
    counter = RequestCounter()
    counter.start((), frozenset({PayiCategories.openai}), None)
    try:
        counter.note("api.openai.com", None)
        counter.calls.add(None)
        assert counter.unbilled() == []
    finally:
        counter.stop()


@pytest.mark.parametrize(
    ("host", "category"),
    [
        ("api.openai.com", "system.openai"),
        ("eu.api.openai.com", "system.openai"),
        ("acme.openai.azure.com", "system.azureopenai"),
        ("acme.services.ai.azure.com", "system.azure"),
        ("api.anthropic.com", "system.anthropic"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "system.aws.bedrock"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "system.aws.bedrock"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "system.aws.bedrock"),
        ("generativelanguage.googleapis.com", "system.google.vertex"),
        ("europe-west4-aiplatform.googleapis.com", "system.google.vertex"),
        ("aiplatform.googleapis.com", "system.google.vertex"),
        ("adb-1.azuredatabricks.net", "system.databricks.azure"),
    ],
)
def test_known_hosts(host: str, category: str) -> None:
    """By the category of what they serve."""
    assert category in categories_of(host)


@pytest.mark.parametrize(
    "host",
    ["openai.com", "evilapi.openai.com.example.org", "notaiplatform.googleapis.com.example", "s3.us-east-1.amazonaws.com", "", "bedrock.x"],
)
def test_other_hosts_are_not_known(host: str) -> None:
    """Whatever they contain."""
    assert categories_of(host) == frozenset()


def test_hosts_of_other_services_too_are_told_apart() -> None:
    """They are counted, and not complained of."""
    assert serves_more_than_models("acme.cloud.databricks.com")
    assert not serves_more_than_models("api.openai.com")


@pytest.mark.parametrize(
    ("place", "host"), [("a.b", "a.b"), ("a.b:443", "a.b"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("::1:80", "[::1]"), ("", "")]
)
def test_ports_are_stripped(place: str, host: str) -> None:
    """Of names and addresses."""
    assert without_port(place) == host


def test_an_account_of_hosts_adds_up() -> None:
    """Across queues, and with the process's requests."""
    one, other = Stats(hosts={"a": HostCalls(2, 1)}), Stats(hosts={"a": HostCalls(0, 1), "b": HostCalls(1, 0)})
    assert (one + other).hosts == {"a": HostCalls(2, 2), "b": HostCalls(1, 0)}


def test_counts_are_exact_across_threads() -> None:
    """While they are read, too."""
    tally = Tally()
    threads = [threading.Thread(target=lambda: [tally.add("a") for _ in range(20_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        tally.read()
    assert tally.read() == tally.read() == {"a": 80_000}


def test_counts_have_a_bound() -> None:
    """Endless names end in one."""
    tally = Tally()
    for number in range(10_005):
        tally.add(number)
    assert tally.read()[""] == 5


FORK = """
import os, json, httpx, payi_otel
payi_otel.payi_instrument(config={"host_mappings": {os.environ["HOST"]: {"price_as_category": "system.openai"}}})
url = "http://" + os.environ["HOST"] + "/v1/chat/completions"
httpx.post(url, json={}, trust_env=False)
child = os.fork()
if child == 0:
    httpx.post(url, json={}, trust_env=False)
    httpx.post(url, json={}, trust_env=False)
print(json.dumps([child == 0, {host: calls.requests for host, calls in payi_otel.stats().hosts.items()}]), flush=True)
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_counts_its_own(provider: ProviderServer, ingest: IngestServer, tmp_path: Path) -> None:
    """From zero; both say at their ends what is not recorded."""
    provider.always("/chat/completions", Reply(completion()))
    environment = {
        **os.environ,
        "HOST": urlsplit(provider.url).netloc,
        "PAYI_API_KEY": ingest.api_key,
        "PAYI_BASE_URL": ingest.url,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], env=environment, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    said = dict(json.loads(line) for line in done.stdout.splitlines())
    assert {str(key): value for key, value in said.items()} == {"True": {HOST: 2}, "False": {HOST: 1}}
    assert sorted(line.split(":")[1].split(",")[0] for line in done.stderr.splitlines()) == [
        " 127.0.0.1 1 request",
        " 127.0.0.1 2 requests",
    ]


def test_the_counter_is_off_until_it_is_asked_for() -> None:
    """Importing the package patches nothing."""
    assert not requests.is_active
