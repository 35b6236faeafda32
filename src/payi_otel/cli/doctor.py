"""`payi-otel doctor`: which provider SDKs are here, and what of them is wrapped. Needs no key and no network."""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payi_otel.instrumentors._base import ProviderInstrumentor

FOUND_WRONG = 1
DESCRIPTION = (
    "Shows every provider SDK this package instruments: its version, whether that is supported, and each method that is wrapped. "
    "The SDKs are imported and instrumented for it, and left as they were. Exit code 1: an installed SDK is not recorded as it should be."
)


@dataclass(frozen=True)
class Finding:
    """One provider SDK."""

    name: str
    distribution: str
    supported: str
    version: str | None
    state: str
    """`not installed`, `not supported`, `incomplete` or `instrumented`."""
    wrapped: tuple[str, ...]
    missing: tuple[str, ...]
    remedy: str


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser("doctor", help="see which SDKs are instrumented", description=DESCRIPTION)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Looks at every SDK; 0 where all that are installed are instrumented whole."""
    from payi_otel.instrumentors._discovery import all_instrumentors

    findings = [look_at(instrumentor) for instrumentor in all_instrumentors()]
    if arguments.json:
        versions = {"payi-otel": version("payi-otel"), "python": platform.python_version()}
        print(json.dumps({**versions, "sdks": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _show(findings)
    return FOUND_WRONG if any(finding.state in ("not supported", "incomplete") for finding in findings) else 0


def look_at(instrumentor: ProviderInstrumentor) -> Finding:
    """Instruments one SDK, sees what came of it, and takes that back."""
    sdk = instrumentor.installed_version()
    head = (instrumentor.name, instrumentor.distribution, instrumentor.supported, sdk)
    if sdk is None:
        return Finding(*head, "not installed", (), (), f"pip install '{instrumentor.supported.replace(' ', '')}' if you use it")
    if not instrumentor.supports(sdk):
        return Finding(*head, "not supported", (), (), f"pip install '{instrumentor.supported.replace(' ', '')}'")
    expected = [patch for patch in instrumentor.patches if patch.is_in(sdk)]
    instrumentor.instrument(skip_dep_check=True)
    try:
        for module in dict.fromkeys(patch.module for patch in expected):
            _import(module)
        wrapped = tuple(instrumentor.wrapped)
    finally:
        instrumentor.uninstrument()
    missing = tuple(patch.name for patch in expected if patch.name not in wrapped)
    remedy = f"{instrumentor.distribution} {sdk} is not yet known to this version of payi-otel: look for a newer one" if missing else ""
    return Finding(*head, "incomplete" if missing else "instrumented", wrapped, missing, remedy)


def _import(module: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            importlib.import_module(module)
        except ImportError as error:  # an extra of the SDK's that is not installed: then nobody calls it either
            print(f"payi-otel doctor: {module} cannot be imported ({error})", file=sys.stderr)


def _show(findings: list[Finding]) -> None:
    print(f"payi-otel {version('payi-otel')}, Python {platform.python_version()}")
    for finding in findings:
        print(f"\n{finding.distribution} {finding.version or ''}".rstrip() + f": {finding.state}")
        for name in finding.wrapped:
            print(f"  wrapped  {name}")
        for name in finding.missing:
            print(f"  MISSING  {name}")
        if finding.remedy:
            print(f"  {finding.remedy}")
