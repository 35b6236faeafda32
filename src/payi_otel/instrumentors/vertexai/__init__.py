"""Vertex AI's own SDK (`google-cloud-aiplatform`), as long as it has generative models."""

from payi_otel.instrumentors.vertexai._instrumentor import VertexAiInstrumentor

__all__ = ["VertexAiInstrumentor"]
