"""The real `openai` SDK, towards the scripted provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from provider_server import ProviderServer

openai = pytest.importorskip("openai")


@pytest.fixture
def client(provider: ProviderServer) -> Iterator[Any]:
    """A real `openai.OpenAI` that talks to the provider."""
    with openai.OpenAI(api_key="sk-secret", base_url=provider.url + "/v1", max_retries=0) as one:
        yield one


@pytest.fixture
async def async_client(provider: ProviderServer) -> Any:
    """A real `openai.AsyncOpenAI` that talks to the provider."""
    async with openai.AsyncOpenAI(api_key="sk-secret", base_url=provider.url + "/v1", max_retries=0) as one:
        yield one
