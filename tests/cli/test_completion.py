"""`payi-otel completion`, as shells use it."""

from __future__ import annotations

import os
import subprocess

import pytest
from command import PAYI_OTEL

COMMAND = [*PAYI_OTEL]


def complete(words: str, number: int) -> str:
    """What bash is told to offer for the word of this number."""
    environ = {**os.environ, "_PAYI_OTEL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    return subprocess.run(COMMAND, capture_output=True, text=True, check=True, timeout=60, env=environ).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    """It asks the command itself for what there is."""
    done = subprocess.run([*COMMAND, "completion", shell], capture_output=True, text=True, check=True, timeout=60)
    assert "_PAYI_OTEL_COMPLETE" in done.stdout


def test_commands_and_options_are_completed() -> None:
    """Also of one command."""
    assert "plain,replay" in complete("payi-otel re", 1).split()
    assert "plain,--dry-run" in complete("payi-otel replay --dry", 2).split()
