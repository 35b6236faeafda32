"""A capture is followed while it is written: each packet once, whatever state the file is met in."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from delivery_fakes import make_packet

from payi_otel.captures.following import Event, Follower
from payi_otel.exporters.file import FileSink

RECORDS: list[dict[str, Any]] = [{"category": "c", "number": number, "text": "é]},\n["} for number in range(5)]
LAYOUTS = {
    "ours": "[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]",
    "pretty": json.dumps(RECORDS, indent=4),
    "compact": json.dumps(RECORDS),
    "lines": "".join(json.dumps(record) + "\n" for record in RECORDS),
}


def write(file: Path, numbers: range) -> None:
    """Adds packets, as offline mode does."""
    sink = FileSink(file)
    for number in numbers:
        sink.deliver(make_packet(number))
    sink.close()


def ids(events: list[Event]) -> list[str]:
    """Of packets; texts as they are."""
    return [event if isinstance(event, str) else event["provider_response_id"] for event in events]


def names(numbers: range) -> list[str]:
    """The ids of packets that were written."""
    return [str(make_packet(number).body["provider_response_id"]) for number in numbers]


@pytest.mark.parametrize("text", LAYOUTS.values(), ids=LAYOUTS)
def test_a_file_that_grows_is_read_once(tmp_path: Path, text: str) -> None:
    """Whatever its layout, and wherever in a packet it is met."""
    file = tmp_path / "file"
    follower, events = Follower(file), list[Event]()
    for length in range(len(text) + 1):
        file.write_bytes(text.encode()[:length])
        before = len(events)
        events += follower.look()
        assert len(events) <= before + 1
    assert (events, follower.broken) == (RECORDS, 0)


def test_a_file_is_waited_for(tmp_path: Path) -> None:
    """It is said once, and again when it has gone."""
    file = tmp_path / "folder" / "file"
    follower = Follower(file)
    assert [list(follower.look()), list(follower.look())] == [[f"{file} is not there yet: waiting for it"], []]
    file.parent.mkdir()
    write(file, range(2))
    assert ids(list(follower.look())) == names(range(2))
    file.unlink()
    assert [list(follower.look()), list(follower.look())] == [[f"{file} is not there any more: waiting for it"], []]


def test_a_writer_is_followed_while_it_writes(tmp_path: Path) -> None:
    """Its closing bracket moves under the reader; no packet is missed, none is read twice or taken for a broken line."""
    file, count = tmp_path / "file", 3000
    writer = threading.Thread(target=write, args=(file, range(count)))
    writer.start()
    follower, events = Follower(file), list[Event]()
    while writer.is_alive():
        events += follower.look()
    writer.join()
    events += follower.look()
    packets = [event for event in events if not isinstance(event, str)]
    assert ids([*packets]) == names(range(count))
    assert follower.broken == 0


def replace(file: Path) -> None:
    """Another file takes the name, as when logs are rotated."""
    file.rename(file.with_name("old"))
    write(file, range(10, 13))


def truncate(file: Path) -> None:
    """The same file with less in it."""
    os.truncate(file, 0)
    write(file, range(10, 13))


def write_anew(file: Path) -> None:
    """The same file with more in it than there was."""
    os.truncate(file, 0)
    write(file, range(10, 40))


@pytest.mark.parametrize(
    ("change", "why", "count"), [(replace, "was replaced", 3), (truncate, "was truncated", 3), (write_anew, "was written anew", 30)]
)
def test_another_content_is_read_from_its_beginning(tmp_path: Path, change: Any, why: str, count: int) -> None:
    """And that is said."""
    file = tmp_path / "file"
    write(file, range(5))
    follower = Follower(file)
    assert ids(list(follower.look())) == names(range(5))
    change(file)
    said = f"{file} {why}: it is read from its beginning, and what was counted stays counted"
    assert ids(list(follower.look())) == [said, *names(range(10, 10 + count))]
    write(file, range(50, 51))
    assert ids(list(follower.look())) == names(range(50, 51))


def test_an_array_of_another_layout_is_read_anew_when_it_is_another(tmp_path: Path) -> None:
    """The published SDK writes its file whole, at its end, over what was there."""
    file = tmp_path / "file"
    follower = Follower(file)
    file.write_text(json.dumps(RECORDS, indent=4))
    list(follower.look())
    others = [{**record, "category": "d"} for record in RECORDS] * 2
    file.write_text(json.dumps(others, indent=4))
    first, *events = follower.look()
    assert first == f"{file} was written anew: it is read from its beginning, and what was counted stays counted"
    assert events == others


def test_a_broken_line_is_left_out(tmp_path: Path) -> None:
    """It is said where it is; what is behind it is read."""
    file = tmp_path / "file"
    file.write_text('{"n": 1}\nnonsense\n{"n": 2}\n7\n{"n"')
    follower = Follower(file)
    assert list(follower.look()) == [
        {"n": 1},
        f"{file} is broken at byte 9: what stands there is no packet; it is left out",
        {"n": 2},
        f"{file} is broken at byte 27: what stands there is no packet; it is left out",
    ]
    with file.open("a") as end:
        end.write(": 3}\n")
    assert (list(follower.look()), follower.broken) == ([{"n": 3}], 2)


def test_many_broken_lines_are_counted(tmp_path: Path) -> None:
    """Ten are said."""
    file = tmp_path / "file"
    file.write_text('{"n": 1}\n' + "nonsense\n" * 30 + '{"n": 2}\n')
    follower = Follower(file)
    said = [event for event in follower.look() if isinstance(event, str)]
    assert (len(said), follower.broken) == (10, 30)
    assert said[-1].endswith("it is left out; more of them are counted only")


def test_what_is_no_capture_is_said_once(tmp_path: Path) -> None:
    """Until another file has the name."""
    file = tmp_path / "file"
    file.write_text("nonsense\n")
    follower = Follower(file)
    said = f"{file} is broken at byte 0: it holds no JSON packets; it is watched for another one of that name"
    assert list(follower.look()) == [said]
    with file.open("a") as end:
        end.write("more\n")
    assert (list(follower.look()), follower.broken) == ([], 1)
    file.unlink()
    write(tmp_path / "other", range(1))
    (tmp_path / "other").rename(file)
    assert ids(list(follower.look()))[1:] == names(range(1))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """Nor is anything else that is never at its end."""
    with pytest.raises(OSError, match="it is no regular file"):
        list(Follower(tmp_path).look())
