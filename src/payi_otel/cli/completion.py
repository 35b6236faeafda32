"""`payi-otel completion`: what makes a shell complete commands, options and files."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

_VARIABLE: Final = "_PAYI_OTEL_COMPLETE"
"""Click's own name for it."""


@click.command(short_help="complete commands and options in your shell")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the script that completes payi-otel's commands and options in a SHELL.

    \b
    bash:  payi-otel completion bash >> ~/.bashrc
    zsh:   payi-otel completion zsh >> ~/.zshrc
    fish:  payi-otel completion fish > ~/.config/fish/completions/payi-otel.fish
    """
    from payi_otel.cli._main import PROGRAM, commands

    kind = get_completion_class(shell)
    assert kind is not None  # a choice of the argument's
    click.echo(kind(commands, {}, PROGRAM, _VARIABLE).source())
    return 0
