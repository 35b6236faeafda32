"""Embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from payi_otel import semconv
from payi_otel.instrumentors._invocation import Answer
from payi_otel.instrumentors._parameters import read_parameters
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors.openai._operation import OpenAIOperation
from payi_otel.instrumentors.openai._usage import read_usage

_PARAMETERS = {"dimensions": semconv.EMBEDDINGS_DIMENSION_COUNT, "encoding_format": semconv.REQUEST_ENCODING_FORMATS}


class Embeddings(OpenAIOperation):
    """`embeddings.create`: input tokens only, and no id."""

    name = "embeddings"

    def parameters(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What the caller said of the vectors; the SDK itself asks for base64."""
        return read_parameters(asked, _PARAMETERS)

    def read_answer(self, result: Any) -> Answer:
        """Reads a `CreateEmbeddingResponse`."""
        usage = get(result, "usage")
        total = get(usage, "total_tokens")
        if total is not None and get(usage, "prompt_tokens") is None:
            usage = {"prompt_tokens": total}  # all of it is input
        return Answer(model=get(result, "model") or None, usage=read_usage(usage))
