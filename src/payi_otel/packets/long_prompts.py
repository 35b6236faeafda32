"""Models whose long prompts have a price of their own: every token of such a call, the answer's too, is counted under another name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct


class LongPrompts(Struct, frozen=True):
    """Models whose long prompts have a price of their own."""

    models: str
    """As docs/units.md names them."""
    pattern: re.Pattern[str]
    """Found in their names, whoever serves them."""
    above: int
    """Input tokens, cached ones included, up to which a prompt is not long."""

    def include(self, model: str | None, tokens: int) -> bool:
        """Whether a prompt of so many tokens has that price."""
        return tokens > self.above and self.pattern.search(model or "") is not None


CLAUDE = (LongPrompts("Claude Sonnet 4 and 4.5", re.compile(r"claude-sonnet-4(?:-5|-0|-\d{8}|@|\b(?!-[6-9]))"), 200_000),)
"""Later ones bill every length alike.
Source: https://docs.anthropic.com/en/docs/about-claude/pricing, "Long context pricing"."""
GEMINI = (
    LongPrompts("Gemini 2.5 Pro, Gemini 3 Pro", re.compile(r"gemini-(?:2\.5|3(?:\.\d+)?)-pro"), 200_000),
    LongPrompts("Gemini 1.0, 1.5", re.compile(r"gemini-1\.\d"), 128_000),
)
"""1.x was billed by characters; its tokens are billed as such here."""


def is_long_prompt(table: Sequence[LongPrompts], model: str | None, tokens: int) -> bool:
    """Whether one of these models has another price for a prompt of so many tokens."""
    return any(long.include(model, tokens) for long in table)
