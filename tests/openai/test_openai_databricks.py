"""Databricks' own client class for OpenAI's API, where it is installed: it stands on the SDK's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comparing import SCOPE
from openai_shapes import completion
from provider_server import ProviderServer, Reply
from response_shapes import response

pytest.importorskip("openai")
databricks_openai = pytest.importorskip("databricks_openai", reason="databricks-openai wants an openai SDK of its own")
pytestmark = pytest.mark.filterwarnings("ignore")
MESSAGES = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def workspace(provider: ProviderServer) -> Any:
    """A workspace on loopback."""
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.config import Config

    return WorkspaceClient(config=Config(host=provider.url, token="secret", auth_type="pat"))


def told(packet: dict[str, Any]) -> tuple[str, str, Any, str]:
    """Category, resource, units and id."""
    assert packet["scope"] == SCOPE
    body = packet["body"]
    return body["category"], body["resource"], body["units"], body["provider_response_id"]


def test_a_chat_is_one_packet(instrument: Any, workspace: Any, provider: ProviderServer, packets: Any) -> None:
    """Its `create` calls the SDK's, and the call is one."""
    instrument()
    provider.always("/chat/completions", Reply(completion()))
    with databricks_openai.DatabricksOpenAI(workspace_client=workspace) as client:
        client.chat.completions.create(model="my-endpoint", messages=MESSAGES)
    (packet,) = packets()
    sent = json.loads(packet["body"]["provider_request_json"])
    assert (sent["model"], sent["messages"]) == ("my-endpoint", MESSAGES)
    assert told(packet) == ("system.databricks", "my-endpoint", {"text": {"input": 12, "output": 5}}, completion()["id"])


async def test_an_async_response_is_one_packet(instrument: Any, workspace: Any, provider: ProviderServer, packets: Any) -> None:
    """Likewise."""
    instrument()
    provider.always("/responses", Reply(response()))
    async with databricks_openai.AsyncDatabricksOpenAI(workspace_client=workspace) as client:
        await client.responses.create(model="my-endpoint", input="Say hello.")
    assert told(packets()[0])[:2] == ("system.databricks", "my-endpoint")
