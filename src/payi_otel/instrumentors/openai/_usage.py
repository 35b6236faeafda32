"""OpenAI's usage objects to disjoint units.

OpenAI counts cached and cache-written tokens inside the input total, reasoning and rejected predictions inside the output total;
audio and image tokens are parts of both totals. Each unit here holds a part once, and together they are the totals.
Source: https://platform.openai.com/docs/api-reference/chat/object and /responses/object
"""

from __future__ import annotations

from typing import Any

from payi_otel.packets.units import (
    AUDIO,
    IMAGE,
    REASONING,
    TEXT,
    TEXT_CACHE_READ,
    TEXT_CACHE_WRITE,
    VISION,
    WEB_SEARCH_REQUEST,
    Units,
    Usage,
)


def get(value: Any, name: str) -> Any:
    """One field of an SDK object or of its JSON; None where it is missing."""
    if isinstance(value, dict):
        return value.get(name)
    return getattr(value, name, None)


def _count(value: Any, name: str) -> int:
    number = get(value, name)
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else 0


def read_usage(usage: Any, *, web_searches: int = 0) -> Usage | None:
    """`CompletionUsage`, `ResponseUsage` or an embeddings' usage, as an object or as JSON; None where there is none.

    Args:
        usage: The provider's usage.
        web_searches: Searches the provider ran for the call, which it bills apart from tokens.
    """
    if usage is None:
        return None
    is_chat = get(usage, "prompt_tokens") is not None
    total_in = _count(usage, "prompt_tokens" if is_chat else "input_tokens")
    total_out = _count(usage, "completion_tokens" if is_chat else "output_tokens")
    if get(usage, "prompt_tokens") is None and get(usage, "input_tokens") is None and get(usage, "completion_tokens") is None:
        return None
    ins = get(usage, "prompt_tokens_details" if is_chat else "input_tokens_details")
    outs = get(usage, "completion_tokens_details" if is_chat else "output_tokens_details")
    input_parts = {
        TEXT_CACHE_READ: _count(ins, "cached_tokens"),
        TEXT_CACHE_WRITE: _count(ins, "cache_write_tokens"),
        AUDIO: _count(ins, "audio_tokens"),
        VISION: _count(ins, "image_tokens"),
    }
    output_parts = {REASONING: _count(outs, "reasoning_tokens"), AUDIO: _count(outs, "audio_tokens"), IMAGE: _count(outs, "image_tokens")}
    problems = _fit("input", input_parts, total_in) + _fit("output", output_parts, total_out)
    total = get(usage, "total_tokens")
    if isinstance(total, int) and total != total_in + total_out:
        problems.append(f"total_tokens is {total}, input and output make {total_in + total_out}")
    return Usage(
        units=_units(input_parts, total_in, output_parts, total_out, web_searches),
        input_tokens=total_in,
        output_tokens=total_out,
        cache_read_tokens=input_parts[TEXT_CACHE_READ],
        cache_write_tokens=input_parts[TEXT_CACHE_WRITE],
        reasoning_tokens=output_parts[REASONING],
        mismatch="; ".join(problems) or None,
    )


def _fit(side: str, parts: dict[str, int], total: int) -> list[str]:
    """Cuts parts that exceed their total, in their order, so that the units still add up to what the provider billed."""
    excess = sum(parts.values()) - total
    if excess <= 0:
        return []
    problem = f"the parts of {side} make {sum(parts.values())}, its total is {total}"
    for name in reversed(parts):
        cut = min(excess, parts[name])
        parts[name] -= cut
        excess -= cut
    return [problem]


def _units(ins: dict[str, int], total_in: int, outs: dict[str, int], total_out: int, web_searches: int) -> dict[str, Units]:
    counts: dict[str, list[int]] = {TEXT: [total_in - sum(ins.values()), total_out - sum(outs.values())]}
    for side, parts in enumerate((ins, outs)):
        for name, number in parts.items():
            if number:
                counts.setdefault(name, [0, 0])[side] += number
    if web_searches:
        counts[WEB_SEARCH_REQUEST] = [0, web_searches]
    return {name: Units(*pair) for name, pair in counts.items()}
