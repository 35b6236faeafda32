"""What `payi-otel` writes to: terminals that know no arrows, streams that are closed, disks that are full."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from command import PAYI_OTEL

COMMAND = [*PAYI_OTEL]
PACKET = {
    "category": "system.openai",
    "resource": "gpt-é",
    "units": {"text": {"input": 10, "output": 2}},
    "provider_response_id": "a",
    "user_id": "ß",
}


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """One packet, with names that ASCII has not."""
    file = tmp_path / "packets.json"
    file.write_text(json.dumps([PACKET]))
    return file


def shell(line: str, capture: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a line of a shell's in which `"$@"` is the command and `$file` the capture."""
    script = "file=$1; shift; " + line
    environ = {**os.environ, "COLUMNS": "120", **variables}
    return subprocess.run(
        ["sh", "-c", script, "sh", str(capture), *COMMAND], capture_output=True, check=False, timeout=60, env=environ, cwd=capture.parent
    )


def test_what_an_encoding_lacks_is_a_question_mark(capture: Path) -> None:
    """And the rest is said."""
    done = shell('"$@" inspect "$file"', capture, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gpt-?" in done.stdout
    assert b"10 ? 2" in done.stdout


@pytest.mark.parametrize(
    "line",
    [
        '"$@" inspect "$file" >&-',
        '"$@" report "$file" >&-',
        '"$@" replay "$file" --dry-run >&-',
        '"$@" run --offline kept.json -- true >&-',
        '"$@" run --offline kept.json -- true 2>&-',
        '"$@" doctor --offline -- true >&-; test $? = 1',
    ],
)
def test_closed_streams_are_no_fault(capture: Path, line: str) -> None:
    """The command does its work; the doctor finds that `true` gave no account."""
    done = shell(line, capture)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
@pytest.mark.parametrize("options", ["", "--json"])
def test_a_full_disk_is_one_line(capture: Path, options: str) -> None:
    """Exit code 1."""
    done = shell(f'"$@" inspect "$file" {options} >/dev/full', capture)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"payi-otel inspect: cannot go on: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("command", ["inspect $file", "doctor --offline"])
def test_a_reader_that_has_enough_is_no_fault(capture: Path, command: str) -> None:
    """`| head -1` gets its line, and nothing is said."""
    done = shell(f'"$@" {command} | head -1', capture)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 1
