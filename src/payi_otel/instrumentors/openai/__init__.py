"""OpenAI, Azure OpenAI and every other service reached through the `openai` SDK."""

from payi_otel.instrumentors.openai._instrumentor import OpenAIInstrumentor

__all__ = ["OpenAIInstrumentor"]
