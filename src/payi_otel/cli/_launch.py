"""Programs under OpenTelemetry's launcher: `python -m payi_otel.cli._launch python app.py` is `opentelemetry-instrument python app.py`,
for an interpreter whose scripts are not on the path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import click

from payi_otel.cli._errors import WrongUsage

_HAS_EXEC: Final = os.name == "posix"
_HAS_PACKAGE: Final = "import importlib.util, sys; sys.exit(importlib.util.find_spec('payi_otel') is None)"
_NOTHING: Final = "say what to run, behind two dashes: payi-otel {0} -- python app.py"


def check(program: Sequence[str], command: str) -> None:
    """Sees that there is such a program: the launcher itself fails on one that is not there.

    Raises:
        click.UsageError: There is none; the text says what to do.
    """
    if not program:
        raise click.UsageError(_NOTHING.format(command))
    name = program[0]
    if name.startswith("-"):
        raise click.UsageError(f"{name} is no program and no option; {_NOTHING.format(command)}")
    if shutil.which(name) is None:
        advice = (
            f"payi-otel {command} -- python {name}"
            if name.endswith(".py")
            else "give the path of a program, or the name of one on the PATH"
        )
        raise click.UsageError(f"{name} is no program that can be run: {advice}")


def foreign_python(program: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The Python that is to run a program, where it is of an environment without this package, and nothing can be recorded in it."""
    path = shutil.which(program[0])
    if path is None or not os.path.basename(path).startswith("python"):
        return None
    path = os.path.abspath(path)
    if os.path.dirname(path) == os.path.dirname(sys.executable):
        return None
    try:
        asked = subprocess.run([path, "-c", _HAS_PACKAGE], env=dict(environ), capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return path if asked.returncode else None


def command_line(program: Sequence[str]) -> list[str]:
    """What runs a program under the launcher."""
    return [sys.executable, "-m", __name__, *program]


def replace_process(program: Sequence[str], environ: Mapping[str, str]) -> int:
    """Becomes the program, whose signals and exit code are its own then. Where a process cannot, it waits for it and returns its code."""
    if not _HAS_EXEC:
        return subprocess.run(command_line(program), env=dict(environ), check=False).returncode
    flush()
    os.environ.clear()
    os.environ.update(environ)
    _launch(program)
    return 0


def flush() -> None:
    """What was said stands before what the program says. A stream that was closed (`>&-`) is None."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _launch(program: Sequence[str]) -> None:
    from opentelemetry.instrumentation.auto_instrumentation import run

    sys.argv = ["opentelemetry-instrument", *program]
    try:
        run()
    except OSError as fault:
        raise WrongUsage(f"{program[0]} cannot be run ({fault.strerror or fault}): give a program for this machine") from None


if __name__ == "__main__":
    try:
        _launch(sys.argv[1:])
    except WrongUsage as error:
        error.show()
        sys.exit(error.exit_code)
