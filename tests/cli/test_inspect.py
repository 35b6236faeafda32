"""`payi-otel inspect`: what was captured, as tables."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command import PAYI_OTEL

COMMAND = [*PAYI_OTEL, "inspect"]


def inspect(*arguments: str | Path, columns: int | None = 160) -> subprocess.CompletedProcess[str]:
    """Runs the command, on a wide terminal, or one of so many columns; None: on none."""
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | ({"COLUMNS": str(columns)} if columns else {})
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60, env=environ)


def packet(model: str, user: str, **more: Any) -> dict[str, Any]:
    """As it stands in an offline file."""
    return {
        "category": "system.openai",
        "resource": model,
        "units": {"text": {"input": 10, "output": 2}},
        "event_timestamp": "2026-01-01T10:20:30+00:00",
        "http_status_code": 200,
        "end_to_end_latency_ms": 100,
        "provider_response_id": "a",
        "user_id": user,
        **more,
    }


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Four packets."""
    packets = [
        packet("gpt-5", "alice"),
        packet("gpt-5", "bob", http_status_code=429, units={}),
        packet("gpt-5-mini", "bob"),
        packet("x", "a"),
    ]
    file = tmp_path / "packets.json"
    file.write_text("[\n" + ",\n".join(map(json.dumps, packets)) + "\n]")
    return file


def rows(said: str, first: str) -> list[list[str]]:
    """The cells of the table whose first column is called so."""
    lines = said.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.strip().startswith(first))
    table = []
    for line in lines[begin + 2 :]:
        if not line.strip():
            break
        table.append(line.split())
    return table


def test_tables_say_what_was_captured(capture: Path) -> None:
    """The largest first; a dimension that nothing is said of has no table."""
    done = inspect(capture)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("4 calls, 1 of them failed, 2026-01-01T10:20:30 to 2026-01-01T10:20:30\n")
    assert rows(done.stdout, "model") == [
        ["gpt-5", "2", "1", "10", "→", "2", "100", "100", "-", "0%"],
        ["gpt-5-mini", "1", "0", "10", "→", "2", "100", "100", "-", "0%"],
        ["x", "1", "0", "10", "→", "2", "100", "100", "-", "0%"],
    ]
    assert [row[0] for row in rows(done.stdout, "user")] == ["bob", "a", "alice"]
    assert "account" not in done.stdout


def test_what_is_asked_for_is_shown(capture: Path) -> None:
    """One table, its first rows, some packets."""
    done = inspect(capture, "--by", "user", "--top", "1", "--where", "model~gpt", "--where", "status<400")
    assert done.stdout.startswith("2 calls, 0 of them failed")
    assert [row[0] for row in rows(done.stdout, "user")] == ["alice"]
    assert "1 more; --top shows them" in done.stdout
    assert "model " not in done.stdout


def test_json_has_all_of_it(capture: Path, tmp_path: Path) -> None:
    """Also what the tables cut."""
    prices = tmp_path / "prices.csv"
    prices.write_text("category,resource,unit,input,output\n,gpt-5,text,1,2\n,gpt-5-mini,text,0.1,0.2\n")
    told = json.loads(inspect(capture, "--json", "--prices", prices).stdout)
    assert (told["total"]["calls"], told["total"]["cost"], told["total"]["unpriced"], told["broken"]) == (4, 15.4, 1, {})
    shown = inspect(capture, "--prices", prices).stdout
    assert "15.4000" not in rows(shown, "model")[0]
    assert rows(shown, "model")[0][-1] == "14.0000"
    assert "1 call is in no price table; the cost is that of the others" in shown


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, None])
def test_names_and_numbers_are_whole_on_any_terminal(tmp_path: Path, columns: int | None) -> None:
    """A narrow one has fewer columns, and says which are missing; calls, units and cost are there."""
    file, prices = tmp_path / "large.json", tmp_path / "prices.csv"
    file.write_text(json.dumps([packet("gpt-5", "bob", units={"text": {"input": 1_234_567_890, "output": 987_654_321}})] * 2))
    prices.write_text("category,resource,unit,input,output\n,gpt-5,text,1,1\n")
    done = inspect(file, "--by", "model", "--prices", prices, columns=columns)
    assert (done.returncode, done.stderr, "…" in done.stdout) == (0, "", False)
    row = rows(done.stdout, "model")[0]
    assert row[:2] == ["gpt-5", "2"]
    assert {"2,469,135,780", "→", "1,975,308,642", "4,444,444,422.0000"} <= set(row)
    assert ("no room for 1st token" in " ".join(done.stdout.split())) is (columns is not None and columns < 120)


def test_prices_of_nothing_that_was_called_are_said_to_be(capture: Path, tmp_path: Path) -> None:
    """A table with other names would look like none."""
    prices = tmp_path / "prices.csv"
    prices.write_text("category,resource,unit,input,output\n,claude,text,1,1\n")
    assert "\n3 calls are in no price table; so no cost is known\n" in inspect(capture, "--prices", prices, "--where", "status<400").stdout


def test_a_broken_file_is_read_as_far_as_it_goes(capture: Path) -> None:
    """Exit code 1, and where it breaks."""
    capture.write_bytes(capture.read_bytes()[:-20])
    done = inspect(capture, "--by", "model")
    assert done.returncode == 1
    assert done.stdout.startswith("3 calls, 1 of them failed")
    assert done.stderr.startswith(f"payi-otel inspect: {capture} is broken at byte ")


def test_several_files_are_one(capture: Path) -> None:
    """Whatever their layout."""
    lines = capture.with_name("lines.jsonl")
    lines.write_text(json.dumps(packet("gpt-5", "carol")) + "\n")
    assert inspect(capture, lines).stdout.startswith("5 calls")


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """They are the captured application's, or its users'."""
    file = tmp_path / "hostile.json"
    file.write_text(json.dumps([packet("\x1b[2Jgpt", "[bold red]x[/]\u202egnp.exe\r\n")]))
    done = inspect(file)
    assert done.returncode == 0
    assert not {"\x1b", "\u202e", "\r"} & set(done.stdout)
    assert "[bold red]x[/]" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing argument 'FILE...'"),
        (("missing.json",), "missing.json cannot be read (No such file or directory)"),
        (("{file}", "--where", "colour=red"), "--where: 'colour=red' is no filter; allowed: model,"),
        (("{file}", "--prices", "{file}"), "--prices: "),
        (("{file}", "--by", "colour"), "'colour' is not one of"),
    ],
)
def test_wrong_usage_says_what_to_do(capture: Path, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2."""
    done = inspect(*(argument.format(file=capture) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
