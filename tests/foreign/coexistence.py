"""Our instrumentation beside each other one, in both orders: `python tests/foreign/coexistence.py > docs/coexistence.md`.

Each case is a process of its own, with the real packages and SDK, a provider and a Pay-i on loopback.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent / "openai")]

from foreign_cases import Case  # noqa: E402 - the path comes first
from foreign_packages import PACKAGES, Package  # noqa: E402 - as above
from provider_server import ProviderServer  # noqa: E402 - as above
from record import environment, installed  # noqa: E402 - as above

ORDERS = ("ours first", "theirs first", "theirs alone")
CASES = {
    "genai-openai": ("chat", "chat-stream", "chat-within", "response"),
    "traceloop-openai": ("chat", "chat-stream", "response"),
    "openinference-openai": ("chat", "chat-stream", "response"),
    "genai-anthropic": ("messages", "messages-stream"),
    "native-anthropic": ("messages", "messages-stream", "messages-stream-helper"),
    "traceloop-anthropic": ("messages", "messages-stream"),
    "openinference-anthropic": ("messages", "messages-stream"),
    "genai-bedrock": ("converse", "converse-stream", "invoke-claude"),
    "botocore": ("converse", "converse-stream", "invoke-claude"),
    "traceloop-bedrock": ("converse", "converse-stream", "invoke-claude"),
    "openinference-bedrock": ("converse", "converse-stream", "invoke-claude"),
    "google-genai": ("generate", "generate-stream"),
    "openinference-google-genai": ("generate", "generate-stream"),
}
"""By package, the cases that are shown."""
BACKGROUND = {"genai-openai": ("response-background",), "openinference-openai": ("response-background",)}
"""Others, in a process of their own: the answers of all cases have the same few ids."""
OURS = "payi_otel."


class Row(NamedTuple):
    """What came of one case in one order."""

    package: str
    case: str
    order: str
    spans_ours: int
    spans_theirs: int
    packets: int
    units: str
    """`exact`, or what they came to in all: input and output."""


def run(package: Package, names: Sequence[str], order: str) -> list[Row]:
    """Cases of a package, in this process."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    import payi_otel
    from payi_otel.testing import IngestServer

    spans, provider, rows = InMemorySpanExporter(), TracerProvider(), list[Row]()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    with IngestServer() as ingest:

        def ours() -> None:
            config: Any = {"ingest_bulk": False, "use_case_name": "beside"}
            payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url), config=config)

        if order != "theirs first":
            ours()
        for instrument in (*package.before, *package.after):
            if instrument.__name__ != "native":  # the global provider is set above
                instrument(provider)
        if order == "theirs first":
            ours()
        for name in names:
            case, before = package.case(name), len(ingest.requests)
            call(case, provider)
            assert payi_otel.flush(20)
            scopes = Counter(
                span.instrumentation_scope.name for span in spans.get_finished_spans() if span.instrumentation_scope is not None
            )
            spans.clear()
            mine = sum(count for scope, count in scopes.items() if scope.startswith(OURS))
            theirs = sum(scopes.values()) - mine - scopes["application"]
            rows.append(Row(package.name, name, order, mine, theirs, *worth(case, ingest.requests[before:])))
        payi_otel.shutdown(20)
        late = len(ingest.requests) - sum(row.packets for row in rows)  # a background response that nobody found finished
        return [row._replace(packets=row.packets + late, units="0/0") if late and row.packets == 0 else row for row in rows]


def call(case: Case, provider: Any) -> None:
    """A client, what it does, and its end."""
    from opentelemetry import trace

    server = ProviderServer()
    server.script(*case.replies)
    client = case.client(server.url)
    with provider.get_tracer("application").start_as_current_span("ask") if case.within else trace.use_span(trace.INVALID_SPAN):
        case.call(client)
    del client
    gc.collect()
    server.close()


def worth(case: Case, packets: list[dict[str, Any]]) -> tuple[int, str]:
    """How many packets (requests: the server counts those of one id as one), and whether their units are those of the case."""
    made = [packet["body"]["units"] for packet in packets]
    sums = "/".join(str(sum(unit[side] for one in made for unit in one.values())) for side in ("input", "output"))
    return len(made), "exact" if total(made) == total([case.units or {}]) else sums


def total(units: list[Any]) -> dict[tuple[str, str], int]:
    """All of them together."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in units:
        for name, sides in one.items():
            counts.update({(name, side): count for side, count in sides.items()})
    return {name: count for name, count in counts.items() if count}


def apart(package: Package, names: Sequence[str], order: str) -> list[Row]:
    """Cases of a package, in a process of their own."""
    from payi_otel.instrumentors._discovery import all_instrumentors

    alone = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(one.name for one in all_instrumentors())} if order == "theirs alone" else {}
    environments = [environment(package, package.case(name)) for name in names]
    assert environments.count(environments[0]) == len(environments), "cases with an environment of their own need a process of their own"
    command = [sys.executable, str(Path(__file__)), "--one", package.name, order, *names]
    done = subprocess.run(command, check=False, env={**environments[0], **alone}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [Row(*row) for row in json.loads(done.stdout.splitlines()[-1])]


def is_here(package: Package) -> bool:
    """Whether it is installed, and emits spans: older versions of the Anthropic SDK do not."""
    return installed(package) is not None and (
        package.name != "native-anthropic" or importlib.util.find_spec("anthropic._tracing") is not None
    )


def combinations() -> list[tuple[Package, tuple[str, ...], str]]:
    """Everything that can be shown with what is installed."""
    return [
        (package, table[package.name], order)
        for package in PACKAGES
        for table in (CASES, BACKGROUND)
        if package.name in table and is_here(package)
        for order in ORDERS
    ]


def render(rows: list[Row]) -> str:
    """docs/coexistence.md."""
    versions = {name: version for package in PACKAGES if package.name in CASES for name, version in (installed(package) or {}).items()}
    lines = [
        "# Beside other instrumentations",
        "",
        "Made by `python tests/foreign/coexistence.py`; do not edit. `tests/foreign/test_coexistence.py` holds it against the packages.",
        "",
        "Each line is one program: a real client, this package (`payi_instrument()`) and one other instrumentation on it, switched on",
        "in this order, with spans going to one tracer provider. Whatever the order, a call is one packet. `theirs alone` has our",
        "instrumentors disabled: packets are then made of the other's spans, and have what these say. Units are `exact` where they are",
        "what the provider billed, kind by kind; else the input and output tokens of all packets stand there",
        "(tests/foreign/golden/README.md says what a dialect leaves out).",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + ".",
        "",
        "| other instrumentation | call | order | our spans | their spans | packets | units |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Prints the page, or one row."""
    if arguments[:1] == ["--one"]:
        package = next(one for one in PACKAGES if one.name == arguments[1])
        print(json.dumps(run(package, arguments[3:], arguments[2])))
        return 0
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        rows = [row for rows in pool.map(lambda one: apart(*one), combinations()) for row in rows]
    sys.stdout.write(render(rows))
    return 0


if __name__ == "__main__":
    assert importlib.util.find_spec("payi_otel"), "install the package first"
    sys.exit(main(sys.argv[1:]))
