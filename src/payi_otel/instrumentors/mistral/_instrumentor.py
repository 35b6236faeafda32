"""The instrumentor for `mistralai`, 1.5 and newer."""

from __future__ import annotations

from payi_otel.instrumentors._base import ProviderInstrumentor, Table


class MistralInstrumentor(ProviderInstrumentor):
    """Mistral through `mistralai`."""

    name = "payi_mistral"
    distribution = "mistralai"
    module = "mistralai"
    roots = ("mistralai", "mistralai.client")  # since version 2 the first is a namespace, which nothing is told of
    supported = "mistralai >= 1.5"
    categories = frozenset({"system.mistral"})

    def load(self) -> Table:
        """What is wrapped, and how."""
        from payi_otel.instrumentors.mistral._patches import TABLE

        return TABLE
