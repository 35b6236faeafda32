"""Defects seen in the published SDK's instrumentation of Databricks (docs/differences.md), done to the real SDKs."""

from __future__ import annotations

from typing import Any

import pytest
from provider_server import ProviderServer, Reply

sdk = pytest.importorskip("databricks.sdk")
requests = pytest.importorskip("requests")

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "llama-3",
    "served-model-name": "llama-3-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finishReason": "stop"}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}


def workspace(host: str, provider: ProviderServer) -> Any:
    """The endpoints of a workspace at this host, whose requests arrive on loopback."""
    config = sdk.config.Config(host=provider.url, token="secret", auth_type="pat")  # it asks its host about itself
    config.host = host
    api = sdk.core.ApiClient(config)

    class Loopback(requests.adapters.HTTPAdapter):  # type: ignore[misc, name-defined]
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            request.url = request.url.replace(host, provider.url)
            return super().send(request, *args, **kwargs)

    for session in {id(one): one for one in (getattr(api, "_session", None), api._api_client._session) if one is not None}.values():
        session.mount("https://", Loopback())
    return sdk.service.serving.ServingEndpointsAPI(api)


@pytest.mark.parametrize(
    ("host", "category"),
    [
        ("https://dbc-1.cloud.databricks.com", "system.databricks.aws"),
        ("https://adb-1.7.azuredatabricks.net", "system.databricks.azure"),
        ("https://1.2.gcp.databricks.com", "system.databricks.google"),
        ("https://databricks.example.com", "system.databricks"),
    ],
)
def test_a_workspace_is_told_by_its_host(host: str, category: str, provider: Any, instrument: Any, packets: Any) -> None:
    """Without any mapping; the endpoint's name, given by position, is what is priced, not the answer's model."""
    instrument()
    provider.script(Reply(ANSWER))
    assert workspace(host, provider).query("my-endpoint", prompt="Say hello.").model == "llama-3"
    (packet,) = packets()
    assert (packet["body"]["category"], packet["body"]["resource"]) == (category, "my-endpoint")
    assert packet["body"]["units"] == {"text": {"input": 5, "output": 2}}


@pytest.mark.parametrize(
    ("usage", "units"),
    [
        ({"prompt_tokens": 21, "total_tokens": 81}, {"text": {"input": 21, "output": 60}}),
        ({"completion_tokens": 60, "total_tokens": 81}, {"text": {"input": 21, "output": 60}}),
        ({"prompt_tokens": 21, "total_tokens": 21}, {"text": {"input": 21, "output": 0}}),
        ({"prompt_tokens": 21}, {"text": {"input": 21, "output": 0}}),
    ],
)
def test_a_total_that_is_left_out_is_the_sums_rest(usage: Any, units: Any, provider: Any, instrument: Any, packets: Any) -> None:
    """As Gemini leaves out the output of an answer that is all reasoning."""
    instrument()
    provider.script(Reply({**ANSWER, "usage": usage}))
    workspace("https://dbc-1.cloud.databricks.com", provider).query("my-endpoint", prompt="Say hello.")
    assert packets()[0]["body"]["units"] == units
