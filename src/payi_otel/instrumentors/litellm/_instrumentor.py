"""The instrumentor for `litellm`, 1.60 and newer."""

from __future__ import annotations

from payi_otel.instrumentors._base import ProviderInstrumentor, Table
from payi_otel.semconv import PayiCategories


class LiteLLMInstrumentor(ProviderInstrumentor):
    """LiteLLM's HTTP client, towards Anthropic, Bedrock, Google and OpenAI's responses."""

    name = "payi_litellm"
    distribution = "litellm"
    module = "litellm"
    supported = "litellm >= 1.60"
    categories = frozenset(
        {
            PayiCategories.anthropic,
            PayiCategories.aws_bedrock,
            PayiCategories.azure_openai,
            PayiCategories.google_vertex,
            PayiCategories.openai,
        }
    )
    is_gateway = True

    def load(self) -> Table:
        """What is wrapped, and how."""
        from payi_otel.instrumentors.litellm._patches import TABLE

        return TABLE
