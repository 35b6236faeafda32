"""`payi-otel watch`: a running process's calls as they come, of its offline file or sent to a tap."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from command import PAYI_OTEL
from delivery_fakes import make_packet
from openai_shapes import completion
from provider_server import ProviderServer, Reply

from payi_otel.exporters.file import FileSink

pytest.importorskip("openai")

COMMAND = [*PAYI_OTEL, "watch"]
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
ANY_SEQUENCE = re.compile(r"\x1b\[[?\d;]*[a-zA-Z]")
HOSTILE = "\x1b]0;forged\x07\x1b[2Jgpt\u202e\r\nnext"
CALL_APP = """
import sys
import openai
import payi_otel

payi_otel.payi_instrument(config=CONFIG)
with openai.OpenAI(api_key="sk-test", base_url=sys.argv[1] + "/v1", max_retries=0) as client:
    for user in sys.argv[2:]:
        with payi_otel.track_context(user_id=user):
            client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "a secret prompt"}])
payi_otel.shutdown(30)
"""


class Stream:
    """What a process writes, while it writes it."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._content = b""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        while part := self._read():
            with self._changed:
                self._content += part
                self._changed.notify_all()

    @property
    def text(self) -> str:
        """So far."""
        return self._content.decode()

    def wait_for(self, text: str, count: int = 1) -> None:
        """Until it stands there so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.text.count(text) >= count, 20), self.text

    def whole(self) -> str:
        """When the process has ended."""
        self._thread.join(30)
        return self.text


class Watching:
    """The command, running."""

    def __init__(self, process: subprocess.Popen[bytes], out: Stream, errors: Stream) -> None:
        self.process, self.out, self.errors = process, out, errors

    def end(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Ends it as Ctrl-C does; the exit code, and all that it wrote."""
        self.process.send_signal(number)
        self.process.wait(30)
        return self.process.returncode, self.out.whole(), self.errors.whole()

    @property
    def tap(self) -> tuple[str, int]:
        """Host and port of the tap."""
        self.errors.wait_for("payi-otel run")
        (host, port), *_ = re.findall(r"PAYI_BASE_URL=http://([\d.]+):(\d+) ", self.errors.text)
        return host, int(port)


@contextmanager
def watch(*arguments: str | Path, folder: Path | None = None) -> Iterator[Watching]:
    """Starts it with pipes."""
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder)
    streams = [Stream(lambda pipe=pipe: os.read(pipe.fileno(), 65536)) for pipe in (process.stdout, process.stderr) if pipe]
    with ended(process):
        yield Watching(process, *streams)


@contextmanager
def watch_on_terminal(*arguments: str | Path) -> Iterator[Watching]:
    """Starts it on a terminal of 100 columns and 24 lines."""
    fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "TTY_COMPATIBLE")}
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdin=its, stdout=its, stderr=subprocess.PIPE, env={**environ, "TERM": "xterm-256color"}
    )
    os.close(its)

    def read() -> bytes:
        try:
            return os.read(ours, 65536)
        except OSError:  # what a terminal says when nobody is at it any more
            return b""

    pipe = process.stderr
    assert pipe is not None
    with ended(process):
        yield Watching(process, Stream(read), Stream(lambda: os.read(pipe.fileno(), 65536)))
    os.close(ours)


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Whatever comes in between."""
    try:
        yield
    finally:
        process.kill()
        process.wait()
        pipes: list[IO[bytes] | None] = [process.stdout, process.stderr]
        for pipe in pipes:
            if pipe is not None:
                pipe.close()


@pytest.fixture
def call(provider: ProviderServer, tmp_path: Path) -> Callable[..., None]:
    """Runs a program that makes a call for each of these users."""
    provider.always("/chat/completions", lambda number: Reply(completion(id=f"chatcmpl-{number}", model="gpt-4o-mini")))
    app = tmp_path / "app.py"

    def run(*users: str, config: dict[str, Any], **variables: str) -> None:
        app.write_text(CALL_APP.replace("CONFIG", repr({"use_case_name": "shop", **config})))
        command = [sys.executable, str(app), provider.url, *users]
        subprocess.run(command, check=True, timeout=60, env={**os.environ, **variables})

    return run


def write(file: Path, numbers: Sequence[int], **changes: Any) -> None:
    """Adds packets, as offline mode does."""
    sink = FileSink(file)
    for number in numbers:
        sink.deliver(make_packet(number, {"end_to_end_latency_ms": 100, **changes}, user_id=f"user{number}"))
    sink.close()


def line(number: int) -> str:
    """What is shown of such a packet."""
    return f"00:00:00  gpt-5  text 10 → 5  100 ms  user{number}\n"


def post(tap: tuple[str, int], path: str, body: object, **headers: str | None) -> tuple[int, dict[str, Any]]:
    """One request to a tap; a header that is None is not sent."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection(*tap, timeout=30)
    said = {"content_type": "application/json", "host": f"{tap[0]}:{tap[1]}", "content_length": str(len(content)), **headers}
    connection.putrequest("POST", path, skip_host=True)
    for name, value in said.items():
        if value is not None:
            connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(content)
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()
    return answer.status, told


def test_a_program_is_watched_from_before_it_begins(call: Callable[..., None], tmp_path: Path) -> None:
    """Its file is waited for; each packet is a line, without a word of what was said; Ctrl-C ends it with the totals."""
    file = tmp_path / "packets.json"
    with watch(file) as watching:
        watching.errors.wait_for(f"payi-otel watch: {file} is not there yet: waiting for it\n")
        for count, users in enumerate((["ada", "bob"], ["eve"]), 1):
            call(*users, config={"offline_instrumentation": {"file_name": str(file)}})
            watching.out.wait_for("shop eve\n" if count == 2 else "shop bob\n")
        code, out, errors = watching.end()
    *lines, totals = out.splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d  |\d+ ms", "", one) for one in lines] == [
        f"gpt-4o-mini  text 12 → 5    shop {user}" for user in ("ada", "bob", "eve")
    ]
    assert totals == "3 calls, 0 of them failed, units 36 → 15"
    assert (code, errors.count("\n")) == (0, 1)
    assert not CONTROLS.search(out)


def test_json_is_each_packet_whole(tmp_path: Path) -> None:
    """Nothing else is on stdout; the totals are on stderr."""
    file = tmp_path / "packets.json"
    write(file, range(3), resource=HOSTILE)
    with watch(file, "--json", "--where", "user!=user1") as watching:
        watching.out.wait_for("\n", 2)
        write(file, [3])
        watching.out.wait_for("\n", 3)
        code, out, errors = watching.end()
    packets = [packet for packet in json.loads(file.read_text()) if packet["user_id"] != "user1"]
    assert [json.loads(one) for one in out.splitlines()] == packets
    assert (code, errors) == (0, "3 calls, 0 of them failed, units 30 → 15\n")
    assert not CONTROLS.search(out)


def test_prices_are_the_users(tmp_path: Path) -> None:
    """And what has none is said; failed calls have their status."""
    file, prices = tmp_path / "packets.json", tmp_path / "prices.csv"
    prices.write_text("category,resource,unit,input,output\n,gpt-5,text,0.5,1\n")
    write(file, range(2))
    write(file, [2], resource="other", http_status_code=429)
    with watch(file, "--prices", prices) as watching:
        watching.out.wait_for("\n", 3)
        code, out, _ = watching.end()
    assert out.splitlines()[2:] == [
        "00:00:00  other  text 10 → 5  100 ms  user2  HTTP 429",
        "3 calls, 1 of them failed, units 30 → 15, cost 20.0000 (1 call without a price)",
    ]
    assert code == 0


def test_a_file_that_is_another_one_is_begun_anew(tmp_path: Path) -> None:
    """Truncated or replaced, that is said; what was counted stays counted."""
    file = tmp_path / "packets.json"
    anew = "it is read from its beginning, and what was counted stays counted"
    write(file, range(4))
    with watch(file) as watching:
        watching.out.wait_for(line(3))
        os.truncate(file, 0)
        write(file, [4])
        watching.out.wait_for(line(4))
        write(tmp_path / "other", [5])
        (tmp_path / "other").replace(file)
        watching.out.wait_for(line(5))
        code, out, errors = watching.end()
    assert out == "".join(map(line, range(6))) + "6 calls, 0 of them failed, units 60 → 30\n"
    assert errors == f"payi-otel watch: {file} was truncated: {anew}\npayi-otel watch: {file} was replaced: {anew}\n"
    assert code == 0


def test_a_broken_line_is_said_and_left_out(tmp_path: Path) -> None:
    """The watching goes on; exit code 1. A packet that is written half is no fault, and is shown when it is whole."""
    file = tmp_path / "packets.jsonl"
    packet = json.dumps(make_packet(1, user_id="ada").to_offline_record())
    file.write_text(f"{packet}\nnonsense\n{packet}\n{packet[:50]}")
    with watch(file) as watching:
        watching.out.wait_for("ada\n", 2)
        with file.open("a") as end:
            end.write(packet[50:])
        watching.out.wait_for("ada\n", 3)
        code, out, errors = watching.end()
    assert out.splitlines()[-1] == "3 calls, 0 of them failed, units 30 → 15"
    where = len(packet) + 1
    assert errors == f"payi-otel watch: {file} is broken at byte {where}: what stands there is no packet; it is left out\n"
    assert code == 1


def test_what_a_packet_says_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """Nor can what is no text where one is expected end it."""
    file = tmp_path / "packets.jsonl"
    odd = {"resource": 7, "units": {"x": {"input": "many"}, "y": 1}, "http_status_code": "no", "event_timestamp": [], "user_id": {"a": 1}}
    file.write_text(json.dumps({**odd, "resource": HOSTILE * 1000}) + "\n" + json.dumps(odd) + "\n{}\n")
    with watch(file) as watching:
        watching.out.wait_for("\n", 3)
        code, out, errors = watching.end()
    assert (code, errors, len(out.splitlines())) == (0, "", 4)
    assert not CONTROLS.search(out)
    assert max(map(len, out.splitlines())) == 500


def test_a_terminal_shows_a_view(tmp_path: Path) -> None:
    """Totals, a table and the last packets, drawn anew as packets come; Ctrl-C takes it away and leaves the totals."""
    file = tmp_path / "packets.json"
    write(file, range(2))
    with watch_on_terminal(file, "--by", "user", "--top", "3") as watching:
        watching.out.wait_for("2 calls, 0 of them failed, units 20 → 10, 0 in the last minute")
        write(file, range(2, 40))
        watching.out.wait_for("40 calls, 0 of them failed, units 400 → 200, 38 in the last minute")
        watching.out.wait_for("37 more; --top shows them")
        code, out, errors = watching.end()
    assert (code, errors) == (0, "")
    *_, frame = out[: out.rindex("\x1b[?25h")].split("watching packets.json; Ctrl-C ends it")
    shown = [one.rstrip() for one in ANY_SEQUENCE.sub("", frame).split("\r\n")]
    assert len(shown) <= 24
    assert [one for one in shown if one.startswith("00:00:00")][-1] == line(39).rstrip()
    left = ANY_SEQUENCE.sub("", out[out.rindex("\x1b[?25h") :]).strip().splitlines()
    assert left[0] == "40 calls, 0 of them failed, units 400 → 200"
    assert [one.split()[0] for one in left[1:] if one.strip(" ─")] == ["user", "user0", "user1", "user10", "37"]


def test_a_view_cannot_be_steered(tmp_path: Path) -> None:
    """Not by names, in the table or the lines, nor by the file's."""
    file = tmp_path / "\x1b[2Jname"
    write(file, range(2), resource=HOSTILE)
    with watch_on_terminal(file) as watching:
        watching.out.wait_for("2 calls, 0 of them failed")
        file.unlink()
        watching.out.wait_for("is not there any more: waiting for it")
        code, out, _ = watching.end()
    assert code == 0
    assert not {"\u202e", "\x07"} & set(out)
    assert "\x1b[2J" not in out
    assert "\x1b]" not in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_the_totals(tmp_path: Path, number: int) -> None:
    """Also by what a service manager sends, also while it waits; on a terminal the cursor is given back."""
    with watch_on_terminal(tmp_path / "never") as watching:
        watching.out.wait_for("Ctrl-C ends it")
        code, out, _ = watching.end(number)
    assert code == 0
    assert out[out.rindex("\x1b[?25h") :].endswith("0 calls, 0 of them failed, units 0 → 0\r\n")


def test_a_reader_may_leave(tmp_path: Path) -> None:
    """`| head -1` is no fault."""
    file = tmp_path / "packets.json"
    write(file, [0])
    process = subprocess.Popen([*COMMAND, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with ended(process):
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().decode() == line(0)
        process.stdout.close()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            write(file, [1])
        assert (process.returncode, process.stderr.read()) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
def test_an_output_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    """In one line, with exit code 1."""
    write(tmp_path / "packets.json", [0])
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, str(tmp_path / "packets.json")], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, b"payi-otel watch: the output cannot be written (No space left on device)\n")


def test_a_tap_takes_the_packets_of_a_program(call: Callable[..., None], tmp_path: Path) -> None:
    """Singly, and by bulk where a name cannot stand in a header; with any key; whose call it was, and nothing is stored."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with watch("--tap", "--json", folder=folder) as watching:
        url = "http://{}:{}".format(*watching.tap)
        call("ada", "Zoë Ångström", config={"ingest_bulk": "auto"}, PAYI_BASE_URL=url, PAYI_API_KEY="any")
        watching.out.wait_for("\n", 2)
        code, out, errors = watching.end()
    packets = {packet["user_id"]: packet for packet in map(json.loads, out.splitlines())}
    assert [(user, packet["use_case_name"], packet["units"]) for user, packet in sorted(packets.items())] == [
        (user, "shop", {"text": {"input": 12, "output": 5}}) for user in ("Zoë Ångström", "ada")
    ]
    assert "It stores nothing, and what is sent to it does not reach Pay-i." in errors
    assert errors.endswith("2 calls, 0 of them failed, units 24 → 10\n")
    assert (code, list(folder.iterdir())) == (0, [])


def test_a_tap_records_what_a_file_would_hold(tmp_path: Path) -> None:
    """A packet is the same record, whichever way it comes; the same one again is one."""
    scope = {
        "limit_ids": ("a", "b"),
        "use_case_name": "shop",
        "use_case_id": "7",
        "use_case_version": 3,
        "use_case_step": "two",
        "user_id": "ada",
        "account_name": "acme",
        "resource_scope": "eu",
    }
    packets = [make_packet(number, **scope) for number in range(3)]
    headers = {
        "xproxy-limit-ids": "a,b",
        "xproxy-usecase-name": "shop",
        "xproxy-usecase-id": "7",
        "xproxy-usecase-version": "3",
        "xproxy-usecase-step": "two",
        "xproxy-user-id": "ada",
        "xproxy-account-name": "acme",
        "xproxy-resource-scope": "eu",
    }
    with watch("--tap", "--json") as watching:
        for is_known in (False, True):
            status, told = post(watching.tap, "/api/v1/ingest?id=chatcmpl-0", dict(packets[0].body), **headers)
            assert (status, told["xproxy_result"]["duplicate_request"]) == (200, is_known)
            status, told = post(watching.tap, "/api/v1/ingest/bulk-upsert", [packet.to_bulk_item() for packet in packets])
            assert (status, told["ingest_count"], told["errors"]) == (200, 3, [])
        watching.out.wait_for("\n", 3)
        code, out, _ = watching.end()
    assert [json.loads(one) for one in out.splitlines()] == [packet.to_offline_record() for packet in packets]
    assert code == 0


def test_a_tap_takes_what_the_published_sdk_sends() -> None:
    """Singly and by bulk; its answers are those that the SDK reads."""
    published = pytest.importorskip("payi")
    packet = {"category": "system.openai", "resource": "gpt-5", "units": {"text": {"input": 10, "output": 5}}}
    with watch("--tap") as watching:
        with published.Payi(api_key="any", base_url="http://{}:{}".format(*watching.tap), max_retries=0) as client:
            single = client.ingest.units(**packet, user_id="ada", use_case_name="shop", limit_ids=["a"], provider_response_id="r")
            bulk = client.ingest.bulk(events=[{**packet, "user_id": "bob"}])
        watching.out.wait_for("\n", 2)
        code, out, _ = watching.end()
    assert (single.xproxy_result.duplicate_request, bulk.ingest_count, bulk.error_count) == (False, 1, 0)
    assert [one.split("  ")[-1] for one in out.splitlines()[:2]] == ["shop ada", "bob"]
    assert code == 0


def test_a_tap_refuses_what_pay_i_would(tmp_path: Path) -> None:
    """Each with the answer that says so, and a line; what is right in a bulk is taken; exit code 1."""
    good, bad = make_packet(1, user_id="ada").to_bulk_item(), {"category": "c", "units": {"text": {"input": -1}}}
    with watch("--tap") as watching:
        status, told = post(watching.tap, "/api/v1/ingest/bulk", [bad, good, 7])
        assert (status, told["ingest_count"], [error["item_index"] for error in told["errors"]]) == (400, 1, [0, 2])
        assert post(watching.tap, "/api/v1/ingest", bad)[1]["xproxy_error"]["code"] == "invalid_json"
        assert post(watching.tap, "/api/v1/ingest", b"{")[0] == 400
        assert post(watching.tap, "/api/v1/ingest/bulk", {})[0] == 400
        assert post(watching.tap, "/api/v1/ingest", dict(make_packet(2).body), content_type=None)[0] == 400
        watching.out.wait_for("ada\n")
        code, out, errors = watching.end()
    assert out.splitlines()[-1] == "1 call, 0 of them failed, units 10 → 5"
    assert errors.count("payi-otel watch: a packet was refused, as Pay-i would: ") == 6
    assert code == 1


def test_a_tap_is_for_programs_on_this_machine() -> None:
    """Not for a page in a browser that has a name lead here, nor for anything but packets of a size that can be."""
    body = dict(make_packet(1).body)
    with watch("--tap") as watching:
        assert watching.tap[0] == "127.0.0.1"
        assert post(watching.tap, "/api/v1/ingest", body, host="evil.example")[0] == 403
        assert post(watching.tap, "/api/v1/proxy/openai", body)[0] == 404
        assert post(watching.tap, "/api/v1/ingest", b"", content_length=None)[0] == 411
        assert post(watching.tap, "/api/v1/ingest", b"", content_length=str(10**12))[0] == 413
        code, out, _ = watching.end()
    assert (code, out) == (0, "0 calls, 0 of them failed, units 0 → 0\n")


def test_a_tap_on_a_terminal_is_a_view(call: Callable[..., None]) -> None:
    """As of a file."""
    with watch_on_terminal("--tap", "--by", "use-case") as watching:
        url = "http://{}:{}".format(*watching.tap)
        call("ada", "bob", config={"ingest_bulk": True}, PAYI_BASE_URL=url, PAYI_API_KEY="any")
        watching.out.wait_for("2 calls, 0 of them failed, units 24 → 10, 2 in the last minute")
        code, out, _ = watching.end()
    assert code == 0
    assert "a tap that stores nothing; Ctrl-C ends it" in out
    assert "use case" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give the FILE to watch, or --tap; not both"),
        (("{file}", "--tap"), "give the FILE to watch, or --tap; not both"),
        (("{file}", "--port", "80"), "--port is the tap's: give --tap, too"),
        (("--tap", "--port", "{port}"), "--port {port}: 127.0.0.1 cannot be listened on (Address already in use): give another, or none"),
        (("{folder}",), "{folder} cannot be read (it is no regular file): give a file that is written by offline_instrumentation"),
        (("{file}", "--where", "colour=red"), "--where: 'colour=red' is no filter; allowed: model,"),
        (("{file}", "--prices", "{file}"), "--prices: "),
        (("{file}", "--by", "hour"), "'hour' is not one of"),
    ],
)
def test_wrong_usage_says_what_to_do(tmp_path: Path, provider: ProviderServer, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, and nothing is watched."""
    file = tmp_path / "packets.json"
    write(file, [1])
    names = {"file": file, "folder": tmp_path, "port": provider.url.rpartition(":")[2]}
    command = [*COMMAND, *(argument.format(**names) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert said.format(**names) in done.stderr
