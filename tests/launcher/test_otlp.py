"""Spans out by OTLP where the environment names an endpoint: with the launcher, and where nothing but `payi_instrument()` is called."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from collector import by_grpc, by_http
from launching import APP, OURS, Stage

EXPLICIT = "import payi_otel\npayi_otel.payi_instrument()\n" + APP
WITH_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
"""
KINDS: dict[str, tuple[Any, dict[str, str]]] = {
    "http": (by_http, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}),
    "grpc": (by_grpc, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}),
    "grpc by default": (by_grpc, {}),
}


def run_plainly(stage: Stage, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Without the launcher."""
    return subprocess.run(
        [sys.executable, str(stage.write(code))],
        env=stage.variables(**variables),
        cwd=stage.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("launched", [True, False], ids=["launched", "payi_instrument"])
def test_spans_go_to_the_endpoint_of_the_environment(stage: Stage, kind: str, launched: bool) -> None:
    """With the service's name, each once, and each call is one packet as ever."""
    make, protocol = KINDS[kind]
    with make() as (collector, url):
        said = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SERVICE_NAME": "shop", **protocol}
        if launched:
            stage.run(**said, **OURS)
        else:
            run_plainly(stage, EXPLICIT, **said)
    assert collector.spans() == [("shop", "chat gpt-4o-mini")]
    assert len(stage.ingest.packets) == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (EXPLICIT, {"OTEL_TRACES_EXPORTER": "none"}),
        (EXPLICIT, {"OTEL_TRACES_EXPORTER": "console"}),
        (EXPLICIT + "\n", {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}),
        (WITH_PROVIDER + EXPLICIT, {}),
        (EXPLICIT.replace("payi_instrument()\n", "payi_instrument()\n" + WITH_PROVIDER), {}),
    ],
    ids=["none", "another exporter", "unknown protocol", "the application's own pipeline", "one that it sets up later"],
)
def test_spans_do_not_go_where_nobody_wants_them(stage: Stage, code: str, said: dict[str, str]) -> None:
    """The packets go all the same."""
    with by_http() as (collector, url):
        result = run_plainly(stage, code, **{"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **said})
    assert collector.spans() == []
    assert len(stage.ingest.packets) == 1
    assert ("'http/json' is not allowed" in result.stderr) == (said.get("OTEL_EXPORTER_OTLP_PROTOCOL") == "http/json")


@pytest.mark.parametrize("wrong", [{"OTEL_EXPORTER_OTLP_TIMEOUT": "10s"}, {"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "zip"}], ids=str)
def test_a_variable_that_the_exporter_refuses_stops_nothing(stage: Stage, wrong: dict[str, str]) -> None:
    """One line; the program runs, and its calls are packets."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    result = run_plainly(stage, EXPLICIT, **endpoint, **wrong)
    assert "spans do not go out by OTLP: its exporter refuses the environment" in result.stderr
    assert len(stage.ingest.packets) == 1


def test_what_is_sampled_away_does_not_go_out(stage: Stage) -> None:
    """But is billed."""
    with by_http() as (collector, url):
        protocol = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        run_plainly(stage, EXPLICIT, OTEL_TRACES_SAMPLER="always_off", **protocol)
    assert collector.spans() == []
    assert len(stage.ingest.packets) == 1


def test_a_dead_collector_holds_no_program_up(stage: Stage) -> None:
    """It ends, within a minute on the slowest machine, and its packets are sent."""
    run_plainly(
        stage,
        EXPLICIT,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        PAYI_OTEL_EXIT_TIMEOUT_S="2",
    )
    assert len(stage.ingest.packets) == 1
