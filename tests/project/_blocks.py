"""The code blocks of the documentation: where they stand, what is said of them in a comment above, and which of them are one program."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from _source import ROOT

CHECKED = ("python", "sh", "toml", "json", "yaml", "text")
"""Languages a block may have; `text` is what is printed, drawn or computed, and nothing to be run."""
GOES_ON = "goes on"
NOT_RUN = "not run"
HELD_BY = "held by"
GIVEN = "given"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!-- (?P<kind>block|command): (?P<said>.+?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    """The page's path in the repository."""
    line: int
    """Of its first line of code, from 1."""
    language: str
    text: str
    said: str = ""
    """`goes on`: after the block before it, in the same program; `given <name>`: after what `_givens` has under that name;
    `held by <test file>`: run there; `not run: <reason>`."""

    @property
    def where(self) -> str:
        """For names of tests and messages."""
        return f"{self.page}:{self.line}"

    def says(self, what: str) -> str:
        """What stands behind one of the words above; empty where it is not said."""
        return self.said.removeprefix(what).lstrip(": ").strip() if self.said.startswith(what) else ""


def pages() -> list[Path]:
    """Whatever a reader may copy from."""
    front = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "compat/README.md", "examples/README.md", "bench/README.md")]
    return [*front, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of one page, in their order."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        comment = _COMMENT.search(text[: match.start()])
        said = "" if comment is None else comment["said"] if comment["kind"] == "block" else f"{HELD_BY} tests/project/test_readme.py"
        line = text.count("\n", 0, match.start("text")) + 1
        name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
        yield Block(name, line, match["language"].strip(), textwrap.dedent(match["text"]), said)


def all_blocks() -> list[Block]:
    """Of every page."""
    return [block for page in pages() for block in blocks_of(page)]


def programs(blocks: Iterable[Block]) -> list[tuple[Block, ...]]:
    """The Python that is run: a block, and those that go on where it ended."""
    found: list[list[Block]] = []
    for block in blocks:
        if block.language != "python" or block.says(NOT_RUN) or block.says(HELD_BY):
            continue
        if block.said == GOES_ON:
            assert found, f"{block.where} goes on, and nothing is before it"
            assert found[-1][0].page == block.page, f"{block.where} goes on, and nothing is before it"
            found[-1].append(block)
        else:
            found.append([block])
    return [tuple(program) for program in found]
