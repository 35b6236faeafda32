"""Mistral's SDK: chat, agents, fill-in-the-middle, embeddings, documents, transcriptions and conversations."""

from payi_otel.instrumentors.mistral._instrumentor import MistralInstrumentor

__all__ = ["MistralInstrumentor"]
