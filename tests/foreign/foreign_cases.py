"""The calls that foreign instrumentations are recorded with: a real client, what it does, what it is answered, what that is worth."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import foreign_replies as said
from provider_server import Reply

Client = Callable[[str], Any]
Call = Callable[[Any], Any]
Units = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Case:
    """One call, or a few that belong together."""

    name: str
    client: Client
    """Makes the client of this URL."""
    call: Call
    replies: tuple[Reply, ...]
    usage: Any = None
    """The usage object among the replies, verbatim, or a list of them; None where there is none."""
    units: Units | None = None
    """What all of it is worth, to be billed once; `{}` for a call whose usage nobody told, None for what is no call of a model."""
    env: Mapping[str, str] = field(default_factory=dict)
    within: bool = False
    """Called within a span of the application's."""


PROMPT = [{"role": "user", "content": "Say hello."}]
CHAT: dict[str, Any] = {"model": "gpt-4.1-mini", "messages": PROMPT}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Looks up a city.", "parameters": PARAMETERS}}]
RESPONSE_TOOLS = [{"type": "function", "name": "look_up", "description": "Looks up a city.", "parameters": PARAMETERS, "strict": False}]
RESPONSE: dict[str, Any] = {"model": "gpt-4.1", "input": "Say hello."}


def openai_client(url: str) -> Any:
    """A client that retries nothing."""
    import openai

    return openai.OpenAI(api_key="sk-secret", base_url=url + "/v1", max_retries=0)


def openai_async_client(url: str) -> Any:
    """Its async twin."""
    import openai

    return openai.AsyncOpenAI(api_key="sk-secret", base_url=url + "/v1", max_retries=0)


def azure_client(url: str) -> Any:
    """Azure's client with the endpoint on loopback."""
    import openai

    return openai.AzureOpenAI(api_key="k", azure_endpoint=url, api_version="2024-10-21", max_retries=0)


def routed(url: str) -> Any:
    """An HTTP client whose requests all go to the provider on loopback, whatever host they name."""
    library = importlib.import_module("httpx2")
    target = library.URL(url)

    class Transport(library.HTTPTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            request.url = request.url.copy_with(scheme="http", host=target.host, port=target.port)
            return super().handle_request(request)

    return library.Client(transport=Transport(), trust_env=False)


def azure_host_client(url: str) -> Any:
    """Azure's client with an endpoint such as Azure's."""
    import openai

    endpoint = "https://my.openai.azure.com"
    return openai.AzureOpenAI(api_key="k", azure_endpoint=endpoint, api_version="2024-10-21", max_retries=0, http_client=routed(url))


def databricks_client(url: str) -> Any:
    """OpenAI's client with a base URL of Databricks."""
    import openai

    base = "https://adb-1.azuredatabricks.net/serving-endpoints"
    return openai.OpenAI(api_key="k", base_url=base, max_retries=0, http_client=routed(url))


def chat(**more: Any) -> Call:
    """Chat completions; a stream is read to its end."""

    def call(client: Any) -> None:
        answer = client.chat.completions.create(**CHAT, **more)
        if more.get("stream"):
            list(answer)

    return call


def chat_left(client: Any) -> None:
    """A stream that is closed after its first event."""
    with client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True}) as stream:
        next(iter(stream))


def chat_raw(client: Any) -> None:
    """Chat completions through `with_raw_response`."""
    client.chat.completions.with_raw_response.create(**CHAT).parse()


def chat_async(client: Any) -> None:
    """Chat completions awaited."""

    async def ask() -> None:
        async with client:
            await client.chat.completions.create(**CHAT)

    asyncio.run(ask())


def chat_refused(client: Any) -> None:
    """A request that is refused."""
    import openai

    with suppress(openai.BadRequestError):
        client.chat.completions.create(**CHAT)


def response(**more: Any) -> Call:
    """The Responses API; a stream is read to its end."""

    def call(client: Any) -> None:
        answer = client.responses.create(**RESPONSE, **more)
        if more.get("stream"):
            list(answer)

    return call


def response_helper(client: Any) -> None:
    """`responses.stream`, read to its end."""
    with client.responses.stream(**RESPONSE) as stream:
        list(stream)


def response_refused(client: Any) -> None:
    """A request that is refused."""
    import openai

    with suppress(openai.BadRequestError):
        client.responses.create(**RESPONSE)


def background(client: Any) -> None:
    """Asked for in the background, then fetched twice when it is done."""
    queued = client.responses.create(**RESPONSE, background=True)
    for _ in range(2):
        client.responses.retrieve(queued.id)


def background_waiting(client: Any) -> None:
    """The same, fetched while it is still queued, and then done."""
    queued = client.responses.create(**RESPONSE, background=True)
    for _ in range(2):
        client.responses.retrieve(queued.id)


def kept(client: Any) -> None:
    """Asked for in the foreground, then fetched again."""
    client.responses.retrieve(client.responses.create(**RESPONSE).id)


def retrieve(client: Any) -> None:
    """Fetches a response that another process asked for."""
    client.responses.retrieve("resp_1")


def embed(client: Any) -> None:
    """Embeddings."""
    client.embeddings.create(model="text-embedding-3-small", input="Say hello.", encoding_format="float")


USAGE_ASKED = {"stream": True, "stream_options": {"include_usage": True}}
AI, USED, OWED = openai_client, said.CHAT_USAGE, said.OPENAI_UNITS
RUSED = said.RESPONSE_USAGE

OPENAI = (
    Case("chat", AI, chat(), (said.CHAT,), USED, OWED),
    Case("chat-cache-write", AI, chat(), (said.CHAT_WRITE,), said.CHAT_WRITE_USAGE, said.OPENAI_WRITE_UNITS),
    Case("chat-stream", AI, chat(**USAGE_ASKED), (said.CHAT_STREAM,), USED, OWED),
    Case("chat-stream-without-usage", AI, chat(stream=True), (said.CHAT_STREAM_WITHOUT,), None, {}),
    Case("chat-stream-left", AI, chat_left, (said.CHAT_STREAM,), None, {}),
    Case("chat-tool", AI, chat(tools=CHAT_TOOLS), (said.CHAT_TOOL,), USED, OWED),
    Case("chat-raw", AI, chat_raw, (said.CHAT,), USED, OWED),
    Case("chat-async", openai_async_client, chat_async, (said.CHAT,), USED, OWED),
    Case("chat-refused", AI, chat_refused, (said.OPENAI_REFUSED,), None, {}),
    Case("azure-chat", azure_client, chat(), (said.CHAT,), USED, OWED),
    Case("azure-chat-host", azure_host_client, chat(), (said.CHAT,), USED, OWED),
    Case("databricks-chat-host", databricks_client, chat(), (said.CHAT,), USED, OWED),
    Case("response", AI, response(), (said.RESPONSE,), RUSED, OWED),
    Case("response-tool", AI, response(tools=RESPONSE_TOOLS), (said.RESPONSE_TOOL,), RUSED, OWED),
    Case("response-stream", AI, response(stream=True), (said.RESPONSE_STREAM,), RUSED, OWED),
    Case("response-stream-helper", AI, response_helper, (said.RESPONSE_STREAM,), RUSED, OWED),
    Case("response-incomplete", AI, response(max_output_tokens=50), (said.RESPONSE_INCOMPLETE,), RUSED, OWED),
    Case("response-refused", AI, response_refused, (said.OPENAI_REFUSED,), None, {}),
    Case("response-background", AI, background, (said.QUEUED, said.POLLED, said.POLLED), RUSED, OWED),
    Case("response-background-waiting", AI, background_waiting, (said.QUEUED, said.QUEUED, said.POLLED), RUSED, OWED),
    Case("response-kept", AI, kept, (said.RESPONSE, said.RESPONSE), RUSED, OWED),
    Case("response-retrieve", AI, retrieve, (said.POLLED,), RUSED, None),
    Case("chat-within", AI, chat(), (said.CHAT,), USED, OWED, within=True),
    Case("response-within", AI, response(), (said.RESPONSE,), RUSED, OWED, within=True),
    Case("embeddings", AI, embed, (said.EMBEDDED,), said.EMBEDDING_USAGE, said.INPUT_UNITS),
)

MESSAGE: dict[str, Any] = {"model": "claude-opus-5", "max_tokens": 64, "messages": PROMPT}
CLAUDE_TOOLS = [{"name": "look_up", "description": "Looks up a city.", "input_schema": PARAMETERS}]


def anthropic_client(url: str) -> Any:
    """A client that retries nothing."""
    import anthropic

    return anthropic.Anthropic(api_key="sk-secret", base_url=url, max_retries=0)


def anthropic_async_client(url: str) -> Any:
    """Its async twin."""
    import anthropic

    return anthropic.AsyncAnthropic(api_key="sk-secret", base_url=url, max_retries=0)


def anthropic_bedrock_client(url: str) -> Any:
    """Anthropic's client for Bedrock."""
    import anthropic

    keys = {"aws_access_key": "AKID", "aws_secret_key": "secret", "aws_region": "us-east-1"}
    return anthropic.AnthropicBedrock(base_url=url, max_retries=0, **keys)


def message(**more: Any) -> Call:
    """`messages.create`; a stream is read to its end."""

    def call(client: Any) -> None:
        answer = client.messages.create(**{**MESSAGE, **more})
        if more.get("stream"):
            list(answer)

    return call


def message_helper(client: Any) -> None:
    """`messages.stream`, read to its end."""
    with client.messages.stream(**MESSAGE) as stream:
        list(stream)
        stream.get_final_message()


def message_left(client: Any) -> None:
    """A stream that is closed after its first event."""
    with client.messages.create(**MESSAGE, stream=True) as stream:
        next(iter(stream))


def message_async(client: Any) -> None:
    """`messages.create` awaited."""

    async def ask() -> None:
        async with client:
            await client.messages.create(**MESSAGE)

    asyncio.run(ask())


def message_refused(client: Any) -> None:
    """A request that is refused."""
    import anthropic

    with suppress(anthropic.BadRequestError):
        client.messages.create(**MESSAGE)


CLAUDE_USED, CLAUDE_OWED = said.CLAUDE_USAGE, said.CLAUDE_UNITS
ON_BEDROCK = message(model="anthropic.claude-opus-5-v1:0")
ANTHROPIC = (
    Case("messages", anthropic_client, message(), (said.MESSAGE,), CLAUDE_USED, CLAUDE_OWED),
    Case(
        "messages-thinking", anthropic_client, message(), (said.MESSAGE_THINKING,), said.CLAUDE_THINKING_USAGE, said.CLAUDE_THINKING_UNITS
    ),
    Case("messages-tool", anthropic_client, message(tools=CLAUDE_TOOLS), (said.MESSAGE_TOOL,), CLAUDE_USED, CLAUDE_OWED),
    Case("messages-async", anthropic_async_client, message_async, (said.MESSAGE,), CLAUDE_USED, CLAUDE_OWED),
    Case("messages-stream", anthropic_client, message(stream=True), (said.MESSAGE_STREAM,), CLAUDE_USED, CLAUDE_OWED),
    Case("messages-stream-short-delta", anthropic_client, message(stream=True), (said.MESSAGE_STREAM_SHORT,), CLAUDE_USED, CLAUDE_OWED),
    Case("messages-stream-helper", anthropic_client, message_helper, (said.MESSAGE_STREAM,), CLAUDE_USED, CLAUDE_OWED),
    Case("messages-stream-left", anthropic_client, message_left, (said.MESSAGE_STREAM,), said.CLAUDE_LEFT_USAGE, said.CLAUDE_LEFT_UNITS),
    Case("messages-refused", anthropic_client, message_refused, (said.MESSAGE_REFUSED,), None, {}),
    Case("bedrock-messages", anthropic_bedrock_client, ON_BEDROCK, (said.INVOKED_CLAUDE,), CLAUDE_USED, CLAUDE_OWED),
)


def both_clients(url: str) -> Any:
    """A client of each of two providers."""
    return anthropic_client(url), openai_client(url)


def chat_inside_stream(clients: Any) -> None:
    """One provider asked while the other one's stream is open."""
    claude, gpt = clients
    with claude.messages.create(**MESSAGE, stream=True) as stream:
        next(iter(stream))
        gpt.chat.completions.create(**CHAT)
        list(stream)


INTERLEAVED = (
    Case(
        "chat-inside-stream",
        both_clients,
        chat_inside_stream,
        (said.MESSAGE_STREAM, said.CHAT),
        [CLAUDE_USED, USED],
        said.both(CLAUDE_OWED, OWED),
    ),
)

CLAUDE_ON_BEDROCK = "us.anthropic.claude-opus-5-v1:0"
NOVA = "us.amazon.nova-lite-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
CONVERSE = [{"role": "user", "content": [{"text": "Say hello."}]}]
CLAUDE_BODY = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 64, "messages": PROMPT}
NOVA_BODY = {"messages": CONVERSE, "inferenceConfig": {"maxTokens": 64}}
TOOL_CONFIG = {"tools": [{"toolSpec": {"name": "look_up", "description": "Looks up a city.", "inputSchema": {"json": PARAMETERS}}}]}


def bedrock_client(url: str) -> Any:
    """A client of boto3 that retries nothing."""
    import boto3
    from botocore.config import Config

    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    return boto3.client("bedrock-runtime", endpoint_url=url, config=Config(retries={"max_attempts": 0}), **keys)


def converse(model: str = NOVA, **more: Any) -> Call:
    """Converse."""
    return lambda client: client.converse(modelId=model, messages=CONVERSE, **more)


def converse_stream(client: Any) -> None:
    """`converse_stream`, read to its end."""
    list(client.converse_stream(modelId=NOVA, messages=CONVERSE)["stream"])


def converse_refused(client: Any) -> None:
    """A request that is refused."""
    with suppress(client.exceptions.ValidationException):
        client.converse(modelId=NOVA, messages=CONVERSE)


def invoke(model: str, body: Any) -> Call:
    """`invoke_model`, its body read."""
    return lambda client: client.invoke_model(modelId=model, body=json.dumps(body))["body"].read()


def invoke_stream(model: str, body: Any) -> Call:
    """`invoke_model_with_response_stream`, read to its end."""
    return lambda client: list(client.invoke_model_with_response_stream(modelId=model, body=json.dumps(body))["body"])


INVOKE_CLAUDE, STREAM_CLAUDE = invoke(CLAUDE_ON_BEDROCK, CLAUDE_BODY), invoke_stream(CLAUDE_ON_BEDROCK, CLAUDE_BODY)
INVOKE_TITAN, INVOKE_LLAMA = (
    invoke("amazon.titan-text-express-v1", {"inputText": "Say hello."}),
    invoke("us.meta.llama3-3-70b-instruct-v1:0", {"prompt": "Say hello.", "max_gen_len": 64}),
)
EMBED_TITAN = invoke("amazon.titan-embed-text-v2:0", {"inputText": "Say hello."})
AWS = bedrock_client
CONVERSE_USED, NOVA_USED, BEDROCK_OWED = said.CONVERSE_USAGE, said.NOVA_USAGE, said.BEDROCK_UNITS
TITAN_USED = {"inputTextTokenCount": 10, "results": [{"tokenCount": 50}]}
LLAMA_USED = {"prompt_token_count": 10, "generation_token_count": 50}
BEDROCK = (
    Case("converse", AWS, converse(), (said.CONVERSED,), CONVERSE_USED, BEDROCK_OWED),
    Case("converse-claude", AWS, converse(CLAUDE_ON_BEDROCK), (said.CONVERSED,), CONVERSE_USED, BEDROCK_OWED),
    Case("converse-profile", AWS, converse(PROFILE), (said.CONVERSED,), CONVERSE_USED, BEDROCK_OWED),
    Case("converse-tool", AWS, converse(toolConfig=TOOL_CONFIG), (said.CONVERSED_TOOL,), CONVERSE_USED, BEDROCK_OWED),
    Case("converse-refused", AWS, converse_refused, (said.BEDROCK_REFUSED,), None, {}),
    Case("converse-stream", AWS, converse_stream, (said.CONVERSE_STREAM,), CONVERSE_USED, BEDROCK_OWED),
    Case("invoke-claude", AWS, INVOKE_CLAUDE, (said.INVOKED_CLAUDE,), CLAUDE_USED, CLAUDE_OWED),
    Case("invoke-claude-stream", AWS, STREAM_CLAUDE, (said.INVOKED_CLAUDE_STREAM,), CLAUDE_USED, CLAUDE_OWED),
    Case("invoke-nova", AWS, invoke(NOVA, NOVA_BODY), (said.INVOKED_NOVA,), NOVA_USED, BEDROCK_OWED),
    Case("invoke-nova-stream", AWS, invoke_stream(NOVA, NOVA_BODY), (said.INVOKED_NOVA_STREAM,), NOVA_USED, BEDROCK_OWED),
    Case("invoke-titan", AWS, INVOKE_TITAN, (said.INVOKED_TITAN,), TITAN_USED, said.PLAIN_UNITS),
    Case("invoke-llama", AWS, INVOKE_LLAMA, (said.INVOKED_LLAMA,), LLAMA_USED, said.PLAIN_UNITS),
    Case("invoke-titan-embedding", AWS, EMBED_TITAN, (said.INVOKED_TITAN_EMBEDDING,), {"inputTextTokenCount": 100}, said.INPUT_UNITS),
)

GEMINI_TOOLS = [{"function_declarations": [{"name": "look_up", "description": "Looks up a city.", "parameters": PARAMETERS}]}]


def gemini_client(url: str) -> Any:
    """A client of the Gemini API."""
    from google import genai

    return genai.Client(api_key="secret", http_options={"base_url": url})


def vertex_client(url: str) -> Any:
    """A client of the same SDK for Vertex AI, with credentials that ask nobody."""
    from google import genai
    from google.oauth2.credentials import Credentials

    return genai.Client(
        vertexai=True, project="p", location="us-central1", credentials=Credentials(token="t"), http_options={"base_url": url}
    )


def generate(config: Any = None) -> Call:
    """`generate_content`."""
    return lambda client: client.models.generate_content(model="gemini-2.5-flash", contents="Say hello.", config=config)


def generate_stream(client: Any) -> None:
    """`generate_content_stream`, read to its end."""
    list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="Say hello."))


def generate_async(client: Any) -> None:
    """`generate_content` awaited."""

    async def ask() -> None:
        await client.aio.models.generate_content(model="gemini-2.5-flash", contents="Say hello.")
        await client.aio.aclose()

    asyncio.run(ask())


def generate_refused(client: Any) -> None:
    """A request that is refused."""
    from google.genai import errors

    with suppress(errors.ClientError):
        client.models.generate_content(model="gemini-2.5-flash", contents="Say hello.")


def embed_content(model: str) -> Call:
    """`embed_content`."""
    return lambda client: client.models.embed_content(model=model, contents="Say hello.")


WITH_TOOL = {"tools": GEMINI_TOOLS}
GEM, GEMINI_USED, GEMINI_OWED = gemini_client, said.GEMINI_USAGE, said.GEMINI_UNITS
VERTEX_USED = {"embeddings": {"statistics": {"token_count": 100}}}
GOOGLE = (
    Case("generate", GEM, generate(), (said.GENERATED,), GEMINI_USED, GEMINI_OWED),
    Case("generate-tool", GEM, generate(WITH_TOOL), (said.GENERATED_TOOL,), GEMINI_USED, GEMINI_OWED),
    Case("generate-async", GEM, generate_async, (said.GENERATED,), GEMINI_USED, GEMINI_OWED),
    Case("generate-stream", GEM, generate_stream, (said.GENERATED_STREAM,), GEMINI_USED, GEMINI_OWED),
    Case("generate-refused", GEM, generate_refused, (said.GEMINI_REFUSED,), None, {}),
    Case("embed", GEM, embed_content("gemini-embedding-001"), (said.GEMINI_EMBEDDED,), said.GEMINI_EMBEDDING_USAGE, said.INPUT_UNITS),
    Case("vertex-generate", vertex_client, generate(), (said.GENERATED,), GEMINI_USED, GEMINI_OWED),
    Case("vertex-embed", vertex_client, embed_content("text-embedding-005"), (said.VERTEX_EMBEDDED,), VERTEX_USED, said.INPUT_UNITS),
)


def langchain_client(url: str) -> Any:
    """LangChain's model of OpenAI's chat completions."""
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-4.1-mini", api_key="sk-secret", base_url=url + "/v1", max_retries=0, use_responses_api=False)


def langchain_invoke(model: Any) -> None:
    """The model alone."""
    model.invoke("Say hello.")


def langchain_stream(model: Any) -> None:
    """The model alone, streamed to the end."""
    list(model.stream("Say hello.", stream_usage=True))


def langchain_chain(model: Any) -> None:
    """A prompt, the model, a parser."""
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    (ChatPromptTemplate.from_messages([("user", "{words}")]) | model | StrOutputParser()).invoke({"words": "Say hello."})


def langchain_refused(model: Any) -> None:
    """A request that is refused."""
    import openai

    with suppress(openai.BadRequestError):
        model.invoke("Say hello.")


def langchain_agent(model: Any) -> None:
    """An agent of LangGraph that calls a function, then answers."""
    from langchain.agents import create_agent

    def look_up(city: str) -> str:
        """Looks up a city."""
        return "sunny"

    create_agent(model, tools=[look_up], name="helper").invoke({"messages": PROMPT})


CHAIN = langchain_client
TWICE = said.both(OWED, OWED)
LANGCHAIN = (
    Case("langchain-chat", CHAIN, langchain_invoke, (said.CHAT,), USED, OWED),
    Case("langchain-chat-within", CHAIN, langchain_invoke, (said.CHAT,), USED, OWED, within=True),
    Case("langchain-stream", CHAIN, langchain_stream, (said.CHAT_STREAM,), USED, OWED),
    Case("langchain-chain", CHAIN, langchain_chain, (said.CHAT,), USED, OWED),
    Case("langchain-refused", CHAIN, langchain_refused, (said.OPENAI_REFUSED,), None, {}),
    Case("langchain-agent", CHAIN, langchain_agent, (said.CHAT_TOOL, said.CHAT_SECOND), [USED, USED], TWICE),
)


def agents_client(kind: str) -> Client:
    """A model of `openai-agents`, by the name of its class."""

    def make(url: str) -> Any:
        import agents

        names = {"OpenAIResponsesModel": "gpt-4.1", "OpenAIChatCompletionsModel": "gpt-4.1-mini"}
        return getattr(agents, kind)(model=names[kind], openai_client=openai_async_client(url))

    return make


def agents_run(model: Any) -> None:
    """An agent that calls a function, then answers."""
    import agents

    @agents.function_tool
    def look_up(city: str) -> str:
        """Looks up a city."""
        return "sunny"

    agents.Runner.run_sync(agents.Agent(name="helper", instructions="Be brief.", model=model, tools=[look_up]), "Say hello.")


def agents_stream(model: Any) -> None:
    """An agent whose answer is streamed."""
    import agents

    async def ask() -> None:
        result = agents.Runner.run_streamed(agents.Agent(name="helper", model=model), "Say hello.")
        async for _ in result.stream_events():
            pass

    asyncio.run(ask())


ON_RESPONSES, ON_CHAT = agents_client("OpenAIResponsesModel"), agents_client("OpenAIChatCompletionsModel")
AGENTS = (
    Case("agents-responses", ON_RESPONSES, agents_run, (said.RESPONSE_TOOL, said.RESPONSE_SECOND), [RUSED, RUSED], TWICE),
    Case("agents-responses-stream", ON_RESPONSES, agents_stream, (said.RESPONSE_STREAM,), RUSED, OWED),
    Case("agents-chat", ON_CHAT, agents_run, (said.CHAT_TOOL, said.CHAT_SECOND), [USED, USED], TWICE),
)
