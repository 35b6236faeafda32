"""Records what foreign instrumentations emit: `python tests/foreign/record.py [package ...]` rewrites their golden files.

Each case runs in a process of its own, with the real package and the real SDK against a provider on loopback; packages whose
distributions this interpreter does not have are left as they are. `golden/README.md` says which versions stand beside each other.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "openai")]

from foreign_cases import Case  # noqa: E402 - the path comes first
from foreign_packages import PACKAGES, Package  # noqa: E402 - as above
from provider_server import ProviderServer  # noqa: E402 - as above

GOLDEN = HERE / "golden"
PORT = 4318
"""Stands for the port of the provider."""
SECONDS = 0.25
"""Stands for any time that was measured."""
STEERING = (
    "PAYI_",
    "OPENAI_",
    "AZURE_OPENAI_",
    "ANTHROPIC_",
    "AWS_",
    "GOOGLE_",
    "GEMINI_",
    "OTEL_",
    "TRACELOOP_",
    "OPENINFERENCE_",
    "LANG",
)
TIMED = re.compile(r"time_to|duration|latency|\.time$|_time$")
DATE = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
SERVER = re.compile(r"BaseHTTP/\S+ Python/[0-9.]+")
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def environment(package: Package, case: Case) -> dict[str, str]:
    """This process's, without what steers an SDK, and with what package and case ask for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(STEERING) and not name.lower().endswith("_proxy")}
    return {
        **kept,
        "LANG": "C.UTF-8",
        "NO_PROXY": "*",
        "PYTHONHASHSEED": "0",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        **package.env,
        **case.env,
    }


def installed(package: Package) -> dict[str, str] | None:
    """The versions of its distributions, or None where one is missing or of another release."""
    try:
        versions = {name: importlib.metadata.version(name) for name in sorted({*package.dists, "opentelemetry-sdk"})}
    except importlib.metadata.PackageNotFoundError:
        return None
    return versions if all(versions[name].startswith(start) for name, start in package.releases.items()) else None


class Readable:
    """Makes what differs from run to run the same."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rsplit(":", 1)[1])
        self._uuids: dict[str, str] = {}

    def text(self, value: str) -> str:
        """A text without port, times, random ids, and what the server says it is."""
        value = re.sub(rf"(127\.0\.0\.1|localhost):{self._port}\b", rf"\1:{PORT}", value)
        value = ADDRESS.sub(" at 0x0", value)
        value = SERVER.sub("provider", DATE.sub("Thu, 01 Jan 1970 00:00:00 GMT", value))
        return UUID.sub(lambda found: self._uuids.setdefault(found[0], f"<uuid {len(self._uuids) + 1}>"), value)

    def value(self, key: str, value: Any) -> Any:
        """An attribute's value as JSON has it."""
        if isinstance(value, float) and TIMED.search(key):
            return SECONDS
        if isinstance(value, int) and not isinstance(value, bool) and value == self._port:
            return PORT
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (tuple, list)):
            return [self.value(key, one) for one in value]
        if isinstance(value, dict) or hasattr(value, "items"):
            return {name: self.value(f"{key}.{name}", one) for name, one in value.items()}
        return value if value is None or isinstance(value, (bool, int, float)) else repr(value)

    def attributes(self, attributes: Any) -> dict[str, Any]:
        """All of a span's."""
        return {key: self.value(key, value) for key, value in sorted((attributes or {}).items())}


def recorder(readable: Readable) -> Any:
    """A span processor that keeps what spans had when they started, and the spans in order of ending."""
    from opentelemetry.sdk.trace import SpanProcessor

    class Recorder(SpanProcessor):
        def __init__(self) -> None:
            self.started: dict[int, dict[str, Any]] = {}
            self.names: dict[int, str] = {}
            self.ended: list[Any] = []

        def on_start(self, span: Any, parent_context: Any = None) -> None:
            self.started[span.context.span_id] = readable.attributes(span.attributes)
            self.names[span.context.span_id] = span.name

        def on_end(self, span: Any) -> None:
            self.ended.append(span)

        def never_ended(self) -> list[str]:
            ended = {span.context.span_id for span in self.ended}
            return [name for span_id, name in self.names.items() if span_id not in ended]

        def spans(self) -> list[dict[str, Any]]:
            ids = {span.context.span_id: number for number, span in enumerate(self.ended, 1)}
            traces: dict[int, int] = {}
            return [
                {
                    "scope": span.instrumentation_scope.name,
                    "scope_version": span.instrumentation_scope.version,
                    "schema_url": span.instrumentation_scope.schema_url,
                    "name": readable.text(span.name),
                    "kind": span.kind.name,
                    "status": span.status.status_code.name,
                    "id": ids[span.context.span_id],
                    "parent": ids.get(span.parent.span_id) if span.parent else None,
                    "trace": traces.setdefault(span.context.trace_id, len(traces) + 1),
                    "attributes": readable.attributes(span.attributes),
                    "start_attributes": self.started[span.context.span_id],
                    "events": [event.name for event in span.events],
                }
                for span in self.ended
            ]

    return Recorder()


def record(package: Package, case: Case) -> dict[str, Any]:
    """Runs one case in this process, and gives its golden."""
    from opentelemetry.sdk.trace import TracerProvider

    server = ProviderServer()
    server.script(*case.replies)
    spans = recorder(Readable(server.url))
    provider = TracerProvider()
    provider.add_span_processor(spans)
    for instrument in package.before:
        instrument(provider)
    client = case.client(server.url)
    for instrument in package.after:
        instrument(provider)
    with provider.get_tracer("application").start_as_current_span("ask") if case.within else nullcontext():
        case.call(client)
    del client
    gc.collect()
    provider.force_flush()
    asked = len(server.requests)
    assert asked == len(case.replies), f"{asked} requests for {len(case.replies)} replies: {[one['path'] for one in server.requests]}"
    server.close()
    return {
        "package": package.name,
        "versions": installed(package),
        "case": case.name,
        "reply_usage": case.usage,
        "expected_units": case.units,
        "never_ended": spans.never_ended(),
        "spans": spans.spans(),
    }


def recorded(package: Package, case: Case) -> tuple[str, str | None]:
    """A golden's text, made by a process of its own, or what went wrong there."""
    command = [sys.executable, str(HERE / "record.py"), "--one", package.name, case.name]
    done = subprocess.run(command, check=False, env=environment(package, case), capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr if done.returncode else None


def write(package: Package) -> bool:
    """Rewrites the goldens of one package; whether all went well."""
    folder = GOLDEN / package.name
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda case: recorded(package, case), package.cases))
    good = True
    for case, (text, fault) in zip(package.cases, results, strict=True):
        if fault is None:
            (folder / f"{case.name}.json").write_text(text)
        else:
            good = False
            print(f"{package.name} {case.name}: {fault}", file=sys.stderr)
    for stale in set(folder.glob("*.json")) - {folder / f"{case.name}.json" for case in package.cases}:
        stale.unlink()
    return good


def main(names: list[str]) -> int:
    """Records the packages of these names, or all that are installed."""
    by_name = {package.name: package for package in PACKAGES}
    if names[:1] == ["--one"]:
        package = by_name[names[1]]
        golden = record(package, package.case(names[2]))
        print(json.dumps(golden, indent=1, ensure_ascii=False))
        return 0
    good = True
    for package in [by_name[name] for name in names] or PACKAGES:
        if installed(package) is None:
            print(f"{package.name}: not installed here, left as it is")
            continue
        good = write(package) and good
        print(f"{package.name}: {len(package.cases)} cases")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
