"""The instrumentor for `databricks-sdk`, 0.40 and newer."""

from __future__ import annotations

from payi_otel._hosts import DATABRICKS_CATEGORIES
from payi_otel.instrumentors._base import ProviderInstrumentor, Table


class DatabricksInstrumentor(ProviderInstrumentor):
    """Databricks serving endpoints through `databricks-sdk`."""

    name = "payi_databricks"
    distribution = "databricks-sdk"
    module = "databricks.sdk"
    supported = "databricks-sdk >= 0.40"
    categories = DATABRICKS_CATEGORIES

    def load(self) -> Table:
        """What is wrapped, and how."""
        from payi_otel.instrumentors.databricks._patches import TABLE

        return TABLE
