"""OpenAI, Azure OpenAI and every other service reached through the `openai` SDK."""

from payi_otel.instrumentors.openai._background import unfinished_background_responses
from payi_otel.instrumentors.openai._instrumentor import OpenAIInstrumentor

__all__ = ["OpenAIInstrumentor", "unfinished_background_responses"]
