"""What is wrapped of `databricks-sdk`: `serving_endpoints.query`, of the control plane and of the data plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from payi_otel._guard import guard
from payi_otel.instrumentors._base import Patch, Table
from payi_otel.instrumentors._capture import current_exchange, send_without_baggage
from payi_otel.instrumentors.databricks._operations import UNIT_SOURCES, Query

_SERVING = "databricks.sdk.service.serving"


def redirect(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps `_BaseClient._perform`, by which each attempt of a request is made: in proxy mode it goes there."""
    exchange = current_exchange.get()
    if exchange is None or exchange.route is None or len(args) < 2 or not exchange.route.leads(args[1]):
        return wrapped(*args, **kwargs)
    method, url, *rest = args
    url, base_uri = exchange.route.redirected(url)
    headers = {**(kwargs.get("headers") or {}), **exchange.route.headers_for(base_uri)}
    response = wrapped(method, url, *rest, **{**kwargs, "headers": headers})
    exchange.proxied_body = getattr(response, "content", None)
    return response


def capture_error(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps `_Parser.get_api_error`, which sees what the proxy answered to a call that it refused."""
    exchange = current_exchange.get()
    if exchange is not None and exchange.is_proxied:
        with guard("reading the proxy's refusal"):
            exchange.proxied_body = getattr(args[0] if args else kwargs.get("response"), "content", None)
    return wrapped(*args, **kwargs)


QUERY = Query()


TABLE = Table(
    units=UNIT_SOURCES,
    patches=(
        Patch(_SERVING, "ServingEndpointsAPI.query", QUERY),
        Patch(_SERVING, "ServingEndpointsDataPlaneAPI.query", QUERY),
        Patch("databricks.sdk._base_client", "_BaseClient.do", wrapper=send_without_baggage, keeps_ours=True),
        Patch("databricks.sdk._base_client", "_BaseClient._perform", wrapper=redirect),
        Patch("databricks.sdk.errors.parser", "_Parser.get_api_error", wrapper=capture_error),
    ),
)
