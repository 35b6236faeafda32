"""The account as metrics of the application's: whatever `stats()` says, a reader of its meter provider says, too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, sys
import payi_otel
from payi_otel.delivery import stats
from payi_otel.payload import Payload, registry
from payi_otel.context.scope import Scope

def read(reader):
    found = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                assert metric.unit == "{packet}" and metric.description.endswith("."), metric.name
                for point in metric.data.data_points:
                    found["/".join([metric.name, *map(str, dict(point.attributes).values())])] = point.value
    return found

def use():
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
    return reader

if sys.argv[2] == "before":
    reader = use()
if sys.argv[2] == "after":
    import opentelemetry.metrics
for run in range(2):
    payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": f"{sys.argv[1]}/{run}.json"}})
    if sys.argv[2] != "before" and not run:
        reader = use()
    for number in range(3 + run):
        registry.offer(Payload(scope=Scope(), category="c", module="m/1", model="m"))
    assert payi_otel.flush(10)
    payi_otel.shutdown(2)
    print(json.dumps(read(reader)))
registry.offer(Payload(scope=Scope(), category="c", module="m/1", model="m"))
"""
ZERO = {
    f"payi_otel.packets.{name}": 0
    for name in (
        "retries",
        "duplicates_possible",
        "duplicates_reported",
        "bodies_dropped",
        "queued",
        "in_flight",
        "spooled",
        "adopted",
        "corrupt_records",
    )
}


def counted(number: int) -> dict[str, Any]:
    """So many packets, all delivered."""
    return {**ZERO, **{f"payi_otel.packets.{name}": number for name in ("created", "delivered", "attempts")}}


@pytest.mark.parametrize("provider_is_set", ["before", "after", "late"])
def test_a_meter_provider_gets_the_account_whenever_it_is_set(tmp_path: Path, provider_is_set: str) -> None:
    """Instruments are made once, and read the account of whoever counts now. `late`: so are metrics imported."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path), provider_is_set]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [counted(3), counted(4)]


def test_losses_and_refusals_are_told_apart_by_attribute() -> None:
    """A reason or a code."""
    from payi_otel.delivery._metrics import AccountMetrics
    from payi_otel.delivery.stats import Stats

    metrics = AccountMetrics()
    metrics._read = lambda: Stats(dropped={"shutdown": 2, "queue_full": 1}, dead_lettered={"http_402": 5}, failures={"timeout": 3})
    seen = {name: [(one.value, one.attributes) for one in metrics._reader(name)(None)] for name in ("dropped", "dead_lettered", "failures")}
    assert seen == {
        "dropped": [(2, {"reason": "shutdown"}), (1, {"reason": "queue_full"})],
        "dead_lettered": [(5, {"code": "http_402"})],
        "failures": [(3, {"code": "timeout"})],
    }
