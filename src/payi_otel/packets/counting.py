"""Counting the tokens of a text where the provider did not: by its length, unless a tokenizer is at hand. Run in the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable

TokenCounter = Callable[[Iterable[str]], int]
"""Counts the tokens of some texts, all together."""

_CHARS_PER_TOKEN = 4
"""OpenAI's own rule of thumb for English text: https://platform.openai.com/tokenizer"""


def by_length(texts: Iterable[str]) -> int:
    """Tokens by the length of the text, never exact."""
    return -(-sum(len(text) for text in texts) // _CHARS_PER_TOKEN)
