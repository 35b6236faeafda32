"""Cohere's SDK: chat, embeddings, rerank and the older APIs, of versions 1 and 2 of its API."""

from payi_otel.instrumentors.cohere._instrumentor import CohereInstrumentor

__all__ = ["CohereInstrumentor"]
