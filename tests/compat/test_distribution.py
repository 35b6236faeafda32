"""`payi-otel-compat`, the second distribution: the same imports with no extra line, and nothing loaded until one is made."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]

ROOT = Path(__file__).parents[2]
NO_LINE = """
import sys
assert not [name for name in sys.modules if name.split(".")[0] in ("payi", "payi_otel", "opentelemetry")]
from payi.lib.instrument import payi_instrument
from payi.lib.helpers import PayiCategories
import payi_otel
assert payi_instrument is payi_otel.payi_instrument and PayiCategories is payi_otel.PayiCategories
print("same")
"""


@pytest.fixture(scope="module")
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked as an installer lays it down."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT / "compat", check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def at_start(folder: Path) -> str:
    """The lines that treat a folder as Python treats site-packages when it starts: its `.pth` files are run."""
    return f"import site\nsite.addsitedir({str(folder)!r})\n"


def test_imports_need_no_line(run_beside: Run, site_folder: Path) -> None:
    """Once the interpreter has started, nothing of ours is loaded; the first import of `payi.lib` leads here."""
    assert run_beside(at_start(site_folder) + NO_LINE) == "same\n"


def test_payi_stands_in_where_the_published_sdk_is_missing(run_alone: Run, site_folder: Path) -> None:
    """Beside nothing, `payi` is ours."""
    assert run_alone(at_start(site_folder) + "import payi, payi_otel\nprint(payi.Payi is payi_otel.Payi)") == "True\n"


def test_published_sdk_alone_loads_nothing_of_ours(run: Run, site_folder: Path) -> None:
    """A program that uses only the published SDK's client pays nothing for us."""
    assert run(at_start(site_folder) + "import payi, sys\nprint(payi.__title__, 'payi_otel' in sys.modules)") == "payi False\n"


def test_importing_compat_as_well_does_no_harm(run_beside: Run, site_folder: Path) -> None:
    """Both ways at once are one."""
    code = "import payi_otel.compat, payi.lib.instrument\nprint(payi.lib.instrument.track is payi_otel.track)"
    assert run_beside(at_start(site_folder) + code) == "True\n"


def test_start_up_loads_no_module_but_its_own(run: Run, site_folder: Path) -> None:
    """What every start of Python pays is one module without imports."""
    code = f"import site, sys\nbefore = set(sys.modules)\nsite.addsitedir({str(site_folder)!r})\nprint(*sorted(set(sys.modules) - before))"
    codecs = "encodings."  # site itself may load one to read the file
    assert [name for name in run(code).split() if not name.startswith(codecs)] == ["_payi_otel_compat"]


def test_versions_agree() -> None:
    """The two distributions are released together."""
    version = re.compile(r'^version = "(.+)"', re.MULTILINE)
    ours, theirs = (version.findall((folder / "pyproject.toml").read_text()) for folder in (ROOT, ROOT / "compat"))
    assert ours == theirs
    assert len(ours) == 1
