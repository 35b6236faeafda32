"""Anthropic's SDK: Claude at Anthropic, Bedrock, Vertex, Foundry and wherever else it has a client for."""

from payi_otel.instrumentors.anthropic._instrumentor import AnthropicInstrumentor

__all__ = ["AnthropicInstrumentor"]
