"""Rows 22-26: the spool, when processes are killed, power goes, disks fail and bytes flip."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crashing_files import CrashingFiles
from delivery_fakes import Target, make_packet, running
from killing import VICTIM, kill_at_random
from trial import Result, Scale, make

from payi_otel.delivery._record import from_record, to_record
from payi_otel.delivery.spool import Spool
from payi_otel.exporters import _wire
from payi_otel.exporters.http import HttpSink
from payi_otel.testing import Answer, IngestServer

DISK_BYTES = 16 * 1024 * 1024


def killed(scale: Scale) -> Result:
    """SIGKILL at random moments, in both modes."""
    total = Result(note="")
    for sync in ("interval", "always"):
        done = kill_at_random(scale.times(100), sync, scale.seed)
        assert done.lost == [], done.lost
        total.created += done.written
        total.delivered += done.written - len(done.lost)
        total.duplicates += done.duplicates
        total.note += f"{sync}: {done.times} kills, {done.adopted} left over, on disk after {done.window_ms:.1f} ms (p99). "
    return total


def power_cut(scale: Scale) -> Result:
    """The power goes at random moments: on an ext4 image copied under a stopped process, or on a model of a disk."""
    total = Result()
    if scale.is_full and _can_mount():
        lost = {"always": 0, "interval": 0.0}
        for turn in range(20):
            for sync in ("always", "interval"):
                written, left, late_s = _cut_once(scale.seed + turn, sync)
                total.created += written
                total.delivered += left
                if sync == "always":
                    assert written == left, f"{written - left} of {written} lost"
                else:
                    lost["interval"] = max(lost["interval"], late_s)
        assert lost["interval"] <= 0.6 + 0.5, "half a second, and what a busy machine adds"
        total.note = f"20 cuts each: always 0 lost, interval the last {lost['interval']:.2f} s at most"
        return total
    chance = random.Random(scale.seed)
    for _ in range(scale.times(400)):
        files = CrashingFiles()
        spool = Spool("/spool", files=files, sync_always=True)
        contents = [to_record(_wire.encode(make(f"n{number}"))) for number in range(chance.randint(1, 30))]
        accepted = [content for content in contents if spool.write([content]) is not None]
        files.cut_power(chance)
        following = Spool("/spool", files=files)
        found = [following.read(record) for record in iter_adopted(following)]
        assert found == accepted
        total.created += len(accepted)
        total.delivered += len(found)
    total.note = "on a model of a disk: this machine mounts no image, or the short form"
    return total


def iter_adopted(spool: Spool) -> Iterator[object]:
    """Every record that is left."""
    while records := spool.adopt():
        yield from records


def _can_mount() -> bool:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None or shutil.which("losetup") is None:
        return False
    return subprocess.run(["losetup", "-f"], capture_output=True, check=False).returncode == 0


@contextmanager
def _mounted(image: Path, directory: Path) -> Iterator[None]:
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def _cut_once(seed: int, sync: str) -> tuple[int, int, float]:
    """Packets said to be written, those of them found after the cut, and how long before it the first lost one was written."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name, IngestServer() as server:
        server.decide(lambda request: Answer(503))
        place = Path(name)
        image, copy = place / "disk", place / "copy"
        with image.open("wb") as disk:
            disk.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
        with _mounted(image, place / "mnt"):
            command = [sys.executable, "-c", VICTIM, server.url, str(place / "mnt" / "spool"), "p", sync]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"begin\n"
                time.sleep(random.Random(seed).uniform(0.3, 1.5))
                process.send_signal(signal.SIGSTOP)
                cut_at = time.monotonic()
                shutil.copyfile(image, copy)
                process.kill()
                said = [line.split()[0].decode() for line in process.stdout.read().split(b"\n")[:-1]]
        with _mounted(copy, place / "mnt"):
            following = Spool(str(place / "mnt" / "spool"))
            packets = [from_record(following.read(record) or b"") for record in iter_adopted(following)]  # type: ignore[arg-type]
            found = {packet.packet.response_id.removeprefix("chatcmpl-") for packet in packets if packet is not None}
            following.close()
    lost = [one for one in said if one not in found]
    late_s = cut_at - float(lost[0].rpartition("-")[2]) if lost else 0.0
    return len(said), len(said) - len(lost), late_s


def full_or_failing(scale: Scale) -> Result:
    """The disk is full at any byte, read-only, not allowed, failing: the application never sees it, and all is delivered from memory."""
    content = len(to_record(_wire.encode(make("n0")))) + 13
    frees = range(0, 3 * content + 20, 1 if scale.is_full else 97)
    failing = [{method} for method in ("create", "write", "sync", "sync_directory", "rename", "truncate", "remove", "read")]
    total = Result()
    with IngestServer() as server:
        for number, (free, methods) in enumerate(
            itertools.chain(((free, set()) for free in frees), ((None, methods) for methods in failing))
        ):
            files = CrashingFiles()
            files.free_bytes, files.failing = free, set(methods)
            spool = Spool("/spool", files=files, sync_always=True)
            with running(HttpSink(Target(server.url)), spool=spool, exit_timeout_s=5.0) as queue:
                for part in range(3):
                    queue.submit(make_packet(f"{number}-{part}"))  # type: ignore[arg-type]
                assert queue.flush(10)
                account = queue.stats()
                assert (account.delivered, account.is_conserved) == (3, True)
            total.created += 3
            total.delivered += 3
        assert len(server.packets) == total.created
    total.note = f"full at {len(frees)} places, {len(failing)} kinds of failure"
    return total


def damaged(scale: Scale) -> Result:
    """Bits flip, blocks are zeroed, ends are cut: every other record is found, and no wrong one."""
    chance, total = random.Random(scale.seed), Result()
    contents = [to_record(_wire.encode(make(f"n{number}"))) for number in range(100)]
    for turn in range(scale.times(150)):
        with tempfile.TemporaryDirectory() as directory:
            spool = Spool(directory)
            assert spool.write(contents) is not None
            spool.close()
            (path,) = Path(directory).glob("*.seg")
            whole = bytearray(path.read_bytes())
            place = chance.randrange(8, len(whole) - 512)
            if turn % 3 == 0:
                whole[place] ^= 1 << chance.randrange(8)
            elif turn % 3 == 1:
                whole[place : place + 512] = bytes(512)
            else:
                del whole[place:]
            path.write_bytes(whole)
            following = Spool(directory)
            found = [following.read(record) for record in iter_adopted(following)]  # type: ignore[arg-type]
            assert set(found) <= set(contents)
            expected = 99 if turn % 3 == 0 else 96 if turn % 3 == 1 else place // (len(contents[0]) + 20) - 1
            assert len(found) >= expected, (turn, place, len(found))
            assert following.corrupt_records <= 2
            total.created += 100
            total.delivered += len(found)
            following.close()
    total.note = f"{total.created - total.delivered} records lost to damage, each place counted"
    return total


def shared(scale: Scale) -> Result:
    """Eight processes on one directory, two of them killed: each packet counts once."""
    result = Result()
    with IngestServer() as server, tempfile.TemporaryDirectory() as directory:
        server.decide(lambda request: Answer(503) if chance.random() < 0.3 else None)
        chance = random.Random(scale.seed)
        said: dict[str, set[str]] = {}

        def live(name: str) -> None:
            with subprocess.Popen(
                [sys.executable, "-c", VICTIM, server.url, directory, name, "interval"], stdout=subprocess.PIPE
            ) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(scale.seconds(10))
                process.kill()
                said[name] = {line.split()[0].decode() for line in process.stdout.read().split(b"\n")[:-1]}

        threads = [threading.Thread(target=live, args=(str(number),)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.decide(None)
        with running(HttpSink(Target(server.url)), spool=Spool(directory)) as queue:
            assert queue.replay(60)
        arrived = {packet["body"]["provider_response_id"].removeprefix("chatcmpl-") for packet in server.packets}
        written = set().union(*said.values())
        assert written <= arrived
        assert server.billed_twice == []
        result.created, result.delivered, result.duplicates = len(written), len(written & arrived), len(server.duplicates)
        result.note = "all eight killed"
        return result
