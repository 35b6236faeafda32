"""`databricks-sdk` for the contract suite: `serving_endpoints.query`, which has no async and no streamed form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from provider_server import Reply

from contract import Contract, Form, Outcome

sdk = pytest.importorskip("databricks.sdk")

MESSAGE = {"role": "assistant", "content": "Hello."}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "llama-3",
    "choices": [{"index": 0, "message": MESSAGE, "finishReason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}
ERROR = {"error_code": "PERMISSION_DENIED", "message": "no"}


@contextmanager
def client(url: str) -> Iterator[Any]:
    """A workspace that is looked up nowhere."""
    config = sdk.config.Config(host=url, token="secret", auth_type="pat")
    yield sdk.service.serving.ServingEndpointsAPI(sdk.core.ApiClient(config))


def reply(form: Form, outcome: Outcome) -> Reply:
    """What the endpoint answers."""
    return Reply(ERROR, status=403) if outcome == "error" else Reply(ANSWER)


def call(one: Any, form: Form, outcome: Outcome) -> Any:
    """A query, its endpoint's name given by position."""
    serving = sdk.service.serving
    asked = [serving.ChatMessage(role=serving.ChatMessageRole.USER, content="Say hello.")]
    return one.query("my-endpoint", messages=asked).as_dict()


def packet(form: Form, outcome: Outcome) -> dict[str, Any]:
    """What Pay-i gets of it."""
    body: dict[str, Any] = {
        "category": "system.databricks",
        "resource": "my-endpoint",
        "provider_request_json": {"messages": [{"content": "Say hello.", "role": "user"}]},
    }
    if outcome == "error":
        body |= {"units": {}, "http_status_code": 403, "provider_response_id": "payi_<uuid4>", "provider_response_json": ERROR}
        return {**body, "properties": {"payi_otel.end_reason": "error"}}
    choice = {"finishReason": "stop", "index": 0, "message": MESSAGE}
    body |= {"units": {"text": {"input": 5, "output": 2}}, "http_status_code": 200, "provider_response_id": "chatcmpl-1"}
    return {**body, "provider_response_json": {**ANSWER, "choices": [choice]}}


CONTRACTS = (Contract("query", client, call, reply, packet, forms=("plain",), without=frozenset({("plain", "cut")})),)
