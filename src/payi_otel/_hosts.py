"""What the host of a request says of the service behind it: Azure, or which cloud a Databricks workspace is in.

Sources: https://docs.databricks.com/aws/en/workspace/workspace-details and its Azure and Google Cloud twins;
https://learn.microsoft.com/en-us/azure/ai-services/openai/reference.
"""

from __future__ import annotations

from payi_otel.semconv import PayiCategories

AZURE_HOST_ENDS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com", ".openai.azure.us", ".openai.azure.cn")
_BY_END = {
    ".azuredatabricks.net": PayiCategories.databricks_azure,
    ".cloud.databricks.com": PayiCategories.databricks_aws,
    ".gcp.databricks.com": PayiCategories.databricks_google,
}
DATABRICKS_HOST_ENDS = (*_BY_END, ".databricks.com", ".databricks.us", ".databricksapps.com")
_UNKNOWN_CLOUD = "system.databricks"
DATABRICKS_CATEGORIES = frozenset({*_BY_END.values(), _UNKNOWN_CLOUD})


def databricks_category(host: str) -> str:
    """The workspace's category, each cloud having a price list of its own; `system.databricks` where the host does not tell the cloud."""
    return next((category for end, category in _BY_END.items() if host.endswith(end)), _UNKNOWN_CLOUD)
