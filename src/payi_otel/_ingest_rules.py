"""What the fake ingest server takes: Pay-i's wire contract as checks. Standard library only. Source: Pay-i ingest API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

_MAX_INT32: Final = 2_147_483_647
_MAX_AHEAD: Final = timedelta(minutes=5)
Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_INT32


def _is_list_of(*names: str) -> Check:
    """A list of objects with these keys: the first one text, the others text or null, or missing."""

    def check(value: Any) -> bool:
        return isinstance(value, list) and all(_is_pair(item, names) for item in value)

    return check


def _is_pair(item: Any, names: tuple[str, ...]) -> bool:
    if not isinstance(item, dict) or not set(item) <= set(names) or not _is_text(item.get(names[0])):
        return False
    return all(value is None or _is_text(value) for value in item.values())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_properties(value: Any) -> bool:
    return isinstance(value, dict) and all(item is None or _is_text(item) for item in value.values())


def _are_units(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(sides, dict) and set(sides) <= {"input", "output"} and all(map(_is_count, sides.values())) for sides in value.values()
    )


BODY: Final[Mapping[str, Check]] = {
    "category": _is_text,
    "resource": _is_text,
    "units": _are_units,
    "event_timestamp": _is_text,
    "end_to_end_latency_ms": _is_count,
    "time_to_first_token_ms": _is_count,
    "time_to_first_completion_token_ms": _is_count,
    "http_status_code": _is_count,
    "provider_uri": _is_text,
    "provider_request_headers": _is_list_of("name", "value"),
    "provider_response_headers": _is_list_of("name", "value"),
    "provider_request_json": _is_text,
    "provider_request_reasoning_json": _is_text,
    "provider_response_json": lambda value: _is_text(value) or _is_texts(value),
    "provider_response_id": _is_text,
    "provider_response_function_calls": _is_list_of("name", "arguments"),
    "properties": _is_properties,
    "use_case_properties": _is_properties,
}
BULK_SCOPE: Final[Mapping[str, Check]] = {
    "limit_ids": _is_texts,
    "user_id": _is_text,
    "account_name": _is_text,
    "use_case_name": _is_text,
    "use_case_id": _is_text,
    "use_case_version": _is_count,
    "use_case_step": _is_text,
    "scope": _is_text,
}
REQUIRED: Final = ("category", "units")
KEY_HEADER: Final = "xproxy-api-key"
HEADERS: Final[Mapping[str, re.Pattern[str]]] = {
    KEY_HEADER: re.compile(r"[!-~]+"),
    "xproxy-limit-ids": re.compile(r"[^,]+(,[^,]+)*"),
    "xproxy-user-id": re.compile(r".+"),
    "xproxy-account-name": re.compile(r".+"),
    "xproxy-usecase-name": re.compile(r".+"),
    "xproxy-usecase-id": re.compile(r".+"),
    "xproxy-usecase-version": re.compile(r"\d+"),
    "xproxy-usecase-step": re.compile(r".+"),
    "xproxy-resource-scope": re.compile(r".+"),
    "xproxy-logging-disable": re.compile(r"True|False"),
    "xproxy-instrumented-module": re.compile(r"[^/]+/.+"),
}

Problem = tuple[str, str]
"""A Pay-i error code and a message."""


def check_headers(headers: Mapping[str, str], *, is_bulk: bool) -> Problem | None:
    """What is wrong with a request's headers (lower-case names); the key is checked elsewhere."""
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return "header_is_missing", "content-type must be application/json"
    known = (KEY_HEADER,) if is_bulk else tuple(HEADERS)
    for name, value in headers.items():
        if not name.startswith("xproxy-"):
            continue
        if name not in known:
            return "request_processing_error", f"unknown header {name}"
        if not value.isascii() or not HEADERS[name].fullmatch(value):
            return "request_processing_error", f"bad value of header {name}"
    return None


def check_packet(packet: Any, *, is_bulk: bool, now: datetime | None = None) -> Problem | None:
    """What is wrong with a packet's body, or with a bulk's item."""
    if not isinstance(packet, dict):
        return "invalid_json", "not an object"
    known = {**BODY, **BULK_SCOPE} if is_bulk else BODY
    for name, value in packet.items():
        if name not in known:
            return "invalid_json", f"unknown key {name}"
        if not known[name](value):
            return "invalid_json", f"bad value of {name}"
    missing = [name for name in REQUIRED if name not in packet]
    if missing:
        return "required_field_missing", f"{missing[0]} is missing"
    return _check_time(packet.get("event_timestamp"), now or datetime.now(timezone.utc))


def _check_time(stamp: str | None, now: datetime) -> Problem | None:
    if stamp is None:
        return None
    try:
        when = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    except ValueError:
        return "invalid_ingest_event_timestamp", "not ISO 8601"
    when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return ("invalid_ingest_event_timestamp", "in the future") if when > now + _MAX_AHEAD else None
