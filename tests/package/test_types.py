"""The public types, read by mypy and pyright from the installed wheel as a user's checker reads them.

pyright is run as basedpyright, which is on PyPI with its Node.js: the same checker, in pyright's own strict mode.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]

USE = Path(__file__).with_name("typed_use.py")
OLDEST = "3.10"
SETTINGS = {
    "include": [USE.name],
    "typeCheckingMode": "strict",
    "pythonVersion": OLDEST,
    "enableTypeIgnoreComments": False,
    "reportUnnecessaryTypeIgnoreComment": "error",
}
PUBLIC = """
import payi_otel, payi_otel.testing
for module in (payi_otel, payi_otel.testing):
    print(*(f"{module.__name__}.{name}" for name in module.__all__))
"""


def tool(name: str) -> Path:
    """A checker of this session's own environment."""
    found = shutil.which(name)
    assert found is not None
    return Path(found)


@pytest.fixture
def use(tmp_path: Path) -> Path:
    """A user's code in a folder of its own, with pyright's settings beside it."""
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(SETTINGS))
    return Path(shutil.copy(USE, tmp_path))


def test_mypy_reads_them(run: Run, alone: Path, use: Path) -> None:
    """What may be written is accepted, and what may not is refused, in strict mode."""
    flags = ("--config-file=", "--strict", "--warn-unused-ignores", f"--python-version={OLDEST}", f"--python-executable={alone}")
    assert run(tool("mypy"), *flags, "--cache-dir", use.parent / "cache", use).startswith("Success: no issues found in 1 source file")


def test_pyright_reads_them(run: Run, alone: Path, use: Path) -> None:
    """The same."""
    assert "0 errors, 0 warnings" in run(tool("basedpyright"), "-p", use.parent, "--pythonpath", alone)


def test_public_types_are_complete(run: Run, alone: Path) -> None:
    """Every name of `payi_otel` and of `payi_otel.testing` has a type that a checker need not infer, with all that it is made of."""
    flags = ("--verifytypes", "payi_otel", "--ignoreexternal", "--outputjson")
    told = run(tool("basedpyright"), *flags, path=alone.parent, expected=None)  # which other names are complete is their own affair
    symbols = json.loads(told)["typeCompleteness"]["symbols"]
    public = {symbol["name"]: symbol for symbol in symbols if is_public(symbol["name"])}
    assert set(run(alone, "-I", "-c", PUBLIC).split()) <= public.keys()
    unknown = {name: symbol["diagnostics"] for name, symbol in public.items() if symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"]}
    assert unknown == {}


def is_public(name: str) -> bool:
    """Whether it is a name of `payi_otel` itself, or anything of `payi_otel.testing`."""
    return name.count(".") == 1 or name.startswith("payi_otel.testing.")
