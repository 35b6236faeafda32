"""`payi-otel doctor`, as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

pytest.importorskip("openai")


def doctor(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the command, and something before it; warnings of SDKs are not its business."""
    command = [sys.executable, "-c", f"import sys; from payi_otel.cli import main\n{before}\nsys.exit(main())", "doctor", *arguments]
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


LOST = """
from payi_otel.instrumentors._base import Patch
from payi_otel.instrumentors.openai import OpenAIInstrumentor
OpenAIInstrumentor.patches += (Patch("openai.resources.completions", "Completions.gone", OpenAIInstrumentor.patches[3].operation),)
"""
OLD = """
from payi_otel.instrumentors.openai import OpenAIInstrumentor
OpenAIInstrumentor.installed_version = lambda self: "1.5"
"""


def test_a_method_that_an_sdk_has_lost_is_named_and_the_command_fails() -> None:
    """Everything else of it is wrapped."""
    done = doctor(before=LOST)
    assert done.returncode == 1
    sdk = version("openai")
    assert f"\nopenai {sdk}: incomplete\n  wrapped  openai._base_client" in done.stdout
    assert "\n  MISSING  openai.resources.completions.Completions.gone\n" in done.stdout
    assert f"\n  openai {sdk} is not yet known to this version of payi-otel: look for a newer one\n" in done.stdout


def test_an_sdk_that_is_too_old_is_named_and_the_command_fails() -> None:
    """With the command that brings a newer one."""
    done = doctor(before=OLD)
    assert done.returncode == 1
    assert "\nopenai 1.5: not supported\n  pip install 'openai>=1.66'\n" in done.stdout
