"""The wheels in environments of their own, with no provider's SDK: what imports, what the command says, what is found by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

Run = Callable[..., str]

SDKS = ("aiobotocore", "anthropic", "boto3", "botocore", "databricks", "google.genai", "openai", "vertexai")
EVERY_MODULE = f"""
import importlib, importlib.util, pkgutil, sys
import payi_otel
from payi_otel import testing

def has(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False

assert [name for name in {SDKS!r} if has(name)] == []
assert all(getattr(payi_otel, name) is not None for name in payi_otel.__all__)
names = [found.name for found in pkgutil.walk_packages(payi_otel.__path__, "payi_otel.") if not found.name.endswith("__main__")]
failed = {{}}
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
print(len(names) > 100, failed)
"""
ENTRY_POINTS = """
import importlib, json, pkgutil
from importlib.metadata import distribution
from payi_otel import instrumentors

points = distribution("payi-otel").entry_points
for point in points:
    point.load()
found = {group: sorted(point.name for point in points if point.group == group) for group in {point.group for point in points}}
named = {point.value for point in points if point.group == "opentelemetry_instrumentor"}
there = {
    f"payi_otel.instrumentors.{folder.name}:{name}"
    for folder in pkgutil.iter_modules(instrumentors.__path__)
    if folder.ispkg
    for name in importlib.import_module(f"payi_otel.instrumentors.{folder.name}").__all__
}
print(json.dumps([found, sorted(named), sorted(there)]))
"""
COMPAT = """
import sys
assert not [name for name in sys.modules if name.split(".")[0] in ("payi", "payi_otel", "opentelemetry")]
from payi.lib.helpers import PayiCategories
from payi.lib.instrument import payi_instrument, track, track_context
import payi, payi_otel
print(payi_instrument is payi_otel.payi_instrument, PayiCategories is payi_otel.PayiCategories, payi.Payi is payi_otel.Payi)
"""


def metadata(dist: Path, name: str) -> Message:
    """What a wheel says of itself."""
    (wheel,) = dist.glob(f"{name}-*.whl")
    with ZipFile(wheel) as archive:
        (path,) = (file for file in archive.namelist() if file.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(path).decode())


def test_every_module_imports_without_an_sdk(run: Run, alone: Path) -> None:
    """No module needs more than the wheel requires, warnings are errors, and every public name is there."""
    assert run(alone, "-I", "-W", "error", "-c", EVERY_MODULE) == "True {}\n"


def test_command_says_its_version(run: Run, alone: Path, dist: Path) -> None:
    """The command is installed, and its version is the wheel's."""
    command = alone.with_name("payi-otel")
    assert run(command, "--version") == f"payi-otel {metadata(dist, 'payi_otel')['Version']}\n"


def test_doctor_says_what_is_missing(run: Run, alone: Path) -> None:
    """With nothing installed and nothing set, the doctor finds one problem, that there is no SDK, and says which to install."""
    told = json.loads(run(alone.with_name("payi-otel"), "doctor", "--offline", "--json", expected=1))
    assert [check["name"] for check in told["checks"] if check["state"] == "problem"] == ["sdk"]
    assert [sdk["name"] for sdk in told["sdks"] if sdk["version"] is not None] == []


def test_entry_points_are_complete(run: Run, alone: Path) -> None:
    """The launcher finds distribution, hooks, exporters and one instrumentor for each class of a provider's folder; all load."""
    found, named, there = json.loads(run(alone, "-I", "-c", ENTRY_POINTS))
    instrumentors = found.pop("opentelemetry_instrumentor")
    assert found == {
        "console_scripts": ["payi-otel"],
        "opentelemetry_configurator": ["payi"],
        "opentelemetry_distro": ["payi"],
        "opentelemetry_environment_variables": ["payi"],
        "opentelemetry_post_instrument": ["payi"],
        "opentelemetry_pre_instrument": ["payi"],
        "opentelemetry_traces_exporter": ["payi", "payi_file"],
    }
    assert named == there
    assert [name for name in instrumentors if not name.startswith("payi_")] == []
    assert len(instrumentors) == len(set(instrumentors)) == len(there)


def test_extras_name_sdks(dist: Path) -> None:
    """Each extra brings SDKs from the oldest supported version on, and `all` what the others bring."""
    said = metadata(dist, "payi_otel")
    lines = [line.split("; extra == ") for line in said.get_all("Requires-Dist", []) if "; extra == " in line]
    extras = {extra: {what for what, of in lines if of == f"'{extra}'"} for extra in said.get_all("Provides-Extra", [])}
    assert all(extras.values())
    assert [what for what, _ in lines if ">=" not in what] == []
    assert extras.pop("all") <= set().union(*extras.values())


def test_compat_needs_no_line(run: Run, with_compat: Path, dist: Path) -> None:
    """Beside `payi-otel` alone, the published SDK's imports lead to it; the two are of one version."""
    assert run(with_compat, "-c", COMPAT) == "True True True\n"
    assert metadata(dist, "payi_otel_compat")["Version"] == metadata(dist, "payi_otel")["Version"]
