"""The proxy that the tests of proxy mode stand on: what it takes and refuses, what the provider gets, what the caller gets back."""

from __future__ import annotations

import base64
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from aws_frames import EVENT_STREAM, chunk, frame
from payi_proxy import PREFIX, PayiProxy
from provider_server import ProviderServer, Reply, sse

from payi_otel import compat

KEY = {"xProxy-api-key": "test-key"}
BODY = {"model": "m"}
ANSWER = {"id": "c1", "usage": {"total_tokens": 7}}


def encoded(value: Any) -> str:
    """Properties as they are sent."""
    return base64.b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()


SCOPE_HEADERS = {
    "xProxy-Limit-IDs": "one,two",
    "xProxy-User-ID": "ann",
    "xProxy-Account-Name": "acme",
    "xProxy-UseCase-Name": "support-bot",
    "xProxy-UseCase-ID": "case-1",
    "xProxy-UseCase-Version": "0",
    "xProxy-UseCase-Step": "flights",
    "xProxy-UseCase-Properties": encoded({"team": "é"}),
    "xProxy-Request-Properties": encoded({"channel": None}),
    "xProxy-Resource-Scope": "datazone.eu",
    "xProxy-PriceAs-Category": "system.openai",
    "xProxy-PriceAs-Resource": "gpt-5",
    "xProxy-Logging-Disable": "True",
}
SCOPE = {
    "limit_ids": ["one", "two"],
    "user_id": "ann",
    "account_name": "acme",
    "use_case_name": "support-bot",
    "use_case_id": "case-1",
    "use_case_version": 0,
    "use_case_step": "flights",
    "use_case_properties": {"team": "é"},
    "request_properties": {"channel": None},
    "resource_scope": "datazone.eu",
    "price_as_category": "system.openai",
    "price_as_resource": "gpt-5",
    "log_prompt_and_response": False,
}


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """A plain client."""
    with httpx.Client(trust_env=False, timeout=10) as client:
        yield client


def openai(proxy: PayiProxy, provider: ProviderServer, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The arguments of a request of `POST /chat/completions`."""
    base = {"xProxy-Provider-BaseUri": provider.url + "/v1"}
    return {"url": proxy.url + PREFIX + "openai/v1/chat/completions", "headers": {**KEY, **base, **(headers or {})}, "json": BODY}


def test_the_provider_gets_the_request_without_our_headers(proxy: Any, provider: Any, http: Any) -> None:
    """Method, path, query and body as they were, the provider's own host and credentials."""
    provider.script(Reply(ANSWER))
    sent = openai(proxy, provider, {**SCOPE_HEADERS, "Authorization": "Bearer sk", "X-Own": "1", "Accept-Encoding": "gzip"})
    sent["url"] += "?a=1&b=%2F"
    answer = http.post(**sent)
    (request,) = provider.requests
    assert (request["method"], request["path"], request["body"]) == ("POST", "/v1/chat/completions?a=1&b=%2F", BODY)
    assert not [name for name in request["headers"] if name.startswith("xproxy-")]
    expected = {"host": provider.url.removeprefix("http://"), "authorization": "Bearer sk", "x-own": "1", "accept-encoding": "gzip"}
    assert {name: request["headers"][name] for name in expected} == expected
    (call,) = proxy.calls
    assert (call.provider, call.method, call.path, call.query) == ("openai/v1", "POST", "/chat/completions", "a=1&b=%2F")
    assert (call.scope, call.base_uri, call.credentials) == (SCOPE, provider.url + "/v1", {"authorization": "Bearer sk"})
    assert (call.json, call.header("X-OWN"), call.problems, call.is_blocked) == (BODY, "1", (), False)
    assert ("xProxy-User-ID", "ann") in call.headers
    assert answer.json() == {**ANSWER, "xproxy_result": call.result}
    assert answer.headers["x-request-id"] == "req_1"


@pytest.mark.parametrize(
    ("path", "base", "arrives"),
    [
        ("openai/v1/embeddings", "/v1", "/v1/embeddings"),
        ("openai/v1/my-endpoint/invocations", "/serving-endpoints", "/serving-endpoints/my-endpoint/invocations"),
        ("anthropic/v1/messages?beta=true", "", "/v1/messages?beta=true"),
        ("azure.openai/openai/deployments/d/chat/completions?api-version=1", "", "/openai/deployments/d/chat/completions?api-version=1"),
        ("azure.anthropic/v1/messages", "/anthropic", "/anthropic/v1/messages"),
    ],
)
def test_each_provider_has_a_path(path: str, base: str, arrives: str, proxy: Any, provider: Any, http: Any) -> None:
    """What follows it is added to the provider's base."""
    provider.script(Reply(ANSWER))
    answer = http.post(proxy.url + PREFIX + path, headers={**KEY, "xProxy-Provider-BaseUri": provider.url + base}, json=BODY)
    assert (answer.status_code, [request["path"] for request in provider.requests]) == (200, [arrives])
    assert path.startswith(proxy.calls[0].provider + proxy.calls[0].path)


def test_the_paths_are_those_of_the_published_helpers() -> None:
    """`payi_openai_url` and its like lead to the proxy."""
    urls = {
        "openai/v1": compat.payi_openai_url,
        "anthropic": compat.payi_anthropic_url,
        "azure.openai": compat.payi_azure_openai_url,
        "azure.anthropic": compat.payi_azure_anthropic_url,
        "aws.bedrock": compat.payi_aws_bedrock_url,
    }
    assert {provider: make("http://p") for provider, make in urls.items()} == {provider: f"http://p{PREFIX}{provider}" for provider in urls}


def test_results_can_be_told_apart(proxy: Any, provider: Any) -> None:
    """Each call has a request id and a cost of its own, whoever calls at once."""
    provider.always("/chat/completions", Reply(ANSWER))

    def ask(number: int) -> tuple[str, Any]:
        answer = httpx.post(**openai(proxy, provider, {"xProxy-User-ID": f"user-{number}"}), trust_env=False)
        return f"user-{number}", answer.json()["xproxy_result"]

    with ThreadPoolExecutor(10) as pool:
        results = list(pool.map(ask, range(30)))
    assert [result["user_id"] for _, result in results] == [user for user, _ in results]
    assert len({result["request_id"] for _, result in results}) == 30
    assert len({result["cost"]["total"]["base"] for _, result in results}) == 30
    assert sorted(call.result["request_id"] for call in proxy.calls) == sorted(result["request_id"] for _, result in results)


def test_a_public_address_needs_no_base_uri(proxy: Any, provider: Any, http: Any) -> None:
    """Only for the providers that have one; the test says what stands for it."""
    proxy.hosts["https://api.openai.com"] = provider.url
    proxy.hosts["https://api.anthropic.com"] = provider.url
    provider.script(Reply(ANSWER), Reply(ANSWER))
    paths = ("openai/v1/models?a=b", "anthropic/v1/messages")
    assert [http.post(proxy.url + PREFIX + path, headers=KEY).status_code for path in paths] == [200, 200]
    seen = [(request["headers"]["host"], request["path"]) for request in provider.requests]
    assert seen == [("api.openai.com", "/v1/models?a=b"), ("api.anthropic.com", "/v1/messages")]


BASE = "xproxy-provider-baseuri"
BAD_BASES = [
    ("openai/v1", None),
    ("azure.openai", None),
    ("azure.anthropic", None),
    ("aws.bedrock", None),
    ("openai/v1", "{}/v1/"),
    ("openai/v1", "127.0.0.1"),
    ("openai/v1", "{}?a=b"),
    ("azure.openai", "{}/openai"),
    ("aws.bedrock", "{}/model"),
    ("openai/v1", "<proxy>"),
    ("openai/v1", "https://api.openai.com/v1"),
]


@pytest.mark.parametrize(("provider_key", "base"), BAD_BASES)
def test_a_base_uri_that_leads_nowhere_is_refused(provider_key: str, base: str | None, proxy: Any, provider: Any, http: Any) -> None:
    """It is named, and the provider is not called."""
    named = {} if base is None else {BASE: base.format(provider.url).replace("<proxy>", proxy.url)}
    answer = http.post(f"{proxy.url}{PREFIX}{provider_key}/x", headers={**KEY, **named})
    assert (answer.status_code, answer.json()["xproxy_error"]["code"], provider.requests) == (400, "request_processing_error", [])
    assert len(proxy.problems) == 1
    assert BASE in proxy.problems[0]
    assert list(proxy.calls[0].problems) == [BASE + proxy.problems[0].partition(BASE)[2]]
    proxy.problems.clear()


BAD_HEADERS = [
    ("baggage", "a=b"),
    ("xProxy-Nonsense", "1"),
    ("xProxy-Instrumented-Module", "openai/1"),
    ("xProxy-Limit-IDs", ""),
    ("xProxy-Limit-IDs", "a,,b"),
    ("xProxy-Limit-IDs", "a, b"),
    ("xProxy-Limit-IDs", "a,a"),
    ("xProxy-User-ID", ""),
    ("xProxy-User-ID", "zo\xe9"),
    ("xProxy-UseCase-Name", "two words"),
    ("xProxy-UseCase-Name", "n" * 65),
    ("xProxy-UseCase-Version", "1.0"),
    ("xProxy-UseCase-Version", "-1"),
    ("xProxy-UseCase-Version", str(2**31)),
    ("xProxy-UseCase-Properties", '{"a":"b"}'),
    ("xProxy-Request-Properties", encoded(["a"])),
    ("xProxy-Request-Properties", encoded({"a": 1})),
    ("xProxy-Request-Properties", base64.b64encode(b'{"a": "b"}').decode()),
    ("xProxy-Request-Properties", base64.b64encode(b"\xff").decode()),
    ("xProxy-Logging-Disable", "False"),
]


@pytest.mark.parametrize(("name", "value"), BAD_HEADERS)
def test_a_wrong_header_is_refused(name: str, value: str, proxy: Any, provider: Any, http: Any) -> None:
    """It is named, and the provider is not called."""
    sent = openai(proxy, provider)
    sent["headers"] = httpx.Headers([*sent["headers"].items(), (name, value)], encoding="latin-1")
    answer = http.post(**sent)
    assert (answer.status_code, answer.json()["xproxy_error"]["code"], provider.requests) == (400, "request_processing_error", [])
    assert len(proxy.problems) == 1
    assert name.lower() in proxy.problems[0]
    proxy.problems.clear()


def test_a_header_of_ours_stands_there_once(proxy: Any, provider: Any, http: Any) -> None:
    """Two values of one are no answer to whose call it is."""
    sent = openai(proxy, provider)
    sent["headers"] = [*sent["headers"].items(), ("xProxy-User-ID", "ann"), ("xproxy-user-id", "bob")]
    assert (http.post(**sent).status_code, provider.requests) == (400, [])
    assert proxy.problems == ["POST /api/v1/proxy/openai/v1/chat/completions: xproxy-user-id stands there 2 times"]
    proxy.problems.clear()


def test_a_request_names_the_proxy_as_its_host(proxy: Any, provider: Any, http: Any) -> None:
    """The provider's would lead elsewhere, where many hosts share an address."""
    host = provider.url.removeprefix("http://")
    assert (http.post(**openai(proxy, provider, {"Host": host})).status_code, provider.requests) == (400, [])
    assert [problem.partition(": ")[2] for problem in proxy.problems] == [f"host is {host!r}, and not the proxy's"]
    proxy.problems.clear()


@pytest.mark.parametrize("key", [None, "another", ""])
def test_without_the_key_nothing_is_forwarded(key: str | None, proxy: Any, provider: Any, http: Any) -> None:
    """It is the Pay-i key, under its own header; the provider's is none."""
    sent = openai(proxy, provider, {"Authorization": "Bearer test-key"})
    sent["headers"] = {name: value for name, value in sent["headers"].items() if name not in KEY}
    answer = http.post(**{**sent, "headers": {**sent["headers"], **({} if key is None else {"xProxy-api-key": key})}})
    assert (answer.status_code, answer.json()["xproxy_error"]["code"], provider.requests) == (401, "invalid_api_key", [])
    assert [problem.rpartition(": ")[2] for problem in proxy.problems] == ["xproxy-api-key is " + ("missing" if key is None else "wrong")]
    proxy.problems.clear()


@pytest.mark.parametrize("path", ["google.vertex/v1/models", "openai/models", "openai/v1beta/models", "anthropicx/v1"])
def test_an_unknown_path_is_refused(path: str, proxy: Any, provider: Any, http: Any) -> None:
    """A provider's name ends where its path begins."""
    answer = http.post(proxy.url + PREFIX + path, headers={**KEY, "xProxy-Provider-BaseUri": provider.url})
    assert (answer.status_code, provider.requests) == (400, [])
    assert proxy.problems == [f"POST {PREFIX}{path}: {PREFIX}{path} is no path of the proxy"]
    proxy.problems.clear()


def test_a_blocked_limit_is_refused(proxy: Any, provider: Any, http: Any) -> None:
    """Whatever the other limits are; the provider is not called, and it is no problem of the request."""
    proxy.block("two")
    proxy.set_limit("one", "exceeded")
    answer = http.post(**openai(proxy, provider, SCOPE_HEADERS))
    assert (answer.status_code, provider.requests) == (400, [])
    body = answer.json()
    assert (body["statusCode"], body["xproxy_error"]["code"]) == (400, "limit_reached")
    assert body["message"] == body["xproxy_error"]["message"]
    assert body["xproxy_result"] == proxy.calls[0].result
    assert body["xproxy_result"]["blocked_limit_ids"] == ["two"]
    assert body["xproxy_result"]["limits"] == {"one": {"state": "exceeded"}, "two": {"state": "blocked"}}
    assert proxy.calls[0].is_blocked


def test_other_limits_are_told_of(proxy: Any, provider: Any, http: Any) -> None:
    """A blocked limit holds for the requests that name it."""
    proxy.block("three")
    proxy.set_limit("one", "exceeded")
    provider.script(Reply(ANSWER))
    result = http.post(**openai(proxy, provider, SCOPE_HEADERS)).json()["xproxy_result"]
    assert (result["limits"], result["blocked_limit_ids"]) == ({"one": {"state": "exceeded"}, "two": {"state": "ok"}}, [])


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply({"error": {"message": "slow"}}, status=429, headers={"retry-after": "7"}), {"error": {"message": "slow"}}),
        (Reply({"a": 1}, gzipped=True), {"a": 1}),
        (Reply(["a"]), None),
        (Reply(b'{"a": 1}', headers={"content-type": "text/plain"}), None),
        (Reply(b"\xff\x00", headers={"content-type": "audio/mpeg"}), None),
        (Reply(b"", status=204), None),
    ],
    ids=["error", "gzip", "list", "text", "binary", "empty"],
)
def test_only_a_json_object_carries_the_result(reply: Reply, expected: Any, proxy: Any, provider: Any, http: Any) -> None:
    """Status and headers pass, and so does the body of any other kind, byte by byte."""
    provider.script(reply)
    answer = http.post(**openai(proxy, provider))
    assert answer.status_code == reply.status
    assert answer.headers.get("retry-after") == reply.headers.get("retry-after")
    if expected is None:
        assert answer.content == (reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode())
    else:
        assert answer.json() == {**expected, "xproxy_result": proxy.calls[0].result}


CHAT = [{"id": "c1", "n": number} for number in range(4)]
MESSAGES = [{"type": "message_start"}, {"type": "ping"}, {"type": "message_stop"}]


@pytest.mark.parametrize("piece", [None, 1, 7])
@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize(
    ("reply", "behind"),
    [
        (Reply(events=CHAT), "data: [DONE]\n\n"),
        (Reply(events=MESSAGES, done=False), ""),
        (Reply(events=[*CHAT, ": a comment\n\n"], done=False), ": a comment\n\n"),
    ],
    ids=["done", "named", "comment"],
)
def test_the_last_event_carries_the_result(
    reply: Reply, behind: str, gzipped: bool, piece: int | None, proxy: Any, provider: Any, http: Any
) -> None:
    """However the stream is cut into pieces; every other event passes as it was."""
    provider.script(Reply(events=reply.events, done=reply.done, piece=piece, gzipped=gzipped))
    text = http.post(**openai(proxy, provider)).text
    events = [event for event in reply.events or () if isinstance(event, dict)]
    changed = {**events[-1], "xproxy_result": proxy.calls[0].result}
    assert text == "".join([str(sse(event)) for event in (*events[:-1], changed)]) + behind


def test_one_event_is_held_back(proxy: Any, provider: Any, http: Any) -> None:
    """The caller has all others while the provider is still at it."""
    gate = threading.Event()
    provider.script(Reply(events=CHAT, gate=gate))  # before [DONE]
    seen = ""
    with http.stream("POST", **openai(proxy, provider)) as answer:
        for text in answer.iter_text():
            seen += text
            if not gate.is_set() and seen.count("data: ") == 3:
                assert seen == "".join(str(sse(event)) for event in CHAT[:3])
                gate.set()
    assert gate.is_set()
    assert seen.count("data: ") == 5
    assert f'"request_id": "{proxy.calls[0].result["request_id"]}"' in seen


def test_what_follows_done_is_not_waited_for(proxy: Any, provider: Any, http: Any) -> None:
    """The caller has the last event, with the result, as soon as the provider has said that it was the last."""
    gate = threading.Event()
    provider.script(Reply(events=[*CHAT, "data: [DONE]\n\n", ": a comment\n\n"], done=False, gate=gate))
    with http.stream("POST", **openai(proxy, provider)) as answer:
        seen = ""
        for text in answer.iter_text():
            seen += text
            if "[DONE]" in seen:
                assert gate.is_set() or ("xproxy_result" in seen and "comment" not in seen)
                gate.set()
    assert seen.endswith(": a comment\n\n")


def until_cut(http: httpx.Client, **sent: Any) -> bytes:
    """What comes of an answer that breaks off."""
    seen = bytearray()
    with http.stream("POST", **sent) as answer, pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        deque(map(seen.extend, answer.iter_bytes()), 0)
    return bytes(seen)


def test_a_cut_stream_is_cut(proxy: Any, provider: Any, http: Any) -> None:
    """What came before has arrived, and no result with it."""
    provider.script(Reply(events=CHAT, cut_after=3))
    assert until_cut(http, **openai(proxy, provider)) == "".join(str(sse(event)) for event in CHAT[:3]).encode()


@pytest.mark.parametrize("reply", [Reply(ANSWER, cut_body=True), Reply(ANSWER, headers={"content-length": "999", "connection": "close"})])
def test_a_cut_answer_is_cut(reply: Reply, proxy: Any, provider: Any, http: Any) -> None:
    """Half an answer is none, whether the provider resets its connection or closes it."""
    provider.script(reply)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        http.post(**openai(proxy, provider))


def test_a_provider_that_is_not_there_is_an_error(proxy: Any, provider: Any, http: Any) -> None:
    """502, with Pay-i's code for it."""
    sent = openai(proxy, provider)
    provider.close()
    answer = http.post(**sent)
    assert (answer.status_code, answer.json()["xproxy_error"]["code"]) == (502, "provider_error")


def test_ingests_are_taken_at_the_same_url(proxy: Any, provider: Any, http: Any) -> None:
    """They are packets, and no calls; a call is no packet."""
    provider.script(Reply(ANSWER))
    http.post(**openai(proxy, provider))
    assert (proxy.packets, proxy.requests) == ([], [])
    body = {"category": "system.openai", "resource": "m", "units": {}, "provider_response_id": "r1"}
    assert http.post(proxy.url + "/api/v1/ingest?id=r1", headers=KEY, json=body).status_code == 200
    assert ([packet["body"] for packet in proxy.packets], len(proxy.calls)) == ([body], 1)


# ---- AWS

FRAMES = [frame({"n": number}, kind="contentBlockDelta") for number in range(3)]
MODEL_PATH = "/model/us.amazon.nova-lite-v1%3A0/converse"


def signed(provider: ProviderServer, *, host: str = "", secret: str = "secret", extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The headers of a request to Bedrock, signed for the provider's host or another."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = (host or provider.url) + MODEL_PATH
    request = AWSRequest("POST", url, data=json.dumps(BODY), headers={"content-type": "application/json", **(extra or {})})
    SigV4Auth(Credentials("AKID", secret, "session"), "bedrock", "us-east-1").add_auth(request)
    return {**KEY, "xProxy-Provider-BaseUri": provider.url, **dict(request.headers.items())}


def converse(proxy: PayiProxy, headers: Mapping[str, str], content: str = json.dumps(BODY)) -> httpx.Response:
    """Sends it."""
    return httpx.post(f"{proxy.url}{PREFIX}aws.bedrock{MODEL_PATH}", headers=headers, content=content, trust_env=False)


def test_a_request_signed_for_the_provider_is_forwarded(proxy: Any, provider: Any) -> None:
    """The path as it was signed, a colon in it escaped, and the credentials with it; headers that were not signed do no harm."""
    pytest.importorskip("botocore")
    provider.script(Reply(ANSWER))
    answer = converse(proxy, {**signed(provider), "xProxy-User-ID": "ann"})
    assert answer.json() == {**ANSWER, "xproxy_result": proxy.calls[0].result}
    assert [request["path"] for request in provider.requests] == [MODEL_PATH]
    assert proxy.calls[0].credentials.keys() == {"authorization", "x-amz-security-token"}
    assert provider.requests[0]["headers"]["authorization"] == proxy.calls[0].credentials["authorization"]


def test_a_signature_for_aws_itself_holds(proxy: Any, provider: Any) -> None:
    """Its host is the one that was signed for, whatever stands for it here."""
    pytest.importorskip("botocore")
    host = "https://bedrock-runtime.us-east-1.amazonaws.com"
    proxy.hosts[host] = provider.url
    provider.script(Reply(ANSWER))
    assert converse(proxy, {**signed(provider, host=host), "xProxy-Provider-BaseUri": host}).status_code == 200
    assert provider.requests[0]["headers"]["host"] == host.removeprefix("https://")


def test_more_headers_may_be_signed(proxy: Any, provider: Any) -> None:
    """All that the provider gets, the body's length too, as an SDK signs that has made its request before."""
    pytest.importorskip("botocore")
    provider.script(Reply(ANSWER))
    length = str(len(json.dumps(BODY)))
    assert converse(proxy, signed(provider, extra={"Content-Length": length, "Accept-Encoding": "gzip"})).status_code == 200


def test_a_bearer_token_stands_for_a_signature(proxy: Any, provider: Any) -> None:
    """Bedrock's API keys."""
    provider.script(Reply(ANSWER))
    assert converse(proxy, {**KEY, "xProxy-Provider-BaseUri": provider.url, "Authorization": "Bearer key"}).status_code == 200


BAD_SIGNATURES = {
    "signed for the proxy's host": lambda proxy, provider: signed(provider, host=f"{proxy.url}{PREFIX}aws.bedrock"),
    "does not match": lambda proxy, provider: signed(provider, secret="another"),
    "nobody's access key": lambda proxy, provider: proxy.aws_secrets.clear() or signed(provider),
    "the provider does not get ['xproxy-user-id']": lambda proxy, provider: signed(provider, extra={"xProxy-User-ID": "ann"}),
    "is not signed": lambda proxy, provider: {**KEY, "xProxy-Provider-BaseUri": provider.url},
}


@pytest.mark.parametrize("problem", BAD_SIGNATURES)
def test_a_signature_that_aws_would_refuse_is_refused(problem: str, proxy: Any, provider: Any) -> None:
    """It holds for the provider's host, the forwarded headers and the body."""
    pytest.importorskip("botocore")
    assert (converse(proxy, BAD_SIGNATURES[problem](proxy, provider)).status_code, provider.requests) == (400, [])
    assert len(proxy.problems) == 1
    assert problem in proxy.problems[0]
    proxy.problems.clear()


@pytest.mark.parametrize("change", ["body", "date", "path"])
def test_what_was_signed_must_not_change(change: str, proxy: Any, provider: Any) -> None:
    """Nor may a signature be used for another request."""
    pytest.importorskip("botocore")
    headers = signed(provider)
    if change == "date":
        headers["X-Amz-Date"] = "20200101T000000Z"
    if change == "path":
        url = f"{proxy.url}{PREFIX}aws.bedrock/model/other/converse"
        answer = httpx.post(url, headers=headers, content=json.dumps(BODY), trust_env=False)
    else:
        answer = converse(proxy, headers, json.dumps({"model": "n"} if change == "body" else BODY))
    assert (answer.status_code, provider.requests) == (400, [])
    assert [problem.rpartition(": ")[2] for problem in proxy.problems] == ["the signature does not match the request"]
    proxy.problems.clear()


def frames_of(content: bytes) -> list[tuple[dict[str, Any], Any]]:
    """Frames as botocore reads them, which checks their sums."""
    buffer = pytest.importorskip("botocore.eventstream").EventStreamBuffer()
    buffer.add_data(content)
    return [(message.headers, json.loads(message.payload)) for message in buffer]


@pytest.mark.parametrize("piece", [None, 1, 50])
def test_the_last_frame_carries_the_result(piece: int | None, proxy: Any, provider: Any) -> None:
    """Its lengths and sums are right, its headers as they were; the other frames pass byte by byte."""
    provider.script(Reply(events=FRAMES, headers=EVENT_STREAM, piece=piece))
    answer = converse(proxy, signed(provider))
    assert answer.content.startswith(b"".join(FRAMES[:-1]))
    assert answer.headers["content-type"] == EVENT_STREAM["content-type"]
    bare = frames_of(b"".join(FRAMES))
    assert frames_of(answer.content) == [*bare[:-1], (bare[-1][0], {"n": 2, "xproxy_result": proxy.calls[0].result})]


def test_a_chunk_carries_the_result_within(proxy: Any, provider: Any) -> None:
    """In the JSON that it holds as base64."""
    provider.script(Reply(events=[chunk({"n": 0}), chunk({"n": 1})], headers=EVENT_STREAM))
    frames = frames_of(converse(proxy, signed(provider)).content)
    inner = [json.loads(base64.b64decode(payload["bytes"])) for _, payload in frames]
    assert inner == [{"n": 0}, {"n": 1, "xproxy_result": proxy.calls[0].result}]
    assert [payload.keys() for _, payload in frames] == [{"bytes"}, {"bytes"}]


def test_an_exception_in_a_stream_carries_the_result(proxy: Any, provider: Any) -> None:
    """It is the last frame."""
    provider.script(Reply(events=[FRAMES[0], frame({"message": "slow"}, kind="throttlingException", exception=True)], headers=EVENT_STREAM))
    frames = frames_of(converse(proxy, signed(provider)).content)
    assert frames[0][1] == {"n": 0}
    assert frames[1][0][":exception-type"] == "throttlingException"
    assert frames[1][1] == {"message": "slow", "xproxy_result": proxy.calls[0].result}


def test_a_cut_stream_of_frames_is_cut(proxy: Any, provider: Any, http: Any) -> None:
    """As one of events."""
    provider.script(Reply(events=FRAMES, headers=EVENT_STREAM, cut_after=2))
    url = f"{proxy.url}{PREFIX}aws.bedrock{MODEL_PATH}"
    assert until_cut(http, url=url, headers=signed(provider), content=json.dumps(BODY)) == b"".join(FRAMES[:2])
