"""The queue in the life of a process: exits, forks, and interpreters that start no threads any more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payi_otel.testing import Answer, IngestServer

HERE = Path(__file__).parent
PROLOGUE = f"""
import atexit, json, os, sys, threading, time
sys.path.insert(0, {str(HERE)!r})
from delivery_fakes import *
from payi_otel.exporters.file import FileSink
from payi_otel.exporters.http import HttpSink

def make_queue(url, **settings):
    return DeliveryQueue(HttpSink(Target(url)), **{{"convert": lambda payload: payload, "retry": Retry(), **settings}})

def report(queue):
    stats = queue.stats()
    keys = ("created", "delivered", "queued", "in_flight")
    print(json.dumps({{key: getattr(stats, key) for key in keys}} | {{"dropped": dict(stats.dropped)}}), flush=True)

url = sys.argv[1]
"""
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")


@pytest.fixture
def server() -> Iterator[IngestServer]:
    """Pay-i."""
    with IngestServer() as running:
        yield running


def run(code: str, url: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own."""
    return subprocess.run([sys.executable, "-c", PROLOGUE + code, url], check=False, capture_output=True, text=True, timeout=60)


def ids(server: IngestServer) -> list[str]:
    """The response ids that arrived, without their prefix, sorted."""
    return sorted(packet["body"]["provider_response_id"].removeprefix("chatcmpl-") for packet in server.packets)


def numbers(count: int, prefix: str = "") -> list[str]:
    """What `ids` gives for all of them."""
    return sorted(f"{prefix}{number}" for number in range(count))


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "raise SystemExit"])
def test_a_normal_exit_delivers_everything(server: IngestServer, end: str) -> None:
    """Nothing was flushed by hand."""
    done = run(f"queue = make_queue(url)\nsubmit(queue, *map(make_packet, range(200)))\n{end}", server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(server) == numbers(200)


def test_an_exception_delivers_everything(server: IngestServer) -> None:
    """The process fails; its costs are known."""
    done = run("queue = make_queue(url)\nsubmit(queue, *map(make_packet, range(50)))\n1 / 0", server.url)
    assert done.returncode == 1
    assert ids(server) == numbers(50)


def test_a_hung_server_does_not_hold_the_exit(server: IngestServer) -> None:
    """The process ends within its deadline and says what is lost."""
    server.decide(lambda request: Answer(hang=True))
    code = """
began = []
atexit.register(lambda: print(time.monotonic() - began[0]))  # registered first, it runs last
queue = make_queue(url, exit_timeout_s=0.5)
submit(queue, *map(make_packet, range(100)))
began.append(time.monotonic())
"""
    done = run(code, server.url)
    assert done.returncode == 0
    # On a slow machine a request may begin so late that it fails just before the deadline, which is said, too.
    assert done.stderr.splitlines()[-1] == "100 of 100 packets were lost in this process: dropped 100 (shutdown)"
    assert float(done.stdout) < 0.5 + 0.2 + 1.0  # the last for a machine under load


def test_what_hangs_at_the_exit_is_sent_anew(server: IngestServer) -> None:
    """The service is well again, but the requests it took before are never answered."""
    code = """
queue = make_queue(url, exit_timeout_s=4.0)
submit(queue, *map(make_packet, range(100)))
wait_for(lambda: queue.stats().attempts >= 8)
print("hanging", flush=True)
sys.stdin.readline()
"""
    server.decide(lambda request: Answer(hang=True))
    with subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + code, server.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout is not None
        assert done.stdout.readline() == "hanging\n"
        server.decide(None)
        done.communicate("\n", timeout=30)
    assert done.returncode == 0
    assert ids(server) == numbers(100)


def test_calls_made_by_exit_handlers_are_delivered(server: IngestServer) -> None:
    """From Python 3.12 on, no thread can be started by then."""
    code = """
queue = make_queue(url)
atexit.register(lambda: submit(queue, *map(make_packet, range(20))))
"""
    done = run(code, server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(server) == numbers(20)


def test_a_call_of_an_exit_handler_may_wait_for_its_packet(server: IngestServer) -> None:
    """Inline, and no thread to wait for."""
    code = """
queue = make_queue(url, inline=True)
atexit.register(lambda: print(queue.submit(make_packet(1)).wait(10)))
"""
    done = run(code, server.url)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "True\n")
    assert ids(server) == ["1"]


FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking with threads
"""


def test_a_forked_child_delivers_its_own_packets_only(server: IngestServer) -> None:
    """100 are queued as the process forks: parent and child each deliver their own, once."""
    code = (
        FORK
        + """
gate = threading.Event()
def convert(payload):
    gate.wait()
    return payload
queue = make_queue(url, convert=convert)
submit(queue, *(make_packet(f"p{n}") for n in range(100)))
pid = os.fork()
if pid == 0:
    report(queue)
    gate.set()
    submit(queue, *(make_packet(f"c{n}") for n in range(10)))
    assert queue.flush(20)
    report(queue)
    queue.shutdown()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
gate.set()
assert queue.flush(20)
report(queue)
"""
    )
    done = run(code, server.url)
    assert (done.returncode, done.stderr) == (0, "")
    zero: dict[str, Any] = {"created": 0, "delivered": 0, "queued": 0, "in_flight": 0, "dropped": {}}
    expected = [zero, {**zero, "created": 10, "delivered": 10}, {**zero, "created": 100, "delivered": 100}]
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected
    assert ids(server) == sorted(numbers(100, "p") + numbers(10, "c"))
    assert server.duplicates == []


def test_forks_while_other_threads_submit_neither_hang_nor_lose(server: IngestServer) -> None:
    """The queue's lock is held across each fork."""
    code = (
        FORK
        + """
queue = make_queue(url)
stop = threading.Event()
sent = []
def call():
    while not stop.is_set():
        sent.append(1)
        submit(queue, make_packet(f"p{len(sent)}"))
        queue.stats()
        time.sleep(0.0005)
thread = threading.Thread(target=call)
thread.start()
for round in range(15):
    pid = os.fork()
    if pid == 0:
        submit(queue, make_packet(f"c{round}"))
        os._exit(0 if queue.flush(20) and queue.stats().delivered == 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0, round
stop.set()
thread.join()
assert queue.flush(20)
assert queue.stats().delivered == len(sent)
"""
    )
    done = run(code, server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in ids(server) if name.startswith("c")] == numbers(15, "c")


def test_a_fork_without_hooks_is_noticed_by_the_process_id(server: IngestServer) -> None:
    """uWSGI forks in C."""
    code = (
        FORK
        + """
import ctypes
queue = make_queue(url)
submit(queue, *(make_packet(f"p{n}") for n in range(5)))
assert queue.flush(20)
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    submit(queue, make_packet("c0"))
    ok = queue.flush(20) and queue.stats().created == 1
    os._exit(0 if ok else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    )
    done = run(code, server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(server) == sorted([*numbers(5, "p"), "c0"])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_deliver_at_their_end(server: IngestServer, tmp_path: Path, method: str) -> None:
    """They run no exit handlers before Python 3.13."""
    script = tmp_path / "main.py"
    script.write_text(
        PROLOGUE
        + f"""
import multiprocessing
queue = make_queue(url)
def work(n):
    submit(queue, make_packet(f"c{{n}}"))
if __name__ == "__main__":
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    context = multiprocessing.get_context({method!r})
    children = [context.Process(target=work, args=(n,)) for n in range(2)]
    [child.start() for child in children]
    [child.join() for child in children]
    assert [child.exitcode for child in children] == [0, 0]
"""
    )
    done = subprocess.run([sys.executable, str(script), server.url], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(server) == numbers(2, "c")


def test_forked_children_share_the_offline_file(tmp_path: Path) -> None:
    """Each opens it anew, so that locks are between processes."""
    path = tmp_path / "capture.json"
    code = (
        FORK
        + """
sink = FileSink(url)
queue = DeliveryQueue(sink, convert=lambda payload: payload, retry=Retry())
submit(queue, *(make_packet(f"p{n}") for n in range(50)))
children = []
for child in range(4):
    pid = os.fork()
    if pid == 0:
        submit(queue, *(make_packet(f"{child}-{n}") for n in range(100)))
        queue.shutdown()
        os._exit(0)
    children.append(pid)
submit(queue, *(make_packet(f"q{n}") for n in range(50)))
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
"""
    )
    done = run(code, str(path))
    assert (done.returncode, done.stderr) == (0, "")
    found = sorted(record["provider_response_id"].removeprefix("chatcmpl-") for record in json.loads(path.read_bytes()))
    expected = [*numbers(50, "p"), *numbers(50, "q"), *(name for child in range(4) for name in numbers(100, f"{child}-"))]
    assert found == sorted(expected)


def test_a_closed_stderr_does_no_harm(server: IngestServer) -> None:
    """The line about the loss cannot be written; the exit goes on."""
    server.decide(lambda request: Answer(503))
    began = time.monotonic()
    done = run("sys.stderr.close()\nqueue = make_queue(url, exit_timeout_s=0.2)\nsubmit(queue, make_packet(1))", server.url)
    assert done.returncode in (0, 120)  # 120: Python itself could not flush its own stderr
    assert time.monotonic() - began < 30
