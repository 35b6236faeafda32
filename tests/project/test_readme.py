"""The README tells the truth: its code runs, its commands are those that CI runs, its table names tests that exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from _source import ROOT
from payi_otel.cli._provider import ProviderServer
from payi_otel.testing import IngestServer

README = (ROOT / "README.md").read_text()
PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
ROWS = re.findall(r"^\| ([^|]+) \| (works|not yet) \| ([^|]*?) ?\|$", README, re.MULTILINE)
TIMEOUT_S = 60


def command(name: str) -> str:
    """One of the README's marked commands."""
    (text,) = re.findall(rf"<!-- command: {name} -->\n```sh\n(.*?)\n```\n<!-- end -->", README, re.DOTALL)
    return str(text)


@pytest.mark.parametrize("number", range(len(PYTHON_BLOCKS)))
def test_code_runs(number: int, tmp_path: Path) -> None:
    """Each block runs as it stands; every call that reached the provider became a packet, in its file or at Pay-i."""
    script = tmp_path / "readme.py"
    script.write_text(PYTHON_BLOCKS[number])
    with ProviderServer(thinking_s=0) as provider, IngestServer() as ingest:
        env = {
            **os.environ,
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_BASE_URL": provider.url,
            "PAYI_API_KEY": ingest.api_key,
            "PAYI_BASE_URL": ingest.url,
        }
        done = subprocess.run(
            [sys.executable, str(script)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
        written = len(re.findall('"provider_response_id"', "".join(path.read_text() for path in tmp_path.glob("*.json"))))
        assert done.returncode == 0, done.stderr
        assert len(ingest.packets) + written == len(provider.requests)
        assert not any(name.startswith("xproxy-") for request in provider.requests for name in request["headers"])


def test_commands_do_the_whole_job() -> None:
    """One line each, from nothing to the result, with Python and pip alone."""
    for name in ("demo", "tests"):
        assert command(name).startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert "\n" not in command(name)
    assert command("demo").endswith("payi-otel demo")
    assert command("tests").endswith(".venv/bin/python -m pytest -n auto --dist worksteal")


def test_ci_runs_the_readme_command() -> None:
    """`.ci/run` takes the command out of the README; what it takes is the line that people copy."""
    (extraction,) = re.findall(r"^test_command=\$\((.*)\)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    taken = subprocess.run(["bash", "-c", extraction], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert taken == command("tests") + "\n"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_what_works_is_shown_by_a_test() -> None:
    """Every row that says "works" names a test file that exists and has tests; the other rows name none."""
    assert ROWS
    for what, state, shown_by in ROWS:
        files = re.findall(r"`([^`]+)`", shown_by)
        assert bool(files) == (state == "works"), what
        assert all("\ndef test_" in (text := (ROOT / file).read_text()) or "\nasync def test_" in text for file in files), what


def test_links_lead_somewhere() -> None:
    """Every relative link of the front pages leads to a file of the repository."""
    for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
        assert [link for link in links if not (ROOT / link).exists()] == []
