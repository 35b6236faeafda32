"""Programs of a user's: where they find a provider and Pay-i."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from openai_shapes import numbered
from provider_server import ProviderServer

from payi_otel.testing import IngestServer


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """Answers each chat with an id of its own."""
    server = ProviderServer()
    server.always("/chat/completions", numbered)
    yield server
    server.close()


@pytest.fixture
def environment(provider: ProviderServer, ingest: IngestServer) -> dict[str, str]:
    """Says where both are; what a program prints is there at once."""
    servers = {"PAYI_API_KEY": ingest.api_key, "PAYI_BASE_URL": ingest.url, "OPENAI_BASE_URL": provider.url + "/v1", "OPENAI_API_KEY": "k"}
    return {**os.environ, **servers, "PAYI_OTEL_INGEST_BULK": "false", "PYTHONUNBUFFERED": "1"}
