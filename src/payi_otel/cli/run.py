"""`payi-otel run`: a program under OpenTelemetry's launcher, with this package's settings as flags."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from payi_otel._environ import FLAG_PREFIX, is_sdk_disabled, variable
from payi_otel.cli._errors import WrongUsage
from payi_otel.cli._launch import check, foreign_python, replace_process
from payi_otel.clients import API_KEY_VARIABLE, BASE_URL_VARIABLE
from payi_otel.config import FILE_VARIABLE, Settings, describe, load_settings
from payi_otel.delivery._handover import PRINT_VARIABLE
from payi_otel.errors import ConfigurationError

_PREFIX: Final = "PAYI_OTEL_"
_OFFLINE: Final = "PAYI_OTEL_OFFLINE_INSTRUMENTATION_FILE_NAME"
DESCRIPTION = """Run a Python program with every GenAI call of its recorded, without a line of code:

    payi-otel run --use-case-name shop -- python app.py

It is what opentelemetry-instrument does, with the settings of this package as flags; a flag counts before its variable. The launcher's own
spelling (--payi_use_case_name) is understood, too. The key is read from PAYI_API_KEY: everyone on the machine can read a command line.

The program's signals, output and exit code are its own. Exit code 2: wrong usage, and nothing was run.
"""


def _flags() -> Iterator[click.Option]:
    """One for each setting that has a variable, and for where Pay-i is."""
    yield click.Option(["--base-url", BASE_URL_VARIABLE], metavar="URL", help="Where Pay-i is.")
    yield click.Option(["--config", FILE_VARIABLE], metavar="FILE", help="A TOML or JSON file with settings.")
    for row in describe():
        if row.variable and row.variable != _OFFLINE:
            name = row.variable.removeprefix(_PREFIX).lower().replace("_", "-")
            default = f"  [default: {row.default}]" if row.default and row.default != "None" else ""
            yield click.Option([f"--{name}", row.variable], metavar="VALUE", help=row.doc + default)


def _own() -> Iterator[click.Parameter]:
    yield click.Option(
        ["--offline"], metavar="FILE", help="Write packets to FILE instead of sending them; no key is needed. payi-otel replay sends it."
    )
    yield click.Option(
        ["--print", "prints"],
        is_flag=True,
        help="Show each packet on stderr as its call ends: time, model, units, latency, use case, user. Never what was said.",
    )
    yield click.Argument(["program"], nargs=-1, type=click.UNPROCESSED, metavar="-- PROGRAM [ARGUMENT]...")


def run(program: tuple[str, ...], offline: str | None, prints: bool, **flags: Any) -> int:
    """Becomes the program; returns only where that cannot be."""
    check(program, "run")
    environ = {**os.environ, **{FLAG_PREFIX + name: value for name, value in flags.items() if value is not None}}
    if offline is not None:
        environ[FLAG_PREFIX + _OFFLINE] = os.path.abspath(offline)
    if prints:
        environ[PRINT_VARIABLE] = "1"
    _check_settings(environ)
    if (python := foreign_python(program, environ)) is not None:
        text = f"payi-otel is not installed for {python}: no calls are recorded. Run {sys.executable}, or install payi-otel there"
        click.echo(f"payi-otel run: {text}", err=True)
    return replace_process(program, environ)


def _check_settings(environ: dict[str, str]) -> None:
    """A wrong setting would only be a line in the program's log, and the program unrecorded."""
    logging.disable(logging.WARNING)  # the program says the same once more
    try:
        settings = load_settings(environ=environ)
    except ConfigurationError as error:
        raise WrongUsage(f"{error}\nNothing was run; payi-otel run --help lists the settings.") from None
    _check_file(settings)
    if is_sdk_disabled(environ):
        click.echo("payi-otel run: OTEL_SDK_DISABLED is set, so no calls are recorded: unset it", err=True)
    elif settings.offline_instrumentation is None and variable(API_KEY_VARIABLE, environ) is None:
        text = (
            f"{API_KEY_VARIABLE} is not set: unless the program gives a key itself, no calls are recorded. Set it, or give --offline FILE"
        )
        click.echo(f"payi-otel run: {text}", err=True)


def _check_file(settings: Settings) -> None:
    """The program opens it again; what is wrong with it is said here, before anything runs."""
    offline = settings.offline_instrumentation
    if offline is None or not offline.file_name:
        return
    from payi_otel.exporters.file import FileSink

    try:
        FileSink(offline.file_name).close()
    except ConfigurationError as error:
        raise WrongUsage(f"{error}\nNothing was run.") from None


command = click.Command(
    "run",
    callback=run,
    params=[*_own(), *_flags()],
    help=DESCRIPTION,
    short_help="run a program with its calls recorded",
    context_settings={
        "allow_interspersed_args": False,
        "token_normalize_func": lambda name: name.removeprefix("payi_").replace("_", "-"),
    },
)
