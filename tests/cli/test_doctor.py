"""`payi-otel doctor`, as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

pytest.importorskip("openai")


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command; warnings of SDKs are not its business."""
    command = [sys.executable, "-c", "import sys; from payi_otel.cli import main; sys.exit(main())", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_every_installed_sdk_is_instrumented_whole() -> None:
    """With its version and every method; without a key and without a network."""
    done = doctor("--json")
    assert done.returncode == 0, done.stdout + done.stderr
    sdks = {sdk["distribution"]: sdk for sdk in json.loads(done.stdout)["sdks"]}
    assert sdks["openai"]["version"] == version("openai")
    assert sdks["openai"]["state"] == "instrumented"
    assert "openai.resources.chat.completions.Completions.create" in sdks["openai"]["wrapped"]
    assert {sdk["state"] for sdk in sdks.values()} <= {"instrumented", "not installed"}


def test_people_read_it_too() -> None:
    """One block an SDK."""
    done = doctor()
    assert done.returncode == 0
    assert f"\nopenai {version('openai')}: instrumented\n  wrapped  openai._base_client" in done.stdout
