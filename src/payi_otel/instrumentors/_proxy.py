"""Proxy mode: a call goes through Pay-i, which records it and says in its answer what it cost.

The client stays as it is. Its request is built, and where that is so, signed, for its provider; then it is sent to the proxy instead, with
the provider's address and the call's scope in headers. Source: Pay-i ingest API, "Proxy mode".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from threading import Thread
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from payi_otel._guard import guard
from payi_otel._hosts import DATABRICKS_CATEGORIES
from payi_otel._json import read_json
from payi_otel.context._header_text import to_header
from payi_otel.context.headers import proxy_headers
from payi_otel.delivery.outcome import Fate, Outcome
from payi_otel.delivery.result import NOT_CONNECTED, UNKNOWN
from payi_otel.gateway import gateway
from payi_otel.instrumentors._capture import HttpExchange, current_exchange
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._results import NAME
from payi_otel.limits import limits
from payi_otel.packets.pricing import price_said
from payi_otel.payload import Payload
from payi_otel.semconv import HEADER_PREFIX, PROXY_PATH, PayiCategories, PayiHeaderNames

logger = logging.getLogger("payi.instrument")

_OPENAI: Final = "openai/v1"
_BY_CATEGORY: Final = {
    PayiCategories.openai: _OPENAI,
    PayiCategories.anthropic: "anthropic",
    PayiCategories.azure_openai: "azure.openai",
    PayiCategories.azure: "azure.anthropic",
    PayiCategories.aws_bedrock: "aws.bedrock",
    **dict.fromkeys(DATABRICKS_CATEGORIES, _OPENAI),
}
"""What stands for a client's service in the proxy's path."""
_PRICED_AS: Final = {path: category for category, path in _BY_CATEGORY.items() if category not in DATABRICKS_CATEGORIES}
"""What the proxy prices a call as that says nothing of it."""
_WHOLE: Final = frozenset({"azure.openai", "aws.bedrock"})
"""Those behind whose path the provider's whole path stands; behind the others, what follows the client's base URL."""
_KNOWN: Final = frozenset({"https://api.openai.com/v1", "https://api.anthropic.com"})
"""Addresses that the proxy knows by itself."""
_NO_SCOPE: Final = frozenset({PayiHeaderNames.api_key.lower(), PayiHeaderNames.provider_base_uri.lower()})
_ANY_HOST: Final = "databricks-sdk/"
"""A workspace may have its endpoints served by another host."""
_KEY_REFUSED: Final = "invalid_api_key"


class ProxyRoute(Struct):
    """The way of one call."""

    url: str
    """The proxy's address for the client's service; "" for a client that points there itself, whose address and key stay its own."""
    base_path: str | None
    """The part of the provider's paths that belongs to its address; None: none of it."""
    key: str
    headers: Mapping[str, str]
    host: str | None
    """The provider's host, with its port; None: whichever is asked with that path."""
    is_taken: bool = False
    """A request has gone this way: the call is Pay-i's to record."""
    is_signed: bool = False
    """The client may sign its requests for the provider, once they are built: they are redirected after that."""

    def __repr__(self) -> str:
        return f"<ProxyRoute by {self.url} for {self.host}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """A struct's own one names every field, and rich prefers it to a repr: the key would stand in its tracebacks."""
        return [("url", self.url), ("host", self.host)]

    def leads(self, url: str) -> bool:
        """Whether this is the call's own request: within a call an SDK may ask another service for a token or an address."""
        endpoint = read_endpoint(url)
        host = f"{endpoint.host}:{endpoint.port}" if endpoint.port else endpoint.host
        return self.host in (None, host) and (self.base_path is None or endpoint.path.startswith(self.base_path + "/"))

    def redirected(self, url: str) -> tuple[str, str]:
        """A provider's URL as the proxy's, and the provider's address; the call is the proxy's from here on."""
        self.is_taken = True
        parts = urlsplit(url)
        origin, path = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path  # a gateway's password is not Pay-i's to know
        if self.base_path is not None:
            origin, path = origin + self.base_path, path[len(self.base_path) :]
        return f"{self.url}{path}{f'?{parts.query}' if parts.query else ''}", origin

    def headers_for(self, base_uri: str) -> dict[str, str]:
        """All that is added to a request whose provider is there."""
        where = {} if base_uri in _KNOWN else {PayiHeaderNames.provider_base_uri: base_uri}
        return {PayiHeaderNames.api_key: self.key, **where, **self.headers}

    def apply(self, request: Any) -> None:
        """Redirects a request of httpx's, once."""
        added = self.headers
        if self.url:
            if not self.leads(str(request.url)):
                return
            url, base_uri = self.redirected(str(request.url))
            request.url = type(request.url)(url)
            added = {"host": request.url.netloc.decode("ascii"), **self.headers_for(base_uri)}
        for name in [name for name, value in request.headers.items() if not value and _is_of_scope(name.lower())]:
            del request.headers[name]  # cleared by the caller: it has been read
        request.headers.update(added)

    def apply_aws(self, request: Any) -> None:
        """Redirects a request of botocore's, which has been signed."""
        added = self.headers
        if self.url:
            if not self.leads(request.url):
                return
            request.url, base_uri = self.redirected(request.url)
            added = self.headers_for(base_uri)
        for name, value in added.items():
            del request.headers[name]  # setting adds to what is there
            request.headers[name] = value


def _is_of_scope(name: str) -> bool:
    return name.startswith(HEADER_PREFIX) and name not in _NO_SCOPE


def can_route(category: str, *, is_pointed: bool) -> bool:
    """Whether such calls can be sent through the proxy at present; where not, that is said once, and they are recorded from here."""
    if is_pointed:
        return True
    if category not in _BY_CATEGORY:
        _say_once(f"proxy mode does not reach {category}: its calls are sent to the provider, and recorded from here")
    elif gateway.side is None:
        _say_once("proxy mode needs a Pay-i client, and there is none: calls are sent to their providers, and recorded from here")
    else:
        return True
    return False


def route_of(payload: Payload, base_path: str | None, *, is_pointed: bool) -> ProxyRoute | None:
    """The way of a call that `can_route`.

    Args:
        payload: The call, as far as it is known before it is made.
        base_path: The path of the client's base URL.
        is_pointed: The client points at the proxy itself.
    """
    side, path = gateway.side, _BY_CATEGORY.get(payload.category)
    headers = proxy_headers(payload.scope)
    price = price_said(payload, gateway.prices.model_mappings, gateway.prices.host_mappings)
    category = price.category or (payload.category if path and _PRICED_AS[path] != payload.category else None)
    said = {
        PayiHeaderNames.price_as_category: category,
        PayiHeaderNames.price_as_resource: price.resource,
        PayiHeaderNames.resource_scope: price.resource_scope,
    }
    headers.update({name: to_header(value) for name, value in said.items() if value and name not in headers})
    if is_pointed:
        return ProxyRoute("", None, "", headers, None, is_taken=True)
    if side is None or path is None:
        return None
    is_signed = payload.category == PayiCategories.aws_bedrock
    host = None if payload.module.startswith(_ANY_HOST) else payload.host
    base_path = None if path in _WHOLE else base_path
    return ProxyRoute(side.base_url + PROXY_PATH + path, base_path, side.api_key, headers, host, is_signed=is_signed)


def redirect_signed(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps an SDK's `_prepare_request`, which may sign for the provider."""
    result = wrapped(*args, **kwargs)
    _redirect(args[0] if args else kwargs.get("request"))
    return result


async def redirect_signed_async(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same where it is awaited."""
    result = await wrapped(*args, **kwargs)
    _redirect(args[0] if args else kwargs.get("request"))
    return result


def _redirect(request: Any) -> None:
    exchange = current_exchange.get()
    if exchange is not None and exchange.route is not None and request is not None:
        with guard("sending a call to the proxy"):
            exchange.route.apply(request)


def result_in(value: Any, depth: int = 2) -> Mapping[str, Any] | None:
    """The result in an answer or an event, be it JSON or an SDK's object of it."""
    fields = value if isinstance(value, Mapping) else getattr(value, "__pydantic_extra__", None)
    found = fields.get(NAME) if isinstance(fields, Mapping) else None
    if isinstance(found, Mapping):
        return found
    inner = vars(value).values() if not isinstance(value, Mapping) and hasattr(value, "__dict__") else ()
    parts = [*(fields.values() if isinstance(fields, Mapping) else ()), *inner] if depth else ()
    return next((result for part in parts if (result := result_in(part, depth - 1)) is not None), None)


def settle(payload: Payload, exchange: HttpExchange) -> None:
    """Has a proxied call's ticket say what the proxy said, and limits and warnings be known."""
    ticket, side = payload.ticket, gateway.side
    if ticket is None or exchange.route is None:  # somebody else's
        return
    result = said = _said_by(exchange)
    if said is not None:
        pass
    elif payload.failure is not None and payload.http_status is None:
        result = {"code": NOT_CONNECTED, "message": "Pay-i's proxy gave no answer"}
    elif side is not None and payload.response_id and payload.failure is None:
        ticket.find = partial(side.find_result, payload.category, payload.response_id)
    else:
        result = {"code": UNKNOWN, "message": "Pay-i's proxy said nothing of the call"}
    ticket.settle(Outcome(Fate.DELIVERED, result=result))
    if said is None:
        return
    limits.note(said, in_call=True)
    if side is not None:
        side.note_result(said)
        if said.get("code") == _KEY_REFUSED:  # the application's function that gives the key may take its time
            Thread(target=side.renew_key, args=(exchange.route.key,), name="payi-key", daemon=True).start()


def _said_by(exchange: HttpExchange) -> Mapping[str, Any] | None:
    if exchange.xproxy_result is not None:
        return exchange.xproxy_result
    body = _to_object(exchange.proxied_body or exchange.received or exchange.response_body() or b"")
    error, result = body.get("xproxy_error"), body.get(NAME)
    said = {"code": str(error.get("code")), "message": str(error.get("message"))} if isinstance(error, Mapping) else {}
    return {**(result if isinstance(result, Mapping) else {}), **said} or None


def _to_object(body: bytes) -> Mapping[str, Any]:
    with guard("reading the proxy's answer"):
        value = read_json(body) if body[:1] == b"{" else {}
        return value if isinstance(value, Mapping) else {}
    return {}


def _say_once(text: str) -> None:
    if text not in gateway.said:
        gateway.said.add(text)
        logger.warning("%s", text)
