"""The parts of `payi-otel demo`: a provider on loopback, the calls, the table and the other commands."""
