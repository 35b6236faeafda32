"""Reads the command line and runs one command; each command is a module with `add_parser`, listed in `COMMANDS`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version

from payi_otel.cli import demo, doctor, replay

COMMANDS = (demo, doctor, replay)
INTERRUPTED = 130
"""What shells expect of a command that Ctrl-C ended: 128 + SIGINT."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: The arguments after the program's name; None reads `sys.argv`.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage or something that is not installed, 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="payi-otel", description="What your GenAI calls cost, by use case, user and account.")
    parser.add_argument("--version", action="version", version=f"payi-otel {version('payi-otel')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser
