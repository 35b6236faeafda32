"""Inline data is looked for only where the bytes of a request or an answer have a mark of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payi_otel.instrumentors._claude import ClaudeContent
from payi_otel.instrumentors._gemini import GeminiContent
from payi_otel.instrumentors._inline import InlineRules
from payi_otel.instrumentors.bedrock._content import BedrockContent
from payi_otel.instrumentors.openai._content import OpenAIContent

_TEXTS = st.sampled_from(
    ["x", "YmFzZTY0" * 40, "data:image/png;base64,AAAA", "DATA:a;base64,b", "data", "image_url", "input_audio", "b64_json", "type"]
)
_JSON = st.recursive(
    st.one_of(st.none(), st.integers(0, 9), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=4)),
    max_leaves=12,
)


@given(_JSON)
@pytest.mark.parametrize("rules", [OpenAIContent.inline, ClaudeContent.inline, BedrockContent.inline, GeminiContent.inline])
def test_what_is_not_looked_through_holds_none(rules: InlineRules, value: Any) -> None:
    """Bytes without any mark of inline data are kept as they are: going through their values would have found none."""
    assert rules.may_be_in(orjson.dumps(value)) or rules.strip(value) == value
