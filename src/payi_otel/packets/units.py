"""Token and unit counts of one call, disjoint, and the span attributes they become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from msgspec import Struct

from payi_otel import semconv

TEXT = "text"
TEXT_CACHE_READ = "text_cache_read"
TEXT_CACHE_WRITE = "text_cache_write"
TEXT_CACHE_WRITE_1H = "text_cache_write_1h"
REASONING = "reasoning"
VISION = "vision"
VISION_CACHE_READ = "vision_cache_read"
AUDIO = "audio"
AUDIO_CACHE_READ = "audio_cache_read"
VIDEO = "video"
VIDEO_CACHE_READ = "video_cache_read"
IMAGE = "image"
IMAGE_CACHE_READ = "image_cache_read"
WEB_SEARCH_REQUEST = "web_search_request"
LARGE_CONTEXT = "_large_context"
"""Ends the name of a token unit that is billed at the price of a long prompt."""
_MAX_INT64 = 2**63 - 1
"""OTLP's bound: an exporter of the application's would lose a whole batch of spans to a larger number."""


class Units(NamedTuple):
    """One unit's count on each side."""

    input: int = 0
    output: int = 0


class UnitSource(Struct, frozen=True):
    """Where one unit comes from: a row of docs/units.md, which a test holds against the code that reads it."""

    api: str
    """Whose answers, e.g. `Gemini`."""
    unit: str
    side: Literal["input", "output"]
    field: str
    """The provider's own name for the count, e.g. `prompt_tokens_details.cached_tokens`; `[X]` picks from a list what is of kind X."""


class Usage(NamedTuple):
    """What a provider says it billed. `units` are disjoint; the totals are the provider's own and include their parts."""

    units: Mapping[str, Units]
    input_tokens: int | None = None
    """Total input, cached parts included (the meaning of `gen_ai.usage.input_tokens`)."""
    output_tokens: int | None = None
    """Total output, reasoning included."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    mismatch: str | None = None
    """Says what does not add up in the provider's own numbers; the units then hold to the totals."""

    def to_attributes(self) -> dict[str, int]:
        """The standard span attributes; details are left out where they are zero."""
        attributes: dict[str, int] = {}
        if self.input_tokens is not None:
            attributes[semconv.USAGE_INPUT_TOKENS] = min(self.input_tokens, _MAX_INT64)
        if self.output_tokens is not None:
            attributes[semconv.USAGE_OUTPUT_TOKENS] = min(self.output_tokens, _MAX_INT64)
        if self.cache_read_tokens:
            attributes[semconv.USAGE_CACHE_READ] = min(self.cache_read_tokens, _MAX_INT64)
        if self.cache_write_tokens:
            attributes[semconv.USAGE_CACHE_WRITE] = min(self.cache_write_tokens, _MAX_INT64)
        if self.reasoning_tokens:
            attributes[semconv.USAGE_REASONING] = min(self.reasoning_tokens, _MAX_INT64)
        return attributes


def as_large_context(units: Mapping[str, Units]) -> dict[str, Units]:
    """The same counts under the names of a long prompt; what is counted in requests has one price."""
    return {name if name == WEB_SEARCH_REQUEST else name + LARGE_CONTEXT: unit for name, unit in units.items()}


def has_vision(units: Mapping[str, Units]) -> bool:
    """Whether the provider itself told image tokens apart."""
    return any(name.startswith(VISION) for name in units)


def with_vision(units: Mapping[str, Units], text_tokens: int) -> dict[str, Units]:
    """The same counts with the prompt's images taken out of its text: what no text accounts for is an image's.

    Args:
        units: Counts in which images are counted as text.
        text_tokens: Tokens of all text of the prompt. Where some of it came from a cache it is too many for what did not, so that
            a text is never taken for an image.
    """
    text = TEXT if TEXT in units else TEXT + LARGE_CONTEXT
    counted = units.get(text, Units())
    vision = counted.input - text_tokens
    if vision <= 0:
        return dict(units)
    return {**units, text: Units(text_tokens, counted.output), text.replace(TEXT, VISION, 1): Units(vision, 0)}
