"""The xProxy headers of one call: written for it by `create_headers`, taken out of it again before the provider sees it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from payi_otel.context import _notice
from payi_otel.context._fields import PROPERTY_FIELDS, HeaderFields, is_use_case_name, keywords
from payi_otel.context._header_text import escaped_ids, is_plain, to_header
from payi_otel.context._text import from_text, to_text
from payi_otel.context.scope import UNCHANGED, Scope, ScopeChange
from payi_otel.semconv import HEADER_PREFIX, PayiHeaderNames

if TYPE_CHECKING:
    from typing_extensions import Unpack

_HEADER_ORDER = (
    "user_id",
    "account_name",
    "use_case_id",
    "use_case_name",
    "use_case_version",
    "use_case_properties",
    "request_properties",
    "use_case_step",
    "price_as_category",
    "price_as_resource",
    "resource_scope",
)
_FIELD_OF = {getattr(PayiHeaderNames, name).lower(): name for name in ("limit_ids", *_HEADER_ORDER)}
_LOGGING_DISABLE = PayiHeaderNames.logging_disable.lower()
_MAX_PROPERTY_CHARS = 8192
"""Of base64: no server takes headers that are much longer."""
_SENTINELS = frozenset({"Omit", "NotGiven"})
"""Class names by which the providers' SDKs say "no such header"."""


@keywords(HeaderFields.__annotations__)
def create_headers(**fields: Unpack[HeaderFields]) -> dict[str, str]:
    """Headers for one call's `extra_headers`, which say for this call what `track_context` says for a block.

    Empty values are left out. To clear a field of the scope for one call, give its header as "".

    Raises:
        TypeError: `limit_ids` is not a list, or a keyword is unknown.
    """
    limit_ids = fields.get("limit_ids")
    headers = create_limit_header_from_ids(limit_ids=limit_ids) if limit_ids else {}
    for name in _HEADER_ORDER:
        value = fields.get(name)
        if value or value == 0:
            headers[getattr(PayiHeaderNames, name)] = to_text(value)
    if fields.get("log_prompt_and_response") is False:
        headers[PayiHeaderNames.logging_disable] = "True"
    return headers


def create_limit_header_from_ids(*, limit_ids: list[str]) -> dict[str, str]:
    """The header of these limits; {} when no id is left after stripping.

    Raises:
        TypeError: `limit_ids` is not a list.
    """
    if not isinstance(limit_ids, list):
        raise TypeError(f"limit_ids must be a list, not {type(limit_ids).__name__}")
    ids = [item.strip() for item in limit_ids if isinstance(item, str) and item.strip()]
    return {PayiHeaderNames.limit_ids: to_text(ids)} if ids else {}


def proxy_headers(scope: Scope) -> dict[str, str]:
    """A scope as the headers of a call through the proxy; every value can stand in a header.

    Source: Pay-i ingest API, "Proxy mode": properties are base64 of compact JSON.
    """
    headers: dict[str, str] = {}
    for name in ("limit_ids", *_HEADER_ORDER):
        value = getattr(scope, name)
        if value is None or value == () or value == {}:
            continue
        header = getattr(PayiHeaderNames, name)
        if name in PROPERTY_FIELDS:
            text = base64.b64encode(to_text(value).encode("ascii")).decode()
            if len(text) > _MAX_PROPERTY_CHARS:
                _notice.warn("the properties of %s are too long for a call through the proxy: it goes without them", header)
                continue
        elif name == "limit_ids":
            text = to_text(value) if all(is_plain(one) and "," not in one for one in value) else escaped_ids(value)
        else:
            text = to_header(to_text(value))
        headers[header] = text
    if scope.log_prompt_and_response is False:
        headers[PayiHeaderNames.logging_disable] = "True"
    return headers


def split_headers(headers: Mapping[str, Any] | None) -> tuple[ScopeChange, dict[str, Any]]:
    """Parts a call's headers into what they say to us and what goes to the provider.

    Args:
        headers: the call's `extra_headers`; it is not changed.

    Returns:
        The overrides for `Scope.with_headers`, and a new dict of the other headers, their order and values kept.
    """
    if not headers:
        return UNCHANGED, {}
    ours: dict[str, str] = {}
    rest: dict[str, Any] = {}
    for name, value in headers.items():
        lower = _as_text(name).lower()
        if not lower.startswith(HEADER_PREFIX):
            rest[name] = value
        elif type(value).__name__ not in _SENTINELS:
            ours[lower] = _as_text(value)
    return (_to_change(ours) if ours else UNCHANGED), rest


def _to_change(headers: Mapping[str, str]) -> ScopeChange:
    values: dict[str, Any] = {}
    for header, text in headers.items():
        name = _FIELD_OF.get(header)
        if name is None:
            continue
        try:
            values[name] = from_text(name, text)
        except ValueError:
            _notice.warn("the header %s cannot be read and is ignored", getattr(PayiHeaderNames, name))
    if _LOGGING_DISABLE in headers:
        # its presence alone counts, as with the published client: whatever stands in it, content is not sent
        values["log_prompt_and_response"] = False
    return ScopeChange(**_with_known_use_case(values))


def _with_known_use_case(values: dict[str, Any]) -> dict[str, Any]:
    """Without the use case where Pay-i refuses its name: it would refuse the whole packet, and the cost would be lost."""
    name = values.get("use_case_name")
    if not name or is_use_case_name(name):
        return values
    _notice.warn("the header %s holds a name that is not allowed; the call keeps its scope's use case", PayiHeaderNames.use_case_name)
    return {key: value for key, value in values.items() if not key.startswith("use_case_")}


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)
