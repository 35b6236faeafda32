"""LiteLLM on top: what it asks through the OpenAI SDK and what it posts itself, each request one whole packet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import foreign_replies as said
import pytest
from comparing import comparable
from framework_calls import (
    BEDROCK,
    CLAUDE,
    EMBEDDINGS,
    GEMINI,
    OPENAI,
    QUESTION,
    RESPONSES,
    SCOPE,
    TRACED,
    TRACED_END,
    USER,
    Service,
    billed,
    framework,
    owed,
    program,
    read,
    within_scope,
)
from provider_server import ProviderServer, Reply

import payi_otel
from payi_otel.testing import IngestServer

framework("litellm", "boto3")

MESSAGES = [{"role": "user", "content": QUESTION}]
KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region_name": "us-east-1"}


@dataclass(frozen=True)
class Case:
    """A model by LiteLLM's name for it, how it is pointed at a server, and what it is answered."""

    model: str
    base: str
    more: dict[str, Any]
    service: Service
    plain: Reply
    stream: Reply

    def asked(self, url: str) -> dict[str, Any]:
        """What LiteLLM is given."""
        where = {"aws_bedrock_runtime_endpoint": url} if self.service is BEDROCK else {"api_base": url + self.base, "api_key": "k"}
        return {"model": self.model, "messages": MESSAGES, "num_retries": 0, "max_retries": 0, **where, **self.more}


NOVA = "bedrock/amazon.nova-lite-v1:0"
STREAMED_GEMINI = Reply(events=said.GENERATED_STREAM.events, done=False)
CASES = {
    "openai": Case("openai/gpt-4.1-mini", "/v1", {}, OPENAI, said.CHAT, said.CHAT_STREAM),
    "anthropic": Case("anthropic/claude-opus-5", "", {}, CLAUDE, said.MESSAGE, said.MESSAGE_STREAM),
    "gemini": Case("gemini/gemini-2.5-flash", "", {}, GEMINI, said.GENERATED, STREAMED_GEMINI),
    "bedrock": Case(NOVA, "", KEYS, BEDROCK, said.CONVERSED, said.CONVERSE_STREAM),
}


@pytest.fixture(autouse=True)
def fresh_clients() -> Iterator[None]:
    """LiteLLM keeps its clients, and with them the event loop of another test."""
    import litellm

    litellm.in_memory_llm_clients_cache.flush_cache()
    yield
    litellm.in_memory_llm_clients_cache.flush_cache()


def completion(asked: dict[str, Any]) -> Any:
    """Asked and answered."""
    import litellm

    return lambda: litellm.completion(**asked)


def acompletion(asked: dict[str, Any]) -> Any:
    """Awaited."""
    import litellm

    async def ask() -> None:
        await litellm.acompletion(**asked)

    return ask


def stream(asked: dict[str, Any]) -> Any:
    """Read to its end."""
    import litellm

    return lambda: list(litellm.completion(**asked, stream=True))


def astream(asked: dict[str, Any]) -> Any:
    """The same, awaited."""
    import litellm

    async def ask() -> list[Any]:
        return [piece async for piece in await litellm.acompletion(**asked, stream=True)]

    return ask


WAYS = {"completion": completion, "acompletion": acompletion, "stream": stream, "astream": astream}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_a_model_asked_once_is_one_whole_packet(name: str, way: str, instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Of each provider, in each way it is asked."""
    case = CASES[name]
    reply = case.stream if "stream" in way else case.plain
    provider.script(reply)
    instrument()
    within_scope(WAYS[way](case.asked(provider.url)))
    (packet,), (request,) = packets(), provider.requests
    ours = ("stream_options",) if name == "openai" and "stream" in way else ()
    changes = {}
    if (name, way) == ("anthropic", "stream"):  # LiteLLM stops reading at the event with the usage
        changes["provider_response_json"] = list(reply.events or ())[:-1]
    assert read(packet) == owed(case.service, request, reply, ours=ours, **changes)


def test_responses_and_embeddings_are_one_packet_each(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """The first is posted by LiteLLM itself, the second through the SDK."""
    import litellm

    where = {"api_base": provider.url + "/v1", "api_key": "k"}
    provider.script(said.RESPONSE, said.EMBEDDED)
    instrument()
    within_scope(lambda: litellm.responses(model="openai/gpt-4.1-mini", input=QUESTION, **where))
    within_scope(lambda: litellm.embedding(model="openai/text-embedding-3-small", input=[QUESTION], **where))
    first, second = (read(packet) for packet in packets(2))
    assert first == owed(RESPONSES, provider.requests[0], said.RESPONSE)
    assert second == owed(EMBEDDINGS, provider.requests[1], said.EMBEDDED)


REFUSED = {"anthropic": said.MESSAGE_REFUSED, "gemini": said.GEMINI_REFUSED, "bedrock": said.BEDROCK_REFUSED}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_call_is_one_packet_without_units(name: str, way: str, instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """With the status and what the provider said, and the application has LiteLLM's own error."""
    import litellm

    case, reply = CASES[name], REFUSED[name]
    provider.script(reply)
    instrument()
    with pytest.raises(litellm.exceptions.BadRequestError):
        within_scope(WAYS[way](case.asked(provider.url)))
    (packet,), (request,) = packets(), provider.requests
    found = read(packet)
    said_id = {"anthropic": "req_1", "gemini": "req_1", "bedrock": "req-1"}[name]
    resource = "google.gemini-2.5-flash" if name == "gemini" else case.service.resource
    properties = {"properties": {"payi_otel.end_reason": "error"}}
    assert found == owed(case.service, request, reply, units={}, resource=resource, provider_response_id=said_id, **properties)


@pytest.mark.parametrize("name", ["anthropic", "gemini", "bedrock"])
def test_a_stream_that_nobody_reads_on_is_one_packet_at_the_end(
    name: str, instrument: Any, provider: ProviderServer, ingest: IngestServer
) -> None:
    """With what has come of it; LiteLLM keeps hold of it, so that it ends with the process at the latest."""
    import litellm

    case = CASES[name]
    provider.script(case.stream)
    instrument()
    answer: Any = litellm.completion(**case.asked(provider.url), stream=True)
    next(iter(answer))
    payi_otel.shutdown(5)
    (packet,) = (read(comparable(one)) for one in ingest.requests)
    assert packet["body"]["category"] == case.service.category
    assert packet["body"]["http_status_code"] == 200
    assert packet["body"]["provider_request_json"] == provider.requests[0]["body"]


def test_headers_of_a_call_say_whose_it_is_and_go_no_further(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Through LiteLLM's `extra_headers`, to its own client and to the SDK's."""
    import litellm

    provider.script(said.MESSAGE, said.CHAT)
    instrument()
    for name in ("anthropic", "openai"):
        headers = {"X-Own": "1", **payi_otel.create_headers(user_id="bob")}
        litellm.completion(**CASES[name].asked(provider.url), extra_headers=headers)
    assert [packet["scope"]["xproxy-user-id"] for packet in packets(2)] == ["bob", "bob"]
    for request in provider.requests:
        assert request["headers"]["x-own"] == "1"
        assert not any(name.startswith("xproxy-") for name in request["headers"])


def test_a_router_that_falls_back_is_one_packet_an_attempt(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Both are of one user; the application sees the second's answer."""
    import litellm

    provider.script(said.MESSAGE_REFUSED, said.CHAT)
    instrument()
    models = [
        {"model_name": name, "litellm_params": {key: value for key, value in CASES[name].asked(provider.url).items() if key != "messages"}}
        for name in ("anthropic", "openai")
    ]
    router = litellm.Router(model_list=models, fallbacks=[{"anthropic": ["openai"]}], num_retries=0)
    within_scope(lambda: router.completion(model="anthropic", messages=MESSAGES))
    found = packets(2)
    assert [(packet["body"]["category"], packet["body"]["http_status_code"]) for packet in found] == [
        ("system.anthropic", 400),
        ("system.openai", 200),
    ]
    assert [packet["scope"] for packet in found] == [SCOPE, SCOPE]


def test_only_what_is_wanted_is_recorded(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """`instruments` holds for what LiteLLM posts, too."""
    import litellm

    provider.script(said.MESSAGE, said.CHAT)
    instrument(instruments={"system.openai"})
    for name in ("anthropic", "openai"):
        litellm.completion(**CASES[name].asked(provider.url))
    assert [packet["body"]["category"] for packet in packets()] == ["system.openai"]


def test_nothing_is_recorded_after_the_end(instrument: Any, provider: ProviderServer, ingest: IngestServer) -> None:
    """LiteLLM works as it did."""
    import litellm

    provider.script(said.MESSAGE, said.MESSAGE)
    instrument()
    payi_otel.shutdown(5)
    assert litellm.completion(**CASES["anthropic"].asked(provider.url)).choices[0].message.content == "Hello there."
    assert not ingest.requests


CALLS = """
import litellm
litellm.callbacks = ["otel"]
litellm.suppress_debug_info = True
ask = {"messages": [{"role": "user", "content": "Say hello."}], "num_retries": 0}
async def later():
    await litellm.acompletion(model="anthropic/claude-opus-5", **ask)
    await asyncio.sleep(2)
with payi_otel.track_context(user_id="ann@example.com"):
    litellm.completion(model="openai/gpt-4.1-mini", **ask)
    list(litellm.completion(model="anthropic/claude-opus-5", stream=True, **ask))
    asyncio.run(later())
import time; time.sleep(2)
"""


def test_spans_of_its_own_callback_are_not_billed_again(provider: ProviderServer, ingest: IngestServer) -> None:
    """`litellm.callbacks = ["otel"]` beside ours, of the SDK's calls and of its own."""
    provider.script(said.CHAT, said.MESSAGE_STREAM, Reply({**said.MESSAGE_BODY, "id": "msg_2"}, headers=said.REQUEST_ID))
    scopes = program(TRACED + CALLS + TRACED_END, provider, ingest, OTEL_TRACES_EXPORTER="none").split()
    assert any("litellm" in scope for scope in scopes)
    expected = [(USER, "claude-opus-5", "msg_1", said.CLAUDE_UNITS), (USER, "claude-opus-5", "msg_2", said.CLAUDE_UNITS)]
    assert sorted(billed(ingest), key=str) == sorted([*expected, (USER, "gpt-4.1-mini", "chatcmpl-1", said.OPENAI_UNITS)], key=str)
