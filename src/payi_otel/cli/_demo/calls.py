"""The calls of the demo, written as an application would write them: who asks is said with `track` and `track_context`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from payi_otel import track, track_context
from payi_otel.cli._demo.provider import OVER_QUOTA_KEY
from payi_otel.cli._demo.rows import CALL_PROPERTY

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

RULES = "You answer customers of a shop that sells everything. Be brief, kind and exact. " * 70
"""Long enough for a provider to cache it."""
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "find_order",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
    },
}
SETTINGS: Any = {"max_retries": 0, "timeout": 10.0}
"""A retry would only repeat the refusal that the demo shows."""


def make_all(base_url: str) -> int:
    """Makes every call of the demo against `base_url`; returns how many were made."""
    return _make_sync(base_url) + asyncio.run(_make_async(base_url))


def _make_sync(base_url: str) -> int:
    import openai

    calls: tuple[Callable[[OpenAI], None], ...] = (_chat, _chat_stream, _responses, _embeddings, _tool_call)
    # trust_env off: a proxy named in the environment must not see even a loopback call
    with (
        openai.DefaultHttpxClient(trust_env=False) as http,
        openai.OpenAI(api_key="sk-demo", base_url=base_url, http_client=http, **SETTINGS) as client,
    ):
        for call in calls:
            call(client)
        _over_quota(client.with_options(api_key=OVER_QUOTA_KEY))
    return len(calls) + 1


async def _make_async(base_url: str) -> int:
    import openai

    calls: tuple[Callable[[AsyncOpenAI], Awaitable[None]], ...] = (_chat_async, _chat_stream_async, _responses_stream_async)
    async with (
        openai.DefaultAsyncHttpxClient(trust_env=False) as http,
        openai.AsyncOpenAI(api_key="sk-demo", base_url=base_url, http_client=http, **SETTINGS) as client,
    ):
        await asyncio.gather(*(call(client) for call in calls))
    return len(calls)


def _named(call: str) -> dict[str, str]:
    return {CALL_PROPERTY: call}


def _messages(question: str) -> Any:
    return [{"role": "system", "content": RULES}, {"role": "user", "content": question}]


@track(use_case_name="support_chat", user_id="alice", request_properties=_named("chat"))
def _chat(client: OpenAI) -> None:
    client.chat.completions.create(model="gpt-4.1", messages=_messages("Where is my order?"))


@track(use_case_name="support_chat", user_id="bob", request_properties=_named("chat, streamed"))
def _chat_stream(client: OpenAI) -> None:
    for _chunk in client.chat.completions.create(model="gpt-4.1", messages=_messages("And mine?"), stream=True):
        pass


@track(use_case_name="summaries", user_id="alice", request_properties=_named("responses"))
def _responses(client: OpenAI) -> None:
    client.responses.create(model="gpt-5-mini", input="Summarise order A-1027 in one sentence.")


@track(use_case_name="search", request_properties=_named("embeddings"))
def _embeddings(client: OpenAI) -> None:
    client.embeddings.create(model="text-embedding-3-small", input=["a red kettle", "a kettle that whistles", "a teapot"])


@track(use_case_name="support_chat", user_id="carol", request_properties=_named("chat with a tool"))
def _tool_call(client: OpenAI) -> None:
    client.chat.completions.create(model="gpt-4.1", messages=_messages("Find order A-1027."), tools=[TOOL])


@track(use_case_name="support_chat", user_id="dave", request_properties=_named("chat, refused"))
def _over_quota(client: OpenAI) -> None:
    import openai

    try:
        client.chat.completions.create(model="gpt-4.1", messages=_messages("Where is my order?"))
    except openai.RateLimitError:
        return


async def _chat_async(client: AsyncOpenAI) -> None:
    with track_context(use_case_name="summaries", user_id="erin", request_properties=_named("async chat")):
        await client.chat.completions.create(model="gpt-5-mini", messages=_messages("Sum up my orders."))


async def _chat_stream_async(client: AsyncOpenAI) -> None:
    async with track_context(use_case_name="support_chat", user_id="frank", request_properties=_named("async chat, streamed")):
        async for _chunk in await client.chat.completions.create(model="gpt-4.1", messages=_messages("Hello?"), stream=True):
            pass


async def _responses_stream_async(client: AsyncOpenAI) -> None:
    async with track_context(use_case_name="summaries", user_id="grace", request_properties=_named("async responses, streamed")):
        async for _event in await client.responses.create(model="gpt-5-mini", input="Sum up this week.", stream=True):
            pass
