"""Tells apart the services that are reached through the `openai` SDK, by the client object and the host it points at."""

from __future__ import annotations

import re
import sys
from typing import Any

from payi_otel._hosts import AZURE_HOST_ENDS, BEDROCK_RUNTIME, DATABRICKS_HOST_ENDS, databricks_category
from payi_otel.instrumentors._client_facts import ClientFacts, facts_at
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._stainless import ClientBook
from payi_otel.semconv import PayiCategories

_DATABRICKS_PATH = re.compile(r"/serving-endpoints(/|$)|/ai-gateway/")
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)")


def _read(client: Any, url: Any) -> ClientFacts:
    """Source: the client classes of `openai` 1.66 to 3.53, and the hosts the services document."""
    endpoint = read_endpoint(url)
    deployment = getattr(client, "_azure_deployment", None)
    if not isinstance(deployment, str):
        deployment = _deployment_in(endpoint.path)
    return facts_at(endpoint, *_service(client, endpoint.host, endpoint.path), deployment=deployment)


read_client = ClientBook(_read)


def _deployment_in(path: str) -> str | None:
    """Azure's deployment, where the client was given a base URL that names it."""
    match = _DEPLOYMENT.search(path)
    return match.group(1) if match else None


def _service(client: Any, host: str, path: str) -> tuple[str, str, str]:
    runtime = getattr(getattr(client, "_provider_runtime", None), "name", None)
    if runtime == "bedrock" or _is_bedrock(client) or BEDROCK_RUNTIME.fullmatch(host):
        return "aws.bedrock", PayiCategories.aws_bedrock, ""
    if runtime == "vertex":
        return "gcp.vertex_ai", PayiCategories.google_vertex, "google."
    if _is_azure(client) or host.endswith(AZURE_HOST_ENDS):
        return "azure.ai.openai", PayiCategories.azure_openai, ""
    if hasattr(client, "_workspace_client") or _DATABRICKS_PATH.search(path) or host.endswith(DATABRICKS_HOST_ENDS):
        return "databricks", databricks_category(host), ""
    return "openai", PayiCategories.openai, ""


def _is_bedrock(client: Any) -> bool:
    """By name, for the class is not in every version."""
    return any(cls.__name__ in ("BedrockOpenAI", "AsyncBedrockOpenAI") for cls in type(client).__mro__)


def _is_azure(client: Any) -> bool:
    openai = sys.modules.get("openai")
    return openai is not None and isinstance(client, openai.AzureOpenAI | openai.AsyncAzureOpenAI)
