"""What a call is priced as, and the three forms of a packet."""

from __future__ import annotations

from typing import Any

import pytest

from payi_otel.config import load_settings
from payi_otel.context.scope import Scope
from payi_otel.packets.convert import PacketRules
from payi_otel.packets.model import IngestPacket
from payi_otel.packets.pricing import PriceAs, price_as
from payi_otel.payload import Payload


def priced(scope: Scope | None = None, *, mappings: Any = (), hosts: Any = None, **changes: Any) -> tuple[str, str, str | None]:
    """Resolves one call by settings as a user writes them."""
    settings = load_settings({"openai_config": {"model_mappings": list(mappings)}, "host_mappings": hosts or {}}, environ={})
    rules = PacketRules.from_settings(settings)
    facts: dict[str, Any] = {"category": "system.openai", "module": "openai/3.53.0", "model": "m", "host": "api.openai.com", **changes}
    price = price_as(Payload(scope=scope or Scope(), **facts), rules.model_mappings, rules.host_mappings)
    assert isinstance(price, PriceAs)
    return price.category, price.resource, price.resource_scope


@pytest.mark.parametrize(
    ("changes", "resource"),
    [
        ({}, "m"),
        ({"model": None, "response_model": "r"}, "r"),
        ({"model": "", "response_model": "r"}, "r"),
        ({"model": None}, "system.unknown_model"),
        ({"model": None, "resource_prefix": "google."}, "system.unknown_model"),
        ({"resource_prefix": "google."}, "google.m"),
    ],
)
def test_resource_is_what_is_known(changes: dict[str, Any], resource: str) -> None:
    """The model asked for, or else the one that answered."""
    assert priced(**changes) == ("system.openai", resource, None)


def test_prefix_is_the_services_own() -> None:
    """Priced as another category, or as a resource the user names, a model goes by its bare name."""
    assert priced(resource_prefix="google.", hosts={"api.openai.com": {"price_as_category": "x"}}) == ("x", "m", None)
    assert priced(resource_prefix="google.", mappings=[{"model": "m", "price_as_resource": "r"}]) == ("system.openai", "r", None)
    assert priced(Scope(price_as_resource="c"), resource_prefix="google.") == ("system.openai", "c", None)


def test_each_field_is_resolved_on_its_own() -> None:
    """One place may say the category, another the resource, a third the scope."""
    mapping = {"model": "m", "price_as_resource": "mapped", "resource_scope": "datazone"}
    hosts = {"api.openai.com": {"price_as_category": "by.host"}}
    assert priced(Scope(resource_scope="global"), mappings=[mapping], hosts=hosts) == ("by.host", "mapped", "global")
    assert priced(mappings=[mapping], hosts=hosts, resource_scope="region.x") == ("by.host", "mapped", "datazone")
    assert priced(resource_scope="region.x") == ("system.openai", "m", "region.x")


def test_mappings_are_by_sdk() -> None:
    """OpenAI's mappings are not Anthropic's."""
    assert priced(mappings=[{"model": "m", "price_as_resource": "r"}], module="anthropic/2.0") == ("system.openai", "m", None)


def test_mapping_by_answered_model() -> None:
    """A call without a model is mapped by the one that answered."""
    assert priced(mappings=[{"model": "r", "price_as_resource": "x"}], model=None, response_model="r")[1] == "x"
    assert priced(mappings=[{"model": "r", "price_as_resource": "x"}], response_model="r")[1] == "m"


@pytest.mark.parametrize(
    ("mapped", "called", "hit"),
    [
        ("h", "h", True),
        ("h", "h:8443", True),
        ("h:8443", "h:8443", True),
        ("h:8443", "h", False),
        ("h:1", "h:8443", False),
        ("[::1]", "::1", True),
        ("[::1]", "::1:8000", True),
        ("[::1]:8000", "::1:8000", True),
        ("http://[fd00::a]:8000/v1", "fd00::a:8000", True),
        ("[::1]:1", "::1:8000", False),
    ],
)
def test_hosts_match_with_and_without_port(mapped: str, called: str, *, hit: bool) -> None:
    """A mapping without a port is of every port."""
    assert (priced(hosts={mapped: {"price_as_category": "x"}}, host=called)[0] == "x") == hit


def test_three_forms_of_a_packet() -> None:
    """Only the resource scope is called differently in a bulk and in a file."""
    packet = IngestPacket(
        {"category": "c", "provider_response_id": "id"}, use_case_name="u", limit_ids=("a",), use_case_version=0, resource_scope="global"
    )
    scope = {"limit_ids": ["a"], "use_case_name": "u", "use_case_version": 0}
    assert packet.to_bulk_item() == {**packet.body, **scope, "scope": "global"}
    assert packet.to_offline_record() == {**packet.body, **scope, "resource_scope": "global"}
    assert packet.response_id == "id"


def test_an_azure_deployment_without_a_mapping_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Its name is the customer's own: what it costs is not known without one."""
    for _ in range(2):
        price_as(Payload(Scope(), "system.azureopenai", "openai/3", model="ours", host="a.openai.azure.com"), {}, {})
    price_as(Payload(Scope(price_as_resource="gpt-4"), "system.azureopenai", "openai/3", model="theirs"), {}, {})
    price_as(Payload(Scope(), "system.openai", "openai/3", model="gpt-4"), {}, {})
    assert [record.getMessage() for record in caplog.records] == [
        "the Azure deployment 'ours' has no model mapping: Pay-i can price its calls only if it is named like a model; "
        "set openai_config.model_mappings with its price_as_resource"
    ]
