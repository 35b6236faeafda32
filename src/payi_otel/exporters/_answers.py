"""What an answer of the ingest API means for a packet: pure, one table. Source: Pay-i ingest API, "Answers"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final

import orjson
from msgspec.structs import replace

from payi_otel.delivery.outcome import Fate, Fault, Outcome

MAX_RETRY_AFTER_S: Final = 300.0
"""No server may silence us for longer."""
UNVERIFIED: Final = "unverified_answer"
"""A success that does not read like one: a captive portal, a proxy's page."""

_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""Codes go into counters and logs, so that not every text may be one."""
_DESTINATION: Final = frozenset({401, 403, 404, 405, 407, 421, 429, 502, 503, 504})
_NEVER: Final = frozenset({501, 505})
"""Of the failures of a server, those that the next attempt will meet, too; any other one (a proxy's 52x) passes."""
_PACKET: Final = frozenset({408, 425, 500})
_AMBIGUOUS: Final = frozenset({408, 500, 502, 504})
"""The packet may have been taken before the answer was lost."""
_PACKET_CODES: Final = frozenset(
    {
        "blocking_limit_not_allowed",
        "category_not_found",
        "category_resource_not_found",
        "duplicate_limit_id",
        "header_is_missing",
        "invalid_ingest_event_timestamp",
        "invalid_json",
        "invalid_limit_id",
        "invalid_limit_ids",
        "invalid_use_case_name",
        "invalid_user_id",
        "limit_reached",
        "required_field_missing",
        "use_case_not_found",
    }
)
"""These are about the packet, whatever status they come with: a 404 of theirs does not mean a wrong address."""
_KEY_CODES: Final = frozenset({"invalid_api_key"})
"""These are not the packet's fault, whatever status they come with."""
_SERVER_CODES: Final = frozenset({"unexpected_error"})


class Refused(Enum):
    """Why packets that went together have to go in another way."""

    NOT_ENABLED = "not enabled"
    """The account does not have this endpoint; or key or address are wrong."""
    TOO_LARGE = "too large"
    BY_CONTENT = "by content"
    """Something in it is wrong, and it is not said where."""


def to_outcome(status: int, content: bytes, *, is_bulk: bool = False, retry_after: str | None = None) -> Outcome:
    """Reads one answer.

    Args:
        status: The HTTP status.
        content: The whole body.
        is_bulk: The request was a bulk of one.
        retry_after: The header of that name.
    """
    body = _to_object(content)
    if is_bulk and status in (200, 201, 400) and "ingest_count" in body:
        outcomes = _to_item_outcomes(body, 1)
        return outcomes[0] if outcomes else unverified(status)
    if 200 <= status < 300:
        return unverified(status) if is_bulk else _to_success(status, body)
    return _to_failure(status, body, to_retry_after_s(retry_after))


def to_found(status: int, content: bytes) -> Outcome:
    """Reads what Pay-i says of a packet that was delivered before; without a result where it does not know it, or not yet."""
    result = _to_object(content).get("xproxy_result")
    if 200 <= status < 300 and isinstance(result, dict) and result:
        return Outcome(Fate.DELIVERED, result=result, status=status)
    return _to_failure(status, _to_object(content), None) if status >= 300 else unverified(status)


def unverified(status: int) -> Outcome:
    """A success that cannot be believed: the packet is sent again, under its id."""
    return Outcome(Fate.RETRY, UNVERIFIED, "not an answer of the ingest API", ambiguous=True, fault=Fault.PACKET, status=status)


def to_retry_after_s(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds, from a number or an HTTP date, within 0 and 300; None for what is neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, now or datetime.now(timezone.utc))
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S) if seconds == seconds else None


def _seconds_until(date: str, now: datetime) -> float:
    try:
        then = parsedate_to_datetime(date)
    except (ValueError, TypeError, OverflowError):
        return float("nan")
    return ((then if then.tzinfo else then.replace(tzinfo=timezone.utc)) - now).total_seconds()


def _to_success(status: int, body: Mapping[str, Any]) -> Outcome:
    if not isinstance(body.get("request_id"), str) or not body["request_id"]:
        return unverified(status)
    result = body.get("xproxy_result")
    result = result if isinstance(result, dict) else {}
    code = "duplicate" if result.get("duplicate_request") is True else "ok"
    return Outcome(Fate.DELIVERED, code, result=result or None, status=status)


def to_outcomes(status: int, content: bytes, count: int, retry_after: str | None = None) -> list[Outcome] | Outcome | Refused:
    """Reads the answer to a bulk of several.

    Args:
        status: The HTTP status.
        content: The whole body.
        count: How many packets there were.
        retry_after: The header of that name.

    Returns:
        One outcome for each packet; or one that is about none in particular; or that the packets have to go in another way.
    """
    body = _to_object(content)
    if "ingest_count" in body and status in (200, 201, 400):
        outcomes = _to_item_outcomes(body, count)
        return outcomes or (Refused.BY_CONTENT if status == 400 else unverified(status))
    if 200 <= status < 300:
        return unverified(status)
    outcome = _to_failure(status, body, to_retry_after_s(retry_after))
    if outcome.code in _KEY_CODES:
        return outcome
    if status in (403, 404, 405) and outcome.retries:
        return Refused.NOT_ENABLED
    if status == 413:
        return Refused.TOO_LARGE
    is_about_one = status in (400, 422) or outcome.code in _PACKET_CODES
    return Refused.BY_CONTENT if outcome.fate is Fate.DEAD and is_about_one else outcome


def _to_item_outcomes(body: Mapping[str, Any], count: int) -> list[Outcome] | None:
    """By position; None where the answer does not account for each packet."""
    outcomes = [Outcome(Fate.DELIVERED, status=200)] * count
    errors = body.get("errors")
    errors = errors if isinstance(errors, list) else []
    if count == 1 and errors:  # whose else
        return [_to_item_failure(errors[0].get("xproxy_result") if isinstance(errors[0], dict) else None)]
    seen: set[int] = set()
    for error in errors:
        position = error.get("item_index") if isinstance(error, dict) else None
        if type(position) is not int or not 0 <= position < count or position in seen:
            return None
        seen.add(position)
        outcomes[position] = _to_item_failure(error.get("xproxy_result"))
    is_whole = body.get("total_count") == count and body.get("ingest_count") == count - len(seen)
    return outcomes if is_whole and all((body.get(name) or 0) in (0, len(seen)) for name in ("item_error_count", "error_count")) else None


def _to_item_failure(answer: Any) -> Outcome:
    """What is said of one packet is about that packet."""
    answer = answer if isinstance(answer, dict) else {}
    status = answer.get("statusCode")
    outcome = _to_failure(status if type(status) is int and status >= 300 else 400, answer, None)
    if not outcome.retries:
        return outcome
    if outcome.needs_somebody:
        return Outcome(Fate.DEAD, outcome.code, status=outcome.status)
    return replace(outcome, fault=Fault.PACKET)


def _to_failure(status: int, body: Mapping[str, Any], retry_after_s: float | None) -> Outcome:
    error = body.get("xproxy_error")
    code = error.get("code") if isinstance(error, dict) else None
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else f"http_{status}"
    if status == 409:
        return Outcome(Fate.DELIVERED, "duplicate", status=status)
    if code in _PACKET_CODES and 400 <= status < 500:
        return Outcome(Fate.DEAD, code, status=status)
    if code in _KEY_CODES or status in _DESTINATION or 300 <= status < 400:
        return Outcome(Fate.RETRY, code, _hint(status), retry_after_s, ambiguous=status in _AMBIGUOUS, status=status)
    if code in _SERVER_CODES or status in _PACKET:
        ambiguous = status in _AMBIGUOUS or code in _SERVER_CODES
        return Outcome(Fate.RETRY, code, "", retry_after_s, ambiguous=ambiguous, fault=Fault.PACKET, status=status)
    if status < 200 or status >= 600:
        return unverified(status)
    if status >= 500 and status not in _NEVER:
        return Outcome(Fate.RETRY, code, "", retry_after_s, ambiguous=True, status=status)
    return Outcome(Fate.DEAD, code, status=status)


def _hint(status: int) -> str:
    if status in (400, 401, 403):
        return "check PAYI_API_KEY"
    if status == 407:
        return "check the proxy's user and password"
    return "check PAYI_BASE_URL" if status in (404, 405) or 300 <= status < 400 else ""


def _to_object(content: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
