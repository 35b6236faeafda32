"""The instrumentor for the `google-genai` SDK, 1.10 and newer."""

from __future__ import annotations

from payi_otel.instrumentors._base import ProviderInstrumentor, Table
from payi_otel.semconv import PayiCategories


class GoogleGenAiInstrumentor(ProviderInstrumentor):
    """Gemini through `google-genai`, of the Gemini API and of Vertex AI."""

    name = "payi_google_genai"
    distribution = "google-genai"
    module = "google.genai"
    supported = "google-genai >= 1.10"
    categories = frozenset({PayiCategories.google_vertex})

    def load(self) -> Table:
        """What is wrapped, and how."""
        from payi_otel.instrumentors.google_genai._patches import TABLE

        return TABLE
