"""The parts of the package's metadata that its providers make: an extra and entry points each, of their `provider.toml`."""

from __future__ import annotations

import os
import runpy
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ProviderMetadata(MetadataHookInterface):
    """Adds them to what pyproject.toml says."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fills in the two fields that pyproject.toml calls dynamic."""
        facts = runpy.run_path(os.path.join(self.root, "src", "payi_otel", "_providers.py"))["providers"]()
        extras = {one.extra: [one.requires] for one in facts if one.extra}
        names = ",".join(one.extra for one in facts if one.extra and one.in_all)
        metadata["optional-dependencies"] = {**extras, "all": [f"payi-otel[{names}]"]}
        instrumentors = {
            name: f"payi_otel.instrumentors.{one.folder}:{cls}" for one in facts for name, cls in sorted(one.instrumentors.items())
        }
        metadata["entry-points"] = {**self.config["entry-points"], "opentelemetry_instrumentor": instrumentors}
