"""Celery's workers, which are recycled after some tasks and end without any exit hook: each delivers what it has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from payi_otel.testing import Answer, IngestServer

pytest.importorskip("celery")
APPLICATION = """
import os
from celery import Celery
import payi_otel
from payi_otel.context.scope import Scope
from payi_otel.payload import Payload, registry

folder = os.environ["BROKER"]
options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder + "/control"}
application = Celery("application", broker="filesystem://", broker_transport_options=options)
payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=os.environ["KEY"], base_url=os.environ["URL"]))

@application.task
def call(number):
    payload = Payload(scope=Scope(), category="system.openai", module="openai/3.0", model="m", response_id=f"r-{number}", http_status=200)
    registry.offer(payload)
"""
WORKER = ("-m", "celery", "-A", "application", "worker", "-P", "prefork", "-c", "2", "--max-tasks-per-child", "1")


def test_a_worker_that_is_recycled_delivers_its_packets(tmp_path: Path) -> None:
    """One task each; Pay-i answers long after the task is over."""
    (tmp_path / "application.py").write_text(APPLICATION)
    (tmp_path / "broker" / "control").mkdir(parents=True)
    with IngestServer() as server:
        server.decide(lambda request: Answer(delay_s=0.3))
        environ = {**os.environ, "BROKER": str(tmp_path / "broker"), "KEY": server.api_key, "URL": server.url}
        asking = "import application\nfor number in range(6): application.call.delay(number)"
        subprocess.run([sys.executable, "-c", asking], cwd=tmp_path, env=environ, check=True, timeout=60)
        command, pipe = [sys.executable, *WORKER], subprocess.PIPE
        with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=pipe, stderr=subprocess.STDOUT) as worker:
            arrived = server.wait_for_packets(6, 30)
            time.sleep(0.1)
            worker.send_signal(signal.SIGTERM)
            output, _ = worker.communicate(timeout=30)
        assert arrived, output.decode()
        assert sorted(packet["body"]["provider_response_id"] for packet in server.packets) == [f"r-{number}" for number in range(6)]
        assert server.duplicates == []
