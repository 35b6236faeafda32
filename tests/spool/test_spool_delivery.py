"""The queue with a spool: no packet that reached the disk is lost, whatever ends the process."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import PAYI_OTEL
from crashing_files import CrashingFiles
from delivery_fakes import SCOPE, Retry, Target, break_down, delivery_threads, make_packet, running, submit, wait_for

from payi_otel.delivery._files import OsFiles
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.delivery.spool import Spool
from payi_otel.exporters.http import HttpSink
from payi_otel.testing import API_KEY, Answer, IngestServer

HERE = Path(__file__).parent
BODIES = {"provider_request_json": "q" * 4000, "provider_response_json": "a" * 4000}


@pytest.fixture
def server() -> Iterator[IngestServer]:
    """Pay-i."""
    with IngestServer() as running_server:
        yield running_server


@pytest.fixture
def outage(server: IngestServer) -> Callable[[], None]:
    """A Pay-i that answers 503 until this is called."""
    return break_down(server)


def ids(server: IngestServer) -> list[str]:
    """The response ids that arrived, without their prefix, sorted."""
    return sorted(packet["body"]["provider_response_id"].removeprefix("chatcmpl-") for packet in server.packets)


def numbers(*ranges: range) -> list[str]:
    """What `ids` gives for all of them."""
    return sorted(str(number) for each in ranges for number in each)


def test_what_an_outage_leaves_is_delivered_by_the_next_process(
    server: IngestServer, outage: Callable[[], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost at exit: what is on disk is counted as spooled, and said."""
    caplog.set_level(logging.INFO)
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as queue:
        submit(queue, *map(make_packet, range(50)))
        wait_for(lambda: queue.stats().queued == 50)
        queue.shutdown(0.1)
        account = queue.stats()
        assert (account.created, account.spooled, account.dropped, account.is_conserved) == (50, 50, {}, True)
    assert f"50 packets are kept in {tmp_path} and delivered by the next process" in caplog.text
    outage()
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as queue:
        assert server.wait_for_packets(50), "it begins by itself"
        submit(queue, *map(make_packet, range(50, 60)))
        assert queue.flush(5)
        account = queue.stats()
    assert (account.created, account.adopted, account.delivered, account.spooled) == (60, 50, 60, 0)
    assert account.is_conserved
    assert ids(server) == numbers(range(60))
    assert server.duplicates == []
    assert list(tmp_path.iterdir()) == []


def test_a_packet_comes_back_from_disk_as_it_was(server: IngestServer, outage: Callable[[], None], tmp_path: Path) -> None:
    """Body, scope, module and the wish not to be stored."""
    packets = [
        make_packet("plain", BODIES),
        make_packet("scoped", user_id="bob", limit_ids=("one", "two"), use_case_version=3),
        make_packet("hostile", **SCOPE),
        make_packet("private", logging_disabled=True),
    ]
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as queue:
        submit(queue, *packets)
        wait_for(lambda: queue.stats().queued == 4)
        queue.shutdown(0.0)
    outage()
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as queue:
        assert server.wait_for_packets(4)
    with IngestServer() as other, running(HttpSink(Target(other.url))) as queue:
        submit(queue, *packets)
        assert other.wait_for_packets(4)

        def to_comparable(one: IngestServer) -> list[dict[str, Any]]:
            taken = sorted(one.packets, key=lambda packet: packet["body"]["provider_response_id"])
            return [{**packet, "headers": {k: v for k, v in packet["headers"].items() if k.startswith("xproxy")}} for packet in taken]

        assert to_comparable(server) == to_comparable(other)


def test_no_key_is_on_disk(server: IngestServer, outage: Callable[[], None], tmp_path: Path) -> None:
    """It is added when a packet is sent."""
    target = Target(server.url, headers={"x-secret": "another secret"})
    with running(HttpSink(target), spool=Spool(str(tmp_path))) as queue:
        submit(queue, make_packet(1, BODIES, **SCOPE))
        wait_for(lambda: queue.stats().queued == 1)
        queue.shutdown(0.0)
    (path,) = tmp_path.glob("*.seg")
    content = path.read_bytes()
    assert b"qqq" in content
    assert API_KEY.encode() not in content
    assert b"secret" not in content


def test_words_need_not_be_on_disk(server: IngestServer, outage: Callable[[], None], tmp_path: Path) -> None:
    """With `spool_content=False` only what is billed is; what the process itself sends has its words."""
    with running(HttpSink(Target(server.url)), Retry(spool_content=False), spool=Spool(str(tmp_path))) as queue:
        submit(queue, make_packet("kept", BODIES))
        wait_for(lambda: queue.stats().failures)
        (path,) = tmp_path.glob("*.seg")
        assert b"qqq" not in path.read_bytes()
        queue.shutdown(0.0)
    outage()
    with running(HttpSink(Target(server.url)), Retry(spool_content=False), spool=Spool(str(tmp_path))) as queue:
        submit(queue, make_packet("sent", BODIES))
        assert server.wait_for_packets(2)
    bodies = {packet["body"]["provider_response_id"]: packet["body"] for packet in server.packets}
    assert bodies["chatcmpl-sent"] == make_packet("sent", BODIES).body
    assert bodies["chatcmpl-kept"] == {**make_packet("kept").body, "properties": {"payi_otel.bodies_dropped": "spool"}}


def test_the_disk_comes_before_words_and_words_before_costs(server: IngestServer, outage: Callable[[], None], tmp_path: Path) -> None:
    """Beyond `queue_max_bytes` and `queue_max_size`, packets leave memory and nothing is lost."""
    retry = Retry(queue_max_bytes=50_000, queue_max_size=30, queue_interval=60)
    with running(HttpSink(Target(server.url)), retry, spool=Spool(str(tmp_path))) as queue:
        submit(queue, *(make_packet(number, BODIES) for number in range(100)))
        wait_for(lambda: queue.stats().spooled > 90 and not queue.stats().in_flight)
        account = queue.stats()
        assert account.is_conserved
        assert (account.queued + account.spooled, account.bodies_dropped, account.dropped) == (100, 0, {})
        outage()
        assert queue.flush(20)
        assert queue.stats().delivered == 100
    assert ids(server) == numbers(range(100))
    assert all("provider_request_json" in packet["body"] for packet in server.packets)


def test_where_the_disk_is_full_words_go_then_costs(server: IngestServer, outage: Callable[[], None]) -> None:
    """As without a spool; what did reach the disk is kept whole."""
    files = CrashingFiles()
    files.free_bytes = 30_000
    retry = Retry(queue_max_bytes=20_000, queue_interval=60)
    with running(HttpSink(Target(server.url)), retry, spool=Spool("/spool", files=files)) as queue:
        submit(queue, *(make_packet(number, BODIES) for number in range(100)))
        wait_for(lambda: queue.stats().bodies_dropped > 50 and not queue.stats().in_flight)
        account = queue.stats()
        assert account.is_conserved
        assert account.spooled == 3
        outage()
        assert queue.flush(20)
        assert queue.stats().delivered == 100 - sum(account.dropped.values())
    with_words = [packet for packet in server.packets if "provider_request_json" in packet["body"]]
    assert len(with_words) >= 3


def test_a_packet_that_cannot_be_read_back_is_counted(
    server: IngestServer, outage: Callable[[], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody damaged the file under us."""
    retry = Retry(queue_max_size=1, queue_interval=60)
    with running(HttpSink(Target(server.url)), retry, spool=Spool(str(tmp_path))) as queue:
        submit(queue, make_packet(1))
        wait_for(lambda: queue.stats().queued == 1)
        submit(queue, make_packet(2))
        wait_for(lambda: queue.stats().spooled == 1)
        (path,) = tmp_path.glob("*.seg")
        path.write_bytes(bytes(path.stat().st_size))
        outage()
        assert queue.flush(5)
        account = queue.stats()
    assert (account.delivered, account.dropped, account.is_conserved) == (1, {"spool_unreadable": 1}, True)
    assert "a packet is lost: it cannot be read back from the spool" in caplog.text


def test_what_comes_in_is_on_disk_although_every_request_hangs(server: IngestServer, tmp_path: Path) -> None:
    """One worker is always free to write: only what was submitted this very moment can be lost by a kill."""
    server.decide(lambda request: Answer(hang=True))
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as queue:
        submit(queue, *map(make_packet, range(500)))
        wait_for(lambda: len(list(tmp_path.glob("*.seg"))) == 1 and only_content(tmp_path).count(b"\xf5PK\x01") == 500)
        account = queue.stats()
        assert account.queued + account.in_flight + account.spooled == 500
        assert account.is_conserved


def only_content(directory: Path) -> bytes:
    """Of the only segment."""
    (path,) = directory.glob("*.seg")
    return path.read_bytes()


PROLOGUE = f"""
import os, signal, sys, time
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent / "delivery")!r}]
from delivery_fakes import *
from payi_otel.delivery.spool import Spool
from payi_otel.exporters.http import HttpSink

url, directory = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background has it ignored
queue = DeliveryQueue(HttpSink(Target(url)), convert=lambda payload: payload, retry=Retry(), exit_timeout_s=0.3, spool=Spool(directory))

def wait_until_written(count):
    import glob
    wait_for(lambda: sum(open(path, "rb").read().count(b"\\xf5PK\\x01") for path in glob.glob(directory + "/*.seg")) == count)
"""
ENDS = {
    "return": ("", 0),
    "exception": ("1 / 0", 1),
    "sys.exit": ("sys.exit(3)", 3),
    "SIGTERM": ("wait_until_written(30); os.kill(os.getpid(), signal.SIGTERM); time.sleep(10)", -signal.SIGTERM),
    "SIGINT": (
        "wait_for(lambda: queue.stats().failures); wait_until_written(30); signal.raise_signal(signal.SIGINT)",
        -signal.SIGINT,
    ),
    "SIGKILL": ("wait_until_written(30); os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "os._exit": ("wait_until_written(30); os._exit(4)", 4),
}


@pytest.mark.parametrize("end", list(ENDS))
def test_however_the_process_ends_the_next_one_delivers(server: IngestServer, outage: Callable[[], None], tmp_path: Path, end: str) -> None:
    """The exit matrix, with Pay-i down all the time."""
    code, status = ENDS[end]
    script = f"{PROLOGUE}\nsubmit(queue, *map(make_packet, range(30)))\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script, server.url, str(tmp_path)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == status, done.stderr
    outage()
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as queue:
        assert server.wait_for_packets(30)
        assert queue.flush(5)
        assert queue.stats().corrupt_records == 0
    assert ids(server) == numbers(range(30))
    assert list(tmp_path.iterdir()) == []


def test_several_processes_share_a_directory(server: IngestServer, tmp_path: Path) -> None:
    """Some are killed while they work; the others, and those that come later, deliver what they leave. Each packet counts once."""
    chance = iter(range(10**9))
    server.decide(lambda request: Answer(503) if next(chance) % 3 == 0 else None)
    script = f"{PROLOGUE}\nbase = int(input())\nfor n in range(base, base + 100):\n    submit(queue, make_packet(n)); time.sleep(0.002)\n"
    kill = "wait_for(lambda: not queue._backlog.inbox and not [i for i in queue._backlog.list_unwritten()])\nos.kill(os.getpid(), 9)\n"
    children = []
    for number in range(4):
        code = script + (kill if number % 2 else "")
        command = [sys.executable, "-c", code, server.url, str(tmp_path)]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        children.append(child)
        assert child.stdin is not None
        child.stdin.write(f"{number * 100}\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=60)
    assert [child.returncode for child in children] == [0, -signal.SIGKILL, 0, -signal.SIGKILL]
    server.decide(None)
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as queue:
        assert queue.replay(60)
    assert ids(server) == numbers(range(400))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_forked_child_keeps_its_own(server: IngestServer, outage: Callable[[], None], tmp_path: Path) -> None:
    """What the parent has on disk is neither sent nor removed by the child."""
    code = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
submit(queue, *map(make_packet, range(10)))
wait_until_written(10)
child = os.fork()
submit(queue, *map(make_packet, range(100, 105) if child == 0 else range(10, 15)))
if child == 0:
    queue.shutdown(0.1)
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", PROLOGUE + code, server.url, str(tmp_path)], check=False, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    outage()
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as queue:
        assert queue.replay(60)
        assert queue.stats().adopted == 20
    assert ids(server) == numbers(range(15), range(100, 105))
    assert server.duplicates == []


def test_settings_reach_the_spool(server: IngestServer, outage: Callable[[], None], tmp_path: Path) -> None:
    """By environment, and through `payi_instrument()`."""
    script = """
import sys, payi_otel
from payi_otel.context.scope import Scope
from payi_otel.payload import Payload, registry
payi_otel.payi_instrument()
registry.offer(Payload(scope=Scope(user_id="bob"), category="system.openai", module="m/1", model="m"))
"""
    environ = {
        **os.environ,
        "PAYI_API_KEY": API_KEY,
        "PAYI_BASE_URL": server.url,
        "PAYI_OTEL_INGEST_RETRY_SPOOL_DIRECTORY": str(tmp_path / "spool"),
        "PAYI_OTEL_INGEST_RETRY_SPOOL_SYNC": "always",
        "PAYI_OTEL_EXIT_TIMEOUT_S": "0.5",
    }
    done = subprocess.run([sys.executable, "-c", script], env=environ, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    outage()
    done = subprocess.run(
        [*PAYI_OTEL, "replay", str(tmp_path / "spool")],
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (packet,) = server.packets
    assert packet["headers"]["xproxy-user-id"] == "bob"


@pytest.mark.parametrize("content", [True, False])
def test_what_is_refused_is_kept_with_its_reason(server: IngestServer, tmp_path: Path, content: bool) -> None:
    """A line of JSON for each, for its owner only; the spool itself is empty then."""
    server.decide(lambda request: None if "chatcmpl-good" in str(request["body"]) else Answer(402))
    with running(HttpSink(Target(server.url)), Retry(spool_content=content), spool=Spool(str(tmp_path)), exit_timeout_s=5.0) as queue:
        submit(queue, make_packet("one", BODIES, user_id="José"), make_packet("good"), make_packet("two", BODIES))
        assert queue.flush(5)
        assert queue.stats().dead_lettered == {"http_402": 2}
    (path,) = tmp_path.glob("**/*.jsonl")
    assert path.stat().st_mode & 0o777 == 0o600
    letters = {letter["packet"]["provider_response_id"]: letter for letter in map(json.loads, path.read_text().splitlines())}
    assert set(letters) == {"chatcmpl-one", "chatcmpl-two"}
    one = letters["chatcmpl-one"]
    expected = (
        make_packet("one", BODIES).body if content else {**make_packet("one").body, "properties": {"payi_otel.bodies_dropped": "spool"}}
    )
    assert (one["code"], one["status"], one["scope"]["user_id"], one["packet"]) == ("http_402", 402, "José", expected)
    assert API_KEY not in path.read_text()
    assert list(tmp_path.glob("*.seg")) == []


def test_nothing_is_lost_when_the_worker_is_late(server: IngestServer, outage: Callable[[], None], tmp_path: Path) -> None:
    """At shutdown, calls that no worker came to are made packets of and written."""
    is_slow = threading.Event()

    def convert(payload: Any) -> Any:
        is_slow.wait(0.05)
        return payload

    queue = DeliveryQueue(HttpSink(Target(server.url)), convert=convert, retry=Retry(), exit_timeout_s=0.0, spool=Spool(str(tmp_path)))
    submit(queue, *map(make_packet, range(100)))
    is_slow.set()
    queue.shutdown(0.0)
    account = queue.stats()
    assert (account.created, account.dropped, account.spooled, account.is_conserved) == (100, {}, 100, True)
    outage()
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as following:
        assert following.replay(20)
    assert ids(server) == numbers(range(100))


def test_a_very_large_packet_keeps_its_units(server: IngestServer, outage: Callable[[], None], tmp_path: Path) -> None:
    """Whoever reads a segment reads it whole: the words of one of 40 MB are not on disk."""
    with running(HttpSink(Target(server.url), is_limited=False), spool=Spool(str(tmp_path))) as queue:
        submit(queue, make_packet("big", {"provider_request_json": "q" * 40_000_000}), make_packet("small"))
        wait_for(lambda: queue.stats().queued == 2 and not queue._backlog.list_unwritten())
    outage()
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as queue:
        assert queue.replay(60)
        assert (queue.stats().adopted, queue.stats().corrupt_records) == (2, 0)
    big = {packet["body"]["provider_response_id"]: packet["body"] for packet in server.packets}["chatcmpl-big"]
    assert big == {**make_packet("big").body, "properties": {"payi_otel.bodies_dropped": "spool"}}


def test_an_exit_with_a_spool_does_not_spin(server: IngestServer, tmp_path: Path) -> None:
    """The application's own exit handlers need the processor, too."""
    server.decide(lambda request: Answer(hang=True))
    with running(HttpSink(Target(server.url)), Retry(queue_interval=5), spool=Spool(str(tmp_path))) as queue:
        submit(queue, *map(make_packet, range(3)))
        wait_for(lambda: queue.stats().attempts)
        used = time.process_time()
        queue.shutdown(1.5)
        assert time.process_time() - used < 1.0


def test_a_queue_that_nobody_has_any_more_is_let_go(server: IngestServer, tmp_path: Path) -> None:
    """Its threads, its files and its locks; what it had delivered is not on disk."""
    others = delivery_threads()
    sink = HttpSink(Target(server.url))
    queue = DeliveryQueue(sink, convert=lambda payload: payload, retry=Retry(), spool=Spool(str(tmp_path)))  # type: ignore[arg-type,return-value]
    submit(queue, *map(make_packet, range(20)))
    assert queue.flush(5)
    reference = weakref.ref(queue)
    del queue
    wait_for(lambda: gc.collect() >= 0 and reference() is None)
    wait_for(lambda: not delivery_threads() - others)
    wait_for(lambda: list(tmp_path.iterdir()) == [])
    sink.close()


def test_a_spool_that_is_removed_under_us_is_written_anew(server: IngestServer, outage: Callable[[], None], tmp_path: Path) -> None:
    """Somebody tidied up: what is in memory, or can still be read, is put on disk again at the latest at exit."""
    directory = tmp_path / "spool"
    retry = Retry(queue_max_size=5, queue_interval=60)
    with running(HttpSink(Target(server.url)), retry, spool=Spool(str(directory))) as queue:
        submit(queue, *map(make_packet, range(10)))
        wait_for(lambda: queue.stats().spooled and not queue.stats().in_flight)
        shutil.rmtree(directory)
        submit(queue, *map(make_packet, range(10, 20)))
        wait_for(lambda: queue.stats().queued + queue.stats().spooled == 20 and not queue.stats().in_flight)
        queue.shutdown(0.1)
        account = queue.stats()
    assert (account.created, account.spooled, account.dropped, account.is_conserved) == (20, 20, {}, True)
    outage()
    with running(HttpSink(Target(server.url)), spool=Spool(str(directory))) as queue:
        assert queue.replay(60)
    assert ids(server) == numbers(range(20))


def test_a_flush_ends_when_the_disk_knows_of_it(server: IngestServer, tmp_path: Path) -> None:
    """A shutdown right after it closes no file under a worker that has still to write what became of a packet."""

    class Slow(OsFiles):
        def write(self, fd: int, offset: int, content: bytes) -> int:
            time.sleep(0.2 if content.startswith(b"{") else 0)  # a dead letter, after which the packet's record is done
            return super().write(fd, offset, content)

    server.decide(lambda request: Answer(402))
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path), files=Slow())) as queue:
        submit(queue, make_packet("one"))
        assert queue.flush(5)
        assert queue.stats().dead_lettered == {"http_402": 1}
    assert [path.read_bytes().count(b"\n") for path in tmp_path.glob("**/*.jsonl")] == [1]
    assert list(tmp_path.glob("*.seg")) == [], "it would be sent again"


@pytest.mark.parametrize("seed", range(3))
def test_a_shutdown_in_the_middle_writes_each_packet_once(server: IngestServer, tmp_path: Path, seed: int) -> None:
    """Whatever the workers have begun: delivered, on disk or dropped, and never two of them."""

    class Slow(OsFiles):
        def write(self, fd: int, offset: int, content: bytes) -> int:
            time.sleep(0.003 if len(content) > 100 else 0)
            return super().write(fd, offset, content)

    def convert(payload: Any) -> Any:
        time.sleep(0.001)
        assert payload is not None
        return payload

    queue = DeliveryQueue(
        HttpSink(Target(server.url)), convert=convert, retry=Retry(), spool=Spool(str(tmp_path), files=Slow()), exit_timeout_s=0.0
    )
    submit(queue, *map(make_packet, range(100)))
    time.sleep(0.01 + 0.02 * seed)
    queue.shutdown(0.02)
    account = queue.stats()
    assert (account.created, account.is_conserved) == (100, True)
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path))) as following:
        assert following.replay(20)
        assert following.stats().adopted == account.spooled
    assert len(server.packets) >= 100 - sum(account.dropped.values())


def test_a_fork_in_the_middle_of_adopting_leaves_the_child_at_rest(
    server: IngestServer, outage: Callable[[], None], tmp_path: Path
) -> None:
    """The child neither spins nor keeps the file."""
    with running(HttpSink(Target(server.url)), spool=Spool(str(tmp_path / "left"))) as queue:
        submit(queue, *map(make_packet, range(5)))
        wait_for(lambda: queue.stats().failures)
    code = """
import threading, warnings
from payi_otel.delivery._files import OsFiles
warnings.simplefilter("ignore", DeprecationWarning)
class Slow(OsFiles):
    reading = threading.Event()
    def read(self, fd, offset, size):
        self.reading.set()
        time.sleep(1)
        return super().read(fd, offset, size)
left = Spool(directory + "/left", files=Slow())
other = DeliveryQueue(HttpSink(Target(url)), convert=lambda payload: payload, retry=Retry(), spool=left)
Slow.reading.wait()
child = os.fork()
if child == 0:
    submit(other, make_packet("child"))
    assert other.flush(5)
    used = time.process_time()
    time.sleep(1)
    os._exit(0 if time.process_time() - used < 0.3 else 1)
assert os.waitpid(child, 0)[1] == 0
assert other.replay(10)
"""
    outage()
    done = subprocess.run([sys.executable, "-c", PROLOGUE + code, server.url, str(tmp_path)], check=False, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ids(server) == sorted([*map(str, range(5)), "child"])


def test_adopted_packets_do_not_all_come_at_once(server: IngestServer, outage: Callable[[], None], tmp_path: Path) -> None:
    """A thousand or so are open at a time, however many there are; the account holds all along."""
    for part in range(4):
        spool = Spool(str(tmp_path))
        with running(HttpSink(Target(server.url)), spool=spool) as queue:
            submit(queue, *(make_packet(part * 400 + number) for number in range(400)))
            wait_for(lambda queue=queue: queue.stats().queued == 400)
    with running(HttpSink(Target(server.url)), Retry(queue_interval=60), spool=Spool(str(tmp_path))) as queue:
        wait_for(lambda: queue.stats().adopted == 1200)
        time.sleep(0.1)
        account = queue.stats()
        assert (account.adopted, account.is_conserved) == (1200, True)
        outage()
        assert queue.replay(60)
        assert queue.stats().delivered == 1600
    assert len(server.packets) == 1600
    assert json.loads(json.dumps(server.duplicates)) == []
