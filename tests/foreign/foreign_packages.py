"""The foreign instrumentations that are recorded: how each is switched on, of which distributions it is, and which cases it gets."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import foreign_cases as cases
from foreign_cases import Case

Instrument = Callable[[Any], None]
"""Switches one instrumentation on, for spans of this tracer provider."""


@dataclass(frozen=True)
class Package:
    """One instrumentation, or two of them on one client, in the order in which they are switched on."""

    name: str
    dists: tuple[str, ...]
    cases: tuple[Case, ...]
    before: tuple[Instrument, ...] = ()
    """Switched on before the client is made."""
    after: tuple[Instrument, ...] = ()
    """Switched on after the client is made."""
    env: Mapping[str, str] = field(default_factory=dict)
    releases: Mapping[str, str] = field(default_factory=dict)
    """What the versions of some of its distributions begin with."""

    def case(self, name: str) -> Case:
        """The case of this name."""
        return next(case for case in self.cases if case.name == name)


def instrumentor(path: str, **arguments: Any) -> Instrument:
    """An instrumentor by `module:Class`, whose class must be of just that module's distribution."""

    def instrument(provider: Any) -> None:
        module, name = path.split(":")
        made = getattr(importlib.import_module(module), name)(**arguments)
        made.instrument(tracer_provider=provider)
        assert made.is_instrumented_by_opentelemetry, f"{path} refused its SDK"

    return instrument


def native(provider: Any) -> None:
    """The SDK's own spans go to the global provider; a client reads the environment when it is made."""
    from opentelemetry import trace

    trace.set_tracer_provider(provider)


def some(all_cases: tuple[Case, ...], *names: str) -> tuple[Case, ...]:
    """The cases of these names."""
    return tuple(case for case in all_cases if case.name in names)


def saying(all_cases: tuple[Case, ...], suffix: str, env: Mapping[str, str], *names: str) -> tuple[Case, ...]:
    """The cases of these names once more with this environment, under names with this suffix."""
    return tuple(replace(case, name=f"{case.name}-{suffix}", env=env) for case in some(all_cases, *names))


GENAI_CONTENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"}
OLD_CONTENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
NATIVE_CONTENT = {"ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content"}
LOOP_QUIET = {"TRACELOOP_TRACE_CONTENT": "false"}
INFERENCE_QUIET = {"OPENINFERENCE_HIDE_INPUTS": "true", "OPENINFERENCE_HIDE_OUTPUTS": "true"}
NATIVE_OFF = {"ANTHROPIC_OPEN_TELEMETRY": "false"}

OTEL = "opentelemetry-instrumentation"
GENAI_DISTS = ("opentelemetry-util-genai",)
LOOP_DISTS = ("opentelemetry-semantic-conventions-ai",)
INFERENCE_DISTS = ("openinference-instrumentation", "openinference-semantic-conventions")

GENAI_OPENAI = instrumentor("opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor")
LOOP_OPENAI = instrumentor("opentelemetry.instrumentation.openai:OpenAIInstrumentor")
INFERENCE_OPENAI = instrumentor("openinference.instrumentation.openai:OpenAIInstrumentor")
GENAI_ANTHROPIC = instrumentor("opentelemetry.instrumentation.genai.anthropic:AnthropicInstrumentor")
LOOP_ANTHROPIC = instrumentor("opentelemetry.instrumentation.anthropic:AnthropicInstrumentor")
INFERENCE_ANTHROPIC = instrumentor("openinference.instrumentation.anthropic:AnthropicInstrumentor")
GENAI_BEDROCK = instrumentor("opentelemetry.instrumentation.genai.bedrock:BedrockInstrumentor")
LOOP_BEDROCK = instrumentor("opentelemetry.instrumentation.bedrock:BedrockInstrumentor")
INFERENCE_BEDROCK = instrumentor("openinference.instrumentation.bedrock:BedrockInstrumentor")
BOTOCORE = instrumentor("opentelemetry.instrumentation.botocore:BotocoreInstrumentor")
OTEL_GOOGLE = instrumentor("opentelemetry.instrumentation.google_genai:GoogleGenAiSdkInstrumentor")
INFERENCE_GOOGLE = instrumentor("openinference.instrumentation.google_genai:GoogleGenAIInstrumentor")

GENAI_CHAIN = instrumentor("opentelemetry.instrumentation.genai.langchain:LangChainInstrumentor")
LOOP_CHAIN = instrumentor("opentelemetry.instrumentation.langchain:LangchainInstrumentor")
INFERENCE_CHAIN = instrumentor("openinference.instrumentation.langchain:LangChainInstrumentor")
GENAI_AGENTS = instrumentor("opentelemetry.instrumentation.genai.openai_agents:OpenAIAgentsInstrumentor")
LOOP_AGENTS = instrumentor("opentelemetry.instrumentation.openai_agents:OpenAIAgentsInstrumentor")
INFERENCE_AGENTS = instrumentor("openinference.instrumentation.openai_agents:OpenAIAgentsInstrumentor")

OPENAI_V2 = instrumentor("opentelemetry.instrumentation.openai_v2:OpenAIInstrumentor")

OPENAI_TOLD = ("chat", "chat-stream", "chat-tool", "response", "response-background", "embeddings")
CLAUDE_TOLD = ("messages", "messages-stream", "messages-tool")
BEDROCK_TOLD = ("converse", "converse-stream", "converse-tool", "invoke-claude")
GOOGLE_TOLD = ("generate", "generate-stream", "generate-tool")
NESTED_OPENAI = some(
    cases.OPENAI,
    *("chat", "chat-within", "chat-stream", "chat-refused", "response", "response-within", "response-stream", "embeddings"),
    "response-background",
)
NESTED_CLAUDE = some(cases.ANTHROPIC, "messages", "messages-stream", "messages-stream-helper", "messages-refused", "bedrock-messages")
NESTED_BEDROCK = some(cases.BEDROCK, "converse", "converse-stream", "converse-refused", "invoke-claude", "invoke-claude-stream")
OLD_OPENAI = (
    *some(cases.OPENAI, "chat", "chat-stream", "chat-stream-without-usage", "chat-tool", "chat-refused", "azure-chat", "embeddings"),
    *some(cases.OPENAI, "response", "response-background", "response-kept"),
)
OLD_CLAUDE = some(cases.ANTHROPIC, "messages", "messages-tool", "messages-stream", "messages-refused", "bedrock-messages")
OLD_BEDROCK = some(
    cases.BEDROCK,
    *("converse", "converse-claude", "converse-stream", "converse-refused"),
    *("invoke-claude", "invoke-claude-stream", "invoke-nova", "invoke-titan", "invoke-llama"),
)

PACKAGES = (
    Package(
        "genai-openai",
        (f"{OTEL}-genai-openai", *GENAI_DISTS, "openai"),
        (*cases.OPENAI, *saying(cases.OPENAI, "content", GENAI_CONTENT, *OPENAI_TOLD)),
        (GENAI_OPENAI,),
    ),
    Package(
        "traceloop-openai",
        (f"{OTEL}-openai", *LOOP_DISTS, "openai"),
        (*cases.OPENAI, *saying(cases.OPENAI, "quiet", LOOP_QUIET, *OPENAI_TOLD)),
        (LOOP_OPENAI,),
    ),
    Package(
        "openinference-openai",
        ("openinference-instrumentation-openai", *INFERENCE_DISTS, "openai"),
        (*cases.OPENAI, *saying(cases.OPENAI, "quiet", INFERENCE_QUIET, *OPENAI_TOLD)),
        (INFERENCE_OPENAI,),
    ),
    Package(
        "native-anthropic",
        ("anthropic",),
        (*cases.ANTHROPIC, *saying(cases.ANTHROPIC, "content", NATIVE_CONTENT, *CLAUDE_TOLD)),
        (native,),
    ),
    Package(
        "genai-anthropic",
        (f"{OTEL}-genai-anthropic", *GENAI_DISTS, "anthropic"),
        (*cases.ANTHROPIC, *saying(cases.ANTHROPIC, "content", GENAI_CONTENT, *CLAUDE_TOLD)),
        (GENAI_ANTHROPIC,),
        env=NATIVE_OFF,
    ),
    Package(
        "traceloop-anthropic",
        (f"{OTEL}-anthropic", *LOOP_DISTS, "anthropic"),
        (*cases.ANTHROPIC, *saying(cases.ANTHROPIC, "quiet", LOOP_QUIET, *CLAUDE_TOLD)),
        (LOOP_ANTHROPIC,),
        env=NATIVE_OFF,
    ),
    Package(
        "openinference-anthropic",
        ("openinference-instrumentation-anthropic", *INFERENCE_DISTS, "anthropic"),
        (*cases.ANTHROPIC, *saying(cases.ANTHROPIC, "quiet", INFERENCE_QUIET, *CLAUDE_TOLD)),
        (INFERENCE_ANTHROPIC,),
        env=NATIVE_OFF,
    ),
    Package(
        "genai-bedrock",
        (f"{OTEL}-genai-bedrock", *GENAI_DISTS, "boto3", "botocore"),
        (*cases.BEDROCK, *saying(cases.BEDROCK, "content", GENAI_CONTENT, *BEDROCK_TOLD)),
        (GENAI_BEDROCK,),
    ),
    Package(
        "botocore",
        (f"{OTEL}-botocore", "boto3", "botocore"),
        (*cases.BEDROCK, *saying(cases.BEDROCK, "content", OLD_CONTENT, *BEDROCK_TOLD)),
        (BOTOCORE,),
    ),
    Package(
        "traceloop-bedrock",
        (f"{OTEL}-bedrock", *LOOP_DISTS, "boto3", "botocore"),
        (*cases.BEDROCK, *saying(cases.BEDROCK, "quiet", LOOP_QUIET, *BEDROCK_TOLD)),
        (LOOP_BEDROCK,),
    ),
    Package(
        "openinference-bedrock",
        ("openinference-instrumentation-bedrock", *INFERENCE_DISTS, "boto3", "botocore"),
        (*cases.BEDROCK, *saying(cases.BEDROCK, "quiet", INFERENCE_QUIET, *BEDROCK_TOLD)),
        (INFERENCE_BEDROCK,),
    ),
    Package(
        "google-genai",
        (f"{OTEL}-google-genai", *GENAI_DISTS, "google-genai"),
        (*cases.GOOGLE, *saying(cases.GOOGLE, "content", GENAI_CONTENT, *GOOGLE_TOLD)),
        (OTEL_GOOGLE,),
    ),
    Package(
        "openinference-google-genai",
        ("openinference-instrumentation-google-genai", *INFERENCE_DISTS, "google-genai"),
        (*cases.GOOGLE, *saying(cases.GOOGLE, "quiet", INFERENCE_QUIET, *GOOGLE_TOLD)),
        (INFERENCE_GOOGLE,),
    ),
    Package(
        "genai-anthropic-then-native",
        (f"{OTEL}-genai-anthropic", *GENAI_DISTS, "anthropic"),
        NESTED_CLAUDE,
        (GENAI_ANTHROPIC, native),
    ),
    Package(
        "native-then-genai-anthropic",
        (f"{OTEL}-genai-anthropic", *GENAI_DISTS, "anthropic"),
        NESTED_CLAUDE,
        (native,),
        (GENAI_ANTHROPIC,),
    ),
    Package(
        "genai-anthropic-and-openai",
        (f"{OTEL}-genai-anthropic", f"{OTEL}-genai-openai", *GENAI_DISTS, "anthropic", "openai"),
        cases.INTERLEAVED,
        (GENAI_ANTHROPIC, GENAI_OPENAI),
        env=NATIVE_OFF,
    ),
    Package(
        "genai-bedrock-then-botocore",
        (f"{OTEL}-genai-bedrock", f"{OTEL}-botocore", *GENAI_DISTS, "boto3", "botocore"),
        NESTED_BEDROCK,
        (GENAI_BEDROCK, BOTOCORE),
    ),
    Package(
        "botocore-then-genai-bedrock",
        (f"{OTEL}-genai-bedrock", f"{OTEL}-botocore", *GENAI_DISTS, "boto3", "botocore"),
        NESTED_BEDROCK,
        (BOTOCORE, GENAI_BEDROCK),
    ),
    Package(
        "traceloop-then-openinference-openai",
        (f"{OTEL}-openai", "openinference-instrumentation-openai", *LOOP_DISTS, *INFERENCE_DISTS, "openai"),
        NESTED_OPENAI,
        (LOOP_OPENAI, INFERENCE_OPENAI),
    ),
    Package(
        "openinference-then-traceloop-openai",
        (f"{OTEL}-openai", "openinference-instrumentation-openai", *LOOP_DISTS, *INFERENCE_DISTS, "openai"),
        NESTED_OPENAI,
        (INFERENCE_OPENAI, LOOP_OPENAI),
    ),
    Package(
        "genai-langchain",
        (f"{OTEL}-genai-langchain", *GENAI_DISTS, "langchain", "langchain-core", "langchain-openai", "openai"),
        cases.LANGCHAIN,
        (GENAI_CHAIN,),
    ),
    Package(
        "genai-langchain-and-openai",
        (f"{OTEL}-genai-langchain", f"{OTEL}-genai-openai", *GENAI_DISTS, "langchain", "langchain-core", "langchain-openai", "openai"),
        cases.LANGCHAIN,
        (GENAI_CHAIN, GENAI_OPENAI),
    ),
    Package(
        "traceloop-langchain",
        (f"{OTEL}-langchain", *LOOP_DISTS, "langchain", "langchain-core", "langchain-openai", "openai"),
        cases.LANGCHAIN,
        (LOOP_CHAIN,),
    ),
    Package(
        "traceloop-langchain-and-openai",
        (f"{OTEL}-langchain", f"{OTEL}-openai", *LOOP_DISTS, "langchain", "langchain-core", "langchain-openai", "openai"),
        cases.LANGCHAIN,
        (LOOP_CHAIN, LOOP_OPENAI),
    ),
    Package(
        "openinference-langchain",
        ("openinference-instrumentation-langchain", *INFERENCE_DISTS, "langchain", "langchain-core", "langchain-openai", "openai"),
        cases.LANGCHAIN,
        (INFERENCE_CHAIN,),
    ),
    Package(
        "openinference-langchain-and-openai",
        (
            "openinference-instrumentation-langchain",
            "openinference-instrumentation-openai",
            *INFERENCE_DISTS,
            "langchain",
            "langchain-core",
            "langchain-openai",
            "openai",
        ),
        cases.LANGCHAIN,
        (INFERENCE_CHAIN, INFERENCE_OPENAI),
    ),
    Package(
        "genai-openai-agents",
        (f"{OTEL}-genai-openai-agents", *GENAI_DISTS, "openai-agents", "openai"),
        cases.AGENTS,
        (GENAI_AGENTS,),
    ),
    Package(
        "genai-openai-agents-and-openai",
        (f"{OTEL}-genai-openai-agents", f"{OTEL}-genai-openai", *GENAI_DISTS, "openai-agents", "openai"),
        cases.AGENTS,
        (GENAI_AGENTS, GENAI_OPENAI),
    ),
    Package(
        "traceloop-openai-agents",
        (f"{OTEL}-openai-agents", *LOOP_DISTS, "openai-agents", "openai"),
        cases.AGENTS,
        (LOOP_AGENTS,),
    ),
    Package(
        "traceloop-openai-agents-and-openai",
        (f"{OTEL}-openai-agents", f"{OTEL}-openai", *LOOP_DISTS, "openai-agents", "openai"),
        cases.AGENTS,
        (LOOP_AGENTS, LOOP_OPENAI),
    ),
    Package(
        "openinference-openai-agents",
        ("openinference-instrumentation-openai-agents", *INFERENCE_DISTS, "openai-agents", "openai"),
        cases.AGENTS,
        (INFERENCE_AGENTS,),
    ),
    Package(
        "openinference-openai-agents-and-openai",
        (
            "openinference-instrumentation-openai-agents",
            "openinference-instrumentation-openai",
            *INFERENCE_DISTS,
            "openai-agents",
            "openai",
        ),
        cases.AGENTS,
        (INFERENCE_AGENTS, INFERENCE_OPENAI),
    ),
    Package(
        "openai-v2",
        (f"{OTEL}-openai-v2", "openai"),
        (*OLD_OPENAI, *saying(cases.OPENAI, "content", OLD_CONTENT, "chat", "chat-tool")),
        (OPENAI_V2,),
    ),
    Package(
        "traceloop-openai-0.40",
        (f"{OTEL}-openai", *LOOP_DISTS, "openai"),
        OLD_OPENAI,
        (LOOP_OPENAI,),
        releases={f"{OTEL}-openai": "0.40."},
    ),
    Package(
        "traceloop-anthropic-0.40",
        (f"{OTEL}-anthropic", *LOOP_DISTS, "anthropic"),
        OLD_CLAUDE,
        (LOOP_ANTHROPIC,),
        env=NATIVE_OFF,
        releases={f"{OTEL}-anthropic": "0.40."},
    ),
    Package(
        "traceloop-bedrock-0.40",
        (f"{OTEL}-bedrock", *LOOP_DISTS, "boto3", "botocore"),
        OLD_BEDROCK,
        (LOOP_BEDROCK,),
        releases={f"{OTEL}-bedrock": "0.40."},
    ),
    Package(
        "openinference-openai-0.1.30",
        ("openinference-instrumentation-openai", *INFERENCE_DISTS, "openai"),
        OLD_OPENAI,
        (INFERENCE_OPENAI,),
        releases={"openinference-instrumentation-openai": "0.1.30"},
    ),
    Package(
        "botocore-0.57",
        (f"{OTEL}-botocore", "boto3", "botocore"),
        OLD_BEDROCK,
        (BOTOCORE,),
        releases={f"{OTEL}-botocore": "0.57"},
    ),
)
