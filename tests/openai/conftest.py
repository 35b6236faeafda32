"""The real `openai` SDK between a scripted provider and a strict ingest server, both on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai_shapes import comparable
from provider_server import ProviderServer

import payi_otel
from payi_otel.testing import IngestServer

openai = pytest.importorskip("openai")


@pytest.fixture
def provider() -> Iterator[ProviderServer]:
    """A scripted provider."""
    server = ProviderServer()
    yield server
    server.close()


@pytest.fixture
def ingest() -> Iterator[IngestServer]:
    """A strict Pay-i."""
    with IngestServer() as server:
        yield server


@pytest.fixture
def instrument(ingest: IngestServer) -> Iterator[Callable[..., None]]:
    """`payi_instrument` towards the ingest server; undone after the test."""

    def start(config: dict[str, Any] | None = None, **arguments: Any) -> None:
        payi = payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url)
        payi_otel.payi_instrument(payi=payi, config={"use_case_name": "tests", "use_case_id": "case-1", **(config or {})}, **arguments)

    yield start
    payi_otel.shutdown(5)


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


@pytest.fixture
def packets(ingest: IngestServer) -> Callable[[int], list[dict[str, Any]]]:
    """Flushes, and gives exactly so many packets, whole and comparable (see `comparable`)."""

    def get(count: int = 1) -> list[dict[str, Any]]:
        assert payi_otel.flush(10)
        assert len(ingest.packets) == count, [packet["body"].get("provider_response_id") for packet in ingest.packets]
        assert len(ingest.requests) == count, "a packet was sent more than once"
        return [comparable(packet) for packet in ingest.packets]

    return get
