"""`payi-otel replay`, as a program of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from command import PAYI_OTEL
from delivery_fakes import make_packet

from payi_otel.delivery._record import to_record
from payi_otel.delivery.spool import Spool
from payi_otel.exporters import _wire
from payi_otel.testing import API_KEY, Answer, IngestServer


def replay(directory: Path, url: str, *arguments: str, key: str | None = API_KEY) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    command = [*PAYI_OTEL, "replay", "--spool", str(directory), *arguments]
    environ = {**os.environ, "PAYI_BASE_URL": url, **({"PAYI_API_KEY": key} if key else {})}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environ)


def leave(directory: Path, *names: object) -> Spool:
    """What a process has in its spool."""
    spool = Spool(str(directory))
    assert spool.write([to_record(_wire.encode(make_packet(name))) for name in names])
    return spool


def test_everything_is_delivered(tmp_path: Path) -> None:
    """And the directory is empty then."""
    leave(tmp_path, *range(20)).close()
    leave(tmp_path, *range(20, 30)).close()
    with IngestServer() as server:
        done = replay(tmp_path, server.url)
        assert len(server.packets) == 30
    assert (done.returncode, done.stdout, done.stderr) == (0, "packets found 30, delivered 30, left 0\n", "")
    assert list(tmp_path.iterdir()) == []


def test_what_a_running_process_keeps_is_left_alone(tmp_path: Path) -> None:
    """It delivers that itself."""
    spool = leave(tmp_path, 1)
    with IngestServer() as server:
        done = replay(tmp_path, server.url)
        assert server.requests == []
    assert (done.returncode, done.stdout) == (0, "packets found 0, delivered 0, left 0\n")
    spool.close()


def test_what_cannot_be_delivered_is_left(tmp_path: Path) -> None:
    """Exit code 1; the next run finds it again. What is refused is said with its reason."""
    leave(tmp_path, 1, 2).close()
    with IngestServer() as server:
        server.decide(lambda request: Answer(503))
        done = replay(tmp_path, server.url, "--timeout", "0.5")
        assert (done.returncode, done.stdout) == (1, "packets found 2, delivered 0, left 2\n")
        assert "the destination cannot be reached: http_503" in done.stderr
        server.decide(lambda request: Answer(402) if request["query"]["id"] == "chatcmpl-1" else None)
        done = replay(tmp_path, server.url)
    assert (done.returncode, done.stdout) == (1, "packets found 2, delivered 1, left 0\n  refused: 1 (http_402)\n")


def test_wrong_usage_is_one_line(tmp_path: Path) -> None:
    """No directory is made, and nothing is sent without a key."""
    missing = tmp_path / "missing"
    done = replay(missing, "http://127.0.0.1:1")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"payi-otel replay: {missing} is no directory\n")
    assert not missing.exists()
    done = replay(tmp_path, "http://127.0.0.1:1", key=None)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("payi-otel replay: no Pay-i API key")
