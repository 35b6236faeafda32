"""The providers' pages say what the code does: their tables are made of it, and what they call not recorded is there, and is not."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import provider_pages
import pytest
from provider_pages import Provider, made, operations_of, providers, recorded, replace_part

PROVIDERS = providers()
LEFT_OUT = [
    pytest.param(provider, name, id=f"{provider.folder}:{name}")
    for provider in PROVIDERS
    if provider.page.exists()
    for name in re.findall(r"^\| `([^`]+)` \|", provider.page.read_text().partition("## Not recorded")[2].partition("\n#")[0], re.MULTILINE)
]


@pytest.mark.parametrize(("path", "text"), [pytest.param(path, text, id=path.name) for path, text in made()])
def test_the_tables_are_the_codes(path: Path, text: str) -> None:
    """Make them with `python tests/project/provider_pages.py`."""
    assert path.exists(), f"{path.name} is not there"
    assert path.read_text() == text


def find(name: str) -> Any:
    """What has that dotted name; None where nothing has."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("provider", "name"), LEFT_OUT)
def test_what_is_left_out_is_there_and_not_recorded(provider: Provider, name: str) -> None:
    """A method that is wrapped one day, or is gone, leaves the table."""
    if operations := operations_of(provider):
        session = pytest.importorskip("botocore.session")
        assert name not in operations
        if provider.is_newest:
            assert name in session.get_session().get_service_model("bedrock-runtime").operation_names
        return
    wrapped = {
        f"{module}.{target}"
        for one in provider.instrumentors
        for (module, _, _), all_of in recorded(one.table.patches).items()
        for target in all_of
    }
    assert name not in wrapped
    if provider.is_newest:
        assert find(name) is not None, f"{name} is gone"


def test_what_is_left_out_is_read_of_every_page() -> None:
    """A table under that heading that has no names would be checked by nobody."""
    with_heading = {provider.folder for provider in PROVIDERS if "## Not recorded" in provider.page.read_text()}
    assert {parameters.values[0].folder for parameters in LEFT_OUT} == with_heading


def test_what_is_written_by_hand_stays() -> None:
    """Only what stands between the marks is made anew."""
    page = f"# A\n\nby hand\n\n{provider_pages.BEGIN}old\n{provider_pages.END}after\n"
    assert replace_part(page, "new\n") == page.replace("old", "new")
    with pytest.raises(ValueError, match="no generated part"):
        replace_part("# A\n", "new\n")


def test_an_async_twin_is_not_told_twice() -> None:
    """And one without a twin is."""
    (openai,) = [provider for provider in PROVIDERS if provider.folder == "openai"]
    part = provider_pages.to_part(openai)
    assert "`Completions.create`" in part
    assert "`AsyncCompletions.create`" not in part
