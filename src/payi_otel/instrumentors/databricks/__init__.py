"""Databricks' own SDK: queries of serving endpoints. (`databricks-openai` goes through the `openai` SDK and its folder.)"""

from payi_otel.instrumentors.databricks._instrumentor import DatabricksInstrumentor

__all__ = ["DatabricksInstrumentor"]
