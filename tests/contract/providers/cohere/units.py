"""What reads the usage of Cohere's answers, for docs/units.md."""

from __future__ import annotations

from units_page import Readers

from payi_otel.instrumentors.cohere._usage import read_usage

READERS: Readers = {"Cohere": (read_usage, {})}
