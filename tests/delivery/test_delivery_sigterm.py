"""SIGTERM, which ends a process without its exit hooks: what is queued is delivered, and the process ends as it would have."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from ports import reserved_port

from payi_otel.testing import Answer, IngestServer

PROLOGUE = """
import os, signal, sys, time
import payi_otel
from payi_otel.context.scope import Scope
from payi_otel.payload import Payload, registry

def call(number):
    payload = Payload(scope=Scope(), category="system.openai", module="openai/3.0", model="m", response_id=f"r-{number}", http_status=200)
    registry.offer(payload)

def start(**config):
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=os.environ["KEY"], base_url=os.environ["URL"]), config=config)

def wait():
    print("ready", flush=True)
    for _ in range(600):  # a signal just before a sleep is seen after it
        time.sleep(0.1)
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a system without SIGTERM")


@pytest.fixture
def server() -> Iterator[IngestServer]:
    """Pay-i."""
    with IngestServer() as running:
        yield running


def begin(code: str, server: IngestServer, *command: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """A process that says when it is ready."""
    environment = {**os.environ, "URL": server.url, "KEY": server.api_key}
    arguments = [sys.executable, *(command or ("-c", PROLOGUE + code))]
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, env=environment, stdout=pipe, stderr=pipe, text=True, cwd=cwd)


def terminated(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and stderr of a process that gets a SIGTERM when it is ready."""
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def ids(server: IngestServer) -> set[str]:
    """What arrived."""
    return {packet["body"]["provider_response_id"] for packet in server.packets}


def test_what_is_queued_is_delivered_and_the_process_ends_by_the_signal(server: IngestServer) -> None:
    """With the status that it would have had."""
    server.decide(lambda request: Answer(delay_s=0.01))
    assert terminated(begin("start()\nfor number in range(100): call(number)\nwait()", server)) == (-signal.SIGTERM, "")
    assert ids(server) == {f"r-{number}" for number in range(100)}


def test_a_dead_destination_holds_it_up_no_longer_than_an_exit(server: IngestServer) -> None:
    """And what is lost is said."""
    server.decide(lambda request: Answer(hang=True))
    process = begin("start(exit_timeout_s=0.5)\ncall(1)\nwait()", server)
    began = time.monotonic()
    status, errors = terminated(process)
    assert status == -signal.SIGTERM
    assert errors.splitlines()[-1] == "1 of 1 packet was lost in this process: dropped 1 (shutdown)"
    assert time.monotonic() - began < 15  # start-up included, on a machine under load


def test_a_second_signal_ends_it_at_once(server: IngestServer) -> None:
    """Whoever sends two does not want to wait."""
    server.decide(lambda request: Answer(hang=True))
    process = begin("start(exit_timeout_s=20)\ncall(1)\nwait()", server)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < 10:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
    assert process.returncode == -signal.SIGTERM


KEPT = """
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
mine = signal.getsignal(signal.SIGTERM)
start()
assert signal.getsignal(signal.SIGTERM) is mine
call(1)
wait()
"""


def test_a_handler_of_the_applications_is_left_alone(server: IngestServer) -> None:
    """It exits as it does, and exit hooks deliver."""
    assert terminated(begin(KEPT, server)) == (7, "")
    assert ids(server) == {"r-1"}


@pytest.mark.parametrize(
    "code",
    [
        "start(flush_on_sigterm=False)",
        "import threading; other = threading.Thread(target=start); other.start(); other.join()",
        "start(); payi_otel.shutdown()",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); start(); signal.signal(signal.SIGTERM, signal.SIG_DFL)",
    ],
    ids=["switched off", "not the main thread", "shut down", "ignored"],
)
def test_the_default_stays_where_we_have_no_business(server: IngestServer, code: str) -> None:
    """And the process ends by it."""
    assert terminated(begin(f"{code}\nassert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\nwait()", server)) == (-signal.SIGTERM, "")


FORKED = """
start()
assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
child = os.fork()
if not child:
    os._exit(0 if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else 1)
assert os.waitpid(child, 0)[1] == 0
wait()
"""


def test_forked_children_keep_the_default(server: IngestServer) -> None:
    """A pool's worker that is told to end while it waits for work would not see the signal in Python."""
    assert terminated(begin(FORKED, server)) == (-signal.SIGTERM, "")


APPLICATION = """
start()

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    call(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

def wsgi(environ, respond):
    call(environ["PATH_INFO"])
    respond("200 OK", [])
    return [b"ok"]
"""
SERVERS = {
    "uvicorn": ("-m", "uvicorn", "served:app", "--host", "127.0.0.1", "--port", "{port}", "--lifespan", "off"),
    "uvicorn, 2 workers": ("-m", "uvicorn", "served:app", "--port", "{port}", "--lifespan", "off", "--workers", "2"),
    "hypercorn": ("-m", "hypercorn", "served:app", "--bind", "127.0.0.1:{port}"),
    "gunicorn sync": ("-m", "gunicorn", "served:wsgi", "--bind", "127.0.0.1:{port}", "--workers", "2"),
    "gunicorn gthread": ("-m", "gunicorn", "served:wsgi", "--bind", "127.0.0.1:{port}", "-k", "gthread", "--threads", "2"),
    "gunicorn --preload": ("-m", "gunicorn", "served:wsgi", "--bind", "127.0.0.1:{port}", "--workers", "2", "--preload"),
}


def served(port: int) -> None:
    """Ten requests, as soon as the server answers."""
    deadline = time.monotonic() + 30
    with httpx.Client(trust_env=False, base_url=f"http://127.0.0.1:{port}") as client:
        for number in range(10):
            while True:
                try:
                    assert client.get(f"/{number}", headers={"connection": "close"}).status_code == 200
                    break
                except httpx.TransportError:
                    assert time.monotonic() < deadline, "the server did not start"
                    time.sleep(0.05)


@pytest.mark.parametrize("name", SERVERS)
def test_a_web_server_that_is_stopped_has_delivered_everything(server: IngestServer, tmp_path: Path, name: str) -> None:
    """However it handles the signal; its exit status is the same as without us."""
    pytest.importorskip(SERVERS[name][1])
    status = {}
    for instrumented in (False, True):
        code = PROLOGUE + (APPLICATION if instrumented else APPLICATION.replace("start()", "call = print"))
        (tmp_path / "served.py").write_text(code)
        with reserved_port() as port, begin("", server, *(part.format(port=port) for part in SERVERS[name]), cwd=tmp_path) as process:
            served(port)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        status[instrumented] = process.returncode
    assert status[True] == status[False]
    assert ids(server) == {f"r-/{number}" for number in range(10)}


TIMES_OUT = APPLICATION.replace("    respond(", "    if environ['PATH_INFO'] == '/hang':\n        time.sleep(60)\n    respond(")


def test_a_worker_that_its_server_kills_has_delivered_everything(server: IngestServer, tmp_path: Path) -> None:
    """gunicorn ends a worker that does not answer in time by SIGABRT, which it makes an exit."""
    pytest.importorskip("gunicorn")
    server.decide(lambda request: Answer(delay_s=0.3))
    (tmp_path / "served.py").write_text(PROLOGUE + TIMES_OUT)
    command = (*SERVERS["gunicorn sync"], "--timeout", "1")
    with reserved_port() as port, begin("", server, *(part.format(port=port) for part in command), cwd=tmp_path) as process:
        served(port)
        with httpx.Client(trust_env=False, base_url=f"http://127.0.0.1:{port}", timeout=30) as client, contextlib.suppress(httpx.HTTPError):
            client.get("/hang")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert ids(server) == {"r-/hang", *(f"r-/{number}" for number in range(10))}
