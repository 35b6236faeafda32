"""An SDK that is imported after `payi_instrument()` is wrapped whole, and our code for it is not loaded before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from payi_otel.instrumentors._base import ProviderInstrumentor
from payi_otel.instrumentors._discovery import all_instrumentors

PROGRAM = """
import importlib, sys, warnings
import payi_otel
from payi_otel.instrumentors._discovery import all_instrumentors

warnings.simplefilter("ignore")
name, file_name, *modules = sys.argv[1:]
payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": file_name}})
one = next(one for one in all_instrumentors() if one.name == name)
folder = type(one).__module__.rpartition(".")[0]
print([module for module in sys.modules if module.startswith(folder + ".") and not module.endswith("._instrumentor")])
for module in modules:
    try:
        importlib.import_module(module)
    except ImportError:
        pass
(found,) = (sdk for sdk in payi_otel.instrumented() if sdk.name == name)
print("\\n".join(sorted(found.wrapped)))
"""
INSTALLED = [pytest.param(one, id=one.name) for one in all_instrumentors() if one.installed_version() is not None]


@pytest.mark.parametrize("one", INSTALLED)
def test_an_sdk_is_wrapped_when_it_is_imported(one: ProviderInstrumentor, tmp_path: Path) -> None:
    """Every method its version has; by then nothing of the provider's folder but its name is in the process."""
    sdk = one.installed_version()
    assert sdk is not None
    expected = [patch for patch in one.table.patches if patch.is_in(sdk)]
    modules = dict.fromkeys(patch.module for patch in expected)
    command = [sys.executable, "-c", PROGRAM, one.name, str(tmp_path / "packets.json"), *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded, *wrapped = done.stdout.splitlines()
    assert (loaded, wrapped) == ("[]", sorted(patch.name for patch in expected))
