"""Every code block of the documentation is run, parsed, or said not to be: real SDKs, and Pay-i and the providers on loopback.

Python runs in forks of one process (`_block_server`), for importing an SDK takes longer than most blocks do.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from _block_server import PRELOADED
from _blocks import CHECKED, GIVEN, GOES_ON, HELD_BY, NOT_RUN, Block, all_blocks, blocks_of, programs
from _givens import APP, GIVENS, PRICES, REPLIES, SETTINGS
from payi_proxy import PayiProxy
from provider_server import ProviderServer as ScriptedServer
from provider_server import Reply

from _source import ROOT
from payi_otel._providers import providers
from payi_otel.cli import _main
from payi_otel.cli._demo.provider import ProviderServer
from payi_otel.config import load_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TIMEOUT_S = 90
NOT_RUN_BY_PAGE: dict[str, int] = {"docs/adding-a-provider.md": 3}  # there is no Acme
"""How many blocks of a page are deliberately not run. One more needs a reason beside it, and a line here."""
SETTINGS_FILE = "settings"
"""What is said of a block that is a file for `PAYI_OTEL_CONFIG`."""
BLOCKS = all_blocks()
PROGRAMS = programs(BLOCKS)
COMMANDS = [block for block in BLOCKS if block.language == "sh" and not block.says(HELD_BY) and not block.says(NOT_RUN)]
DATA = [block for block in BLOCKS if block.language in ("json", "toml", "yaml") and not block.says(NOT_RUN)]
SDKS = {module.partition(".")[0] for facts in providers() for module in facts.modules} - {"openai"}
"""A block that needs one is skipped where it is not installed."""
PAGE = """# A

<!-- block: given client -->
```python
a = 1
```

<!-- block: goes on -->
```python
b = a
```
- x

  ```sh
  ls
  ```
"""
SHELL = """
payi-otel() {{ case "$1" in demo|doctor|watch) ;; *) command payi-otel "$@" ;; esac; }}
pip() {{ :; }}
jq() {{ cat > /dev/null; }}
set -euo pipefail
{commands}
"""
"""`demo` and `doctor` take seconds, `watch` does not end: their own tests run them. Their arguments are parsed, as those of `pip` are."""


@dataclass
class Servers:
    """Everything on loopback that a block can reach."""

    payi: PayiProxy
    openai: ProviderServer
    others: ScriptedServer

    def environment(self) -> dict[str, str]:
        """Where the SDKs look for their providers, and this package for Pay-i."""
        others = self.others.url
        variables = {"PAYI_API_KEY": self.payi.api_key, "PAYI_BASE_URL": self.payi.url}
        variables |= {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": self.openai.url}
        variables |= {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": others, "OPENAI_API_VERSION": "2025-03-01-preview"}
        variables |= {"ANTHROPIC_API_KEY": "sk-test", "ANTHROPIC_BASE_URL": others}
        variables |= {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        variables |= {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": others, "GEMINI_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": others}
        variables |= {"DATABRICKS_HOST": others, "DATABRICKS_TOKEN": "t", "DATABRICKS_AUTH_TYPE": "pat"}
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
        return {**os.environ, **variables, "PATH": path, "PAYI_OTEL_INGEST_BULK": "false", "PYTHONUNBUFFERED": "1"}

    def calls(self) -> list[dict[str, Any]]:
        """What providers were asked."""
        return [*self.openai.requests, *(one for one in self.others.requests if "/.well-known/" not in one["path"])]


@contextmanager
def serving() -> Iterator[Servers]:
    """Pay-i and the providers, for one block."""
    others = ScriptedServer()
    for path, answer in REPLIES.items():
        others.always(path, Reply(answer))
    with PayiProxy() as payi, ProviderServer(thinking_s=0) as openai:
        yield Servers(payi, openai, others)
        assert payi.problems == []
    others.close()


class BlockServer:
    """The process whose forks run Python."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "project" / "_block_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, parts: Sequence[tuple[str, int]], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
        """Runs one program to its end.

        Returns:
            Its exit code, and what it printed.
        """
        output = folder / "output.txt"
        job = {
            "parts": [{"text": text, "line": line} for text, line in parts],
            "cwd": str(folder),
            "env": environment,
            "output": str(output),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline()), output.read_text()

    def close(self) -> None:
        """Ends it."""
        self._process.communicate(timeout=TIMEOUT_S)


@pytest.fixture(scope="module")
def server() -> Iterator[BlockServer]:
    """One for all blocks."""
    pytest.importorskip("openai")
    one = BlockServer()
    yield one
    one.close()


@pytest.fixture(scope="module")
def capture(server: BlockServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture of one call."""
    folder = tmp_path_factory.mktemp("capture")
    offline = {"PAYI_OTEL_OFFLINE_INSTRUMENTATION_FILE_NAME": "packets.json"}
    with serving() as servers:
        start = "import payi_otel\npayi_otel.payi_instrument()\n"
        assert server.run([(start, 1), (APP, 1)], folder, {**servers.environment(), **offline}) == (0, "")
    return folder / "packets.json"


def has_sdk(name: str) -> bool:
    """Whether it can be imported, without doing so."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def account_for(servers: Servers, folder: Path) -> None:
    """Every call of a provider became a packet, at Pay-i or in a file, or went through the proxy; providers are told nothing of ours."""
    written = sum(len(re.findall('"provider_response_id"', path.read_text())) for path in folder.glob("*.json"))
    assert len(servers.payi.packets) + written + len(servers.payi.calls) == len(servers.calls())
    assert not [name for call in servers.calls() for name in call["headers"] if name.lower().startswith("xproxy-")]


@pytest.mark.parametrize("program", PROGRAMS, ids=[program[0].where for program in PROGRAMS])
def test_python_runs(program: tuple[Block, ...], server: BlockServer, tmp_path: Path) -> None:
    """As it stands there, exit hooks included, with every call of it accounted for."""
    parts = [(GIVENS[name], 1) for name in program[0].says(GIVEN).split(", ") if name]
    parts += [(block.text, block.line) for block in program]
    imports = re.findall(r"^(?:import|from) ([\w.]+)(?: import (\w+))?", "".join(block.text for block in program), re.MULTILINE)
    needed = [f"google.{name}" if module == "google" else module for module, name in imports]
    if missing := [name for name in needed if name.partition(".")[0] in SDKS and not has_sdk(name)]:
        pytest.skip(f"{missing[0]} is not installed")
    with serving() as servers:
        code, output = server.run(parts, tmp_path, servers.environment())
        assert code == 0, output
        account_for(servers, tmp_path)


@pytest.mark.parametrize("block", COMMANDS, ids=[block.where for block in COMMANDS])
def test_commands_run(block: Block, capture: Path, tmp_path: Path) -> None:
    """In a folder with what they name; where a key is left out (`...`), it is filled in."""
    for name in ("packets.json", "monday.json", "tuesday.json", "before.json"):
        shutil.copy(capture, tmp_path / name)
    (tmp_path / "spool").mkdir(mode=0o700)
    for name, text in (("app.py", APP), ("prices.csv", PRICES), ("payi.toml", SETTINGS)):
        (tmp_path / name).write_text(text)
    with serving() as servers:
        commands = block.text.replace("PAYI_API_KEY=...", f"PAYI_API_KEY={servers.payi.api_key}")
        done = subprocess.run(
            ["bash", "-c", SHELL.format(commands=commands)],
            cwd=tmp_path,
            env=servers.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def command_lines(block: Block) -> Iterator[list[str]]:
    """The words of each command, without comments and variables in front."""
    for line in block.text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in (*lexer, ";"):
            if not re.fullmatch(r"[|&;]+", word):
                words += [] if not words and re.match(r"[A-Z_]+=", word) else [word]
            elif words:
                yield words
                words = []


def wrong_with(words: Sequence[str]) -> str | None:
    """What is wrong with a line as its program reads it; None where nothing is."""
    if words[0] == "payi-otel":
        parent = click.Context(_main.commands)
        command = _main.commands.get_command(parent, words[1])
        if command is None:
            return f"payi-otel has no command {words[1]}"
        try:
            command.make_context(words[1], list(words[2:]), parent=parent)
        except click.UsageError as error:
            return error.format_message()
    if words[:2] == ["pip", "install"]:
        extras = {"all", *(facts.extra for facts in providers())}
        named = {extra for word in words[2:] for extra in re.sub(r"^[^\[]*\[?|\].*$", "", word).split(",") if extra and "[" in word}
        return f"no extra {', '.join(named - extras)}" if named - extras else None
    return None


@pytest.mark.parametrize("block", COMMANDS, ids=[block.where for block in COMMANDS])
def test_commands_are_those_there_are(block: Block) -> None:
    """Each command of ours exists, with these options; each extra is one."""
    assert [problem for words in command_lines(block) if (problem := wrong_with(words))] == []


def test_a_wrong_command_is_seen() -> None:
    """A flag, a command and an extra that are none."""
    assert wrong_with(["payi-otel", "inspect", "f.json", "--colour"]) is not None
    assert wrong_with(["payi-otel", "bake"]) == "payi-otel has no command bake"
    assert wrong_with(["pip", "install", "payi-otel[openai,tea]"]) == "no extra tea"
    assert wrong_with(["payi-otel", "doctor", "--offline", "--", "python", "app.py"]) is None


@pytest.mark.parametrize("block", DATA, ids=[block.where for block in DATA])
def test_data_parses(block: Block, tmp_path: Path) -> None:
    """As its language; a file of settings is one that `payi_instrument()` takes."""
    if block.says(HELD_BY):
        return
    {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}[block.language](block.text)
    if block.said == SETTINGS_FILE:
        file = tmp_path / f"payi.{block.language}"
        file.write_text(block.text)
        load_settings(environ={"PAYI_OTEL_CONFIG": str(file)})


def test_every_language_is_checked() -> None:
    """A block of a language that nobody reads, or of none, would rot."""
    assert [block.where for block in BLOCKS if block.language not in CHECKED] == []
    code = re.compile(r"^(?:import |from \S+ import |payi-otel |pip |python )", re.MULTILINE)
    assert [block.where for block in BLOCKS if block.language == "text" and code.search(block.text)] == []


def test_what_is_said_of_a_block_is_understood() -> None:
    """A misspelt word would switch a check off, or not."""
    for block in BLOCKS:
        if block.said in ("", GOES_ON, SETTINGS_FILE):
            continue
        if names := block.says(GIVEN):
            assert {*names.split(", ")} <= {*GIVENS}, block.where
        elif file := block.says(HELD_BY):
            assert Path(block.page).name in (ROOT / file).read_text(), f"{block.where}: {file} does not read this page"
        else:
            assert block.says(NOT_RUN), f"{block.where}: {block.said}"


def test_each_command_of_a_line_is_read() -> None:
    """Behind a pipe, a variable, `||`; a comment and a text with such signs in it are none."""
    text = "A=1 payi-otel inspect f --where 'a|b' | jq .units  # payi-otel bake\npayi-otel \\\n  demo || true\n"
    found = [*command_lines(Block("page.md", 1, "sh", text))]
    assert found == [["payi-otel", "inspect", "f", "--where", "a|b"], ["jq", ".units"], ["payi-otel", "demo"], ["true"]]


def test_what_is_not_run_is_counted() -> None:
    """Deliberately, with a reason, and not more of it without somebody noticing."""
    assert Counter(block.page for block in BLOCKS if block.says(NOT_RUN)) == NOT_RUN_BY_PAGE


def test_blocks_are_found_with_what_is_said_of_them(tmp_path: Path) -> None:
    """Their language, line and comment, in a list too; a block that goes on is of the program before it."""
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    first, second, third = blocks_of(page)
    assert first == Block("page.md", 5, "python", "a = 1\n", "given client")
    assert (second.line, second.said) == (10, "goes on")
    assert (third.language, third.text, third.said) == ("sh", "ls\n", "")
    assert programs([first, second, third]) == [(first, second)]


def test_a_block_that_fails_fails_its_test(server: BlockServer, tmp_path: Path) -> None:
    """By an exception, at its line of the page, and by an exit code; the next one runs all the same."""
    environment = {**os.environ}
    code, output = server.run([("assert 1 == 2\n", 40)], tmp_path, environment)
    assert (code, "line 40" in output, "AssertionError" in output) == (1, True, True)
    assert server.run([("import sys\nsys.exit(3)\n", 1)], tmp_path, environment)[0] == 3
    assert server.run([("print(await __import__('asyncio').sleep(0, 'said'))\n", 1)], tmp_path, environment) == (0, "said\n")


def test_what_is_imported_for_all_blocks_starts_no_thread() -> None:
    """A fork of a process with threads has locks that nobody lets go."""
    code = f"import threading, {', '.join(PRELOADED)}; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
