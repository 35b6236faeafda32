"""`FileSink`: one JSON array that is whole after every packet, whoever else writes to it and whatever happens."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from delivery_fakes import Retry, make_packet, running, submit, wait_for

from payi_otel.delivery.outcome import EncodedPacket, Fate, Outcome
from payi_otel.errors import ConfigurationError
from payi_otel.exporters import _array
from payi_otel.exporters.file import FileSink, default_file_name

HERE = Path(__file__).parent
WRITER = """
import sys
sys.path.insert(0, {here!r})
from delivery_fakes import make_packet
from payi_otel.delivery.outcome import Fate
from payi_otel.exporters.file import FileSink
sink = FileSink({path!r})
print("ready", flush=True)
for number in range({count}):
    assert sink.deliver(make_packet(f"{name}-{{number}}", {{"provider_request_json": "x" * (number * 37 % 3000)}})).fate is Fate.DELIVERED
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the packets go."""
    return tmp_path / "capture.json"


def read(path: Path) -> list[dict[str, Any]]:
    """The file as any JSON parser sees it."""
    records = json.loads(path.read_bytes())
    assert isinstance(records, list)
    return records


def write(path: Path, *names: object) -> None:
    """Appends packets by a new sink."""
    sink = FileSink(path)
    for name in names:
        assert sink.deliver(make_packet(name)) == Outcome(Fate.DELIVERED)
    sink.close()


def names(path: Path) -> list[str]:
    """The response ids without their prefix."""
    return [record.get("provider_response_id", "?").removeprefix("chatcmpl-") for record in read(path)]


def test_the_file_is_valid_json_from_the_start_and_after_every_packet(path: Path) -> None:
    """Not only at exit."""
    sink = FileSink(path)
    assert read(path) == []
    for number in range(5):
        sink.deliver(make_packet(number))
        assert len(read(path)) == number + 1
    sink.close()


def test_a_record_is_the_whole_packet(path: Path) -> None:
    """Body and scope, by their offline names."""
    packet = make_packet(1, user_id="José", limit_ids=("a", "b"), use_case_name="bot", resource_scope="global", account_name="acme")
    FileSink(path).deliver(packet)
    assert read(path) == [packet.to_offline_record()]
    assert read(path)[0]["resource_scope"] == "global"


def test_a_refused_file_keeps_its_mode(path: Path) -> None:
    """It is not ours to change in any way."""
    path.write_text("notes")
    path.chmod(0o644)
    with pytest.raises(ConfigurationError):
        FileSink(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("gone", [Path.unlink, lambda path: path.rename(path.with_suffix(".1"))], ids=["removed", "moved"])
def test_a_file_that_was_taken_away_is_begun_again(gone: Callable[[Path], object], path: Path) -> None:
    """Log rotation, a clean-up: what comes after is under the promised name, not in a file without one."""
    sink = FileSink(path)
    assert sink.deliver(make_packet(1)).fate is Fate.DELIVERED
    gone(path)
    assert sink.deliver(make_packet(2)).fate is Fate.DELIVERED
    sink.close()
    assert [record["provider_response_id"] for record in json.loads(path.read_text())] == ["chatcmpl-2"]


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    """It holds prompts; also where it was there before."""
    path.touch(0o644)
    FileSink(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_default_name_has_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the published SDK names it, in the working directory of that moment."""
    assert default_file_name(datetime(2026, 3, 9, 8, 5, 1)) == "payi_instrumentation_2026-03-09-08-05-01.json"
    monkeypatch.chdir(tmp_path)
    sink = FileSink()
    monkeypatch.chdir("/")
    sink.deliver(make_packet())
    (file,) = tmp_path.iterdir()
    assert re.fullmatch(r"payi_instrumentation_\d{4}(-\d\d){5}\.json", file.name)
    assert len(read(file)) == 1


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"[]",
        b"[ ]\n",
        b"[\n]",
        b"[\n]\n\n",
        b'[{"provider_response_id":"old"}]',
        b'[\n{"provider_response_id":"old"}\n]',
        b'[\n  {"provider_response_id": "old"}\n]\n',
        b'[{"a":1},\r\n{"provider_response_id":"old"}\r\n]\r\n',
        json.dumps([{"provider_response_id": "old", "x": ["]", "\n]"]}], indent=4).encode(),
    ],
)
def test_an_array_is_continued(path: Path, before: bytes) -> None:
    """Whoever wrote it; nothing that is recorded is overwritten."""
    path.write_bytes(before)
    write(path, 1, 2)
    records = json.loads(before or b"[]")
    assert read(path)[: len(records)] == records
    assert names(path)[-2:] == ["1", "2"]
    assert len(read(path)) == len(records) + 2


WHOLE = b'[\n{"a":[{"b":1}]},\n{"provider_response_id":"chatcmpl-2","l":["]"]}\n]'


@pytest.mark.parametrize("kept", range(1, len(WHOLE)))
def test_a_torn_file_is_mended_to_its_last_whole_record(path: Path, kept: int) -> None:
    """Wherever it was cut."""
    path.write_bytes(WHOLE[:kept])
    write(path, "new")
    whole = [line for line in (b'{"a":[{"b":1}]}', b'{"provider_response_id":"chatcmpl-2","l":["]"]}') if line in WHOLE[:kept]]
    assert read(path)[:-1] == [json.loads(line) for line in whole]
    assert names(path)[-1:] == ["new"]


@pytest.mark.parametrize("written", range(1, 30))
def test_a_write_that_was_cut_short_is_mended(path: Path, written: int) -> None:
    """The process was killed in the middle of one write over the closing line."""
    record = b',\n{"provider_response_id":"torn"}\n]'
    base = b'[\n{"provider_response_id":"chatcmpl-1"}'
    path.write_bytes((base + record[:written]).ljust(len(base) + 2, b"]"))
    write(path, "new")
    assert names(path) == ["1", "new"]


def test_zeros_after_a_power_cut_are_mended(path: Path) -> None:
    """Some file systems leave them."""
    path.write_bytes(b'[\n{"provider_response_id":"chatcmpl-1"},\n' + b"\0" * 500)
    write(path, "new")
    assert names(path) == ["1", "new"]


def test_a_large_record_is_found_again(path: Path) -> None:
    """Larger than one step of the search."""
    big = json.dumps({"provider_response_id": "chatcmpl-1", "x": "y" * 3_000_000}).encode()
    path.write_bytes(b"[\n" + big + b',\n{"half":"' + b"z" * 2_500_000)
    write(path, "new")
    assert names(path) == ["1", "new"]


@pytest.mark.parametrize(
    "before",
    [b"{}", b'{"a": 1}\n', b"hello\n", b"[1, 2]", b"[1, 2", b'"x"', b"\x00\x01", b" \n", b'[\n{"a":1}\n]\ntrailing', b"[\nwords\n"],
)
def test_another_kind_of_file_is_refused_and_left_as_it_is(path: Path, before: bytes) -> None:
    """At construction, with path and advice."""
    path.write_bytes(before)
    with pytest.raises(ConfigurationError) as caught:
        FileSink(path)
    assert str(caught.value) == f"offline_instrumentation.file_name: {path} holds something else than packets; give another name"
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Folder, missing folder, link, pipe, and a folder without permission: each with what to do."""
    (tmp_path / "link.json").symlink_to(tmp_path / "target.json")
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path: "is a folder; give the name of a file in it",
        tmp_path / "none" / "x.json": f"cannot be created: there is no folder {tmp_path / 'none'}; create it or give another name",
        tmp_path / "link.json": "is a symbolic link, which is not followed; give the file's own name",
        tmp_path / "pipe": "cannot be written (is not a regular file; give another name); allow it or give another name",
        Path("/proc/x.json"): "cannot be written (No such file or directory); allow it or give another name",
    }
    for path, advice in cases.items():
        with pytest.raises(ConfigurationError) as caught:
            FileSink(path)
        assert str(caught.value) == f"offline_instrumentation.file_name: {path} {advice}"
    assert not (tmp_path / "target.json").exists()


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file grows beyond this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_file_whole_and_the_packet_waiting(path: Path) -> None:
    """The system takes a part of the write without an error; the file is put back, and the packet is tried again later."""
    write(path, 1)
    before = path.read_bytes()
    sink = FileSink(path)
    for room in (0, 1, 2, 50):
        with full_disk(len(before) + room):
            outcome = sink.deliver(make_packet(2))
        assert (outcome.fate, outcome.code) == (Fate.RETRY, "file_error")
        assert path.read_bytes() == before
    assert sink.deliver(make_packet(2)).fate is Fate.DELIVERED
    sink.close()
    assert names(path) == ["1", "2"]


def encoded(sink: FileSink, *names: object) -> list[EncodedPacket]:
    """As the queue holds them."""
    return [sink.encode(make_packet(name)) for name in names]


def test_several_are_written_as_one_by_one(tmp_path: Path) -> None:
    """Byte for byte, so that a file that is torn there is mended likewise; whatever stands before them."""
    together, singly = FileSink(tmp_path / "together.json"), FileSink(tmp_path / "singly.json")
    for batch in (encoded(together, "a", "b", "c"), encoded(together, "d"), encoded(together, "e", "f")):
        assert together.send_batch(batch) == [Outcome(Fate.DELIVERED)] * len(batch)
        for packet in batch:
            singly.send(packet)
    assert names(tmp_path / "together.json") == list("abcdef")
    assert (tmp_path / "together.json").read_bytes() == (tmp_path / "singly.json").read_bytes()


def test_of_several_a_full_disk_takes_what_it_has_room_for(path: Path) -> None:
    """The others wait, and nothing stands in the file twice."""
    sink = FileSink(path)
    sink.deliver(make_packet("kept"))
    waiting = encoded(sink, "b", "c", "d")
    with full_disk(path.stat().st_size + len(waiting[0].json) + 10):
        outcomes = sink.send_batch(waiting)
    assert [outcome.fate for outcome in outcomes] == [Fate.DELIVERED, Fate.RETRY, Fate.RETRY]
    assert names(path) == ["kept", "b"]
    assert sink.send_batch(waiting[1:]) == [Outcome(Fate.DELIVERED)] * 2
    assert names(path) == ["kept", "b", "c", "d"]


def test_a_full_disk_takes_what_it_has_room_for_by_the_exit(path: Path) -> None:
    """With drains that are far apart, too: packets that wait do not fail together for want of room for all."""
    sink = FileSink(path)
    room = 40 * (len(sink.encode(make_packet(10)).json) + 2) + 10
    with full_disk(room), running(sink, Retry(queue_interval=60.0), exit_timeout_s=1.0) as queue:
        submit(queue, *map(make_packet, range(10, 70)))
        queue.shutdown()
    assert len(names(path)) == queue.stats().delivered == 40


def test_packets_that_wait_for_the_file_go_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is written, the others are made."""
    begun, goes_on, writes = threading.Event(), threading.Event(), list[int]()

    def write_all(fd: int, content: bytes, offset: int) -> None:
        begun.set()
        goes_on.wait(10)
        writes.append(len(content))
        own(fd, content, offset)

    sink, own = FileSink(path), _array.write_all
    monkeypatch.setattr(_array, "write_all", write_all)
    with running(sink) as queue:
        submit(queue, make_packet("first"))
        assert begun.wait(10)
        submit(queue, *map(make_packet, range(100)))
        wait_for(lambda: queue.stats().in_flight + queue.stats().queued == 101)
        goes_on.set()
        assert queue.flush(10)
    assert sorted(names(path)) == sorted(["first", *map(str, range(100))])
    assert len(writes) < 20


def test_a_file_that_was_emptied_is_begun_again(path: Path) -> None:
    """By a log rotation that copies and truncates."""
    sink = FileSink(path)
    sink.deliver(make_packet(1))
    path.write_bytes(b"")
    sink.deliver(make_packet(2))
    sink.close()
    assert names(path) == ["2"]


def test_a_file_that_somebody_broke_is_not_written_to(path: Path) -> None:
    """The packet waits; it goes on when the file is put right."""
    sink = FileSink(path)
    path.write_bytes(b"not an array")
    assert sink.deliver(make_packet(1)).code == "file_error"
    assert path.read_bytes() == b"not an array"
    path.write_bytes(b"[]")
    assert sink.deliver(make_packet(1)).fate is Fate.DELIVERED
    sink.close()


def test_a_closed_sink_opens_its_file_again(path: Path) -> None:
    """A late packet is worth it."""
    sink = FileSink(path)
    sink.close()
    sink.close()
    assert sink.deliver(make_packet(1)).fate is Fate.DELIVERED
    sink.close()


def test_many_threads_and_sinks_share_one_file(path: Path) -> None:
    """No record is lost, torn or doubled."""
    sinks = [FileSink(path), FileSink(path)]
    threads = [
        threading.Thread(target=lambda part=part: [sinks[part % 2].deliver(make_packet(f"{part}-{n}")) for n in range(50)])
        for part in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sink in sinks:
        sink.close()
    assert sorted(names(path)) == sorted(f"{part}-{n}" for part in range(8) for n in range(50))


def start_writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Another process that appends packets."""
    code = WRITER.format(here=str(HERE), path=str(path), name=name, count=count)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_processes_share_one_file(path: Path) -> None:
    """No record is lost, torn or doubled."""
    writers = [start_writer(path, name, 300) for name in ("a", "b")]
    for writer in writers:
        writer.communicate(timeout=30)
        assert writer.returncode == 0
    assert sorted(names(path)) == sorted(f"{name}-{n}" for name in ("a", "b") for n in range(300))


def test_a_killed_process_leaves_valid_json(path: Path) -> None:
    """kill -9 in the middle of its writing."""
    for trial in range(5):
        writer = start_writer(path, f"t{trial}", 1_000_000)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        wanted = path.stat().st_size + 100_000
        while path.stat().st_size < wanted:
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        recorded = names(path) if is_json(path) else None
        write(path, f"after-{trial}")
        assert recorded is None or names(path) == [*recorded, f"after-{trial}"]
        mine = [name for name in names(path) if name.startswith(f"t{trial}-")]
        assert mine == [f"t{trial}-{n}" for n in range(len(mine))]


def is_json(path: Path) -> bool:
    """A write that crosses a page may be cut by the kill; the next writer mends that."""
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
