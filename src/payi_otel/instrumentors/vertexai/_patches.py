"""What is wrapped of `vertexai.generative_models`: the private methods that models, previews and chats all go through."""

from __future__ import annotations

from payi_otel.instrumentors._base import Patch, Table
from payi_otel.instrumentors._gemini_usage import UNIT_SOURCES
from payi_otel.instrumentors._generators import wrap_async_generator, wrap_generator
from payi_otel.instrumentors.vertexai._operations import VertexGenerate, VertexStream

_CLASS = "_GenerativeModel"
_MODULE = "vertexai.generative_models._generative_models"

CONTENT, STREAM = VertexGenerate(), VertexStream()


TABLE = Table(
    units=UNIT_SOURCES,
    patches=(
        Patch(_MODULE, f"{_CLASS}._generate_content", CONTENT),
        Patch(_MODULE, f"{_CLASS}._generate_content_async", CONTENT, is_async=True),
        Patch(_MODULE, f"{_CLASS}._generate_content_streaming", bound_wrapper=wrap_generator(STREAM)),
        Patch(_MODULE, f"{_CLASS}._generate_content_streaming_async", bound_wrapper=wrap_async_generator(STREAM)),
    ),
)
