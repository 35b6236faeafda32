"""The `payi-otel` command: each of its commands is a module with a click command named `command`, imported when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Final

import click

COMMANDS: Final = ("demo", "doctor", "run", "inspect", "report", "watch", "replay", "completion")
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
    try:
        return int(commands.main(args=arguments, prog_name=PROGRAM, standalone_mode=False) or 0)
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        name = next((argument for argument in arguments if argument in COMMANDS), "")
        click.echo(f"{PROGRAM} {name}: {error.format_message()}", err=True)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
