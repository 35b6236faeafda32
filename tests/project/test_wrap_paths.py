"""Every method that is wrapped is where its patch says, in the version of the SDK that is installed: one case a path."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from payi_otel.instrumentors._base import Patch
from payi_otel.instrumentors._discovery import all_instrumentors

PATHS = [
    pytest.param(instrumentor.installed_version(), patch, id=f"{instrumentor.distribution}:{patch.name}")
    for instrumentor in all_instrumentors()
    if instrumentor.installed_version() is not None
    for patch in instrumentor.patches
]


def find(patch: Patch) -> Any:
    """The attribute as its class has it; None where it is not there."""
    try:
        owner: Any = importlib.import_module(patch.module)
        *path, attribute = patch.target.split(".")
        for part in path:
            owner = getattr(owner, part)
        return owner.__dict__.get(attribute)
    except (ImportError, AttributeError):
        return None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("sdk", "patch"), PATHS)
def test_wrapped_method_is_there(sdk: str, patch: Patch) -> None:
    """A path that disappears upstream fails here by its name."""
    assert (find(patch) is not None) == patch.is_in(sdk)


def test_there_is_something_to_look_at() -> None:
    """Without any SDK the cases above would pass by being none."""
    assert PATHS
