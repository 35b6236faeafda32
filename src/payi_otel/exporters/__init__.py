"""Packets to the world: the HTTP and file sinks, and span exporters for pipelines that already exist."""
