"""What reads the usage of Mistral's answers, for docs/units.md."""

from __future__ import annotations

from units_page import COUNT, Readers

from payi_otel.instrumentors.mistral._usage import read_response_usage, read_usage

READERS: Readers = {
    "Mistral chat, embeddings, transcriptions": (read_usage, {"prompt_tokens": COUNT, "completion_tokens": COUNT}),
    "Mistral conversations": (read_usage, {"prompt_tokens": 0, "completion_tokens": COUNT}),
    "Mistral documents": (read_usage, {}),
    "Mistral responses": (read_response_usage, {"input_tokens": COUNT, "output_tokens": COUNT}),
}
