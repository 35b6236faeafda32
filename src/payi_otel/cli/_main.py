"""The `payi-otel` command: each of its commands is a module with a click command named `command`, imported when it is asked for."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Final

import click

COMMANDS: Final = ("demo", "doctor", "run", "inspect", "report", "watch", "replay", "completion")
FAILED: Final = 1
INTERRUPTED: Final = 130
"""What shells expect of a command that Ctrl-C ended: 128 + SIGINT."""
PROGRAM: Final = "payi-otel"


class _Commands(click.Group):
    """Knows their names, and imports one when it is looked at."""

    def list_commands(self, context: click.Context) -> list[str]:
        """In the order in which they are met."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """None where there is none of that name."""
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"payi_otel.cli.{name}").command
        return command


@click.command(cls=_Commands, name=PROGRAM, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("payi-otel"), message="%(prog)s %(version)s", prog_name=PROGRAM)
def commands() -> None:
    """What your GenAI calls cost, by use case, user and account."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: The arguments after the program's name; None reads `sys.argv`.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage or something that is not installed, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _write_whatever_comes()
    try:
        return int(commands.main(args=arguments, prog_name=PROGRAM, standalone_mode=False) or 0)
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"{_named(arguments)}: {error.format_message()}", err=True)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except OSError as fault:  # a full disk behind the output; a broken pipe is click's to end quietly
        click.echo(f"{_named(arguments)}: cannot go on: {fault}", err=True)
        return FAILED


def _named(arguments: Sequence[str]) -> str:
    return f"{PROGRAM} {next((argument for argument in arguments if argument in COMMANDS), '')}".rstrip()


def _write_whatever_comes() -> None:
    """A character that the terminal's encoding lacks becomes a question mark: names are the application's, and tables have arrows."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
