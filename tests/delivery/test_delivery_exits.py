"""However a process ends, what was promised for its mode arrives, in time, and its status is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from payi_otel.testing import Answer, IngestServer

HERE = Path(__file__).parent
PROLOGUE = f"""
import atexit, multiprocessing, os, signal, sys, threading, time, warnings
sys.path.insert(0, {str(HERE)!r})
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking with threads
from delivery_fakes import *
from payi_otel.delivery._sigterm import SigtermHandler
from payi_otel.delivery.spool import Spool
from payi_otel.exporters.http import HttpSink

url, directory, mode = sys.argv[1:4]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background has it ignored

def make_queue():
    spool = None if mode == "memory" else Spool(directory, sync_always=mode == "always")
    queue = DeliveryQueue(HttpSink(Target(url)), convert=lambda payload: payload, retry=Retry(), exit_timeout_s=2.0, spool=spool)
    SigtermHandler(queue.shutdown, 2.0).install()
    return queue
"""
ENDS = {
    "return": ("", 0),
    "exception": ("1 / 0", 1),
    "sys.exit": ("sys.exit(3)", 3),
    "SIGTERM": ("signal.raise_signal(signal.SIGTERM); time.sleep(10)", -signal.SIGTERM),
    "SIGINT": ("wait_for(lambda: queue.stats().attempts); signal.raise_signal(signal.SIGINT)", -signal.SIGINT),
    "SIGKILL": ("signal.raise_signal(signal.SIGKILL)", -signal.SIGKILL),
    "os._exit": ("os._exit(4)", 4),
}
AT_ONCE = ("SIGKILL", "os._exit")
"""Nothing of ours runs in these."""
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")


@pytest.fixture
def server() -> Iterator[IngestServer]:
    """Pay-i."""
    with IngestServer() as running:
        yield running


def run(code: str, server: IngestServer, directory: Path, mode: str = "memory") -> subprocess.CompletedProcess[str]:
    """A script in a process of its own."""
    script = directory.parent / "main.py"
    script.write_text(PROLOGUE + code)
    command = [sys.executable, str(script), server.url, str(directory), mode]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def ids(server: IngestServer) -> list[str]:
    """What arrived, sorted."""
    return sorted(packet["body"]["provider_response_id"].removeprefix("chatcmpl-") for packet in server.packets)


@pytest.mark.parametrize("mode", ["memory", "interval", "always"])
@pytest.mark.parametrize("end", list(ENDS))
def test_what_was_promised_arrives(server: IngestServer, tmp_path: Path, end: str, mode: str) -> None:
    """By itself; or, where a process was killed, what had reached the disk, with the next one."""
    directory = tmp_path / "spool"
    code, status = ENDS[end]
    if end in AT_ONCE and mode != "memory":
        code = f"wait_for(lambda: not queue._backlog.inbox and not queue._backlog.list_unwritten())\n{code}"
    began = time.monotonic()
    done = run(f"queue = make_queue()\nsubmit(queue, *map(make_packet, range(100)))\n{code}", server, directory, mode)
    assert done.returncode == status, done.stderr
    assert time.monotonic() - began < 2.0 + 0.5 + 10  # start-up, and a machine under load
    if end in AT_ONCE and mode != "memory":
        done = run("queue = make_queue()\nassert queue.replay(20)", server, directory, mode)
        assert done.returncode == 0, done.stderr
    if end not in AT_ONCE or mode != "memory":
        assert ids(server) == sorted(map(str, range(100)))
        assert not directory.exists() or list(directory.iterdir()) == []


CHILDREN = {
    "pool": """
    with multiprocessing.get_context(method).Pool(2) as pool:
        pool.map(work, range(6))
        pool.close()
        pool.join()
""",
    "executor": """
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
        list(executor.map(work, range(6)))
""",
    "recycled": """
    with multiprocessing.get_context(method).Pool(2, maxtasksperchild=1) as pool:
        pool.map(work, range(6), chunksize=1)
        pool.close()
        pool.join()
""",
}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("kind", list(CHILDREN))
def test_workers_of_a_pool_deliver_before_they_end(server: IngestServer, tmp_path: Path, kind: str, method: str) -> None:
    """Those that are recycled after each task, too; what the parent had queued is the parent's."""
    code = f"""
method = {method!r}
queue = make_queue()

def work(number):
    submit(queue, make_packet(f"c{{number}}"))

if __name__ == "__main__":
    submit(queue, make_packet("parent"))
{CHILDREN[kind]}
"""
    done = run(code, server, tmp_path / "spool")
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(server) == [*(f"c{number}" for number in range(6)), "parent"]
    assert server.duplicates == []


def test_a_child_of_a_child_delivers_its_own(server: IngestServer, tmp_path: Path) -> None:
    """A daemon forks twice; 100 packets are queued as it does."""
    server.decide(lambda request: Answer(delay_s=0.01))
    code = """
queue = make_queue()
submit(queue, *(make_packet(f"p{n}") for n in range(100)))
def leave(name):
    submit(queue, make_packet(name))
    ok = queue.flush(20) and queue.stats().created == 1
    queue.shutdown()
    os._exit(0 if ok else 1)
child = os.fork()
if child == 0:
    grandchild = os.fork()
    if grandchild == 0:
        leave("grandchild")
    os._exit(os.waitpid(grandchild, 0)[1] and 1) if os.waitpid(grandchild, 0)[1] else leave("child")
assert os.waitpid(child, 0)[1] == 0
"""
    done = run(code, server, tmp_path / "spool")
    assert (done.returncode, done.stderr) == (0, "")
    assert ids(server) == sorted(["child", "grandchild", *(f"p{number}" for number in range(100))])
    assert server.duplicates == []


def test_a_fork_from_a_thread_delivers(server: IngestServer, tmp_path: Path) -> None:
    """While others submit."""
    code = """
queue = make_queue()
def fork():
    child = os.fork()
    if child == 0:
        submit(queue, make_packet("child"))
        os._exit(0 if queue.flush(20) else 1)
    statuses.append(os.waitpid(child, 0)[1])
statuses = []
thread = threading.Thread(target=fork)
submit(queue, *(make_packet(f"p{n}") for n in range(20)))
thread.start()
submit(queue, *(make_packet(f"q{n}") for n in range(20)))
thread.join()
assert statuses == [0]
"""
    done = run(code, server, tmp_path / "spool")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(ids(server)) == 41
    assert server.duplicates == []


def test_no_thread_is_left_behind(server: IngestServer, tmp_path: Path) -> None:
    """After `shutdown`, whatever hangs."""
    server.decide(lambda request: Answer(hang=True))
    code = """
before = threading.active_count()
queue = make_queue()
submit(queue, *map(make_packet, range(50)))
wait_for(lambda: queue.stats().attempts)
queue.shutdown(0.2)
wait_for(lambda: threading.active_count() == before)
"""
    done = run(code, server, tmp_path / "spool")
    assert done.returncode == 0, done.stderr
