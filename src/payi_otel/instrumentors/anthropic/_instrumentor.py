"""The instrumentor for the `anthropic` SDK, 0.49 and newer."""

from __future__ import annotations

from payi_otel.instrumentors._base import ProviderInstrumentor, Table
from payi_otel.semconv import PayiCategories


class AnthropicInstrumentor(ProviderInstrumentor):
    """Claude through every client of the `anthropic` SDK."""

    name = "payi_anthropic"
    distribution = "anthropic"
    module = "anthropic"
    supported = "anthropic >= 0.49"
    categories = frozenset({PayiCategories.anthropic, PayiCategories.aws_bedrock, PayiCategories.azure, PayiCategories.google_vertex})

    def load(self) -> Table:
        """What is wrapped, and how."""
        from payi_otel.instrumentors.anthropic._patches import TABLE

        return TABLE
