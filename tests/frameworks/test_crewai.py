"""CrewAI on top: each request of a model is one whole packet; its own telemetry and OpenInference's spans are not billed."""

from __future__ import annotations

from typing import Any

import foreign_replies as said
import openai_shapes
import pytest
from framework_calls import (
    CLAUDE,
    OPENAI,
    QUESTION,
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

framework("crewai", "anthropic")

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Final Answer: Hello there."}, "finish_reason": "stop"}


def answer(number: int) -> Reply:
    """An answer that an agent of CrewAI takes for its last."""
    return Reply(openai_shapes.completion(id=f"chatcmpl-{number}", model=said.GPT, usage=said.CHAT_USAGE, choices=[CHOICE]))


def openai_model(url: str, **more: Any) -> Any:
    """OpenAI's chat completions, by CrewAI's own integration of the SDK."""
    from crewai import LLM

    return LLM(model="openai/gpt-4.1-mini", base_url=url + "/v1", api_key="k", **more)


def claude_model(url: str, **more: Any) -> Any:
    """Anthropic's messages, likewise."""
    from crewai import LLM

    return LLM(model="anthropic/claude-opus-5", base_url=url, api_key="k", **more)


CASES = {
    "openai": Case(openai_model, OPENAI, said.CHAT, said.CHAT_STREAM),
    "anthropic": Case(claude_model, CLAUDE, said.MESSAGE, said.MESSAGE_STREAM),
}


@pytest.mark.parametrize("way", ["call", "acall", "stream"])
@pytest.mark.parametrize("name", CASES)
def test_a_model_asked_once_is_one_whole_packet(name: str, way: str, instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Of each integration, in each way it is asked."""
    case = CASES[name]
    reply = case.stream if way == "stream" else case.plain
    provider.script(reply)
    instrument()
    model: Any = case.model(provider.url, **({"stream": True} if way == "stream" else {}))  # type: ignore[call-arg]

    async def ask_later() -> None:
        await model.acall(QUESTION)

    within_scope(ask_later if way == "acall" else lambda: model.call(QUESTION))
    (packet,), (request,) = packets(), provider.requests
    assert read(packet) == owed(case.service, request, reply)


def crew(url: str, count: int = 1, **more: Any) -> Any:
    """A crew of one agent, with so many tasks."""
    from crewai import Agent, Crew, Task

    agent = Agent(role="Helper", goal="To help", backstory="You help.", llm=openai_model(url))
    tasks = [Task(description=f"Task {number}.", expected_output="A word.", agent=agent, **more) for number in range(count)]
    return Crew(agents=[agent], tasks=tasks)


@pytest.mark.parametrize("way", ["kickoff", "kickoff_async", "akickoff", "tasks in threads"])
def test_a_crew_is_one_packet_a_request(way: str, instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Whatever runs it: the caller, a thread, an event loop, or a thread for each task."""
    provider.always("/chat/completions", answer)
    instrument()
    made = crew(provider.url, async_execution=True) if way == "tasks in threads" else crew(provider.url)

    async def later() -> None:
        await (made.akickoff() if way == "akickoff" else made.kickoff_async())

    within_scope(made.kickoff if way in ("kickoff", "tasks in threads") else later)
    (packet,), (request,) = packets(), provider.requests
    assert read(packet) == owed(OPENAI, request, answer(1))


OPENINFERENCE = """
from openinference.instrumentation.crewai import CrewAIInstrumentor

CrewAIInstrumentor().instrument(tracer_provider=tracing)
"""
SWITCHES = {"": "", "openinference.instrumentation.crewai": OPENINFERENCE}
CALLS = """
from crewai import LLM, Agent, Crew, Task

model = LLM(model="openai/gpt-4.1-mini")
agent = Agent(role="Helper", goal="To help", backstory="You help.", llm=model)
crew = Crew(agents=[agent], tasks=[Task(description=f"Task {number}.", expected_output="A word.", agent=agent) for number in range(2)])
with payi_otel.track_context(user_id="ann@example.com"):
    crew.kickoff()
"""


@pytest.mark.parametrize("module", SWITCHES)
def test_spans_of_the_framework_are_not_billed_again(module: str, provider: ProviderServer, ingest: IngestServer) -> None:
    """Its own telemetry, whose collector is not to be reached here, and OpenInference's instrumentation of it."""
    if module:
        pytest.importorskip(module)
    provider.always("/chat/completions", answer)
    switched_on = {"CREWAI_DISABLE_TELEMETRY": "false", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    scopes = program(TRACED + SWITCHES[module] + CALLS + TRACED_END, provider, ingest, **switched_on).split()
    assert any(scope.startswith(module) for scope in scopes) or not module
    assert len(provider.requests) == 2
    assert sorted(billed(ingest)) == [(USER, "gpt-4.1-mini", f"chatcmpl-{number}", said.OPENAI_UNITS) for number in (1, 2)]
