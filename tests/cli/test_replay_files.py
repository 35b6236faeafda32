"""`payi-otel replay FILE`: a capture becomes packets at Pay-i, each once, whatever comes in between."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command import PAYI_OTEL
from delivery_fakes import make_packet

from payi_otel.exporters.file import FileSink
from payi_otel.semconv import PayiHeaderNames
from payi_otel.testing import API_KEY, Answer, IngestServer

COMMAND = [*PAYI_OTEL, "replay"]


def environ(server: IngestServer | None, key: str = API_KEY) -> dict[str, str]:
    """Of a command that sends to this server."""
    url = server.url if server is not None else "http://127.0.0.1:9"
    return {**os.environ, "PAYI_BASE_URL": url, "PAYI_API_KEY": key}


def replay(server: IngestServer | None, *arguments: str | Path, key: str = API_KEY, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={**environ(server, key), **variables})


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Ten packets, as offline mode writes them."""
    file = tmp_path / "capture.json"
    write(file, range(10))
    return file


def write(file: Path, numbers: range) -> None:
    """Adds packets to a capture."""
    sink = FileSink(file)
    for number in numbers:
        sink.deliver(make_packet(number, user_id=f"user {number}", limit_ids=("a", "b"), resource_scope="eu", use_case_version=3))
    sink.close()


def ids(packets: list[dict[str, Any]]) -> list[str]:
    """Whose they are, in order."""
    return sorted(packet["body"]["provider_response_id"] for packet in packets)


def test_a_capture_is_the_packets_that_it_was_made_of(capture: Path, tmp_path: Path) -> None:
    """Body, scope and headers, as if they had been sent at once."""
    with IngestServer() as direct:
        from payi_otel import Payi
        from payi_otel.clients import to_target
        from payi_otel.exporters.http import HttpSink

        sink = HttpSink(to_target(Payi(api_key=direct.api_key, base_url=direct.url)), bulk=False)
        for number in range(10):
            sink.deliver(make_packet(number, user_id=f"user {number}", limit_ids=("a", "b"), resource_scope="eu", use_case_version=3))
        sink.close()
        expected = {packet["body"]["provider_response_id"]: to_facts(packet) for packet in direct.packets}
    with IngestServer() as server:
        done = replay(server, capture)
        assert {packet["body"]["provider_response_id"]: to_facts(packet) for packet in server.packets} == expected
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{capture}: accepted 10, duplicate 0, rejected 0, left 0\n"
    note = tmp_path / "capture.json.replayed"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600


def to_facts(packet: dict[str, Any]) -> dict[str, Any]:
    """A packet however it came: what stands in headers of a single one, in the item of a bulk."""
    names = {
        PayiHeaderNames.user_id.lower(): "user_id",
        PayiHeaderNames.limit_ids.lower(): "limit_ids",
        PayiHeaderNames.resource_scope.lower(): "scope",
        PayiHeaderNames.use_case_version.lower(): "use_case_version",
    }
    beside = {name: packet["headers"][header] for header, name in names.items() if header in packet["headers"]}
    facts = {**packet["body"], **beside}
    limits = facts.get("limit_ids")
    return {
        **facts,
        "limit_ids": limits.split(",") if isinstance(limits, str) else limits,
        "use_case_version": str(facts["use_case_version"]),
    }


def test_a_second_run_sends_what_is_new(capture: Path) -> None:
    """And `--again` all of it, which Pay-i recognises."""
    with IngestServer() as server:
        replay(server, capture)
        write(capture, range(10, 12))
        done = replay(server, capture)
        assert done.stdout == f"{capture}: accepted 2, duplicate 0, rejected 0, left 0\n  10 were sent before\n"
        again = replay(server, capture, "--again")
        found = re.fullmatch(rf"{capture}: accepted (\d+), duplicate (\d+), rejected 0, left 0\n", again.stdout)
        assert found is not None, again.stdout
        assert int(found[1]) + int(found[2]) == 12  # of those that go together Pay-i does not say which it had
        assert len(server.packets) == 12


def test_another_file_of_the_same_name_is_sent_whole(capture: Path) -> None:
    """A capture that was moved away (log rotation) took its packets with it; the note beside it is not of the new one."""
    with IngestServer() as server:
        replay(server, capture)
        capture.unlink()
        write(capture, range(10, 22))
        done = replay(server, capture)
        assert done.stdout == f"{capture}: accepted 12, duplicate 0, rejected 0, left 0\n"
        assert done.stderr == f"payi-otel replay: {capture}.replayed is of another file of that name, so this one is sent whole\n"
        assert replay(server, capture).stdout.endswith("  12 were sent before\n")
        assert ids(server.packets) == sorted(f"chatcmpl-{number}" for number in range(22))


def test_an_interrupted_run_is_gone_on_with(capture: Path) -> None:
    """Ctrl-C: exit code 130, a report, and no packet lost or counted twice."""
    with IngestServer() as server:
        running = subprocess.Popen([*COMMAND, str(capture), "--rate", "4"], stdout=subprocess.PIPE, text=True, env=environ(server))
        assert server.wait_for_packets(3, timeout_s=30)
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
        assert running.returncode == 130
        assert said.startswith(f"{capture}: accepted ")
        assert said.endswith("  interrupted: the same command goes on from here\n")
        taken = len(server.packets)
        assert 3 <= taken < 10
        done = replay(server, capture)
        assert done.returncode == 0
        assert ids(server.packets) == sorted(f"chatcmpl-{number}" for number in range(10))


def test_the_rate_is_kept(capture: Path) -> None:
    """Ten packets at five a second take no less than their time."""
    with IngestServer() as server:
        began = time.monotonic()
        assert replay(server, capture, "--rate", "5").returncode == 0
        assert time.monotonic() - began >= 1.8


def test_what_is_refused_is_kept_as_a_capture(capture: Path, tmp_path: Path) -> None:
    """With Pay-i's reason in the report; the rest is delivered."""
    with IngestServer(bulk_enabled=False) as server:
        server.decide(lambda request: Answer(402) if request["query"].get("id") in ("chatcmpl-3", "chatcmpl-4") else None)
        done = replay(server, capture, "--json")
        report = json.loads(done.stdout)["files"][0]
        assert (report["accepted"], report["rejected"], report["left"]) == (8, {"http_402": 2}, 0)
        assert done.returncode == 1
        refused = tmp_path / "capture.json.rejected"
        assert [record["provider_response_id"] for record in json.loads(refused.read_bytes())] == ["chatcmpl-3", "chatcmpl-4"]
        assert stat.S_IMODE(refused.stat().st_mode) == 0o600
        server.decide(None)
        assert replay(server, refused).stdout == f"{refused}: accepted 2, duplicate 0, rejected 0, left 0\n"


def test_a_wrong_key_ends_it_at_once(capture: Path) -> None:
    """It does not pass by itself; all is left for the next run."""
    with IngestServer() as server:
        done = replay(server, capture, key="wrong")
        assert (done.returncode, done.stdout) == (1, f"{capture}: accepted 0, duplicate 0, rejected 0, left 10\n")
        assert "check PAYI_API_KEY" in done.stderr
        assert "were lost" not in done.stderr
        assert replay(server, capture).returncode == 0


def test_a_pay_i_that_is_down_is_waited_for(capture: Path) -> None:
    """As long as was said, and nothing is lost."""
    done = replay(None, capture, "--timeout", "1")
    assert (done.returncode, done.stdout) == (1, f"{capture}: accepted 0, duplicate 0, rejected 0, left 10\n")
    assert "were lost" not in done.stderr
    with IngestServer() as server:
        assert replay(server, capture).returncode == 0
        assert len(server.packets) == 10


def test_a_dry_run_sends_nothing(capture: Path) -> None:
    """And leaves no note."""
    with IngestServer() as server:
        done = replay(server, capture, "--dry-run")
        assert done.stdout == f"{capture}: 10 packets would be sent to {server.url}, 0 were sent before\n"
        assert server.requests == []
    assert [file.name for file in capture.parent.iterdir()] == ["capture.json"]


def test_a_dry_run_names_the_address_that_the_run_would_use(capture: Path) -> None:
    """Also one that stands in a flag of the launcher's."""
    done = replay(None, capture, "--dry-run", OTEL_PAYI_BASE_URL="https://pay-i.example")
    assert done.stdout == f"{capture}: 10 packets would be sent to https://pay-i.example, 0 were sent before\n"


def test_a_broken_file_is_sent_as_far_as_it_goes(capture: Path) -> None:
    """And it is said where it breaks; what is no packet is refused here."""
    whole = capture.read_bytes()
    capture.write_bytes(whole[: whole.index(b"chatcmpl-5")])
    offset = whole[: whole.index(b"chatcmpl-5")].rindex(b"\n") + 1
    with IngestServer() as server:
        done = replay(server, capture)
        assert done.returncode == 1
        assert done.stdout.endswith(f"  the file is broken at byte {offset}: it ends in the middle of a packet\n")
        assert ids(server.packets) == [f"chatcmpl-{number}" for number in range(5)]


def test_what_is_no_packet_is_refused_here(tmp_path: Path) -> None:
    """Pay-i is not asked."""
    file = tmp_path / "other.json"
    file.write_text('[\n{"hello": "world"}\n]')
    with IngestServer() as server:
        done = replay(server, file)
        assert done.stdout.startswith(f"{file}: accepted 0, duplicate 0, rejected 1, left 0\n  rejected: 1 (not_a_packet)\n")
        assert server.requests == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a capture FILE to send, or --spool DIRECTORY"),
        (("missing.json",), "missing.json is not there: give a file"),
        (("--spool", "missing"), "missing is no directory"),
        (("--rate", "0", "x"), "--rate"),
        (("--timeout", "-1", "x"), "--timeout"),
        (("pipe",), "pipe is no file that can be read twice"),
        (("--dry-run", "--spool", "."), "--dry-run is for files"),
    ],
)
def test_wrong_usage_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2."""
    os.mkfifo(tmp_path / "pipe")
    command = [*COMMAND, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60, env=environ(None))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
