"""Decisions: questions about an input, answered with probabilities."""

from __future__ import annotations

from typing import Any

from payi_otel.instrumentors._invocation import Answer
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors.openai._operation import OpenAIOperation
from payi_otel.instrumentors.openai._usage import read_usage


class Decisions(OpenAIOperation):
    """`decisions.create`: usage as the Responses API has it, and no id."""

    name = "generate_content"

    def read_answer(self, result: Any) -> Answer:
        """Reads a `Decision`."""
        return Answer(model=get(result, "model") or None, usage=read_usage(get(result, "usage")))
