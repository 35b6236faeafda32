"""Span processors: from an ended span to the delivery queue."""
