"""What is loaded late may be loaded in the midst of anything: another thread's import, a collection, a fork."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SLOWLY = """
import faulthandler, importlib.machinery, os, sys, threading, time
faulthandler.dump_traceback_later(20, exit=True)
begun, go = threading.Event(), threading.Event()

class Slowly:
    def __init__(self, name, do):
        self.name, self.do = name, do

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def run(module):
            self.do()
            execute(module)
        spec.loader.exec_module = run
        return spec

def pause():
    begun.set()
    go.wait(10)

def start(file_name=sys.argv[1]):
    import payi_otel
    payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": file_name}})
    return payi_otel._bootstrap._runtime.provider.get_tracer("payi_otel.test")

def start_amid_import(name, of):
    import payi_otel  # so that no import of its own waits
    sys.meta_path.insert(0, Slowly(name, pause))
    other = threading.Thread(target=lambda: __import__(of))
    other.start()
    begun.wait(10)
    threading.Timer(0.5, go.set).start()
    start()
    other.join()
"""


def run(code: str, tmp_path: Path) -> str:
    """What a program prints that must say nothing else."""
    quiet = "ignore:This process:DeprecationWarning"  # is multi-threaded, and forks: Python says so from 3.12 on
    command = [sys.executable, "-W", quiet, "-c", SLOWLY + code, str(tmp_path / "packets.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_metrics_that_another_thread_is_importing_are_waited_for(tmp_path: Path) -> None:
    """Else there would be none for as long as the process lives."""
    code = """
start_amid_import("opentelemetry.metrics._internal", of="opentelemetry.metrics")
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
print(sum(len(scope.metrics) for one in reader.get_metrics_data().resource_metrics for scope in one.scope_metrics) > 0)
"""
    assert run(code, tmp_path) == "True\n"


def test_an_sdk_that_another_thread_is_importing_is_waited_for(tmp_path: Path) -> None:
    """Else its methods would be looked for before they are there, and said to be missing."""
    pytest.importorskip("botocore")
    code = """
start_amid_import("botocore.args", of="botocore.client")
import payi_otel
print([len(one.wrapped) for one in payi_otel.instrumented() if one.name == "payi_bedrock"])
"""
    assert run(code, tmp_path) == "[4]\n"


def test_a_span_begins_while_its_own_thread_joins_a_provider(tmp_path: Path) -> None:
    """As when the garbage collector ends a stream that has parts; the provider is joined once."""
    code = """
tracer = start()
sys.meta_path.insert(0, Slowly("payi_otel.processors._attached", lambda: tracer.start_span("part").end()))
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
provider = TracerProvider()
trace.set_tracer_provider(provider)
print(len(provider._active_span_processor._span_processors), tracer.is_silent)
"""
    assert run(code, tmp_path) == "1 False\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_a_provider_to_be_joined(tmp_path: Path) -> None:
    """Its child would wait for ever for a lock, and for a module, that were another thread's."""
    code = """
import signal
tracer = start()
sys.meta_path.insert(0, Slowly("payi_otel.processors._attached", pause))
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
other = threading.Thread(target=lambda: trace.set_tracer_provider(TracerProvider()))
other.start()
begun.wait(10)
threading.Timer(0.5, go.set).start()
child = os.fork()
if not child:
    signal.alarm(5)
    tracer.start_span("call").end()
    os._exit(0)
print(os.waitpid(child, 0)[1])
other.join()
"""
    assert run(code, tmp_path) == "0\n"
