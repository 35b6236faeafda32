"""What every test stands on: a clean environment, and our own faults raised. Sockets and hangs are set in pyproject.toml."""

from __future__ import annotations

import os

import pytest

from payi_otel import _guard

FOREIGN_PREFIXES = ("PAYI_", "OPENAI_", "AZURE_OPENAI_", "OTEL_")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def pytest_configure(config: pytest.Config) -> None:
    """Takes out of the environment whatever could steer an SDK, before any module is collected; subprocesses inherit that."""
    for name in list(os.environ):
        if name.startswith(FOREIGN_PREFIXES) or name.lower() in PROXIES:
            del os.environ[name]
    os.environ["NO_PROXY"] = "*"


@pytest.fixture(autouse=True)
def raised_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that users would find in their log fails the test that met it; a test of the log itself sets this back."""
    monkeypatch.setattr(_guard, "raise_faults", True)
