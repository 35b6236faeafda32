"""Offline files are read packet by packet: ours, the published SDK's, JSON lines; whole, broken, or still being written."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from delivery_fakes import make_packet

from payi_otel.captures import reading
from payi_otel.captures.reading import Broken, Capture
from payi_otel.exporters.file import FileSink

RECORDS: list[dict[str, Any]] = [{"category": "c", "number": number, "text": "é]},\n["} for number in range(5)]
LAYOUTS = {
    "ours": "[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]",
    "pretty": json.dumps(RECORDS, indent=4),
    "compact": json.dumps(RECORDS),
    "spread out": "\n\n[ " + " ,\n".join(map(json.dumps, RECORDS)) + " ] \n",
    "one behind the other": "\n".join(json.dumps(record, indent=2) for record in RECORDS),
    "with a mark": "\ufeff" + json.dumps(RECORDS),
    "lines with a mark": "\ufeff" + "\r\n".join(map(json.dumps, RECORDS)),
    "ours with a mark": "\ufeff[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]",
    "lines": "".join(json.dumps(record) + "\n" for record in RECORDS),
    "lines, the last one open": "\n".join(map(json.dumps, RECORDS)),
}


def write(path: Path, text: str) -> Capture:
    """A file with this in it."""
    path.write_text(text, encoding="utf-8")
    return Capture(path)


@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_read_whole(tmp_path: Path, text: str) -> None:
    """Each packet once, in order."""
    capture = write(tmp_path / "file", text)
    assert list(capture.records()) == RECORDS
    assert capture.broken is None


def test_a_packet_behind_an_old_end_is_read(tmp_path: Path) -> None:
    """So a reader sees a file whose closing bracket was written over just after he had read it."""
    capture = write(tmp_path / "file", '[\n{"n": 1}\n]{"n": 2},\n{"n": 3}\n]')
    assert (list(capture.records()), capture.broken) == ([{"n": 1}, {"n": 2}, {"n": 3}], None)
    behind = capture.position
    assert (list(capture.records(behind)), capture.broken) == ([], None)


@pytest.mark.parametrize("size", [1, 2, 7, 100])
@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_where_a_read_ends_makes_no_difference(tmp_path: Path, text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a string, an escape, or a character; and each position is right behind its packet."""
    monkeypatch.setattr(reading, "_MAX_READ_BYTES", size)
    capture, positions = write(tmp_path / "file", text), []
    for record in capture.records():
        positions.append(capture.position)
        assert record == RECORDS[len(positions) - 1]
    assert len(positions) == len(RECORDS)
    content = (tmp_path / "file").read_bytes()
    assert [content[position - 1 : position] for position in positions] == [b"}"] * len(RECORDS)


@pytest.mark.parametrize("pattern", ["[%s]", "%s\n"])
@pytest.mark.parametrize("value", ['"\\ud83d"', "NaN", "9" * 400, "1e999", '"\\\\\\""'])
def test_what_other_writers_write_is_read(tmp_path: Path, pattern: str, value: str) -> None:
    """Half of an emoji, numbers of any size: Python's own `json` makes them."""
    capture = write(tmp_path / "file", pattern % f'{{"a": {value}}}')
    assert repr(list(capture.records())) == repr([{"a": json.loads(value)}])
    assert capture.broken is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (gzip.compress(b"[]", mtime=0), "it is compressed: unpack it first (gunzip)"),
        ("[]".encode("utf-16"), "it is UTF-16: save it as UTF-8 first"),
        (b'[{"a": "\xe9"}]', "what stands there is no packet"),
    ],
    ids=["gzip", "UTF-16", "Latin-1"],
)
def test_other_encodings_are_named(tmp_path: Path, content: bytes, why: str) -> None:
    """With what to do."""
    (tmp_path / "file").write_bytes(content)
    capture = Capture(tmp_path / "file")
    assert list(capture.records()) == []
    assert capture.broken is not None
    assert capture.broken.why == why


@pytest.mark.parametrize("text", ["", "[]", "[\n]", "[ ]", "\n"])
def test_an_empty_file_has_no_packets(tmp_path: Path, text: str) -> None:
    """And is not broken."""
    capture = write(tmp_path / "file", text)
    assert (list(capture.records()), capture.broken) == ([], None)


@pytest.mark.parametrize("layout", ["ours", "pretty", "compact", "lines"])
def test_a_file_that_was_cut_is_read_as_far_as_it_goes(tmp_path: Path, layout: str) -> None:
    """Wherever it was cut; and that is said."""
    text = LAYOUTS[layout]
    for length in range(2, len(text), 7):
        capture = write(tmp_path / "file", text[:length])
        read = list(capture.records())
        assert read == RECORDS[: len(read)]
        if len(read) < len(RECORDS) and text[length - 1] not in "}\n,[":
            assert capture.broken is not None
            assert capture.broken.offset <= length


def test_where_it_breaks_is_said(tmp_path: Path) -> None:
    """By byte, and why."""
    text = LAYOUTS["ours"]
    at = text.index('{"category": "c", "number": 3')
    capture = write(tmp_path / "file", text[: at + 20])
    assert len(list(capture.records())) == 3
    assert capture.broken == Broken(len(text[:at].encode()), "it ends in the middle of a packet")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hello", "it holds no JSON packets"),
        ("<html>", "it holds no JSON packets"),
        ('["a", {"b": 1}]', "the array holds something else than packets"),
        ('[[{"b": 1}]]', "the array holds something else than packets"),
        ('[{"a": 1}, null, {"b": 1}]', "the array holds something else than packets"),
        ('[{"a": 1}] more', "the array holds something else than packets"),
        ('[{"a" 1}, {"b": 1}]', "what stands there is no packet"),
        ('[{"a": [}]]', "what stands there is no packet"),
        ('[{"a": ' + "[" * 100_000 + "]" * 100_000 + "}]", "what stands there is no packet"),
        ('[{"a": ' * 100_000, "it ends in the middle of a packet"),
        ("[1, 2]", "the array holds something else than packets"),
        ('{"a": 1}\nnonsense\n{"b": 2}\n', "what stands there is no packet"),
        ('{"a": 1}\n[]x\n', "what stands there is no packet"),
        ('[\n{"a": 1},\n7\n]', "what stands there is no packet"),
    ],
)
def test_what_is_no_capture_is_said_to_be_none(tmp_path: Path, text: str, why: str) -> None:
    """No exception: there may be packets before it."""
    capture = write(tmp_path / "file", text)
    list(capture.records())
    assert capture.broken is not None
    assert capture.broken.why == why


def test_a_file_is_followed_while_it_is_written(tmp_path: Path) -> None:
    """Behind the last packet that was read."""
    sink = FileSink(tmp_path / "file")
    capture, position, read = Capture(tmp_path / "file"), 0, list[str]()
    for number in range(4):
        sink.deliver(make_packet(number))
        read += [record["provider_response_id"] for record in capture.records(position)]
        position = capture.position
    sink.close()
    assert read == [f"chatcmpl-{number}" for number in range(4)]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read as Linux tells them")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """A file of 200 MB, as ours and as one line, is read in a fraction of that."""
    record, count = json.dumps({"category": "c", "text": "x" * 10_000}), 20_000
    ours, line = tmp_path / "ours", tmp_path / "line"
    for path, begin, joint, end in ((ours, "[\n", ",\n", "\n]"), (line, "[", ", ", "]")):
        with open(path, "w") as file:  # in pieces: a child may inherit the peak of its parent
            file.write(begin)
            file.writelines(record + joint for _ in range(count - 1))
            file.write(record + end)
    program = (
        "import sys; from payi_otel.captures.reading import Capture\n"
        "def peak(): return next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "before = peak()\n"
        "print(sum(1 for _ in Capture(sys.argv[1]).records()), peak() - before)"
    )
    for path in (ours, line):
        done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True, timeout=120)
        found, grown_kb = map(int, done.stdout.split())
        assert found == count
        assert grown_kb < 30_000
