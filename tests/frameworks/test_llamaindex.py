"""LlamaIndex on top: each request of a model is one whole packet; OpenInference's spans of it are not billed again."""

from __future__ import annotations

from typing import Any

import foreign_replies as said
import pytest
from framework_calls import (
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

framework(
    "llama_index.core",
    "llama_index.llms.openai",
    "llama_index.llms.anthropic",
    "llama_index.llms.google_genai",
    "llama_index.embeddings.openai",
)


def openai_model(url: str) -> Any:
    """OpenAI's chat completions."""
    from llama_index.llms.openai import OpenAI

    return OpenAI(model="gpt-4.1-mini", api_key="k", api_base=url + "/v1", max_retries=0)


def responses_model(url: str) -> Any:
    """OpenAI's responses."""
    from llama_index.llms.openai import OpenAIResponses

    return OpenAIResponses(model="gpt-4.1-mini", api_key="k", api_base=url + "/v1", max_retries=0)


def claude_model(url: str) -> Any:
    """Anthropic's messages."""
    from llama_index.llms.anthropic import Anthropic

    return Anthropic(model="claude-opus-5", api_key="k", base_url=url, max_retries=0)


def gemini_model(url: str) -> Any:
    """Google's content; what it asks about the model when it is made is no call."""
    from google.genai.types import HttpOptions
    from llama_index.llms.google_genai import GoogleGenAI

    return GoogleGenAI(model="gemini-2.5-flash", api_key="k", http_options=HttpOptions(base_url=url), max_tokens=100)


def embedder(url: str) -> Any:
    """OpenAI's embeddings."""
    from llama_index.embeddings.openai import OpenAIEmbedding

    return OpenAIEmbedding(model="text-embedding-3-small", api_key="k", api_base=url + "/v1", max_retries=0)


CASES = {
    "openai": Case(openai_model, OPENAI, said.CHAT, said.CHAT_STREAM),
    "responses": Case(responses_model, RESPONSES, said.RESPONSE, said.RESPONSE_STREAM),
    "anthropic": Case(claude_model, CLAUDE, said.MESSAGE, said.MESSAGE_STREAM),
    "google": Case(gemini_model, GEMINI, said.GENERATED, said.GENERATED_STREAM),
}


def messages() -> list[Any]:
    """A question."""
    from llama_index.core.llms import ChatMessage

    return [ChatMessage(role="user", content=QUESTION)]


def chat(model: Any) -> Any:
    """Asked and answered."""
    return lambda: model.chat(messages())


def chat_later(model: Any) -> Any:
    """Awaited."""

    async def ask() -> None:
        await model.achat(messages())

    return ask


def stream(model: Any) -> Any:
    """Read to its end."""
    return lambda: list(model.stream_chat(messages()))


def stream_later(model: Any) -> Any:
    """The same, awaited."""

    async def ask() -> list[Any]:
        return [piece async for piece in await model.astream_chat(messages())]

    return ask


WAYS = {"chat": chat, "achat": chat_later, "stream_chat": stream, "astream_chat": stream_later}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_a_model_asked_once_is_one_whole_packet(name: str, way: str, instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Of each integration, in each way it is asked."""
    case = CASES[name]
    reply = case.stream if "stream" in way else case.plain
    provider.always(
        "/models/gemini-2.5-flash", Reply({"name": "models/gemini-2.5-flash", "inputTokenLimit": 1000, "outputTokenLimit": 1000})
    )
    provider.script(reply)
    instrument()
    within_scope(WAYS[way](case.model(provider.url)))
    (packet,), request = packets(), provider.requests[-1]
    ours = ("stream_options",) if name == "openai" and "stream" in way else ()
    assert read(packet) == owed(case.service, request, reply, ours=ours)


def test_an_index_and_a_question_to_it_are_one_packet_a_request(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Embeddings of the documents and of the question, and the answer."""
    from llama_index.core import Document, VectorStoreIndex

    provider.script(said.EMBEDDED, said.EMBEDDED, said.CHAT)
    instrument()

    def ask() -> None:
        index = VectorStoreIndex.from_documents([Document(text="Hello, world.")], embed_model=embedder(provider.url))
        index.as_query_engine(llm=openai_model(provider.url)).query(QUESTION)

    within_scope(ask)
    first, second, answer = (read(packet) for packet in packets(3))
    assert first == owed(EMBEDDINGS, provider.requests[0], said.EMBEDDED)
    assert second == owed(EMBEDDINGS, provider.requests[1], said.EMBEDDED)
    assert answer == owed(OPENAI, provider.requests[2], said.CHAT)


def test_an_agent_that_calls_a_tool_is_one_packet_a_request(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """A workflow runs its steps in tasks of its own."""
    from llama_index.core.agent.workflow import FunctionAgent

    replies = (said.CHAT_TOOL, said.CHAT_SECOND)
    provider.script(*replies)
    instrument()

    def look_up(city: str) -> str:
        """Looks up a city."""
        return "sunny"

    async def ask() -> None:
        await FunctionAgent(tools=[look_up], llm=openai_model(provider.url), streaming=False).run(QUESTION)

    within_scope(ask)
    first, second = (read(packet) for packet in packets(2))
    assert first == owed(OPENAI, provider.requests[0], replies[0], provider_response_function_calls=TOOL_CALLS)
    assert second == owed(OPENAI, provider.requests[1], replies[1], provider_response_id="chatcmpl-2")


SWITCH = """
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

LlamaIndexInstrumentor().instrument(tracer_provider=tracing)
"""
CALLS = """
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI

def look_up(city: str) -> str:
    "Looks up a city."
    return "sunny"

model = OpenAI(model="gpt-4.1-mini", max_retries=0)
embeddings = OpenAIEmbedding(model="text-embedding-3-small")

async def act():
    await FunctionAgent(tools=[look_up], llm=model, streaming=False).run("Say hello.")

with payi_otel.track_context(user_id="ann@example.com"):
    list(model.stream_chat([ChatMessage(role="user", content="Say hello.")]))
    VectorStoreIndex.from_documents([Document(text="Hello.")], embed_model=embeddings).as_query_engine(llm=model).query("Say hello.")
    asyncio.run(act())
"""


def test_spans_of_the_framework_are_not_billed_again(provider: ProviderServer, ingest: IngestServer) -> None:
    """Of a stream, an index with its embeddings, and an agent, with OpenInference's instrumentation of LlamaIndex beside ours."""
    pytest.importorskip("openinference.instrumentation.llama_index")
    chats = [Reply({**reply.body, "id": f"chatcmpl-{number}"}) for number, reply in enumerate((said.CHAT, said.CHAT_TOOL, said.CHAT), 2)]
    provider.script(said.CHAT_STREAM, said.EMBEDDED, said.EMBEDDED, *chats)
    scopes = program(TRACED + SWITCH + CALLS + TRACED_END, provider, ingest).split()
    assert any(scope.startswith("openinference.instrumentation.llama_index") for scope in scopes)
    found = billed(ingest)
    assert [row[3] for row in found if row[1] == "text-embedding-3-small"] == [said.INPUT_UNITS] * 2
    expected = [(USER, "gpt-4.1-mini", f"chatcmpl-{number}", said.OPENAI_UNITS) for number in range(1, 5)]
    assert sorted((row for row in found if row[1] == "gpt-4.1-mini"), key=str) == expected
    assert {row[0] for row in found} == {USER}
