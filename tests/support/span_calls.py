"""Calls that carry every parameter their API has, with what the conventions' span of each is made of: the facts, by hand."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aws_frames import EVENT_STREAM, chunk, frame
from conventions import Facts
from provider_server import Reply

ASKED = ("gen_ai.output.type", "gen_ai.conversation.id", "gen_ai.prompt.", "gen_ai.embeddings.", "openai.request.", "aws.bedrock.")
"""How the names begin of what a request carries, beside `gen_ai.request.`."""


@dataclass(frozen=True)
class SpanCall:
    """One call."""

    name: str
    provider: str
    operation: str
    model: str | None
    reply: Reply
    make: Callable[[str], Any]
    """Makes the call with the real SDK towards a URL."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """The attributes of its request, `gen_ai.request.model` left out."""
    said: Mapping[str, Any] = field(default_factory=dict)
    """The same and the answer's facts as util-genai's invocation calls them."""
    facts: Facts = field(default_factory=Facts)
    error: Exception | None = None
    server: tuple[str, int] | None = None
    """Where it is said to go; None: where it goes."""
    fetched: str = ""
    """The response that is fetched."""
    more: frozenset[str] = frozenset()
    """Attributes of the conventions that util-genai has no field for in this operation, or would leave out."""


CALLS: list[SpanCall] = []


def has(module: str) -> bool:
    """Whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


# ---- OpenAI

CHAT_REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5-2026",
    "service_tier": "flex",
    "system_fingerprint": "fp_1",
    "choices": [
        {"index": index, "message": {"role": "assistant", "content": "{}"}, "finish_reason": reason}
        for index, reason in enumerate(("stop", "length"))
    ],
    "usage": {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 6, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 5},
    },
}
CHAT_ANSWER = {
    "response_id": "chatcmpl-1",
    "response_model_name": "gpt-5-2026",
    "finish_reasons": ["stop", "length"],
    "input_tokens": 20,
    "output_tokens": 9,
    "cache_read_input_tokens": 4,
    "cache_write_input_tokens": 3,
    "thinking_tokens": 2,
    "audio_input_tokens": 6,
    "audio_output_tokens": 5,
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "background": False,
    "model": "gpt-5-2026",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "conversation": {"id": "conv_1"},
    "usage": {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 29,
    },
}
RESPONSE_ANSWER = {
    "response_id": "resp_1",
    "response_model_name": "gpt-5-2026",
    "finish_reasons": ["completed"],
    "input_tokens": 20,
    "output_tokens": 9,
    "cache_read_input_tokens": 4,
    "cache_write_input_tokens": 0,
    "thinking_tokens": 2,
    "conversation_id": "conv_1",
}
CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "Say hello."}]}
TEXT = {"model": "gpt-3.5-turbo-instruct", "prompt": "Say"}
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-2026"}
CHUNKS = [
    {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello."}, "finish_reason": None}]},
    {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {**CHUNK, "choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}},
]


def with_openai(call: Callable[[Any], Any], kind: str = "OpenAI", **arguments: Any) -> Callable[[str], Any]:
    """Makes a call with a client of the `openai` SDK."""

    def make(url: str) -> Any:
        import openai

        where = {"azure_endpoint": url, "api_version": "2024-10-21"} if kind == "AzureOpenAI" else {"base_url": url + "/v1"}
        with getattr(openai, kind)(api_key="sk-secret", max_retries=0, **where, **arguments) as client:
            return call(client)

    return make


def _parsed(client: Any) -> Any:
    from pydantic import BaseModel

    class Empty(BaseModel):
        """What the answer is read into."""

    completions = client.chat.completions if hasattr(client.chat.completions, "parse") else client.beta.chat.completions
    return completions.parse(**CHAT, response_format=Empty)


def _unauthorized() -> Exception:
    import httpx

    import openai

    library = getattr(openai._base_client, "httpx2", None) or getattr(openai._base_client, "httpx", httpx)
    return openai.AuthenticationError("no", response=library.Response(401, request=library.Request("POST", "http://h")), body=None)


if has("openai"):
    CALLS += [
        SpanCall(
            "openai-chat",
            "openai",
            "chat",
            "gpt-5",
            Reply(CHAT_REPLY),
            with_openai(
                lambda client: client.chat.completions.create(
                    **CHAT,
                    temperature=0,
                    top_p=1,
                    max_completion_tokens=7,
                    n=2,
                    stop="END",
                    seed=3,
                    frequency_penalty=1,
                    presence_penalty=-0.5,
                    reasoning_effort="low",
                    response_format={"type": "json_object"},
                    service_tier="flex",
                )
            ),
            {
                "gen_ai.request.temperature": 0.0,
                "gen_ai.request.top_p": 1.0,
                "gen_ai.request.max_tokens": 7,
                "gen_ai.request.choice.count": 2,
                "gen_ai.request.stop_sequences": ("END",),
                "gen_ai.request.seed": 3,
                "gen_ai.request.frequency_penalty": 1.0,
                "gen_ai.request.presence_penalty": -0.5,
                "gen_ai.request.reasoning.level": "low",
                "gen_ai.output.type": "json",
                "openai.request.service_tier": "flex",
            },
            {
                **CHAT_ANSWER,
                "temperature": 0.0,
                "top_p": 1.0,
                "max_tokens": 7,
                "request_choice_count": 2,
                "stop_sequences": ["END"],
                "seed": 3,
                "frequency_penalty": 1.0,
                "presence_penalty": -0.5,
                "reasoning_level": "low",
                "output_type": "json",
            },
        ),
        SpanCall(
            "openai-chat-defaults",
            "azure.ai.openai",
            "chat",
            "gpt-5",
            Reply(CHAT_REPLY),
            with_openai(lambda client: client.chat.completions.create(**CHAT, n=1, stop=["A", "B"], service_tier="auto"), "AzureOpenAI"),
            {"gen_ai.request.stop_sequences": ("A", "B")},
            {**CHAT_ANSWER, "stop_sequences": ["A", "B"]},
        ),
        SpanCall(
            "openai-chat-parsed",
            "openai",
            "chat",
            "gpt-5",
            Reply({**CHAT_REPLY, "choices": CHAT_REPLY["choices"][:1]}),
            with_openai(_parsed),
            {"gen_ai.output.type": "json"},
            {**CHAT_ANSWER, "finish_reasons": ["stop"], "output_type": "json"},
        ),
        SpanCall(
            "openai-chat-stream",
            "openai",
            "chat",
            "gpt-5",
            Reply(events=CHUNKS),
            with_openai(lambda client: list(client.chat.completions.create(**CHAT, stream=True, extra_body={"temperature": 0.5}))),
            {"gen_ai.request.temperature": 0.5},
            {
                "temperature": 0.5,
                "response_id": "chatcmpl-1",
                "response_model_name": "gpt-5-2026",
                "finish_reasons": ["stop"],
                "input_tokens": 20,
                "output_tokens": 9,
            },
            Facts(streamed=True),
        ),
        SpanCall(
            "openai-chat-refused",
            "openai",
            "chat",
            "gpt-5",
            Reply({"error": {"message": "Say hello. is no good", "type": "t"}}, status=401),
            with_openai(lambda client: client.chat.completions.create(**CHAT, max_tokens=7)),
            {"gen_ai.request.max_tokens": 7},
            {"max_tokens": 7},
            Facts(failed=True),
            _unauthorized(),
            more=frozenset({"gen_ai.response.id"}),  # of a refused call it is the request's id, by which its packet is found
        ),
        SpanCall(
            "openai-completions",
            "openai",
            "text_completion",
            "gpt-3.5-turbo-instruct",
            Reply({**CHAT_REPLY, "choices": [{"index": 0, "text": "Hello.", "finish_reason": "stop", "logprobs": None}]}),
            with_openai(
                lambda client: client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Say", max_tokens=7, stop=["."], seed=1)
            ),
            {"gen_ai.request.max_tokens": 7, "gen_ai.request.stop_sequences": (".",), "gen_ai.request.seed": 1},
            {**CHAT_ANSWER, "finish_reasons": ["stop"], "max_tokens": 7, "stop_sequences": ["."], "seed": 1},
        ),
        SpanCall(
            "openai-responses",
            "openai",
            "chat",
            "gpt-5",
            Reply(RESPONSE),
            with_openai(
                lambda client: client.responses.create(
                    model="gpt-5",
                    input="Say hello.",
                    temperature=1,
                    top_p=0.5,
                    max_output_tokens=7,
                    previous_response_id="resp_0",
                    reasoning={"effort": "high"},
                    text={"format": {"type": "json_schema", "name": "s", "schema": {}}},
                    extra_body={"conversation": "conv_1", "prompt": {"id": "pmpt_1", "version": "2"}},
                )
            ),
            {
                "gen_ai.request.temperature": 1.0,
                "gen_ai.request.top_p": 0.5,
                "gen_ai.request.max_tokens": 7,
                "gen_ai.request.previous_response.id": "resp_0",
                "gen_ai.request.reasoning.level": "high",
                "gen_ai.output.type": "json",
                "gen_ai.conversation.id": "conv_1",
                "gen_ai.prompt.name": "pmpt_1",
                "gen_ai.prompt.version": "2",
            },
            {
                **RESPONSE_ANSWER,
                "temperature": 1.0,
                "top_p": 0.5,
                "max_tokens": 7,
                "previous_response_id": "resp_0",
                "reasoning_level": "high",
                "output_type": "json",
                "prompt_name": "pmpt_1",
                "prompt_version": "2",
            },
        ),
        SpanCall(
            "openai-responses-stream",
            "openai",
            "chat",
            "gpt-5",
            Reply(events=[{"type": "response.completed", "sequence_number": 0, "response": RESPONSE}], done=False),
            with_openai(lambda client: list(client.responses.create(model="gpt-5", input="Say hello.", stream=True))),
            {"gen_ai.conversation.id": "conv_1"},
            RESPONSE_ANSWER,
            Facts(streamed=True),
        ),
        SpanCall(
            "openai-responses-fetched",
            "openai",
            "fetch_response",
            None,
            Reply(RESPONSE),
            with_openai(lambda client: client.responses.retrieve("resp_1")),
            {"gen_ai.conversation.id": "conv_1"},
            {"response_model_name": "gpt-5-2026", "finish_reasons": ["completed"], "response_status": "completed"},
            fetched="resp_1",
            more=frozenset({"gen_ai.conversation.id"}),
        ),
        SpanCall(
            "openai-responses-not-found",
            "openai",
            "fetch_response",
            None,
            Reply({"error": {"message": "no"}}, status=401),
            with_openai(lambda client: client.responses.retrieve("resp_1")),
            facts=Facts(failed=True),
            error=_unauthorized(),
            fetched="resp_1",
        ),
        SpanCall(
            "openai-embeddings",
            "openai",
            "embeddings",
            "text-embedding-3-small",
            Reply({"object": "list", "model": "text-embedding-3", "data": [], "usage": {"prompt_tokens": 5, "total_tokens": 5}}),
            with_openai(
                lambda client: client.embeddings.with_raw_response.create(
                    model="text-embedding-3-small", input="Hi.", dimensions=256, encoding_format="float"
                )
            ),
            {"gen_ai.embeddings.dimension.count": 256, "gen_ai.request.encoding_formats": ("float",)},
            {"dimension_count": 256, "encoding_formats": ["float"], "response_model_name": "text-embedding-3", "input_tokens": 5},
            more=frozenset({"gen_ai.usage.output_tokens"}),
        ),
        SpanCall(
            "openai-images",
            "openai",
            "generate_content",
            "gpt-image-1",
            Reply(
                {
                    "created": 1,
                    "data": [{"b64_json": "AAAA"}],
                    "usage": {
                        "input_tokens": 30,
                        "input_tokens_details": {"text_tokens": 10, "image_tokens": 20},
                        "output_tokens": 200,
                        "total_tokens": 230,
                    },
                }
            ),
            with_openai(lambda client: client.images.generate(model="gpt-image-1", prompt="A cat.", n=2)),
            {"gen_ai.request.choice.count": 2, "gen_ai.output.type": "image"},
            {
                "request_choice_count": 2,
                "output_type": "image",
                "input_tokens": 30,
                "output_tokens": 200,
                "image_input_tokens": 20,
                "image_output_tokens": 200,
            },
        ),
        SpanCall(
            "openai-speech",
            "openai",
            "generate_content",
            "tts-1",
            Reply(b"\xff\xf3audio", headers={"content-type": "audio/mpeg"}),
            with_openai(lambda client: client.audio.speech.create(model="tts-1", voice="alloy", input="Hello.")),
            {"gen_ai.output.type": "speech"},
            {"output_type": "speech"},
        ),
    ]

# ---- Anthropic

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5-2026",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 20, "output_tokens": 7},
}
MESSAGE_ANSWER = {
    "response_id": "msg_1",
    "response_model_name": "claude-opus-5-2026",
    "finish_reasons": ["end_turn"],
    "input_tokens": 60,
    "output_tokens": 7,
    "cache_read_input_tokens": 30,
    "cache_write_input_tokens": 20,
}
CLAUDE = {"max_tokens": 64, "messages": [{"role": "user", "content": "Say hello."}], "stop_sequences": ["END"]}
CLAUDE_MORE = {"temperature": 1, "top_p": 0.9, "top_k": 5}
CLAUDE_ASKED = {
    "gen_ai.request.max_tokens": 64,
    "gen_ai.request.stop_sequences": ("END",),
    "gen_ai.request.temperature": 1.0,
    "gen_ai.request.top_p": 0.9,
    "gen_ai.request.top_k": 5,
}
CLAUDE_SAID = {"max_tokens": 64, "stop_sequences": ["END"], "temperature": 1.0, "top_p": 0.9, "top_k": 5}


def _anthropic(url: str) -> Any:
    import anthropic

    config = {"effort": "low", "format": {"type": "json_schema", "schema": {}}}
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0) as client:
        return client.messages.create(model="claude-opus-5", **CLAUDE, extra_body={**CLAUDE_MORE, "output_config": config})


if has("anthropic"):
    CALLS += [
        SpanCall(
            "anthropic",
            "anthropic",
            "chat",
            "claude-opus-5",
            Reply(MESSAGE),
            _anthropic,
            {**CLAUDE_ASKED, "gen_ai.request.reasoning.level": "low", "gen_ai.output.type": "json"},
            {**MESSAGE_ANSWER, **CLAUDE_SAID, "reasoning_level": "low", "output_type": "json"},
        )
    ]

# ---- Bedrock

CONVERSE = {
    "modelId": "us.amazon.nova-lite-v1:0",
    "messages": [{"role": "user", "content": [{"text": "Say hello."}]}],
    "inferenceConfig": {"maxTokens": 64, "temperature": 1, "topP": 0.5, "stopSequences": ["END"]},
    "additionalModelRequestFields": {"inferenceConfig": {"topK": 5}},
    "guardrailConfig": {"guardrailIdentifier": "g1", "guardrailVersion": "1"},
}
CONVERSE_ASKED = {
    "gen_ai.request.max_tokens": 64,
    "gen_ai.request.temperature": 1.0,
    "gen_ai.request.top_p": 0.5,
    "gen_ai.request.top_k": 5,
    "gen_ai.request.stop_sequences": ("END",),
    "aws.bedrock.guardrail.id": "g1",
}
CONVERSE_SAID = {
    "max_tokens": 64,
    "temperature": 1.0,
    "top_p": 0.5,
    "top_k": 5,
    "stop_sequences": ["END"],
    "response_id": "req-1",
    "finish_reasons": ["end_turn"],
    "input_tokens": 10,
    "output_tokens": 7,
}
CONVERSED = {"inputTokens": 10, "outputTokens": 7, "totalTokens": 17}
AWS_HEADERS = {"x-amzn-requestid": "req-1"}
TITAN = {"inputText": "Hi.", "textGenerationConfig": {"maxTokenCount": 9, "temperature": 0, "topP": 1, "stopSequences": ["."]}}


def with_bedrock(call: Callable[[Any], Any]) -> Callable[[str], Any]:
    """Makes a call with boto3's client."""

    def make(url: str) -> Any:
        import boto3
        from botocore.config import Config

        keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = boto3.client("bedrock-runtime", endpoint_url=url, config=Config(retries={"max_attempts": 0}), **keys)
        try:
            return call(client)
        finally:
            client.close()

    return make


if has("boto3"):
    CALLS += [
        SpanCall(
            "bedrock-converse",
            "aws.bedrock",
            "chat",
            "us.amazon.nova-lite-v1:0",
            Reply(
                {
                    "output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
                    "stopReason": "end_turn",
                    "usage": CONVERSED,
                    "metrics": {"latencyMs": 1},
                },
                headers=AWS_HEADERS,
            ),
            with_bedrock(lambda client: client.converse(**CONVERSE)),
            CONVERSE_ASKED,
            CONVERSE_SAID,
        ),
        SpanCall(
            "bedrock-converse-stream",
            "aws.bedrock",
            "chat",
            "us.amazon.nova-lite-v1:0",
            Reply(
                events=[
                    frame({"contentBlockIndex": 0, "delta": {"text": "Hello."}}, kind="contentBlockDelta"),
                    frame({"stopReason": "end_turn"}, kind="messageStop"),
                    frame({"usage": CONVERSED, "metrics": {"latencyMs": 1}}, kind="metadata"),
                ],
                headers={**EVENT_STREAM, **AWS_HEADERS},
            ),
            with_bedrock(lambda client: list(client.converse_stream(**CONVERSE)["stream"])),
            CONVERSE_ASKED,
            CONVERSE_SAID,
            Facts(streamed=True),
        ),
        SpanCall(
            "bedrock-invoke-claude",
            "aws.bedrock",
            "chat",
            "anthropic.claude-opus-5",
            Reply(MESSAGE, headers=AWS_HEADERS),
            with_bedrock(lambda client: client.invoke_model(modelId="anthropic.claude-opus-5", body=json.dumps({**CLAUDE, **CLAUDE_MORE}))),
            CLAUDE_ASKED,
            {**MESSAGE_ANSWER, **CLAUDE_SAID, "response_id": "req-1"},
        ),
        SpanCall(
            "bedrock-invoke-titan-stream",
            "aws.bedrock",
            "chat",
            "amazon.titan-text-express-v1",
            Reply(
                events=[
                    chunk({"outputText": "Hello.", "completionReason": "FINISH"}),
                    chunk({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 4, "outputTokenCount": 6}}),
                ],
                headers={**EVENT_STREAM, **AWS_HEADERS},
            ),
            with_bedrock(
                lambda client: list(
                    client.invoke_model_with_response_stream(modelId="amazon.titan-text-express-v1", body=json.dumps(TITAN))["body"]
                )
            ),
            {
                "gen_ai.request.max_tokens": 9,
                "gen_ai.request.temperature": 0.0,
                "gen_ai.request.top_p": 1.0,
                "gen_ai.request.stop_sequences": (".",),
            },
            {
                "max_tokens": 9,
                "temperature": 0.0,
                "top_p": 1.0,
                "stop_sequences": ["."],
                "response_id": "req-1",
                "finish_reasons": ["FINISH"],
                "input_tokens": 4,
                "output_tokens": 6,
            },
            Facts(streamed=True),
        ),
    ]

# ---- Gemini, through two SDKs

GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}],
    "modelVersion": "gemini-2.5-flash-001",
    "usageMetadata": {
        "promptTokenCount": 40,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 3,
        "cachedContentTokenCount": 30,
        "totalTokenCount": 50,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 36}, {"modality": "IMAGE", "tokenCount": 4}],
    },
}
GEMINI_CONFIG = {
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 40,
    "max_output_tokens": 64,
    "candidate_count": 2,
    "stop_sequences": ["END"],
    "presence_penalty": 1,
    "frequency_penalty": 0.5,
    "seed": 3,
    "response_mime_type": "application/json",
}
GEMINI_ASKED = {
    "gen_ai.request.temperature": 1.0,
    "gen_ai.request.top_p": 0.5,
    "gen_ai.request.top_k": 40,
    "gen_ai.request.max_tokens": 64,
    "gen_ai.request.choice.count": 2,
    "gen_ai.request.stop_sequences": ("END",),
    "gen_ai.request.presence_penalty": 1.0,
    "gen_ai.request.frequency_penalty": 0.5,
    "gen_ai.request.seed": 3,
    "gen_ai.output.type": "json",
}
GEMINI_SAID = {
    "temperature": 1.0,
    "top_p": 0.5,
    "top_k": 40,
    "max_tokens": 64,
    "request_choice_count": 2,
    "stop_sequences": ["END"],
    "presence_penalty": 1.0,
    "frequency_penalty": 0.5,
    "seed": 3,
    "output_type": "json",
    "response_model_name": "gemini-2.5-flash-001",
    "finish_reasons": ["STOP"],
    "input_tokens": 40,
    "output_tokens": 10,
    "cache_read_input_tokens": 30,
    "image_input_tokens": 4,
}


def _gemini(config: Callable[[Any], Any]) -> Callable[[str], Any]:
    def make(url: str) -> Any:
        from google import genai

        client = genai.Client(api_key="secret", http_options={"base_url": url})
        return client.models.generate_content(model="gemini-2.5-flash", contents="Say hello.", config=config(genai.types))

    return make


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _interaction(url: str) -> Any:
    from google import genai

    with warnings.catch_warnings(), genai.Client(api_key="secret", http_options={"base_url": url}) as client:
        warnings.simplefilter("ignore")
        return client.interactions.create(
            model="gemini-3-flash",
            input="Say hello.",
            generation_config={"temperature": 1, "max_output_tokens": 64, "thinking_level": "low"},
            previous_interaction_id="i0",
        )


def _vertex(url: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from google.auth.credentials import AnonymousCredentials
        from vertexai.generative_models import GenerationConfig, GenerativeModel

        import vertexai

        vertexai.init(project="p", location="us-central1", credentials=AnonymousCredentials(), api_transport="rest", api_endpoint=url)
        return GenerativeModel("gemini-2.5-flash").generate_content("Say hello.", generation_config=GenerationConfig(**GEMINI_CONFIG))


if has("google.genai"):
    THOUGHT = {**GEMINI_SAID, "thinking_tokens": 3}
    CALLS += [
        SpanCall(
            f"gemini-{kind}",
            "gcp.gemini",
            "generate_content",
            "gemini-2.5-flash",
            Reply(GEMINI),
            _gemini(config),
            GEMINI_ASKED,
            THOUGHT,
        )
        for kind, config in (
            ("object", lambda types: types.GenerateContentConfig(**GEMINI_CONFIG)),
            ("dictionary", lambda types: GEMINI_CONFIG),
            ("json", lambda types: {_camel(name): value for name, value in GEMINI_CONFIG.items()}),
        )
    ]
if has("vertexai.generative_models"):
    CALLS.append(
        SpanCall(
            "vertexai",
            "gcp.vertex_ai",
            "generate_content",
            "gemini-2.5-flash",
            Reply(GEMINI),
            _vertex,
            GEMINI_ASKED,
            GEMINI_SAID,
            server=("us-central1-aiplatform.googleapis.com", 443),
            more=frozenset({"gen_ai.usage.reasoning.output_tokens"}),  # old versions of the SDK have no such count
        )
    )
if has("google.genai._gaos"):
    CALLS.append(
        SpanCall(
            "gemini-interaction",
            "gcp.gemini",
            "generate_content",
            "gemini-3-flash",
            Reply(
                {
                    "id": "i1",
                    "status": "completed",
                    "model": "gemini-3-flash",
                    "created": "2026-11-26T00:00:00Z",
                    "object": "interaction",
                    "steps": [],
                    "usage": {"total_input_tokens": 40, "total_output_tokens": 7, "total_tokens": 47},
                }
            ),
            _interaction,
            {
                "gen_ai.request.temperature": 1.0,
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.reasoning.level": "low",
                "gen_ai.request.previous_response.id": "i0",
            },
            {
                "temperature": 1.0,
                "max_tokens": 64,
                "reasoning_level": "low",
                "previous_response_id": "i0",
                "response_id": "i1",
                "response_model_name": "gemini-3-flash",
                "finish_reasons": ["completed"],
                "input_tokens": 40,
                "output_tokens": 7,
            },
        )
    )

# ---- Databricks


def _databricks(url: str) -> Any:
    from databricks import sdk

    serving = sdk.service.serving
    one = serving.ServingEndpointsAPI(sdk.core.ApiClient(sdk.config.Config(host=url, token="secret", auth_type="pat")))
    asked = [serving.ChatMessage(role=serving.ChatMessageRole.USER, content="Say hello.")]
    return one.query("my-endpoint", messages=asked, temperature=1, max_tokens=64, n=2, stop=["END"])


if has("databricks.sdk"):
    CALLS.append(
        SpanCall(
            "databricks",
            "databricks",
            "chat",
            "my-endpoint",
            Reply(
                {
                    "id": "chatcmpl-1",
                    "object": "chat.completion",
                    "model": "llama-3",
                    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finishReason": "stop"}],
                    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
                }
            ),
            _databricks,
            {
                "gen_ai.request.temperature": 1.0,
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.choice.count": 2,
                "gen_ai.request.stop_sequences": ("END",),
            },
            {
                "temperature": 1.0,
                "max_tokens": 64,
                "request_choice_count": 2,
                "stop_sequences": ["END"],
                "response_id": "chatcmpl-1",
                "response_model_name": "llama-3",
                "finish_reasons": ["stop"],
                "input_tokens": 5,
                "output_tokens": 2,
            },
        )
    )
