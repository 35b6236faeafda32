"""What a call is priced as, for every kind of client: header, context, model mapping, host mapping, the client's own category."""

from __future__ import annotations

from typing import Any

import pytest
from flavours import FLAVOURS, MESSAGED, MODEL, Flavour
from provider_server import ProviderServer

import payi_otel

BY_HOST = {"price_as_category": "by.host"}
MAPPED = {"price_as_category": "mapped.category", "price_as_resource": "mapped-resource", "resource_scope": "global"}
IN_CONTEXT = {"price_as_category": "context.category", "price_as_resource": "context-resource", "resource_scope": "datazone"}
BY_HEADER = {"xProxy-PriceAs-Category": "header.category", "xProxy-PriceAs-Resource": "header-resource", "xProxy-Resource-Scope": "region"}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
every_client = pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)


@pytest.fixture
def priced(instrument: Any, provider: ProviderServer, packets: Any) -> Any:
    """Category, resource and scope of one call."""

    def call(flavour: Flavour, config: dict[str, Any], headers: dict[str, str] | None = None, **context: Any) -> tuple[Any, Any, Any]:
        pytest.importorskip(flavour.sdk)
        instrument(config)
        provider.always("", flavour.reply)
        with payi_otel.track_context(**context):
            flavour.call(provider.url, headers or {})
        (packet,) = packets()
        assert not any(name.startswith("xproxy-") for request in provider.requests for name in request["headers"])
        return packet["body"]["category"], packet["body"]["resource"], packet["scope"].get("xproxy-resource-scope")

    return call


def configuration(flavour: Flavour, *, maps: bool = True) -> dict[str, Any]:
    """A host mapping and, where the client's settings have them, a model mapping."""
    mapping = {flavour.section: {"model_mappings": [{"model": MODEL, **MAPPED}]}} if maps and flavour.section else {}
    return {"host_mappings": {flavour.host: BY_HOST}, **mapping}


def own_scope(flavour: Flavour) -> str | None:
    """Anthropic tells where it ran."""
    return "datazone.eu" if flavour.reply is MESSAGED else None


@every_client
def test_by_itself_a_client_says_what_its_calls_are(priced: Any, flavour: Flavour) -> None:
    """Google's and Vertex's models go by their maker's name."""
    assert priced(flavour, {}) == (flavour.category, flavour.prefix + MODEL, own_scope(flavour))


@every_client
def test_a_host_mapping_is_over_the_client(priced: Any, flavour: Flavour) -> None:
    """And takes the prefix away, which belongs to the client's own price list."""
    assert priced(flavour, configuration(flavour, maps=False)) == ("by.host", MODEL, own_scope(flavour))


@every_client
def test_a_model_mapping_is_over_the_host(priced: Any, flavour: Flavour) -> None:
    """Of the settings of the SDK that makes the call; Google and Databricks have none."""
    expected = ("mapped.category", "mapped-resource", "global") if flavour.section else ("by.host", MODEL, own_scope(flavour))
    assert priced(flavour, configuration(flavour)) == expected


@every_client
def test_the_context_is_over_the_mappings(priced: Any, flavour: Flavour) -> None:
    """For every client, Google included."""
    assert priced(flavour, configuration(flavour), **IN_CONTEXT) == ("context.category", "context-resource", "datazone")


@pytest.mark.parametrize("flavour", [flavour for flavour in FLAVOURS if flavour.takes_headers], ids=lambda flavour: flavour.name)
def test_a_header_is_over_the_context(priced: Any, flavour: Flavour) -> None:
    """And reaches no provider."""
    assert priced(flavour, configuration(flavour), BY_HEADER, **IN_CONTEXT) == ("header.category", "header-resource", "region")


@every_client
def test_each_field_is_resolved_on_its_own(priced: Any, flavour: Flavour) -> None:
    """A resource of the context's, the category of whoever says it next."""
    category = "mapped.category" if flavour.section else "by.host"
    assert priced(flavour, configuration(flavour), price_as_resource="mine")[:2] == (category, "mine")
