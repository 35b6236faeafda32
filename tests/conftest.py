"""What every test stands on: a clean environment, our own faults raised, and the two servers on loopback that calls go between.

Sockets and hangs are set in pyproject.toml.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import certifi
import pytest
from comparing import comparable
from provider_server import ProviderServer

import payi_otel
from payi_otel import _guard
from payi_otel._providers import providers
from payi_otel.context import last_result
from payi_otel.testing import IngestServer

FOREIGN_PREFIXES = ("PAYI_", "OTEL_", *(prefix for facts in providers() for prefix in facts.environment))
AUTHORITY = str(Path(__file__).parent / "support" / "authority.pem")
"""One that signed nothing, its key is gone. Clients trust it alone: loading the hundred and more of certifi's takes each one 50 ms."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def pytest_configure(config: pytest.Config) -> None:
    """Takes out of the environment whatever could steer an SDK, before any module is collected; subprocesses inherit that.

    So they would inherit that SIGINT is ignored, which a shell does to what it runs in the background: no Ctrl-C would be seen.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if name.startswith(FOREIGN_PREFIXES) or name.lower() in PROXIES:
            del os.environ[name]
    os.environ["NO_PROXY"] = "*"
    os.environ["TIKTOKEN_CACHE_DIR"] = os.devnull  # a table that somebody's machine has would change what is estimated
    os.environ["SSL_CERT_FILE"] = AUTHORITY
    certifi.where = lambda: AUTHORITY  # for clients that look at no environment
    with suppress(ImportError):  # some sessions run without it
        from hypothesis import settings

        settings.register_profile("patient", deadline=None)  # no test asserts a time
        settings.load_profile("patient")
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull


@pytest.fixture(autouse=True)
def raised_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that users would find in their log fails the test that met it; a test of the log itself sets this back."""
    monkeypatch.setattr(_guard, "raise_faults", True)


@pytest.fixture(autouse=True)
def no_last_result() -> None:
    """What another test called in this thread is not this one's."""
    last_result._last.set(None)


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
        defaults = {"use_case_name": "tests", "use_case_id": "case-1", "ingest_bulk": False}  # one request a packet, however many there are
        payi_otel.payi_instrument(payi=payi, config={**defaults, **(config or {})}, **arguments)

    yield start
    payi_otel.shutdown(5)


@pytest.fixture
def packets(ingest: IngestServer) -> Callable[[int], list[dict[str, Any]]]:
    """Flushes, and gives exactly so many packets in the order of their calls, whole and comparable (see `comparable`)."""

    def get(count: int = 1) -> list[dict[str, Any]]:
        assert payi_otel.flush(30)
        assert len(ingest.packets) == count, [packet["body"].get("provider_response_id") for packet in ingest.packets]
        assert len(ingest.requests) == count, "a packet was sent more than once"
        in_order = sorted(ingest.packets, key=lambda packet: packet["body"]["event_timestamp"])  # they arrive in any
        return [comparable(packet) for packet in in_order]

    return get
