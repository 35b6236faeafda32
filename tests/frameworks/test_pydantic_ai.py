"""Pydantic AI on top: each request of a model is one whole packet; its own spans, and Logfire's, are not billed again."""

from __future__ import annotations

from typing import Any

import foreign_replies as said
import pytest
from framework_calls import (
    BEDROCK,
    CLAUDE,
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

framework("pydantic_ai", "openai", "anthropic", "google.genai", "boto3")


def openai_model(url: str) -> Any:
    """OpenAI's chat completions."""
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel("gpt-4.1-mini", provider=OpenAIProvider(base_url=url + "/v1", api_key="k"))


def responses_model(url: str) -> Any:
    """OpenAI's responses."""
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIResponsesModel("gpt-4.1-mini", provider=OpenAIProvider(base_url=url + "/v1", api_key="k"))


def claude_model(url: str) -> Any:
    """Anthropic's messages."""
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    settings: Any = {"max_tokens": 1000}
    return AnthropicModel("claude-opus-5", provider=AnthropicProvider(base_url=url, api_key="k"), settings=settings)


def gemini_model(url: str) -> Any:
    """Google's content."""
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    return GoogleModel("gemini-2.5-flash", provider=GoogleProvider(base_url=url, api_key="k"))


def bedrock_model(url: str) -> Any:
    """Bedrock's Converse."""
    from pydantic_ai.models.bedrock import BedrockConverseModel
    from pydantic_ai.providers.bedrock import BedrockProvider

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return BedrockConverseModel("amazon.nova-lite-v1:0", provider=BedrockProvider(region_name="us-east-1", base_url=url, **keys))


CASES = {
    "openai": Case(openai_model, OPENAI, said.CHAT, said.CHAT_STREAM),
    "responses": Case(responses_model, RESPONSES, said.RESPONSE, said.RESPONSE_STREAM),
    "anthropic": Case(claude_model, CLAUDE, said.MESSAGE, said.MESSAGE_STREAM),
    "google": Case(gemini_model, GEMINI, said.GENERATED, said.GENERATED_STREAM),
    "bedrock": Case(bedrock_model, BEDROCK, said.CONVERSED, said.CONVERSE_STREAM),
}


def run_sync(model: Any) -> Any:
    """Asked and answered; it runs an event loop of its own."""
    from pydantic_ai import Agent

    return lambda: Agent(model).run_sync(QUESTION)


def run(model: Any) -> Any:
    """Awaited."""
    from pydantic_ai import Agent

    async def ask() -> None:
        await Agent(model).run(QUESTION)

    return ask


def run_stream(model: Any) -> Any:
    """Read to its end."""
    from pydantic_ai import Agent

    async def ask() -> list[str]:
        async with Agent(model).run_stream(QUESTION) as answer:
            return [text async for text in answer.stream_text()]

    return ask


WAYS = {"run_sync": run_sync, "run": run, "run_stream": run_stream}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_an_agent_asked_once_is_one_whole_packet(name: str, way: str, instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Of each integration, in each way it is asked."""
    case = CASES[name]
    reply = case.stream if way == "run_stream" else case.plain
    provider.script(reply)
    instrument()
    within_scope(WAYS[way](case.model(provider.url)))
    (packet,), (request,) = packets(), provider.requests
    assert read(packet) == owed(case.service, request, reply)


def test_an_agent_that_calls_a_tool_is_one_packet_a_request(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Its tool runs in a task of its own; a model that the tool asks is of the same user, too."""
    from pydantic_ai import Agent

    provider.script(said.CHAT_TOOL, said.MESSAGE, said.CHAT_SECOND)
    instrument()
    agent, other = Agent(openai_model(provider.url)), Agent(claude_model(provider.url))

    @agent.tool_plain
    async def look_up(city: str) -> str:
        """Looks up a city."""
        return (await other.run(city)).output

    within_scope(lambda: agent.run_sync(QUESTION))
    first, inner, last = (read(packet) for packet in packets(3))
    assert first == owed(OPENAI, provider.requests[0], said.CHAT_TOOL, provider_response_function_calls=TOOL_CALLS)
    assert inner == owed(CLAUDE, provider.requests[1], said.MESSAGE)
    assert last == owed(OPENAI, provider.requests[2], said.CHAT_SECOND, provider_response_id="chatcmpl-2")


LOGFIRE = """
import logfire
processors = [SimpleSpanProcessor(spans)]
logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False, additional_span_processors=processors)
logfire.instrument_pydantic_ai()
"""
SWITCHES = {
    "pydantic-ai": "from pydantic_ai import Agent\nAgent.instrument_all()\n",
    "logfire": LOGFIRE,
    "logfire and its own of the SDKs": LOGFIRE + "logfire.instrument_openai()\nlogfire.instrument_anthropic()\n",
}
CALLS = """
from pydantic_ai import Agent

agent = Agent("openai-chat:gpt-4.1-mini")

@agent.tool_plain
def look_up(city: str) -> str:
    "Looks up a city."
    return "sunny"

async def streamed():
    async with agent.run_stream("Say hello.") as answer:
        return [text async for text in answer.stream_text()]

with payi_otel.track_context(user_id="ann@example.com"):
    agent.run_sync("Say hello.")
    asyncio.run(streamed())
    Agent("anthropic:claude-opus-5", model_settings={"max_tokens": 1000}).run_sync("Say hello.")
"""


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
@pytest.mark.parametrize("name", SWITCHES)
def test_spans_of_the_framework_are_not_billed_again(name: str, order: str, provider: ProviderServer, ingest: IngestServer) -> None:
    """Of an agent with a tool, a stream and another provider, with the framework's own spans or Logfire's beside ours."""
    if name != "pydantic-ai":
        pytest.importorskip("logfire")
    provider.script(Reply({**said.CHAT_TOOL.body, "id": "chatcmpl-0"}), said.CHAT_SECOND, said.CHAT_STREAM, said.MESSAGE)
    begin, start = TRACED.rsplit("import payi_otel", 1)
    start, switch = "import payi_otel" + start, SWITCHES[name]
    if "logfire" in name:  # it sets the tracer provider
        begin = begin.replace("trace.set_tracer_provider(tracing)", "")
    parts = [start, switch] if order == "ours first" else [switch, start]
    scopes = program("".join([begin, *parts, CALLS, TRACED_END]), provider, ingest).split()
    assert "pydantic-ai" in scopes
    ids = ("chatcmpl-0", "chatcmpl-1", "chatcmpl-2")
    expected = [(USER, "gpt-4.1-mini", name, said.OPENAI_UNITS) for name in ids]
    assert sorted(billed(ingest), key=str) == sorted([*expected, (USER, "claude-opus-5", "msg_1", said.CLAUDE_UNITS)], key=str)
