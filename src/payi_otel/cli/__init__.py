"""The `payi-otel` command."""
