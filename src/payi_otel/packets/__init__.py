"""Span and payload to ingest packet; pure functions."""
