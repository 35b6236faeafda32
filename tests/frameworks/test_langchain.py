"""LangChain and LangGraph on top: each request of a model is one whole packet, whose it is, whatever runs it."""

from __future__ import annotations

from typing import Any

import foreign_replies as said
import pytest
from framework_calls import (
    BEDROCK,
    CLAUDE,
    EMBEDDINGS,
    GEMINI,
    OPENAI,
    QUESTION,
    RESPONSES,
    TOOL_CALLS,
    TRACED,
    TRACED_END,
    USER,
    Case,
    billed,
    framework,
    owed,
    program,
    read,
    within_scope,
)
from provider_server import ProviderServer, Reply

from payi_otel.testing import IngestServer

framework("langchain", "langchain_openai", "langchain_anthropic", "langchain_google_genai", "langchain_aws")


def openai_model(url: str) -> Any:
    """OpenAI's chat completions."""
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-4.1-mini", api_key="k", base_url=url + "/v1", max_retries=0, use_responses_api=False)


def responses_model(url: str) -> Any:
    """OpenAI's responses."""
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-4.1-mini", api_key="k", base_url=url + "/v1", max_retries=0, use_responses_api=True)


def claude_model(url: str) -> Any:
    """Anthropic's messages."""
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model="claude-opus-5", api_key="k", base_url=url, max_retries=0)


def gemini_model(url: str) -> Any:
    """Google's content."""
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(model="gemini-2.5-flash", api_key="k", base_url=url, max_retries=1)


def bedrock_model(url: str) -> Any:
    """Bedrock's Converse."""
    from langchain_aws import ChatBedrockConverse

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return ChatBedrockConverse(model="amazon.nova-lite-v1:0", region_name="us-east-1", endpoint_url=url, **keys)


CASES = {
    "openai": Case(openai_model, OPENAI, said.CHAT, said.CHAT_STREAM),
    "responses": Case(responses_model, RESPONSES, said.RESPONSE, said.RESPONSE_STREAM),
    "anthropic": Case(claude_model, CLAUDE, said.MESSAGE, said.MESSAGE_STREAM),
    "google": Case(gemini_model, GEMINI, said.GENERATED, said.GENERATED_STREAM),
    "bedrock": Case(bedrock_model, BEDROCK, said.CONVERSED, said.CONVERSE_STREAM),
}


def invoke(model: Any) -> Any:
    """Asked and answered."""
    return lambda: model.invoke(QUESTION)


def invoke_later(model: Any) -> Any:
    """Awaited; Bedrock's runs in a thread then."""

    async def ask() -> None:
        await model.ainvoke(QUESTION)

    return ask


def stream(model: Any) -> Any:
    """Read to its end."""
    return lambda: list(model.stream(QUESTION))


def stream_later(model: Any) -> Any:
    """The same, awaited."""

    async def ask() -> list[Any]:
        return [piece async for piece in model.astream(QUESTION)]

    return ask


WAYS = {"invoke": invoke, "ainvoke": invoke_later, "stream": stream, "astream": stream_later}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_a_model_asked_once_is_one_whole_packet(name: str, way: str, instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Of each integration, in each way it is asked."""
    case = CASES[name]
    reply = case.stream if "stream" in way else case.plain
    provider.script(reply)
    instrument()
    within_scope(WAYS[way](case.model(provider.url)))
    (packet,), (request,) = packets(), provider.requests
    ours = ("stream_options",) if name == "openai" and "stream" in way else ()
    assert read(packet) == owed(case.service, request, reply, ours=ours)


def look_up(city: str) -> str:
    """Looks up a city."""
    return "sunny"


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_agent_that_calls_a_tool_is_one_packet_a_request(
    is_async: bool, instrument: Any, provider: ProviderServer, packets: Any
) -> None:
    """LangGraph runs its steps in tasks and threads of its own."""
    from langchain.agents import create_agent

    replies = (said.CHAT_TOOL, said.CHAT_SECOND)
    provider.script(*replies)
    instrument()
    agent = create_agent(openai_model(provider.url), tools=[look_up], name="helper")
    asked: Any = {"messages": [{"role": "user", "content": QUESTION}]}

    async def ask_later() -> None:
        await agent.ainvoke(asked)

    within_scope(ask_later if is_async else lambda: agent.invoke(asked))
    first, second = (read(packet) for packet in packets(2))
    assert first == owed(OPENAI, provider.requests[0], replies[0], provider_response_function_calls=TOOL_CALLS)
    assert second == owed(OPENAI, provider.requests[1], replies[1], provider_response_id="chatcmpl-2")


def test_a_batch_is_one_packet_a_request_in_the_threads_of_its_pool(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Each has its own question, and all are of one user."""
    provider.always("/chat/completions", lambda number: Reply({**said.CHAT.body, "id": f"chatcmpl-{number}"}))
    instrument()
    questions = [f"Question {number}?" for number in range(8)]
    within_scope(lambda: openai_model(provider.url).batch(questions, config={"max_concurrency": 4}))
    found = sorted(
        (read(packet) for packet in packets(8)), key=lambda packet: packet["body"]["provider_request_json"]["messages"][0]["content"]
    )
    for question, packet in zip(questions, found, strict=True):
        number = packet["body"]["provider_response_id"]
        (request,) = (one for one in provider.requests if one["body"]["messages"][0]["content"] == question)
        assert packet == owed(OPENAI, request, Reply({**said.CHAT.body, "id": number}), provider_response_id=number)
    assert len({packet["body"]["provider_response_id"] for packet in found}) == 8


def test_embeddings_are_one_packet(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Of a query, as a retriever makes it."""
    from langchain_openai import OpenAIEmbeddings

    provider.script(said.EMBEDDED)
    instrument()
    url = provider.url + "/v1"
    embeddings = OpenAIEmbeddings(model="text-embedding-3-small", api_key="k", base_url=url, check_embedding_ctx_length=False)
    within_scope(lambda: embeddings.embed_query(QUESTION))
    assert read(packets()[0]) == owed(EMBEDDINGS, provider.requests[0], said.EMBEDDED)


SWITCHES = {
    "openinference.instrumentation.langchain": "LangChainInstrumentor",
    "opentelemetry.instrumentation.langchain": "LangchainInstrumentor",
    "opentelemetry.instrumentation.genai.langchain": "LangChainInstrumentor",
}
CALLS = """
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

def look_up(city: str) -> str:
    "Looks up a city."
    return "sunny"

model = ChatOpenAI(model="gpt-4.1-mini", max_retries=0, use_responses_api=False)
with payi_otel.track_context(user_id="ann@example.com"):
    (ChatPromptTemplate.from_messages([("user", "{words}")]) | model | StrOutputParser()).invoke({"words": "Say hello."})
    list(model.stream("Say hello."))
    create_agent(model, tools=[look_up], name="helper").invoke({"messages": [{"role": "user", "content": "Say hello."}]})
    ChatAnthropic(model="claude-opus-5", max_retries=0).invoke("Say hello.")
"""


@pytest.mark.parametrize("module", SWITCHES)
def test_spans_of_the_framework_are_not_billed_again(module: str, provider: ProviderServer, ingest: IngestServer) -> None:
    """Of a chain, a stream, an agent and another provider, with an instrumentation of LangChain beside ours."""
    pytest.importorskip(module)
    numbered = [Reply({**reply.body, "id": f"chatcmpl-{number}"}) for number, reply in enumerate((said.CHAT, said.CHAT_TOOL, said.CHAT))]
    provider.script(numbered[0], said.CHAT_STREAM, *numbered[1:], said.MESSAGE)
    switch = f"from {module} import {SWITCHES[module]}\n{SWITCHES[module]}().instrument(tracer_provider=tracing)\n"
    scopes = program(TRACED + switch + CALLS + TRACED_END, provider, ingest).split()
    assert any(scope.startswith(module) for scope in scopes)
    expected = [(USER, "gpt-4.1-mini", name, said.OPENAI_UNITS) for name in ("chatcmpl-0", "chatcmpl-1", "chatcmpl-1", "chatcmpl-2")]
    assert sorted(billed(ingest), key=str) == sorted([*expected, (USER, "claude-opus-5", "msg_1", said.CLAUDE_UNITS)], key=str)
