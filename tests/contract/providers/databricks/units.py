"""What reads the usage of Databricks' answers, for docs/units.md."""

from __future__ import annotations

from units_page import Readers

from payi_otel.instrumentors.databricks._operations import Query

READERS: Readers = {"Databricks serving endpoints": (lambda usage: Query().read_answer({"usage": usage}).usage, {})}
