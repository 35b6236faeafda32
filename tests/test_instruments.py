"""`instruments` selects exactly what its table says, of every kind of client; SDKs that are absent, late or too old."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flavours import FLAVOURS
from provider_server import ProviderServer, Reply

import payi_otel
from payi_otel import PayiCategories
from payi_otel.errors import ConfigurationError
from payi_otel.instrumentors._base import ProviderInstrumentor
from payi_otel.instrumentors._discovery import all_instrumentors

CHOICES = sorted({value for name, value in vars(PayiCategories).items() if isinstance(value, str) and not name.startswith("_")})
INCLUDED = {PayiCategories.azure: {PayiCategories.azure, PayiCategories.azure_openai}}
"""What a choice stands for, where that is more than itself: Azure hosts models of OpenAI's and of Anthropic's."""
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def call_all(provider: ProviderServer) -> None:
    """One call of every kind of client."""
    for flavour in FLAVOURS:
        pytest.importorskip(flavour.sdk)
        ids = {name: flavour.name for name in ("id", "responseId") if name in flavour.reply.body}
        provider.always("", Reply({**flavour.reply.body, **ids}))  # packets of one id would be one
        flavour.call(provider.url, {})


@pytest.mark.parametrize("chosen", CHOICES)
def test_a_choice_records_its_clients_and_no_others(instrument: Any, provider: ProviderServer, packets: Any, chosen: str) -> None:
    """Calls of the others work, and make no packet."""
    wanted = INCLUDED.get(chosen, {chosen})
    expected = sorted(flavour.category for flavour in FLAVOURS if flavour.category in wanted)
    assert expected, "a choice that no client of the table answers proves nothing"
    instrument(instruments={chosen})
    call_all(provider)
    assert sorted(packet["body"]["category"] for packet in packets(len(expected))) == expected


@pytest.mark.parametrize("everything", [None, {"*"}, set(CHOICES)], ids=["none", "star", "each"])
def test_all_records_every_client(instrument: Any, provider: ProviderServer, packets: Any, everything: Any) -> None:
    """Named, starred or not restricted."""
    instrument(instruments=everything)
    call_all(provider)
    assert sorted(packet["body"]["category"] for packet in packets(len(FLAVOURS))) == sorted(flavour.category for flavour in FLAVOURS)


def test_an_unknown_choice_is_one_error_that_names_the_known_ones() -> None:
    """At the call."""
    with pytest.raises(ConfigurationError) as error:
        payi_otel.payi_instrument(payi=payi_otel.Payi(api_key="k", base_url="http://127.0.0.1:9"), instruments={"system.opnai"})
    assert "system.opnai" in str(error.value)
    assert all(choice in str(error.value) for choice in CHOICES)


class Absent(ProviderInstrumentor):
    """An SDK that nobody has."""

    name, distribution, module, supported = "payi_absent", "payi-absent-sdk", "payi_absent_sdk", "payi-absent-sdk >= 2"
    categories, units, patches = frozenset({"system.openai"}), (), ()


def test_an_sdk_that_is_not_installed_is_a_line_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    """No more: most applications have one or two of them."""
    caplog.set_level(logging.DEBUG, "payi.instrument")
    absent = Absent()
    absent.instrument(skip_dep_check=True)
    absent.uninstrument()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "payi-absent-sdk is not installed: its calls are recorded if it is installed and imported later")
    ]


def test_an_sdk_that_is_too_old_is_one_warning(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is installed and what is supported; nothing of it is wrapped."""
    old = Absent()
    monkeypatch.setattr(old, "installed_version", lambda: "1.9")
    old.instrument(skip_dep_check=True)
    assert old.wrapped == []
    old.uninstrument()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "payi-absent-sdk 1.9 is installed, payi-absent-sdk >= 2 is supported: its calls are not recorded")
    ]


LATE = """
import logging, sys
from importlib import metadata
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
found = metadata.version
hidden = True
import payi_otel.instrumentors._base as base
def version(name):
    if hidden and name == "openai":
        raise metadata.PackageNotFoundError(name)
    return found(name)
base.version = version
import payi_otel
payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": sys.argv[1]}}, instruments={"system.openai"})
assert not payi_otel.instrumented()
hidden = False  # pip has run in the meantime
import openai
(sdk,) = payi_otel.instrumented()
assert (sdk.name, sdk.distribution, sdk.version) == ("payi_openai", "openai", found("openai"))
assert "openai.resources.chat.completions.Completions.create" in sdk.wrapped or openai.OpenAI(api_key="k").chat.completions
print("WRAPPED", "openai.resources.chat.completions.Completions.create" in payi_otel.instrumented()[0].wrapped)
"""


def test_an_sdk_that_is_installed_later_is_wrapped_when_it_is_imported(tmp_path: Path) -> None:
    """And that is said, once."""
    pytest.importorskip("openai")
    command = [sys.executable, "-W", "ignore", "-c", LATE, str(tmp_path / "packets.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "WRAPPED True"
    assert sum("was installed after payi_instrument(): its calls are recorded from now on" in line for line in lines) == 1


def test_instrumented_names_each_sdk_with_its_version_and_what_is_wrapped(instrument: Any) -> None:
    """As far as it has been imported."""
    pytest.importorskip("openai")
    instrument()
    found = {sdk.distribution: sdk for sdk in payi_otel.instrumented()}
    installed = {one.distribution: one for one in all_instrumentors() if one.installed_version() is not None}
    assert found.keys() == installed.keys()
    for name, sdk in found.items():
        assert (sdk.name, sdk.version) == (installed[name].name, installed[name].installed_version())
    assert "openai.resources.chat.completions.Completions.create" in found["openai"].wrapped


def test_an_sdk_that_was_not_chosen_tells_its_provider_nothing_of_ours(instrument: Any, provider: ProviderServer) -> None:
    """Nothing of its calls is recorded; baggage, which the Anthropic SDK sends by itself, and our headers are taken away all the same."""
    anthropic = pytest.importorskip("anthropic")
    instrument({"propagate": ["use_case_name", "user_id"]}, instruments={PayiCategories.openai})
    assert all(one.distribution == "openai" for one in payi_otel.instrumented())
    provider.always("", Reply({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {}}))
    with (
        payi_otel.track_context(use_case_name="search", user_id="ada"),
        anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client,
    ):
        client.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi."}], extra_headers={"xProxy-User-ID": "ada"}
        )
    sent = provider.requests[-1]["headers"]
    assert "ada" not in str(sent)
    assert "payi" not in sent.get("baggage", "")
    assert payi_otel.stats().created == 0
