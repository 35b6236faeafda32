"""The instrumentor for `vertexai`, of google-cloud-aiplatform 1.85 and newer."""

from __future__ import annotations

from payi_otel.instrumentors._base import ProviderInstrumentor, Table
from payi_otel.semconv import PayiCategories


class VertexAiInstrumentor(ProviderInstrumentor):
    """Gemini through `vertexai`."""

    name = "payi_vertexai"
    distribution = "google-cloud-aiplatform"
    module = "vertexai"
    supported = "google-cloud-aiplatform >= 1.85"
    categories = frozenset({PayiCategories.google_vertex})

    def load(self) -> Table:
        """What is wrapped, and how."""
        from payi_otel.instrumentors.vertexai._patches import TABLE

        return TABLE
