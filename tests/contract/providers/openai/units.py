"""What reads the usage of OpenAI's answers, for docs/units.md."""

from __future__ import annotations

from typing import Any

from units_page import COUNT, Readers

from payi_otel.instrumentors.openai import _audio, _usage
from payi_otel.instrumentors.openai._images import Images
from payi_otel.instrumentors.openai._responses import read_response
from payi_otel.packets.units import Usage


def responses(usage: Any) -> Usage | None:
    """Searches stand beside the usage."""
    return read_response({"usage": usage, "tool_usage": usage.pop("tool_usage", None)}).usage


READERS: Readers = {
    "OpenAI chat, completions, embeddings": (_usage.read_usage, {"prompt_tokens": COUNT, "completion_tokens": COUNT}),
    "OpenAI responses, decisions": (responses, {"input_tokens": COUNT, "output_tokens": COUNT}),
    "OpenAI images": (lambda usage: Images().read_answer({"usage": usage}).usage, {"input_tokens": COUNT}),
    "OpenAI transcriptions": (lambda usage: _audio._read_usage({"usage": usage}), {"input_tokens": COUNT}),
    "OpenAI speech": (lambda usage: _audio.Speech().read_answer({"usage": usage}).usage, {}),
}
