"""What reads the usage of Bedrock's answers, for docs/units.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from units_page import Readers

from payi_otel.instrumentors.bedrock import _usage as bedrock
from payi_otel.packets.units import Usage


def guardrails(usage: Any) -> Usage | None:
    """One assessment of an input."""
    return bedrock.to_usage({}, bedrock.guardrail_counts({"guardrail": {"inputAssessment": {"g": usage}}}), [])


def invoked(headers: Mapping[str, Any]) -> Usage | None:
    """Headers are texts."""
    return bedrock.to_usage(bedrock.header_counts({name: str(count) for name, count in headers.items()}), {}, [])


READERS: Readers = {
    "Bedrock Converse": (lambda body: bedrock.to_usage(bedrock.converse_counts(body["usage"], []), {}, []), {"usage": {}}),
    "Bedrock InvokeModel, any family": (invoked, {}),
    "Bedrock InvokeModel, models that make images": (lambda body: bedrock.image_usage({"images": ["aGk="] * body["images"]}), {}),
    "Bedrock guardrails": (guardrails, {}),
}
