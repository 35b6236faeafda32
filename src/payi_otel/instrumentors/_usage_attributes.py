"""A usage as span attributes: the totals, which include their parts, and what an image or audio took of them."""

from __future__ import annotations

from payi_otel import semconv
from payi_otel.packets.units import (
    AUDIO,
    AUDIO_CACHE_READ,
    IMAGE,
    LARGE_CONTEXT,
    REASONING,
    TEXT,
    TEXT_CACHE_READ,
    TEXT_CACHE_WRITE,
    TEXT_CACHE_WRITE_1H,
    VISION,
    VISION_CACHE_READ,
    WEB_SEARCH_REQUEST,
    Usage,
)

_INPUTS = {
    semconv.USAGE_IMAGE_INPUT: (VISION, VISION_CACHE_READ),
    semconv.USAGE_IMAGE_CACHE_READ: (VISION_CACHE_READ,),
    semconv.USAGE_AUDIO_INPUT: (AUDIO, AUDIO_CACHE_READ),
    semconv.USAGE_AUDIO_CACHE_READ: (AUDIO_CACHE_READ,),
}
_OUTPUTS = {semconv.USAGE_IMAGE_OUTPUT: (IMAGE,), semconv.USAGE_AUDIO_OUTPUT: (AUDIO,)}
_PLAIN = frozenset({TEXT, TEXT_CACHE_READ, TEXT_CACHE_WRITE, TEXT_CACHE_WRITE_1H, REASONING, WEB_SEARCH_REQUEST})


def usage_attributes(usage: Usage) -> dict[str, int]:
    """The standard attributes. Units that are no tokens (seconds, whole images) have no totals, and no attributes either."""
    attributes = usage.to_attributes()
    if usage.input_tokens is None or _PLAIN.issuperset(usage.units):
        return attributes
    ins: dict[str, int] = {}
    outs: dict[str, int] = {}
    for name, unit in usage.units.items():
        kind = name.removesuffix(LARGE_CONTEXT)
        ins[kind], outs[kind] = unit.input, unit.output
    for counts, table in ((ins, _INPUTS), (outs, _OUTPUTS)):
        for attribute, kinds in table.items():
            if number := sum(counts.get(kind, 0) for kind in kinds):
                attributes[attribute] = number
    return attributes
