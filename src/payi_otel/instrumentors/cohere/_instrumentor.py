"""The instrumentor for `cohere`, 5.16 and newer."""

from __future__ import annotations

from payi_otel.instrumentors._base import ProviderInstrumentor, Table


class CohereInstrumentor(ProviderInstrumentor):
    """Cohere through `cohere`."""

    name = "payi_cohere"
    distribution = "cohere"
    module = "cohere"
    supported = "cohere >= 5.16"
    categories = frozenset({"system.cohere"})

    def load(self) -> Table:
        """What is wrapped, and how."""
        from payi_otel.instrumentors.cohere._patches import TABLE

        return TABLE
