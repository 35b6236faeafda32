"""Frameworks are kept from looking for a network, and their deprecations are theirs: no module here is about them."""

from __future__ import annotations

import pytest
from framework_calls import OFFLINE


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the tests in this folder, warnings do not fail: frameworks warn of each other and of their SDKs."""
    for item in items:
        if item.path.parent.name == "frameworks":
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No telemetry of a framework's own, no price list from the network."""
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)  # LlamaIndex brings its tables along
