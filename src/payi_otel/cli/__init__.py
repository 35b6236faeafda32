"""The `payi-otel` command."""

from payi_otel.cli._main import main

__all__ = ["main"]
