"""What the demo shows behind its calls: the other commands, on the packets that were captured. Pay-i is a server on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

NEXT: Final = """
In your own application:
  payi-otel run -- python app.py            record its calls without a line of code
  payi-otel watch packets.json              see them as they come, beside payi-otel run --offline packets.json -- python app.py
  payi-otel doctor -- python app.py         see whether all of them are recorded"""


def show_tour(file: Path) -> bool:
    """Looks at the packets, draws and sends them, and looks at this environment; False where one of the first three failed."""
    from payi_otel.testing import IngestServer

    page = file.with_name("report.html")
    is_right = _run("inspect", str(file), "--by", "use-case")
    is_right &= _run("report", str(file), "-o", str(page))
    with IngestServer() as payi, _environment({"PAYI_API_KEY": payi.api_key, "PAYI_BASE_URL": payi.url, "NO_PROXY": "127.0.0.1"}):
        is_right &= _run("replay", str(file))
    _run("doctor", "--offline")  # what it finds is not of the demo's making
    click.echo(NEXT)
    return is_right


def _run(*arguments: str) -> bool:
    from payi_otel.cli._main import PROGRAM, main

    click.echo(f"\n$ {PROGRAM} {' '.join(arguments)}")
    return main(arguments) == 0


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
