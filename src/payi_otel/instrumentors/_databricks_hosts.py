"""Which cloud a Databricks workspace is in, by its host; each has a price list of its own.

Source: https://docs.databricks.com/aws/en/workspace/workspace-details and its Azure and Google Cloud twins.
"""

from __future__ import annotations

from payi_otel.semconv import PayiCategories

_BY_END = {
    ".azuredatabricks.net": PayiCategories.databricks_azure,
    ".cloud.databricks.com": PayiCategories.databricks_aws,
    ".gcp.databricks.com": PayiCategories.databricks_google,
}
HOST_ENDS = (*_BY_END, ".databricks.com", ".databricks.us", ".databricksapps.com")
"""How the hosts of Databricks end."""
_UNKNOWN_CLOUD = "system.databricks"
CATEGORIES = frozenset({*_BY_END.values(), _UNKNOWN_CLOUD})


def databricks_category(host: str) -> str:
    """The workspace's category; `system.databricks` where the host does not tell the cloud."""
    return next((category for end, category in _BY_END.items() if host.endswith(end)), _UNKNOWN_CLOUD)
