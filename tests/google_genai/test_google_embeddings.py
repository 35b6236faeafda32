"""What embeddings cost on Vertex AI, where each vector has statistics of its own and older SDKs tell no usage."""

from __future__ import annotations

from typing import Any

import pytest

from payi_otel.instrumentors.google_genai._operations import EmbedContent

IMAGE = {"token_count": 258.0, "tokens_details": [{"modality": "IMAGE", "token_count": 258}]}


@pytest.mark.parametrize(
    ("statistics", "expected"),
    [
        ([{"token_count": 3.0}, {"token_count": 4.0}], {"text": (7, 0)}),
        ([IMAGE], {"text": (0, 0), "vision": (258, 0)}),
        ([IMAGE, {"token_count": 2}], {"text": (2, 0), "vision": (258, 0)}),
        ([{"token_count": None, "tokens_details": None}], None),
        ([None], None),
    ],
)
def test_each_vectors_statistics_count(statistics: list[Any], expected: Any) -> None:
    """An image's tokens have a price of their own."""
    usage = EmbedContent().read_answer({"embeddings": [{"values": [0.1], "statistics": one} for one in statistics]}).usage
    assert (usage and {name: (unit.input, unit.output) for name, unit in usage.units.items()}) == expected


def test_an_images_embedding_is_vision(provider: Any, instrument: Any, packets: Any) -> None:
    """Through the SDK."""
    genai = pytest.importorskip("google.genai")
    credentials = pytest.importorskip("google.oauth2.credentials")
    if "tokens_details" not in genai.types.ContentEmbeddingStatistics.model_fields:
        pytest.skip("this SDK reads no details of an embedding")
    from provider_server import Reply

    instrument()
    usage = {"promptTokenCount": 258, "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 258}]}
    provider.script(Reply({"embedding": {"values": [0.1]}, "usageMetadata": usage}))
    vertex = {"vertexai": True, "project": "p", "location": "l", "credentials": credentials.Credentials("t")}
    client = genai.Client(**vertex, http_options={"base_url": provider.url})
    image = genai.types.Part.from_uri(file_uri="gs://a/b.jpg", mime_type="image/jpeg")
    client.models.embed_content(model="gemini-embedding-2", contents=[image])
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 0, "output": 0}, "vision": {"input": 258, "output": 0}}
