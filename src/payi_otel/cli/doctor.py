"""`payi-otel doctor`: whether calls are recorded here and packets reach Pay-i, and what to do where not."""

from __future__ import annotations

import importlib
import json
import os
import platform
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import click

from payi_otel.cli._doctor.check import PROBLEM, Check

if TYPE_CHECKING:
    from payi_otel.cli._doctor.program import Account
    from payi_otel.instrumentors._base import ProviderInstrumentor

FOUND_WRONG = 1
DESCRIPTION = """See whether GenAI calls are recorded here and reach Pay-i, and what to do where not.

Looks at the settings of the environment, the key (never shown), Pay-i (one request that changes nothing), what else steers
OpenTelemetry, the spool, and every provider SDK this package instruments: its version, whether that is supported, and how many of its
methods are wrapped. The SDKs are imported and instrumented for it, and left as they were.

With a program behind two dashes, it is run as payi-otel run does, and then shown is what it did: by host, requests beside packets.

    payi-otel doctor -- python app.py

Exit code 0: all is well. 1: there is a problem. 2: wrong usage.
"""


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


@click.command(
    short_help="see whether calls are recorded and reach Pay-i", help=DESCRIPTION, context_settings={"allow_interspersed_args": False}
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON; a program's output goes to stderr then.")
@click.option("--offline", is_flag=True, help="Send nothing anywhere; a program's packets are counted and thrown away.")
@click.option("-v", "--verbose", is_flag=True, help="Name each method that is wrapped.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROGRAM [ARGUMENT]...]")
def command(as_json: bool, offline: bool, verbose: bool, program: tuple[str, ...]) -> int:
    """Looks at everything; 0 where there is no problem."""
    from payi_otel.cli._doctor.findings import look_around
    from payi_otel.instrumentors._discovery import all_instrumentors

    account = _run(program, is_offline=offline, is_quiet=as_json) if program else None
    checks = look_around(os.environ, is_offline=offline)
    if account is not None:
        from payi_otel.cli._doctor.program import judge

        checks += judge(account)
    findings = [look_at(instrumentor) for instrumentor in all_instrumentors()]
    checks += _sdk_checks(findings)
    if as_json:
        _print_json(checks, findings, account)
    else:
        _show(checks, findings, names_all=verbose)
    return FOUND_WRONG if any(check.state == PROBLEM for check in checks) else 0


def _run(program: Sequence[str], *, is_offline: bool, is_quiet: bool) -> Account:
    from payi_otel._environ import variable
    from payi_otel.cli._doctor.program import run
    from payi_otel.cli._launch import check
    from payi_otel.clients import API_KEY_VARIABLE

    check(program, "doctor")
    has_key = variable(API_KEY_VARIABLE) is not None
    return run(program, os.environ, is_offline=is_offline or not has_key, is_quiet=is_quiet)


def look_at(instrumentor: ProviderInstrumentor) -> Finding:
    """Instruments one SDK, sees what came of it, and takes that back."""
    sdk = instrumentor.installed_version()
    head = (instrumentor.name, instrumentor.distribution, instrumentor.supported, sdk)
    if sdk is None:
        return Finding(*head, "not installed", (), (), f"pip install '{instrumentor.supported.replace(' ', '')}' if you use it")
    if not instrumentor.supports(sdk):
        return Finding(*head, "not supported", (), (), f"pip install '{instrumentor.supported.replace(' ', '')}'")
    expected = [patch for patch in instrumentor.table.patches if patch.is_in(sdk)]
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
        except Exception as error:  # an extra of the SDK's that is not installed, or is broken: then nobody calls it either
            click.echo(f"payi-otel doctor: {module} cannot be imported ({type(error).__name__}: {error})", err=True)


def _sdk_checks(findings: Sequence[Finding]) -> list[Check]:
    """What is wrong with them all; each one's own findings stand below."""
    checks = [
        Check("sdk", PROBLEM, f"{one.distribution} {one.version}: {one.state}", one.remedy)
        for one in findings
        if one.state in ("not supported", "incomplete")
    ]
    if all(one.version is None for one in findings):
        checks.append(
            Check("sdk", PROBLEM, "none of the SDKs this version instruments is installed", "install the one your application uses")
        )
    return checks


def _print_json(checks: Sequence[Check], findings: Sequence[Finding], account: Account | None) -> None:
    from payi_otel.cli._doctor.program import to_json

    found = {
        "payi-otel": version("payi-otel"),
        "python": platform.python_version(),
        "checks": [asdict(check) for check in checks],
        "sdks": [asdict(finding) for finding in findings],
        **({"program": to_json(account)} if account is not None else {}),
    }
    click.echo(json.dumps(found, indent=2))


def _show(checks: Sequence[Check], findings: Sequence[Finding], *, names_all: bool) -> None:
    click.echo(f"payi-otel {version('payi-otel')}, Python {platform.python_version()}\n")
    for check in checks:
        click.echo(f"{check.state:<7}  {check.name}: {check.found}")
        if check.remedy:
            click.echo(f"         -> {check.remedy}")
    click.echo()
    for finding in findings:
        count = f", {len(finding.wrapped)} methods" if finding.wrapped else ""
        click.echo(f"{finding.distribution} {finding.version or ''}".rstrip() + f": {finding.state}{count}")
        for name in finding.wrapped if names_all else ():
            click.echo(f"  wrapped  {name}")
        for name in finding.missing:
            click.echo(f"  MISSING  {name}")
        if finding.remedy:
            click.echo(f"  {finding.remedy}")
