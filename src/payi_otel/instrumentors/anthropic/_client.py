"""Tells apart the services behind the `anthropic` SDK's clients."""

from __future__ import annotations

from typing import Any

from payi_otel._hosts import AZURE_HOST_ENDS
from payi_otel.instrumentors._client_facts import ClientFacts, facts_at
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._stainless import ClientBook
from payi_otel.semconv import PayiCategories

_FIRST_PARTY = ("anthropic", PayiCategories.anthropic, "")
_BEDROCK = ("aws.bedrock", PayiCategories.aws_bedrock, "")
_VERTEX = ("gcp.vertex_ai", PayiCategories.google_vertex, "anthropic.")
_FOUNDRY = ("azure.ai.inference", PayiCategories.azure, "")
_BY_CLASS = {
    "AnthropicBedrock": _BEDROCK,
    "AnthropicBedrockMantle": _BEDROCK,
    "AnthropicAWS": _BEDROCK,
    "AnthropicVertex": _VERTEX,
    "AnthropicGoogleCloud": _VERTEX,
    "AnthropicFoundry": _FOUNDRY,
}
"""By the class's name without `Async`, for not every version has every class."""


def _read(client: Any, url: Any) -> ClientFacts:
    endpoint = read_endpoint(url)
    return facts_at(endpoint, *_service(client, endpoint.host))


read_client = ClientBook(_read)


def _service(client: Any, host: str) -> tuple[str, str, str]:
    for cls in type(client).__mro__:
        service = _BY_CLASS.get(cls.__name__.removeprefix("Async"))
        if service is not None:
            return service
    return _FOUNDRY if host.endswith(AZURE_HOST_ENDS) else _FIRST_PARTY
