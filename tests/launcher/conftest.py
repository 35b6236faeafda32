"""Where a launched program runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import Stage
from openai_shapes import numbered
from ports import reserved_port
from provider_server import ProviderServer

from payi_otel.testing import IngestServer


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A folder, a provider that answers every chat with an id of its own, and a Pay-i."""
    provider = ProviderServer()
    provider.always("/chat/completions", numbered)
    with IngestServer() as ingest:
        yield Stage(tmp_path, provider, ingest)
    provider.close()


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port for a server."""
    with reserved_port() as port:
        yield port
