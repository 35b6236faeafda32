"""`payi-otel demo`: run as users run it, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-c", "import sys; from payi_otel.cli import main; sys.exit(main())"]
TIMEOUT_S = 60
UNREACHABLE_PROXY = "http://127.0.0.1:9"


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `payi-otel` with these arguments to its end."""
    env = {**os.environ, "COLUMNS": "200", "TMPDIR": str(cwd), **environment}
    return subprocess.run([*COMMAND, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)


def units(**counts: tuple[int, int]) -> dict[str, dict[str, int]]:
    """Units of a packet, from (input, output) pairs."""
    return {name: {"input": count[0], "output": count[1]} for name, count in counts.items()}


EXPECTED = {
    "chat": ("gpt-4.1", "support_chat", "alice", 200),
    "chat, streamed": ("gpt-4.1", "support_chat", "bob", 200),
    "responses": ("gpt-5-mini", "summaries", "alice", 200),
    "embeddings": ("text-embedding-3-small", "search", None, 200),
    "chat with a tool": ("gpt-4.1", "support_chat", "carol", 200),
    "chat, refused": ("gpt-4.1", "support_chat", "dave", 429),
    "async chat": ("gpt-5-mini", "summaries", "erin", 200),
    "async chat, streamed": ("gpt-4.1", "support_chat", "frank", 200),
    "async responses, streamed": ("gpt-5-mini", "summaries", "grace", 200),
}


@pytest.fixture(scope="module")
def packets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The packets of one run, by the call they tell of."""
    folder = tmp_path_factory.mktemp("demo")
    done = run("demo", "--keep", "kept.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return {packet["properties"]["call"]: packet for packet in json.loads((folder / "kept.json").read_bytes())}


def test_every_call_is_attributed(packets: dict[str, dict[str, Any]]) -> None:
    """Nine calls, nine packets, each with its model, use case, user and status, concurrent ones too."""
    seen = {
        call: (packet["resource"], packet["use_case_name"], packet.get("user_id"), packet["http_status_code"])
        for call, packet in packets.items()
    }
    assert seen == EXPECTED


def test_units_are_what_the_provider_reported(packets: dict[str, dict[str, Any]]) -> None:
    """Cached and reasoning tokens stand apart from text; a tool call is captured."""
    assert packets["chat"]["units"] == units(text=(1421, 27))
    assert packets["chat, streamed"]["units"] == units(text=(11, 27), text_cache_read=(1408, 0))
    assert packets["responses"]["units"] == units(text=(9, 27), reasoning=(0, 192))
    assert packets["chat, refused"]["units"] == {}
    assert packets["chat with a tool"]["provider_response_function_calls"] == [
        {"name": "find_order", "arguments": '{"order_id": "A-1027"}'}
    ]


def test_table_and_file_are_shown(tmp_path: Path) -> None:
    """A person sees one line a call and where the packets are; only the user may read that file."""
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(call in done.stdout for call in EXPECTED)
    file = Path(next(line for line in done.stdout.splitlines() if line.startswith("9 packets")).rpartition(" ")[2])
    assert len(json.loads(file.read_bytes())) == len(EXPECTED)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_other_commands_are_shown_with_its_packets(tmp_path: Path) -> None:
    """Tables, a page, and a delivery to a Pay-i on loopback; each as one would type it."""
    done = run("demo", cwd=tmp_path, HTTP_PROXY=UNREACHABLE_PROXY, PAYI_API_KEY="key", PAYI_BASE_URL=UNREACHABLE_PROXY)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    shown = [part.split("\n", 1) for part in done.stdout.split("\n$ payi-otel ")[1:]]
    assert [command.split()[0] for command, _ in shown] == ["inspect", "report", "replay", "doctor"]
    file = Path(shown[0][0].split()[1])
    assert "9 calls, 1 of them failed" in shown[0][1]
    assert shown[1][1].strip() == f"{file.with_name('report.html')}: 9 calls"
    assert f"{file}: accepted 9, duplicate 0, rejected 0, left 0\n" in shown[2][1]
    assert file.with_name("report.html").stat().st_mode & 0o777 == 0o600
    assert re.search(r"^openai \S+: instrumented, \d+ methods$", shown[3][1], re.MULTILINE)


def test_json_is_for_programs(tmp_path: Path) -> None:
    """`--json` prints one JSON object and nothing else on standard output."""
    done = run("demo", "--json", "--keep", "kept.json", cwd=tmp_path)
    shown = json.loads(done.stdout)
    assert shown["file"] == "kept.json"
    assert {row["call"]: row["user"] for row in shown["calls"] if row["status"] == 200} == {
        call: user or "" for call, (_, _, user, status) in EXPECTED.items() if status == 200
    }


def test_environment_does_not_lead_it_astray(tmp_path: Path) -> None:
    """Proxies, keys and endpoints of the environment are not used: nothing but loopback is called."""
    done = run(
        "demo",
        cwd=tmp_path,
        NO_PROXY="",
        HTTP_PROXY=UNREACHABLE_PROXY,
        ALL_PROXY=UNREACHABLE_PROXY,
        OPENAI_BASE_URL=UNREACHABLE_PROXY,
        PAYI_API_KEY="key",
        PAYI_BASE_URL=UNREACHABLE_PROXY,
    )
    assert done.returncode == 0, done.stderr


def test_missing_sdk_is_one_clear_line(tmp_path: Path) -> None:
    """Without the OpenAI SDK the command says what to install, and exits with 2."""
    script = "import sys; sys.modules['openai'] = None; from payi_otel.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "payi-otel demo needs the OpenAI SDK: pip install 'payi-otel[openai]'\n"


def test_interrupt_ends_it_quietly(tmp_path: Path) -> None:
    """Ctrl-C exits with 130 and no traceback."""
    python, flag, code = COMMAND
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's background job ignores it
    command = [python, flag, heard + code, "demo"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        assert "A provider listens on" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_version_and_usage(tmp_path: Path) -> None:
    """`--version` names the version; no command at all is wrong usage."""
    assert run("--version", cwd=tmp_path).stdout.startswith("payi-otel 0.")
    assert run(cwd=tmp_path).returncode == 2
