"""The spool's files: what is written is found again, by whoever comes next, whatever happened to the disk meanwhile."""

from __future__ import annotations

import logging
import os
import random
import shutil
import stat
import threading
import time
from pathlib import Path

import pytest
from crashing_files import CrashingFiles

from payi_otel.delivery import _segment
from payi_otel.delivery.spool import MAX_SEGMENT_BYTES, SEGMENT_BYTES, Spool

CONTENTS = [b'{"packet":%d}' % number for number in range(20)]


def left(spool: Spool) -> list[bytes]:
    """Everything that may be adopted, in order; damaged records are None's."""
    found: list[bytes] = []
    while records := spool.adopt():
        contents = [spool.read(record) for record in records]
        assert None not in contents
        found += [content for content in contents if content is not None]
    return found


def write(directory: object, *contents: bytes) -> None:
    """A process that writes and is gone."""
    spool = Spool(str(directory))
    assert spool.write(contents or CONTENTS) is not None
    spool.close()


def only_segment(directory: Path) -> Path:
    """The one there is."""
    (path,) = directory.glob("*.seg")
    return path


def test_what_is_written_is_left_to_the_next_process(tmp_path: Path) -> None:
    """In order; what was finished is not."""
    spool = Spool(str(tmp_path))
    records = [record for content in CONTENTS for record in spool.write([content]) or ()]
    assert [spool.read(record) for record in records] == CONTENTS
    for record in records[5:10]:
        spool.finish(record)
    spool.close()
    following = Spool(str(tmp_path))
    assert left(following) == CONTENTS[:5] + CONTENTS[10:]
    assert following.corrupt_records == 0


def test_nothing_is_left_of_what_was_delivered(tmp_path: Path) -> None:
    """No file keeps a prompt that nobody needs any more: neither a process's own segment nor one it took over."""
    write(tmp_path)
    spool = Spool(str(tmp_path))
    for record in [*(spool.write(CONTENTS) or ()), *spool.adopt()]:
        spool.finish(record)
        spool.finish(record)
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_segment_that_is_done_does_not_grow_old(tmp_path: Path) -> None:
    """In a process that runs for ever, delivered prompts leave the disk long before a segment is full."""
    spool = Spool(str(tmp_path))
    for _ in range(3):
        for record in spool.write([b"x" * SEGMENT_BYTES]) or ():
            spool.finish(record)
        assert not any(path.stat().st_size > SEGMENT_BYTES // 16 for path in tmp_path.iterdir())
    spool.close()


def test_a_segment_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    """Its lock says so; when the process is gone, it may be had."""
    owner, other = Spool(str(tmp_path)), Spool(str(tmp_path))
    owner.write(CONTENTS)
    assert other.adopt() == []
    owner.close()
    assert left(other) == CONTENTS


def test_two_processes_do_not_take_the_same(tmp_path: Path) -> None:
    """What one has adopted, the other does not find."""
    write(tmp_path)
    first, second = Spool(str(tmp_path)), Spool(str(tmp_path))
    assert len(first.adopt()) == len(CONTENTS)
    assert second.adopt() == []
    first.close()
    assert left(second) == CONTENTS


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    """0700 and 0600, whatever the umask is."""
    before = os.umask(0)
    try:
        write(tmp_path / "deep" / "spool")
    finally:
        os.umask(before)
    path = only_segment(tmp_path / "deep" / "spool")
    assert (stat.S_IMODE(path.parent.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)


def test_a_directory_has_a_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Beyond it, packets are in memory only; what is delivered makes room."""
    now = [0.0]
    spool = Spool(str(tmp_path), max_bytes=2 * SEGMENT_BYTES, clock=lambda: now[0])
    big = [b"x" * SEGMENT_BYTES]
    records = [spool.write(big) for _ in range(3)]
    assert [record is None for record in records] == [False, True, True]
    assert "ingest_retry.spool_max_bytes=8388608 are in use): packets are kept in memory only" in caplog.text
    assert len(caplog.records) == 1
    spool.finish((records[0] or [])[0])
    assert spool.write(big) is None
    now[0] = 31.0
    assert spool.write(big) is not None
    spool.close()


def test_what_is_kept_aside_has_a_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That of all processes together: nobody may ever look, and prompts are in it."""
    for _ in range(3):
        spool = Spool(str(tmp_path))
        for _ in range(10):
            spool.keep_dead_letter(b"x" * 1_000_000)
        spool.close()
    assert sum(path.stat().st_size for path in (tmp_path / "dead_letters").iterdir()) == 16_000_000
    assert "dead_letters is full: nothing more is kept there until somebody has looked" in caplog.text


def test_delivered_prompts_do_not_stay(tmp_path: Path) -> None:
    """However little is written after them: half a minute at most."""
    now = [0.0]
    spool = Spool(str(tmp_path), clock=lambda: now[0])
    for record in spool.write([b'{"prompt": "secret"}']) or ():
        spool.finish(record)
    assert b"secret" in only_segment(tmp_path).read_bytes()
    now[0] = 31.0
    assert spool.adopt_in_s() == 0.0
    assert spool.adopt() == []
    assert list(tmp_path.iterdir()) == []
    spool.close()


class TestUnusable:
    """A directory that cannot be used is said once; packets are in memory then."""

    def refused(self, directory: Path, caplog: pytest.LogCaptureFixture) -> str:
        """What is said."""
        spool = Spool(str(directory))
        assert spool.write(CONTENTS) is None
        assert spool.write(CONTENTS) is None
        assert spool.adopt() == []
        spool.close()
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        return record.getMessage()

    def test_others_may_write(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """They could have packets of their own billed."""
        tmp_path.chmod(0o777)
        assert self.refused(tmp_path, caplog).endswith("(others may write to it): packets are kept in memory only")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory of another user")
    def test_it_belongs_to_another_user(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """He could read the prompts."""
        os.chown(tmp_path, 12345, -1)
        assert "it belongs to another user" in self.refused(tmp_path, caplog)

    def test_it_is_a_file(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing can be in it."""
        (tmp_path / "spool").write_text("")
        assert "File exists" in self.refused(tmp_path / "spool", caplog)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_it_may_not_be_written(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Read-only."""
        tmp_path.chmod(0o500)
        assert "it may not be written" in self.refused(tmp_path, caplog)


class TestDisk:
    """A disk that refuses is tried again later, and nothing that was written before is lost."""

    def test_it_is_full_at_any_byte(self, caplog: pytest.LogCaptureFixture) -> None:
        """A short write is no write; the segment stays whole."""
        size = sum(len(content) + 13 for content in CONTENTS[:3]) + len(_segment.HEADER)
        for free in range(size + 1):
            files = CrashingFiles()
            files.free_bytes = free
            spool = Spool("/spool", files=files)
            written = [content for content in CONTENTS[:3] if spool.write([content]) is not None]
            assert written == CONTENTS[: len(written)]
            assert (len(written) == 3) == (free >= size)
            files.kill()
            following = Spool("/spool", files=files)
            assert left(following) == written
            assert following.corrupt_records == 0

    @pytest.mark.parametrize("method", ["create", "write", "sync", "sync_directory", "rename"])
    def test_it_fails_and_comes_back(self, method: str, caplog: pytest.LogCaptureFixture) -> None:
        """One line each way; what was written while it worked is there."""
        caplog.set_level(logging.INFO)
        files, now = CrashingFiles(), [0.0]
        spool = Spool("/spool", files=files, sync_always=True, clock=lambda: now[0])
        assert spool.write([CONTENTS[0]]) is not None
        if method in ("create", "sync_directory", "rename"):
            spool._leave_segment()
        files.failing = {method, "truncate", "remove"}
        assert spool.write([CONTENTS[1]]) is None
        assert spool.write([CONTENTS[1]]) is None
        files.failing.clear()
        assert spool.write([CONTENTS[1]]) is None, "too soon"
        now[0] = 31.0
        assert spool.write([CONTENTS[2]]) is not None
        assert [record.getMessage() for record in caplog.records] == [
            "the spool /spool cannot be used (Input/output error): packets are kept in memory only",
            "the spool /spool is written to again",
        ]
        files.kill()
        assert {CONTENTS[0], CONTENTS[2]} <= set(left(Spool("/spool", files=files)))

    def test_a_packet_that_is_not_forced_to_disk_is_not_left_to_anybody(self) -> None:
        """It is in memory, and is delivered from there."""
        files = CrashingFiles()
        spool = Spool("/spool", files=files, sync_always=True)
        assert spool.write([CONTENTS[0]]) is not None
        files.failing = {"sync"}
        assert spool.write([CONTENTS[1]]) is None
        files.failing = set()
        files.kill()
        assert left(Spool("/spool", files=files)) == [CONTENTS[0]]

    def test_a_disk_that_hangs_holds_up_no_exit(self) -> None:
        """Only a power cut would make a difference."""

        class Hanging(CrashingFiles):
            released = threading.Event()

            def sync(self, fd: int) -> None:
                if self.size(fd) > len(_segment.HEADER):
                    self.released.wait(20)
                super().sync(fd)

        spool = Spool("/spool", files=Hanging())
        spool.write(CONTENTS)
        began = time.monotonic()
        spool.close()
        assert time.monotonic() - began < 10
        Hanging.released.set()

    def test_what_cannot_be_read_now_is_adopted_later(self, caplog: pytest.LogCaptureFixture) -> None:
        """Its lock is let go, so that others may try, too; the segments behind it are found."""
        files, now = CrashingFiles(), [0.0]
        for content in CONTENTS[:2]:
            assert Spool("/spool", files=files).write([content]) is not None
            files.kill()
        spool = Spool("/spool", files=files, clock=lambda: now[0])
        files.failing = {"read"}
        assert spool.adopt() == []
        assert len(caplog.records) == 2
        files.failing = set()
        assert sorted(left(Spool("/spool", files=files))) == sorted(CONTENTS[:2])

    def test_a_directory_that_is_removed_is_made_again(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Somebody tidied up: what was in it is gone, and no harm done."""
        now = [0.0]
        spool = Spool(str(tmp_path / "spool"), clock=lambda: now[0])
        (record,) = spool.write([CONTENTS[0]]) or ()
        shutil.rmtree(tmp_path / "spool")
        spool.finish(record)
        for content in (b"x" * SEGMENT_BYTES, CONTENTS[1]):
            if spool.write([content]) is None:
                now[0] += 31.0
                assert spool.write([content]) is not None
        spool.close()
        assert CONTENTS[1] in left(Spool(str(tmp_path / "spool")))

    def test_what_is_not_forced_to_disk_is_not_accepted(self) -> None:
        """In the mode "always": a packet counts as written when a power cut cannot take it."""
        chance = random.Random(1)
        for _ in range(50):
            files = CrashingFiles()
            spool = Spool("/spool", files=files, sync_always=True)
            accepted = [content for content in CONTENTS if spool.write([content]) is not None]
            assert accepted == CONTENTS
            files.cut_power(chance)
            assert left(Spool("/spool", files=files)) == CONTENTS

    def test_written_at_intervals(self) -> None:
        """In the mode "interval": what is older than half a second is safe from a power cut."""
        files, now = CrashingFiles(), [0.0]
        spool = Spool("/spool", files=files, clock=lambda: now[0])
        assert spool.sync_in_s() is None
        spool.write(CONTENTS[:10])
        assert spool.sync_in_s() == 0.5
        now[0] = 0.6
        assert spool.sync_in_s() == 0.0
        spool.sync()
        assert spool.sync_in_s() is None
        spool.write(CONTENTS[10:])
        files.cut_power(random.Random(3))
        assert left(Spool("/spool", files=files))[:10] == CONTENTS[:10]


class TestDamage:
    """Damaged bytes cost their own records only; they are kept aside, counted and said."""

    def test_any_bit_may_flip(self, tmp_path: Path) -> None:
        """No wrong record passes for a good one, and at most one is lost."""
        write(tmp_path, *CONTENTS[:4])
        path = only_segment(tmp_path)
        whole = path.read_bytes()
        for bit in range(len(_segment.HEADER) * 8, len(whole) * 8, 3):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << (bit % 8)
            found = _segment.Content(bytes(damaged))
            good = [bytes(damaged[offset + 13 : offset + 13 + length]) for offset, length in found.open]
            assert set(good) <= set(CONTENTS[:4])
            assert len(good) >= 3
            assert len(good) + len(found.damaged) == 4

    def test_a_zeroed_block_costs_what_stood_there(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The rest is found by the marks that records begin with."""
        contents = [b'{"packet":"%s"}' % (b"%d" % number * 100) for number in range(100)]
        write(tmp_path, *contents)
        path = only_segment(tmp_path)
        damaged = bytearray(path.read_bytes())
        damaged[5000:5512] = bytes(512)
        path.write_bytes(damaged)
        spool = Spool(str(tmp_path))
        found = left(spool)
        assert set(found) < set(contents)
        assert len(found) >= 94
        assert spool.corrupt_records == 1
        (kept,) = (tmp_path / "quarantine").iterdir()
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert "is damaged: at least one packet may be lost" in caplog.text
        spool.close()
        again = Spool(str(tmp_path))
        assert left(again) == found
        assert again.corrupt_records == 0, "it was counted before"

    def test_a_torn_end_costs_one(self, tmp_path: Path) -> None:
        """Wherever it is torn."""
        write(tmp_path)
        path = only_segment(tmp_path)
        whole = path.read_bytes()
        for size in range(len(_segment.HEADER), len(whole)):
            found = _segment.Content(whole[:size])
            assert [whole[offset + 13 : offset + 13 + length] for offset, length in found.open] == CONTENTS[: len(found.open)]
            assert len(found.damaged) <= 1

    def test_what_is_no_segment_is_put_aside(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A foreign file, and one that is far too large; nothing waits for a pipe, no link is followed, and empty ones go."""
        write(tmp_path / "elsewhere")
        write(tmp_path)
        good = only_segment(tmp_path)
        (tmp_path / "0-foreign.seg").write_text("not ours, and longer than a header")
        with (tmp_path / "1-sparse.seg").open("wb") as sparse:
            sparse.write(_segment.HEADER)
            sparse.truncate(10 * 1024**3)
        assert (tmp_path / "1-sparse.seg").stat().st_size > MAX_SEGMENT_BYTES
        (tmp_path / "2-empty.seg").write_bytes(b"")
        (tmp_path / "3-begun.seg.new").write_bytes(b"PAYI")
        (tmp_path / "4-link.seg").symlink_to(only_segment(tmp_path / "elsewhere"))
        os.mkfifo(tmp_path / "5-pipe.seg")
        (tmp_path / "6-directory.seg").mkdir()
        (tmp_path / "notes.txt").write_text("somebody else's")
        spool = Spool(str(tmp_path))
        assert left(spool) == CONTENTS
        assert spool.corrupt_records == 2
        assert sorted(path.name for path in (tmp_path / "quarantine").iterdir()) == ["0-foreign.seg", "1-sparse.seg"]
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"elsewhere", "quarantine", "4-link.seg", "5-pipe.seg", "6-directory.seg", "notes.txt", good.name}
        spool.close()

    def test_a_record_that_is_damaged_later_is_no_packet(self, tmp_path: Path) -> None:
        """It is looked at again when it is read back."""
        spool = Spool(str(tmp_path))
        (record,) = spool.write([CONTENTS[0]]) or ()
        path = only_segment(tmp_path)
        damaged = bytearray(path.read_bytes())
        damaged[-3] ^= 1
        path.write_bytes(damaged)
        assert spool.read(record) is None
        spool.close()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_forked_child_has_nothing_of_its_parents(tmp_path: Path) -> None:
    """Neither its files nor its locks: when the parent is gone, its packets may be had although the child lives."""
    spool = Spool(str(tmp_path))
    spool.write(CONTENTS)
    from_parent, to_child = os.pipe()
    from_child, to_parent = os.pipe()
    spool.before_fork()
    child = os.fork()
    if child == 0:
        spool.after_fork()
        os.close(to_child)
        os.write(to_parent, b"x")
        os.read(from_parent, 1)
        os._exit(0 if spool.write([b"{}"]) is not None else 1)
    spool.after_fork_in_parent()
    assert os.read(from_child, 1) == b"x"
    spool.close()
    assert left(Spool(str(tmp_path))) == CONTENTS
    os.write(to_child, b"x")
    assert os.waitpid(child, 0)[1] == 0
    for end in (from_parent, to_child, from_child, to_parent):
        os.close(end)
