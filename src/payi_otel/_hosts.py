"""What the host of a request says of the service behind it: whose models are served there, and which cloud a Databricks workspace is in.

A provider's own hosts stand in its `provider.toml`; here are the services that several SDKs reach.

Sources: https://docs.databricks.com/aws/en/workspace/workspace-details and its Azure and Google Cloud twins;
https://learn.microsoft.com/en-us/azure/ai-services/openai/reference; https://docs.aws.amazon.com/general/latest/gr/bedrock.html;
https://cloud.google.com/vertex-ai/docs/reference/rest; https://platform.openai.com/docs/guides/your-data (regional hosts).
"""

from __future__ import annotations

import re
from typing import Final

from payi_otel._providers import category_of_host
from payi_otel.semconv import PayiCategories

AZURE_HOST_ENDS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com", ".openai.azure.us", ".openai.azure.cn")
_BY_END = {
    ".azuredatabricks.net": PayiCategories.databricks_azure,
    ".cloud.databricks.com": PayiCategories.databricks_aws,
    ".gcp.databricks.com": PayiCategories.databricks_google,
}
DATABRICKS_HOST_ENDS = (*_BY_END, ".databricks.com", ".databricks.us", ".databricksapps.com")
ANY_DATABRICKS = "system.databricks"
"""A workspace whose cloud its host does not tell."""
DATABRICKS_CATEGORIES = frozenset({*_BY_END.values(), ANY_DATABRICKS})

_AZURE: Final = frozenset({PayiCategories.azure, PayiCategories.azure_openai})
BEDROCK_RUNTIME: Final = re.compile(r"bedrock-(?:runtime[a-z-]*|mantle)\.[a-z0-9-]+\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")
VERTEX: Final = re.compile(r"(?:[a-z0-9-]+-)?aiplatform(?:\.[a-z0-9-]+)*\.googleapis\.com")
_SHARED_ENDS: Final = (*DATABRICKS_HOST_ENDS, ".cognitiveservices.azure.com")
_NONE: Final = frozenset[str]()


def databricks_category(host: str) -> str:
    """The workspace's category, each cloud having a price list of its own; `ANY_DATABRICKS` where the host does not tell it."""
    return next((category for end, category in _BY_END.items() if host.endswith(end)), ANY_DATABRICKS)


def categories_of(host: str) -> frozenset[str]:
    """The Pay-i categories of the models that a host is known to serve, by its name in lower case; empty for any other host."""
    known = category_of_host(host)
    if known is not None:
        return frozenset({known})
    if host.endswith(AZURE_HOST_ENDS):
        return _AZURE
    if host.endswith(DATABRICKS_HOST_ENDS):
        return DATABRICKS_CATEGORIES
    if BEDROCK_RUNTIME.fullmatch(host):
        return frozenset({PayiCategories.aws_bedrock})
    return frozenset({PayiCategories.google_vertex}) if VERTEX.fullmatch(host) else _NONE


def serves_more_than_models(host: str) -> bool:
    """Whether requests to a host are often something else: a Databricks workspace's SQL, Azure's speech and vision."""
    return host.endswith(_SHARED_ENDS)
