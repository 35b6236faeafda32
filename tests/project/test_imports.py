"""`import payi_otel` is light: what only some users need is loaded when they use it."""

from __future__ import annotations

import subprocess
import sys

from payi_otel._providers import providers

HEAVY = (*(module for facts in providers() for module in facts.modules), "grpc", "rich", "httpx", "httpx2", "tiktoken", "payi")


def test_import_loads_nothing_heavy() -> None:
    """No provider SDK, no grpc, no rich, no HTTP client, no tokenizer, and nothing of the published SDK; every name is there."""
    code = f"""
import sys, payi_otel
assert payi_otel.payi_instrument and payi_otel.track
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
