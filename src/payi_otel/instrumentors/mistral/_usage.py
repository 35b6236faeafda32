"""Mistral's usage to disjoint units.

What came from the cache is part of `prompt_tokens`; audio is counted in seconds, beside the tokens; what a conversation's connectors put
into its prompt is beside `prompt_tokens`, and billed as such. Source: https://docs.mistral.ai, "Prompt caching", "Audio and transcription"
and "Connectors"; the models of `mistralai` 2.10 and 3.7.
"""

from __future__ import annotations

from typing import Any

from payi_otel.instrumentors._values import count_of, fit, get
from payi_otel.packets.units import (
    AUDIO,
    REASONING,
    TEXT,
    TEXT_CACHE_READ,
    TEXT_CACHE_WRITE,
    WEB_SEARCH_REQUEST,
    Units,
    UnitSource,
    Usage,
)

_TOKENS, _CONVERSATIONS, _DOCUMENTS = "Mistral chat, embeddings, transcriptions", "Mistral conversations", "Mistral documents"
_RESPONSES = "Mistral responses"
PAGE = "page"
"""A page of a document that was read."""
_SEARCHES = ("web_search", "web_search_premium")
"""Connectors that Mistral bills by the call."""

UNIT_SOURCES = (
    UnitSource(_TOKENS, TEXT, "input", "prompt_tokens"),
    UnitSource(_TOKENS, TEXT, "output", "completion_tokens"),
    UnitSource(_TOKENS, TEXT_CACHE_READ, "input", "prompt_tokens_details.cached_tokens"),
    UnitSource(_TOKENS, TEXT_CACHE_READ, "input", "num_cached_tokens"),
    UnitSource(_TOKENS, AUDIO, "input", "prompt_audio_seconds"),
    UnitSource(_CONVERSATIONS, TEXT, "input", "prompt_tokens"),
    UnitSource(_CONVERSATIONS, TEXT, "input", "connector_tokens"),
    UnitSource(_CONVERSATIONS, TEXT, "output", "completion_tokens"),
    *(UnitSource(_CONVERSATIONS, WEB_SEARCH_REQUEST, "output", f"connectors.{name}") for name in _SEARCHES),
    UnitSource(_DOCUMENTS, PAGE, "input", "pages_processed"),
    UnitSource(_RESPONSES, TEXT, "input", "input_tokens"),
    UnitSource(_RESPONSES, TEXT, "output", "output_tokens"),
    UnitSource(_RESPONSES, TEXT_CACHE_READ, "input", "input_tokens_details.cached_tokens"),
    UnitSource(_RESPONSES, TEXT_CACHE_WRITE, "input", "input_tokens_details.cache_write_tokens"),
    UnitSource(_RESPONSES, REASONING, "output", "output_tokens_details.reasoning_tokens"),
)


def read_usage(usage: Any) -> Usage | None:
    """The usage of any answer, as JSON; None where there is none."""
    if not isinstance(usage, dict) or not usage:
        return None
    problems: list[str] = []
    if usage.get("pages_processed") is not None:
        return Usage({PAGE: Units(count_of(usage, "pages_processed", problems), 0)}, mismatch="; ".join(problems) or None)
    total_in = count_of(usage, "prompt_tokens", problems) + count_of(usage, "connector_tokens", problems)
    total_out, seconds = count_of(usage, "completion_tokens", problems), count_of(usage, "prompt_audio_seconds", problems)
    cached = count_of(get(usage, "prompt_tokens_details"), "cached_tokens", problems) or count_of(usage, "num_cached_tokens", problems)
    parts = {TEXT_CACHE_READ: cached}
    problems += fit("input", parts, total_in)
    if usage.get("total_tokens") is not None and not seconds:  # audio has tokens there that stand nowhere else
        total = count_of(usage, "total_tokens", problems)
        if total != total_in + total_out:
            problems.append(f"total_tokens is {total}, input and output make {total_in + total_out}")
    units = {TEXT: Units(total_in - parts[TEXT_CACHE_READ], total_out)}
    connectors = get(usage, "connectors")
    more = {
        TEXT_CACHE_READ: Units(parts[TEXT_CACHE_READ], 0),
        AUDIO: Units(seconds, 0),
        WEB_SEARCH_REQUEST: Units(0, sum(count_of(connectors, name, problems) for name in _SEARCHES)),
    }
    units.update({name: unit for name, unit in more.items() if any(unit)})
    mismatch = "; ".join(problems) or None
    return Usage(units, total_in, total_out, cache_read_tokens=parts[TEXT_CACHE_READ], mismatch=mismatch)


def read_response_usage(usage: Any) -> Usage | None:
    """The usage of a response, as JSON; None where there is none. Details are parts of their totals."""
    if not isinstance(usage, dict) or (usage.get("input_tokens") is None and usage.get("output_tokens") is None):
        return None
    problems: list[str] = []
    total_in, total_out = count_of(usage, "input_tokens", problems), count_of(usage, "output_tokens", problems)
    details, said = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    ins = {
        TEXT_CACHE_READ: count_of(details, "cached_tokens", problems),
        TEXT_CACHE_WRITE: count_of(details, "cache_write_tokens", problems),
    }
    outs = {REASONING: count_of(said, "reasoning_tokens", problems)}
    problems += fit("input", ins, total_in) + fit("output", outs, total_out)
    units = {
        TEXT: Units(total_in - sum(ins.values()), total_out - outs[REASONING]),
        **{name: Units(count, 0) for name, count in ins.items() if count},
        **{name: Units(0, count) for name, count in outs.items() if count},
    }
    return Usage(
        units,
        total_in,
        total_out,
        cache_read_tokens=ins[TEXT_CACHE_READ],
        cache_write_tokens=ins[TEXT_CACHE_WRITE],
        reasoning_tokens=outs[REASONING],
        mismatch="; ".join(problems) or None,
    )
