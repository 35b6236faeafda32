"""Which service a span of another instrumentation called, by its provider's name, its host and its model's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from payi_otel import semconv
from payi_otel._hosts import AZURE_HOST_ENDS, DATABRICKS_HOST_ENDS, VERTEX, databricks_category
from payi_otel._providers import category_of_span
from payi_otel.semconv import PayiCategories


class Service(NamedTuple):
    """A service as a packet names it."""

    category: str
    sdk: str
    """Whose `model_mappings` hold for it."""
    resource_prefix: str = ""
    host: str | None = None
    uri: str | None = None


_PROVIDERS = (semconv.PROVIDER_NAME, "gen_ai.system", "llm.provider", "llm.system")
_URLS = ("url.full", "gen_ai.openai.api_base", "http.url", "server.url")
_BEDROCK_HOST = re.compile(r"bedrock[a-z-]*\.[a-z0-9-]+\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")
"""Of all its services: a span may be of an agent's."""
_BEDROCK_MODEL = re.compile(r"(?:[a-z]{2,6}\.)?(?:amazon|anthropic|meta|mistral|cohere|ai21|deepseek|openai|qwen|stability|twelvelabs)\.")
_BEDROCK_VENDORS = {
    "claude": "anthropic.",
    "nova": "amazon.",
    "titan": "amazon.",
    "llama": "meta.",
    "mistral": "mistral.",
    "mixtral": "mistral.",
    "command": "cohere.",
    "jamba": "ai21.",
}
"""By how their models' names begin. OpenLLMetry leaves the vendor out, without which Bedrock has no such model."""
_CLAUDE = re.compile(r"claude")


def service_of(scope_name: str, attributes: Mapping[str, Any], model: str | None) -> Service:
    """The service of a call. A provider's name says least: the instrumentations of an SDK use it for whatever host that SDK calls."""
    provider = (
        "aws.bedrock"
        if "bedrock" in scope_name
        else next((value.lower() for name in _PROVIDERS if isinstance(value := attributes.get(name), str)), "")
    )
    host, uri = _place(attributes)
    bare = (host or "").rpartition("]")[2].partition(":")[0] or (host or "")
    category, sdk, prefix = _named(provider, bare, model or "")
    return Service(category, sdk, prefix, host, uri)


def _named(provider: str, host: str, model: str) -> tuple[str, str, str]:
    is_claude = _CLAUDE.search(model) is not None
    if host.endswith(DATABRICKS_HOST_ENDS) or "databricks" in provider:
        return databricks_category(host), "openai", ""
    if _BEDROCK_HOST.fullmatch(host) or "bedrock" in provider or provider in ("aws", "amazon"):
        return PayiCategories.aws_bedrock, "botocore", _vendor(model)
    if "vertex" in provider or VERTEX.fullmatch(host):
        return PayiCategories.google_vertex, "anthropic" if is_claude else "", "anthropic." if is_claude else "google."
    if provider.startswith(("gcp", "google", "gemini")):
        return PayiCategories.google_vertex, "", "google."
    if provider == "anthropic" or is_claude:
        if host.endswith(AZURE_HOST_ENDS) or "azure" in provider:
            return PayiCategories.azure, "anthropic", ""
        if _BEDROCK_MODEL.match(model):
            return PayiCategories.aws_bedrock, "botocore", ""
        return PayiCategories.anthropic, "anthropic", ""
    if host.endswith(AZURE_HOST_ENDS) or provider in ("azure", "azure_openai", "azure.ai.openai", "az.ai.openai"):
        return PayiCategories.azure_openai, "openai", ""
    if "azure" in provider or provider.startswith("az."):
        return PayiCategories.azure, "openai", ""
    if provider in ("openai", ""):
        return PayiCategories.openai, "openai", ""
    return category_of_span(provider) or f"system.{provider}", "openai", ""


def _vendor(model: str) -> str:
    """What is missing before a Bedrock model's name."""
    return next((vendor for name, vendor in _BEDROCK_VENDORS.items() if model.startswith(name)), "")


def _place(attributes: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Host, with a port of its own, and URI without user, password and query."""
    for name in _URLS:
        text = attributes.get(name)
        if isinstance(text, str) and "://" in text:
            try:
                parts = urlsplit(text)
                host, port = parts.hostname, parts.port
            except ValueError:
                continue
            if host:
                place = f"{host}:{port}" if port else host
                return place, f"{parts.scheme}://{place}{parts.path}"
    host, port = attributes.get(semconv.SERVER_ADDRESS), attributes.get(semconv.SERVER_PORT)
    if not isinstance(host, str) or not host:
        return None, None
    host = host.lower()
    return (f"{host}:{port}" if isinstance(port, int) and port not in (80, 443) else host), None
