"""docs/deployment.md says what is true: a frozen function, gunicorn's workers and a notebook's cells, run as the page shows them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from ports import reserved_port

from payi_otel.testing import IngestServer

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
SHOWN = re.compile(r"<!-- shown: ([a-z ]+) -->\n<!-- block: held by [^\n]* -->\n```python\n(.*?)\n```", re.DOTALL)
BLOCKS = dict(SHOWN.findall(PAGE.read_text(encoding="utf-8")))
USERS = ["ann", "bob", "cleo", "dan"]


def users(ingest: IngestServer) -> list[str | None]:
    """Of every packet that was sent."""
    return sorted(packet["headers"]["xproxy-user-id"] for packet in ingest.requests)


def test_the_page_has_every_block() -> None:
    """And no code that is not run."""
    assert set(BLOCKS) == {"function", "gunicorn", "first cell", "second cell"}
    assert PAGE.read_text(encoding="utf-8").count("```python") == len(BLOCKS)


FROZEN = """
for user in ("ann", "bob", "cleo", "dan"):
    assert handler({"user": user, "question": "Where is my order?"}, None) == "Hello there."
import json
import os
os.kill(os.getpid(), 9)
"""


def test_a_function_has_sent_its_packets_when_it_returns(environment: dict[str, str], ingest: IngestServer) -> None:
    """Its process ends without a word."""
    code = BLOCKS["function"] + FROZEN
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert users(ingest) == USERS


@pytest.mark.parametrize("more", [(), ("--preload",)], ids=["", "preloaded"])
def test_gunicorns_workers_deliver_when_they_are_stopped(
    more: tuple[str, ...], environment: dict[str, str], ingest: IngestServer, tmp_path: Path
) -> None:
    """Each request's call is its user's, once."""
    pytest.importorskip("gunicorn")
    (tmp_path / "orders.py").write_text(BLOCKS["gunicorn"])
    with reserved_port() as port:
        command = ["-m", "gunicorn", "orders:app", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--graceful-timeout", "30", *more]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([sys.executable, *command], cwd=tmp_path, env=environment, **quiet) as process:
            for user in USERS:
                assert asked(f"http://127.0.0.1:{port}/?{user}") == "Hello there."
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert users(ingest) == USERS


def asked(url: str) -> str:
    """The answer, as soon as the server is there."""
    transport = httpx.HTTPTransport(retries=8)  # with its back-off, a minute
    with httpx.Client(transport=transport, trust_env=False, timeout=60) as client:
        return client.get(url, headers={"connection": "close"}).text


NOTEBOOK = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in json.loads(sys.argv[1]):
    shell.run_cell(cell).raise_error()
"""


@pytest.mark.parametrize("times", [1, 3], ids=["once", "again and again"])
def test_a_notebooks_cells_make_one_packet_a_call(times: int, environment: dict[str, str], ingest: IngestServer, tmp_path: Path) -> None:
    """Through a real interactive shell: `await` at the top of a cell, and the first cell run more than once."""
    pytest.importorskip("IPython")
    cells = json.dumps([*([BLOCKS["first cell"]] * times), BLOCKS["second cell"]])
    env = {**environment, "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", NOTEBOOK, cells], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (packet,) = ingest.requests
    assert (packet["headers"]["xproxy-user-id"], packet["headers"]["xproxy-usecase-name"]) == ("alice", "notebook")
    assert packet["body"]["units"] == {"text": {"input": 12, "output": 5}}
