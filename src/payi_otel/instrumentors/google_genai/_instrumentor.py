"""The instrumentor for the `google-genai` SDK, 1.10 and newer.

It wraps the private methods that make one request each: a public one may make several, and shows the usage of the last only.
"""

from __future__ import annotations

from payi_otel.instrumentors._base import Patch, ProviderInstrumentor
from payi_otel.instrumentors._gemini_usage import UNIT_SOURCES
from payi_otel.instrumentors._generators import wrap_async_generator, wrap_generator
from payi_otel.instrumentors.google_genai._operations import (
    EmbedContent,
    GenerateContent,
    GenerateContentStream,
    GenerateImages,
    capture_request,
)
from payi_otel.semconv import PayiCategories

CONTENT, STREAM, EMBEDDINGS, IMAGES = GenerateContent(), GenerateContentStream(), EmbedContent(), GenerateImages()

_MODELS = "google.genai.models"


class GoogleGenAiInstrumentor(ProviderInstrumentor):
    """Gemini through `google-genai`, of the Gemini API and of Vertex AI."""

    name = "payi_google_genai"
    distribution = "google-genai"
    module = "google.genai"
    supported = "google-genai >= 1.10"
    categories = frozenset({PayiCategories.google_vertex})
    units = UNIT_SOURCES
    patches = (
        Patch("google.genai._api_client", "BaseApiClient._build_request", wrapper=capture_request),
        Patch(_MODELS, "Models._generate_content", CONTENT),
        Patch(_MODELS, "AsyncModels._generate_content", CONTENT, is_async=True),
        Patch(_MODELS, "Models._generate_content_stream", bound_wrapper=wrap_generator(STREAM)),
        Patch(_MODELS, "AsyncModels._generate_content_stream", bound_wrapper=wrap_async_generator(STREAM)),
        Patch(_MODELS, "Models._embed_content", EMBEDDINGS, since="2.0"),
        Patch(_MODELS, "AsyncModels._embed_content", EMBEDDINGS, is_async=True, since="2.0"),
        Patch(_MODELS, "Models._generate_images", IMAGES),
        Patch(_MODELS, "AsyncModels._generate_images", IMAGES, is_async=True),
    )
