"""LiteLLM for the contract suite: Anthropic's messages, which it posts by an HTTP client of its own."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from provider_server import Reply

from contract import Contract, Form, Outcome

if importlib.util.find_spec("litellm") is None:
    pytest.skip("litellm is not installed", allow_module_level=True)
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import litellm

WORDS = "Say hello."
SENT = {"model": "claude-opus-5", "max_tokens": 64, "messages": [{"role": "user", "content": [{"type": "text", "text": WORDS}]}]}
HEAD = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-20260901"}
USAGE = {"input_tokens": 10, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 20, "output_tokens": 7}
ANSWER = {**HEAD, "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn", "stop_sequence": None, "usage": USAGE}
ERROR = {"type": "error", "error": {"type": "authentication_error", "message": "Say hello. is no key"}}
UNITS = {"text": {"input": 10, "output": 7}, "text_cache_read": {"input": 30, "output": 0}, "text_cache_write": {"input": 20, "output": 0}}


@contextmanager
def client(url: str) -> Iterator[dict[str, Any]]:
    """What every call is given."""
    litellm.in_memory_llm_clients_cache.flush_cache()
    yield {"model": "anthropic/claude-opus-5", "api_base": url, "api_key": "k", "max_tokens": 64, "num_retries": 0, "max_retries": 0}


@asynccontextmanager
async def async_client(url: str) -> AsyncIterator[dict[str, Any]]:
    """The same."""
    with client(url) as given:
        yield given


def said(answer: Any) -> Any:
    """What the caller sees: LiteLLM makes an id of its own for each answer."""
    return answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens


def call(given: dict[str, Any], form: Form, outcome: Outcome) -> Any:
    """A completion."""
    return said(litellm.completion(messages=[{"role": "user", "content": WORDS}], **given))


async def async_call(given: dict[str, Any], form: Form, outcome: Outcome) -> Any:
    """The same, awaited."""
    return said(await litellm.acompletion(messages=[{"role": "user", "content": WORDS}], **given))


def reply(form: Form, outcome: Outcome) -> Reply:
    """What Anthropic answers."""
    if outcome == "error":
        return Reply(ERROR, status=401, headers={"request-id": "req_1"})
    return Reply(ANSWER, cut_body=outcome == "cut")


def packet(form: Form, outcome: Outcome) -> dict[str, Any]:
    """What Pay-i gets of it."""
    body: dict[str, Any] = {
        "category": "system.anthropic",
        "resource": "claude-opus-5",
        "units": {} if outcome != "ok" else UNITS,
        "http_status_code": {"ok": 200, "error": 401, "cut": 299}[outcome],
        "provider_response_id": {"ok": "msg_1", "error": "req_1", "cut": "payi_<uuid4>"}[outcome],
        "provider_request_json": SENT,
    }
    if outcome == "ok":
        return {**body, "provider_response_json": ANSWER}
    failed = {"payi_otel.end_reason": "error"}
    if outcome == "error":
        return {**body, "provider_response_json": ERROR, "properties": failed}
    return {**body, "properties": {**failed, "system.failure": "httpx.ReadError"}}


CONTRACTS = (Contract("completion", client, call, reply, packet, async_client, async_call, forms=("plain",)),)
