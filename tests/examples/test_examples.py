"""Every program of examples/, run as its first lines say: each packet has its own user, however many requests are served at once."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from ports import reserved_port

from payi_otel.testing import IngestServer

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def served(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """The URL of a service, which is told to end as an operator does."""
    with (
        reserved_port() as port,
        subprocess.Popen(
            [sys.executable, "-m", *(word.format(port=port) for word in command)],
            env=environment,
            cwd=EXAMPLES,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


async def ask_all(url: str, count: int, path: str, questions: list[str]) -> None:
    """That many requests, interleaved, each of another user."""
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=0)
    transport = httpx.AsyncHTTPTransport(retries=20, limits=limits)
    patience = httpx.Timeout(60, pool=None)  # the last of a thousand waits for all the others
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=patience, trust_env=False) as client:

        async def ask(number: int) -> None:
            parameters = {"question": [question.format(number) for question in questions]}
            answer = await client.get(path, params=parameters, headers={"X-User": f"user-{number}"})
            assert answer.status_code == 200, answer.text

        await ask(0)  # when the service is there
        await asyncio.gather(*(ask(number) for number in range(1, count)))


def asked_by(ingest: IngestServer) -> Counter[tuple[str, str]]:
    """User and question of every packet."""
    return Counter(
        (packet["headers"]["xproxy-user-id"], json.loads(packet["body"]["provider_request_json"])["messages"][0]["content"])
        for packet in ingest.packets
    )


def test_a_thousand_requests_at_once_are_each_their_users(environment: dict[str, str], ingest: IngestServer) -> None:
    """FastAPI, one event loop, fifty at a time."""
    pytest.importorskip("fastapi")
    with served(["uvicorn", "--port", "{port}", "--log-level", "warning", "fastapi_app:app"], environment) as url:
        asyncio.run(ask_all(url, 1000, "/ask", ["I am {}"]))
    assert asked_by(ingest) == Counter({(f"user-{number}", f"I am {number}"): 1 for number in range(1000)})
    assert {packet["headers"]["xproxy-usecase-name"] for packet in ingest.packets} == {"fastapi-example"}


def test_threads_and_pools_know_whose_request_it_is(environment: dict[str, str], ingest: IngestServer) -> None:
    """Flask, threads, and one pool for all requests."""
    pytest.importorskip("flask")
    with served(["flask", "--app", "flask_app", "run", "--port", "{port}"], environment) as url:
        asyncio.run(ask_all(url, 200, "/compare", ["Is it {}?", "Or {}?"]))
    expected = {(f"user-{number}", question.format(number)): 1 for number in range(200) for question in ("Is it {}?", "Or {}?")}
    assert asked_by(ingest) == Counter(expected)
    by_user = Counter(packet["headers"]["xproxy-usecase-id"] for packet in ingest.packets)
    assert set(by_user.values()) == {2}, "both questions of a request are one instance of its use case"


def test_a_script_says_what_became_of_its_packets(environment: dict[str, str], ingest: IngestServer, tmp_path: Path) -> None:
    """Each line is an instance of its own."""
    lines = tmp_path / "lines.txt"
    lines.write_text("one\ntwo\nthree\n")
    done = subprocess.run(
        [sys.executable, "batch.py", str(lines)],
        env=environment,
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "3 of 3 packets delivered\n"
    assert len({packet["headers"]["xproxy-usecase-id"] for packet in ingest.packets}) == 3
    assert {packet["headers"]["xproxy-usecase-name"] for packet in ingest.packets} == {"summarise"}
    assert {packet["headers"]["xproxy-account-name"] for packet in ingest.packets} == {"acme"}


FROZEN = """
import os, sys
from lambda_handler import handler

for number in range(3):
    answer = handler({"user": f"user-{number}", "question": f"I am {number}"}, None)
    assert answer["statusCode"] == 200
os.kill(os.getpid(), 9)
"""


def test_a_function_that_is_frozen_has_sent_its_packets(environment: dict[str, str], ingest: IngestServer) -> None:
    """Its process ends without a word; a Pay-i that is dead holds an event up no longer than it is given."""
    done = subprocess.run([sys.executable, "-c", FROZEN], env=environment, cwd=EXAMPLES, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert asked_by(ingest) == Counter({(f"user-{number}", f"I am {number}"): 1 for number in range(3)})


def test_every_example_is_listed_and_tested() -> None:
    """In its README, and here."""
    listed = (EXAMPLES / "README.md").read_text()
    here = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f"({path.name})" in listed
        assert path.stem in here


def test_every_example_names_what_it_needs() -> None:
    """A reader can run it from its first lines."""
    for path in EXAMPLES.glob("*.py"):
        text: Any = path.read_text()
        assert text.startswith('"""')
        assert "payi_otel.payi_instrument(" in text
