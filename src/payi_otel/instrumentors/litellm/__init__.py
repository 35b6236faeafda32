"""LiteLLM's own calls of Anthropic, Bedrock, Google and OpenAI, for which it needs no SDK."""

from payi_otel.instrumentors.litellm._instrumentor import LiteLLMInstrumentor

__all__ = ["LiteLLMInstrumentor"]
