"""Google's `google-genai` SDK: the Gemini API and Vertex AI."""

from payi_otel.instrumentors.google_genai._instrumentor import GoogleGenAiInstrumentor

__all__ = ["GoogleGenAiInstrumentor"]
