"""Pay-i's proxy between the SDKs and the scripted provider; it is the ingest server of these tests, too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from payi_proxy import PayiProxy


@pytest.fixture
def proxy() -> Iterator[PayiProxy]:
    """A strict Pay-i with a proxy; a request that it finds anything wrong with fails the test, which may look at `problems` first."""
    with PayiProxy() as server:
        yield server
        assert server.problems == []


@pytest.fixture
def ingest(proxy: PayiProxy) -> PayiProxy:
    """The same server: `instrument` sends packets, and reroutes calls, to one base URL."""
    return proxy
