"""The instrumentor for the `openai` SDK, 1.66 and newer."""

from __future__ import annotations

from payi_otel._hosts import DATABRICKS_CATEGORIES
from payi_otel.instrumentors._base import ProviderInstrumentor, Table
from payi_otel.semconv import PayiCategories


class OpenAIInstrumentor(ProviderInstrumentor):
    """OpenAI, Azure OpenAI, and Bedrock, Vertex and Databricks through the `openai` SDK."""

    name = "payi_openai"
    distribution = "openai"
    module = "openai"
    supported = "openai >= 1.66"
    categories = frozenset(
        {
            PayiCategories.openai,
            PayiCategories.azure_openai,
            PayiCategories.aws_bedrock,
            PayiCategories.google_vertex,
            *DATABRICKS_CATEGORIES,
        }
    )

    def load(self) -> Table:
        """What is wrapped, and how."""
        from payi_otel.instrumentors.openai._patches import TABLE

        return TABLE
