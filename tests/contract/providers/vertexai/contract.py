"""The `vertexai` SDK for the contract suite: `generate_content` over REST, plain and streamed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from provider_server import Reply

from contract import Contract, Form, Outcome

vertexai = pytest.importorskip("vertexai")

USAGE = {"promptTokenCount": 40, "candidatesTokenCount": 7, "thoughtsTokenCount": 3, "cachedContentTokenCount": 30, "totalTokenCount": 50}
UNITS = {
    "text": {"input": 10, "output": 7},
    "text_cache_read": {"input": 30, "output": 0},
    "reasoning": {"input": 0, "output": 3},
}
CANDIDATE = {"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}
ANSWER = {"candidates": [CANDIDATE], "usageMetadata": USAGE, "modelVersion": "gemini-2.5-flash-001", "responseId": "r1"}
SAID: dict[str, Any] = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finish_reason": "STOP"}],
    "usage_metadata": {
        "prompt_token_count": 40,
        "candidates_token_count": 7,
        "total_token_count": 50,
        "cached_content_token_count": 30,
        "thoughts_token_count": 3,
    },
    "model_version": "gemini-2.5-flash-001",
    "response_id": "r1",
}
"""The answer as the SDK says it."""
ERROR = {"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}}


def knows_thoughts() -> bool:
    """Whether this SDK's message has the count of thoughts: 1.85 drops it, and nothing it hands out has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from google.cloud.aiplatform_v1beta1.types import GenerateContentResponse

        return "thoughts_token_count" in GenerateContentResponse.UsageMetadata.meta.fields


def kept(counts: dict[str, Any], thoughts: str) -> dict[str, Any]:
    """What this SDK keeps of counts."""
    return counts if knows_thoughts() else {name: count for name, count in counts.items() if name != thoughts}


@contextmanager
def client(url: str) -> Iterator[Any]:
    """A model whose calls go to this URL."""
    from google.auth.credentials import AnonymousCredentials

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the module itself is deprecated
        from vertexai.generative_models import GenerativeModel

        vertexai.init(project="p", location="us-central1", credentials=AnonymousCredentials(), api_transport="rest", api_endpoint=url)
        yield GenerativeModel("gemini-2.5-flash")


def reply(form: Form, outcome: Outcome) -> Reply:
    """What Vertex answers."""
    if outcome == "error":
        return Reply(ERROR, status=403)
    return Reply([ANSWER] if form == "stream" else ANSWER)


def call(one: Any, form: Form, outcome: Outcome) -> Any:
    """`generate_content`."""
    if form == "stream":
        return [answer.to_dict() for answer in one.generate_content("Say hello.", stream=True)]
    return one.generate_content("Say hello.").to_dict()


def packet(form: Form, outcome: Outcome) -> dict[str, Any]:
    """What Pay-i gets of it; what was sent is not seen in this SDK."""
    body: dict[str, Any] = {"category": "system.google.vertex"}
    if outcome == "error":
        refused = {"error": {"code": 403, "message": "no"}}
        body |= {"resource": "google.gemini-2.5-flash", "units": {}, "http_status_code": 403, "provider_response_id": "payi_<uuid4>"}
        return {**body, "provider_response_json": refused, "properties": {"payi_otel.end_reason": "error"}}
    body |= {"resource": "google.gemini-2.5-flash-001", "http_status_code": 200, "provider_response_id": "r1"}
    said = {**SAID, "usage_metadata": kept(SAID["usage_metadata"], "thoughts_token_count")}
    body |= {"units": kept(UNITS, "reasoning"), "provider_response_json": said}
    if form == "stream":
        body["provider_response_json"] = [said]
        return {**body, "time_to_first_token_ms": "ms", "time_to_first_completion_token_ms": "ms"}
    return body


CONTRACTS = (
    Contract(
        "generate",
        client,
        call,
        reply,
        packet,
        forms=("plain", "stream"),
        without=frozenset({("plain", "cut"), ("stream", "cut"), ("stream", "left")}),
    ),
)
