"""Programs whose threads, locks and sockets gevent replaces: early, or late, as `gunicorn -k gevent` under the launcher does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openai_shapes import chat_events, numbered
from provider_server import Reply

pytest.importorskip("gevent")
pytest.importorskip("openai")

PATCH = "import warnings; warnings.simplefilter('ignore'); from gevent import monkey; monkey.patch_all()\n"
SET_UP = """
import json, os, sys
import payi_otel
payi_otel.payi_instrument(config={"use_case_name": "green", "ingest_bulk": False, **json.loads(sys.argv[1])})
"""
CALLS = """
import gevent
from openai import OpenAI

clients = [OpenAI(api_key="k", base_url=os.environ["PROVIDER"] + path, max_retries=0) for path in ("/v1", "/streamed")]
asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi."}]}

def call(user, stream):
    with payi_otel.track_context(user_id=user):
        answer = clients[stream].chat.completions.create(**asked, stream=stream)
        if stream:
            list(answer)

gevent.joinall([gevent.spawn(call, f"user{number}", number % 2 == 1) for number in range(10)], raise_error=True)
print(payi_otel.flush(20), flush=True)
"""


@pytest.mark.parametrize(
    "setting", [{}, {"delivery": "inline"}, {"ingest_retry": {"spool_directory": "spool"}}], ids=["background", "inline", "spool"]
)
@pytest.mark.parametrize("patched", ["early", "late"])
def test_greenlets_are_recorded_and_not_held_up(patched: str, setting: dict[str, Any], provider: Any, ingest: Any, tmp_path: Path) -> None:
    """Ten at once, each with its user, streams among them; the process ends by itself."""
    provider.always("/v1/chat/completions", numbered)
    provider.always(
        "/streamed/chat/completions", lambda number: Reply(events=[{**one, "id": f"chatcmpl-{number}"} for one in chat_events()])
    )
    code = PATCH + SET_UP + CALLS if patched == "early" else SET_UP + PATCH + CALLS
    (tmp_path / "app.py").write_text(code)
    environ = {**os.environ, "PROVIDER": provider.url, "PAYI_API_KEY": ingest.api_key, "PAYI_BASE_URL": ingest.url}
    line = [sys.executable, "app.py", json.dumps(setting)]
    done = subprocess.run(line, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert sorted(packet["headers"]["xproxy-user-id"] for packet in ingest.packets) == [f"user{number}" for number in range(10)]


@pytest.mark.parametrize("patched", ["early", "late"])
def test_large_packets_that_are_made_in_slices_stop_nothing(patched: str, provider: Any, ingest: Any, tmp_path: Path) -> None:
    """A greenlet that makes the first packet lets others run in the middle of it, which make packets of their own."""
    provider.always("/v1/chat/completions", numbered)
    code = SET_UP + PATCH if patched == "late" else PATCH + SET_UP
    (tmp_path / "app.py").write_text(code + CALLS.replace('"Hi."', '"Hi \u00e9" * 1_000_000').replace("number % 2 == 1", "False"))
    environ = {**os.environ, "PROVIDER": provider.url, "PAYI_API_KEY": ingest.api_key, "PAYI_BASE_URL": ingest.url}
    line = [sys.executable, "app.py", "{}"]
    done = subprocess.run(line, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert sorted(packet["headers"]["xproxy-user-id"] for packet in ingest.packets) == [f"user{number}" for number in range(10)]
