"""Programs under `opentelemetry-instrument`, with a provider and a Pay-i on loopback, and packages made up for it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comparing import comparable
from provider_server import ProviderServer

from payi_otel.testing import IngestServer

COMMANDS = Path(sys.executable).parent
LAUNCHER = COMMANDS / "opentelemetry-instrument"
OURS = {"OTEL_PYTHON_DISTRO": "payi", "OTEL_PYTHON_CONFIGURATOR": "payi"}
"""What a user sets who has other distributions installed."""
APP = """
import os
import openai

with openai.OpenAI(api_key="k", base_url=os.environ["PROVIDER"] + "/v1", max_retries=0) as client:
    for number in range(int(os.environ.get("CALLS", "1"))):
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi."}])
"""


def without_launcher(errors: str) -> str:
    """What a program wrote, without the launcher's own line about a distribution that it found and did not take."""
    return "".join(line for line in errors.splitlines(keepends=True) if not line.startswith("Configuration of "))


@dataclass
class Stage:
    """Where a program runs: its folder and its servers."""

    folder: Path
    provider: ProviderServer
    ingest: IngestServer
    environment: dict[str, str] = field(default_factory=dict)

    def variables(self, **more: str) -> dict[str, str]:
        """The environment of a program: nothing of OpenTelemetry's or ours but what a test says."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PAYI_"))}
        said = {"PROVIDER": self.provider.url, "PAYI_API_KEY": self.ingest.api_key, "PAYI_BASE_URL": self.ingest.url}
        paths = os.pathsep.join([str(self.folder / "site"), *kept.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(os.pathsep)
        return {**kept, **said, "PYTHONPATH": paths, "PATH": f"{COMMANDS}{os.pathsep}{kept['PATH']}", **self.environment, **more}

    def write(self, code: str, name: str = "app.py") -> Path:
        """Writes a program."""
        path = self.folder / name
        path.write_text(code)
        return path

    def run(self, code: str = APP, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a program under the launcher; its output must be what the program says itself."""
        command = [str(LAUNCHER), *flags, sys.executable, str(self.write(code))]
        result = subprocess.run(
            command, env=self.variables(**variables), cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert result.returncode == 0, result.stderr
        result.stderr = without_launcher(result.stderr)
        return result

    def package(self, name: str, code: str, **entry_points: str) -> None:
        """Installs a package made up for a test: a module, and metadata that names its entry points (`group=name = module:attribute`)."""
        site = self.folder / "site"
        site.mkdir(exist_ok=True)
        (site / f"{name}.py").write_text(code)
        metadata = site / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("".join(f"[{group}]\n{line}\n" for group, line in entry_points.items()))

    def packets(self) -> list[dict[str, Any]]:
        """What arrived, whole and comparable."""
        return [comparable(packet) for packet in self.ingest.packets]
