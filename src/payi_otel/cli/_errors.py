"""How a command says that it cannot do what it was asked for."""

from __future__ import annotations

import click


class WrongUsage(click.ClickException):
    """One line that says what is wrong and what to do; exit code 2."""

    exit_code = 2
