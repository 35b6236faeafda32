"""`payi-otel report`: what was captured, as a page."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command import PAYI_OTEL

COMMAND = [*PAYI_OTEL, "report"]


def report(*arguments: str | Path, folder: Path, umask: int = -1) -> subprocess.CompletedProcess[str]:
    """Runs the command there."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=folder, umask=umask)


def packet(user: str, **more: Any) -> dict[str, Any]:
    """As it stands in an offline file."""
    return {
        "category": "system.openai",
        "resource": "gpt-5",
        "units": {"text": {"input": 10, "output": 2}},
        "event_timestamp": "2026-01-01T10:20:30+00:00",
        "http_status_code": 200,
        "end_to_end_latency_ms": 100,
        "provider_response_id": "a",
        "provider_request_json": '{"messages": "a secret question"}',
        "provider_response_json": '{"choices": "a secret answer"}',
        "user_id": user,
        **more,
    }


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Three packets."""
    file = tmp_path / "packets.json"
    file.write_text(json.dumps([packet("alice"), packet("bob"), packet("bob", http_status_code=500)]))
    return file


def data_in(page: Path) -> dict[str, Any]:
    """What the page draws."""
    return json.loads(page.read_text().split('id="data">', 1)[1].split("</script>", 1)[0])


def test_the_page_is_there_and_private(capture: Path) -> None:
    """Under the name that was asked for, or `report.html`; what users said is not in it."""
    done = report(capture, folder=capture.parent, umask=0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "report.html: 3 calls\n", "")
    page = capture.parent / "report.html"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "secret" not in page.read_text()
    other = report(capture, "-o", "other.html", folder=capture.parent)
    assert (other.returncode, other.stdout) == (0, "other.html: 3 calls\n")
    assert (capture.parent / "other.html").read_text() == page.read_text()
    assert sorted(file.name for file in capture.parent.iterdir()) == ["other.html", "packets.json", "report.html"]


def test_a_page_takes_the_place_of_an_older_one(capture: Path) -> None:
    """Also with its mode, and through a link nothing else is written."""
    (capture.parent / "precious").write_text("precious")
    (capture.parent / "report.html").symlink_to("precious")
    assert report(capture, folder=capture.parent).returncode == 0
    page = capture.parent / "report.html"
    assert (page.is_symlink(), stat.S_IMODE(page.stat().st_mode)) == (False, 0o600)
    assert (capture.parent / "precious").read_text() == "precious"


def test_filters_and_prices_are_those_of_inspect(capture: Path) -> None:
    """And the page says which were used."""
    prices = capture.with_name("prices.csv")
    prices.write_text("category,resource,unit,input,output\n,gpt-5,text,1,2\n")
    done = report(capture, "--where", "user=bob", "--prices", prices, "--json", folder=capture.parent)
    assert json.loads(done.stdout) == {"file": "report.html", "calls": 2, "broken": {}}
    data = data_in(capture.parent / "report.html")
    assert (data["where"], data["total"]["cost"], data["total"]["unpriced"]) == (["user=bob"], 28.0, 0)


def test_captured_costs_need_no_prices(capture: Path) -> None:
    """What Pay-i said a call cost is what it cost."""
    capture.write_text(json.dumps([packet("alice", xproxy_result={"cost": {"total": {"base": 0.5}}}), packet("bob")]))
    assert report(capture, folder=capture.parent).returncode == 0
    total = data_in(capture.parent / "report.html")["total"]
    assert (total["cost"], total["unpriced"]) == (0.5, 1)


def test_a_broken_file_is_drawn_as_far_as_it_goes(capture: Path) -> None:
    """Exit code 1; the page says where it breaks."""
    capture.write_bytes(capture.read_bytes()[:-20])
    done = report(capture, folder=capture.parent)
    assert done.returncode == 1
    assert done.stderr.startswith(f"payi-otel report: {capture} is broken at byte ")
    data = data_in(capture.parent / "report.html")
    assert (data["total"]["calls"], [file for file, _ in data["broken"]]) == (2, [str(capture)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing argument 'FILE...'"),
        (("missing.json",), "missing.json cannot be read (No such file or directory)"),
        (("{file}", "--where", "colour=red"), "--where: 'colour=red' is no filter; allowed: model,"),
        (("{file}", "-o", "{file}"), "is what is read: give the page another name"),
        (("{file}", "-o", "no/such/folder.html"), "-o no/such/folder.html cannot be written: there is no directory no/such to write to"),
        (("{file}", "-o", "."), "-o . is a directory: give the page a name"),
    ],
)
def test_wrong_usage_says_what_to_do(capture: Path, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, and nothing is written."""
    before = capture.read_bytes()
    done = report(*(argument.format(file=capture) for argument in arguments), folder=capture.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert [file.read_bytes() for file in capture.parent.iterdir()] == [before]
