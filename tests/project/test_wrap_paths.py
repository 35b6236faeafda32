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
    for patch in instrumentor.table.patches
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
    there, expected = find(patch) is not None, patch.is_in(sdk)
    assert there == expected, f"{patch.name} is {'' if there else 'not '}in {sdk}, its patch says it is {'' if expected else 'not '}"


def test_path_that_is_gone_fails_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown with a method that is there, is removed, and is then one that its patch still promises."""
    patch = Patch("json", "JSONDecoder.raw_decode")
    test_wrapped_method_is_there("1.0", patch)
    monkeypatch.delattr("json.JSONDecoder.raw_decode")
    with pytest.raises(AssertionError, match=r"json\.JSONDecoder\.raw_decode is not in 1\.0"):
        test_wrapped_method_is_there("1.0", patch)


def test_path_that_came_too_early_fails_too() -> None:
    """A `since` that is too late would hide that the method is wrapped, or lost, in the versions before."""
    with pytest.raises(AssertionError, match=r"json\.JSONDecoder\.decode is in 1\.0"):
        test_wrapped_method_is_there("1.0", Patch("json", "JSONDecoder.decode", since="2.0"))
