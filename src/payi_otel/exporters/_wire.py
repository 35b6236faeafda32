"""The forms in which a packet travels over HTTP: by itself with its scope in headers, or as a bulk of one with everything in the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final
from urllib.parse import quote

import orjson
from msgspec import Struct
from msgspec.structs import replace

from payi_otel._json import to_json, to_text
from payi_otel._large import SLICE
from payi_otel.context._header_text import escaped_ids, is_plain, to_escaped
from payi_otel.delivery._encode import has_long_texts, length_of, to_wire_body, to_wire_json
from payi_otel.delivery.outcome import EncodedPacket, Outcome
from payi_otel.packets.model import IngestPacket
from payi_otel.semconv import HEADER_INSTRUMENTED_MODULE, PayiHeaderNames

SINGLE_PATH: Final = "/api/v1/ingest"
BULK_PATH: Final = "/api/v1/ingest/bulk"
UPSERT_PATH: Final = "/api/v1/ingest/bulk-upsert"
"""The same, but a packet whose `provider_response_id` is known already is updated instead of counted twice."""
BODIES_DROPPED: Final = "payi_otel.bodies_dropped"
"""Property of a packet whose request and response were left out: the server found it too large (`413`), it was (`too_large`), too many
packets were waiting (`queue_full`), or the spool keeps none (`spool`)."""

DATED_ANEW: Final = "payi_otel.event_timestamp"
"""Property of a packet whose time Pay-i found to be in the future: what it was."""
TRUNCATED: Final = "payi_otel.truncated"
"""Property of a packet that names those of its fields that were cut."""

MAX_CHARS: Final = 1_000_000
"""Longer texts are cut."""
_MAX_ID_CHARS: Final = 1_000
"""It stands in a URL, too."""
_SCOPE_TEXTS: Final = ("user_id", "account_name", "use_case_name", "use_case_id", "use_case_step")
_MAX_SCOPE_CHARS: Final = 100_000
_MAX_PROPERTY_CHARS: Final = 10_000
_MAX_BYTES: Final = 4 * 1024 * 1024
_MAX_ALL_CHARS: Final = 8192
_IN_THE_FUTURE: Final = "invalid_ingest_event_timestamp"
_BODIES: Final = ("provider_request_json", "provider_response_json", "provider_request_reasoning_json")
_PROPERTIES: Final = ("properties", "use_case_properties")
_MORE_BODIES: Final = ("provider_response_function_calls", "provider_request_headers", "provider_response_headers")


class Request(Struct, frozen=True):
    """One HTTP request to make; the key and the content type are added by whoever sends it."""

    path: str
    """With its query."""
    headers: Mapping[str, str]
    content: bytes
    is_bulk: bool = False
    method: str = "POST"


def encode(packet: IngestPacket, *, is_limited: bool = True) -> EncodedPacket:
    """Makes the body's JSON, whatever its values are, and lets go of the body.

    Args:
        packet: The packet.
        is_limited: Texts are cut after a million characters, and a packet of more than 4 MiB loses what was said.
    """
    response_id = to_text(str(packet.body.get("provider_response_id", "")))[:_MAX_ID_CHARS]
    body = to_wire_body(packet.body)
    if len(str(body.get("provider_response_id", ""))) > _MAX_ID_CHARS:
        body["provider_response_id"] = response_id
    is_long = has_long_texts(body) or _has_long_properties(body)
    if is_limited and is_long:
        _cut_texts(body)
    json = to_wire_json(body)
    if is_limited and not is_long and len(json) > _MAX_PROPERTY_CHARS and _cut_texts(body):  # no text in it is longer than it
        json = to_wire_json(body)
    encoded = EncodedPacket(json, _cut_scope(packet.without_body(response_id)))
    for names in ((*_BODIES, *_MORE_BODIES), _PROPERTIES) if is_limited else ():
        if len(encoded.json) > _MAX_BYTES:
            encoded = without_bodies(encoded, "too_large", names) or encoded
    return encoded


def _cut_scope(packet: IngestPacket) -> IngestPacket:
    """Who it was, in a hundred thousand characters each."""
    values = (packet.user_id, packet.account_name, packet.use_case_name, packet.use_case_id, packet.use_case_step)
    if all(value is None or (isinstance(value, str) and len(value) <= _MAX_SCOPE_CHARS) for value in values):
        return packet
    cut: dict[str, Any] = {
        name: value[:_MAX_SCOPE_CHARS] for name, value in zip(_SCOPE_TEXTS, values, strict=True) if isinstance(value, str)
    }
    return replace(packet, **cut)


def _cut_texts(body: dict[str, Any]) -> bool:
    """Whether anything was cut. Encoding ten megabytes holds up the whole process, event loops included, for tens of milliseconds."""
    cut = []
    for name, value in body.items():
        if isinstance(value, str) and len(value) > MAX_CHARS:
            body[name] = value[:MAX_CHARS]
            cut.append(name)
        elif isinstance(value, list) and (kept := _fit(value)) < len(value):
            body[name] = value[:kept]
            cut.append(name)
    for name in _PROPERTIES:
        values = body.get(name)
        if isinstance(values, Mapping) and any(isinstance(text, str) and len(text) > _MAX_PROPERTY_CHARS for text in values.values()):
            body[name] = {key: text[:_MAX_PROPERTY_CHARS] if isinstance(text, str) else text for key, text in values.items()}
            cut.append(name)
    if cut:
        properties = body.get("properties")
        body["properties"] = {**(properties if isinstance(properties, Mapping) else {}), TRUNCATED: ",".join(cut)}
    return bool(cut)


def _has_long_properties(body: Mapping[str, Any]) -> bool:
    """Whether what else may be long, being the application's own, is too long to be encoded before it is cut."""
    texts = [body.get("provider_request_reasoning_json")]
    for name in _PROPERTIES:
        values = body.get(name)
        if isinstance(values, Mapping):
            texts += values.values()
    return length_of(texts) > SLICE


def _fit(values: list[Any]) -> int:
    """How many of the texts fit."""
    if length_of(values) <= MAX_CHARS:
        return len(values)
    size = 0
    for position, value in enumerate(values):
        size += len(value) if isinstance(value, str) else 0
        if size > MAX_CHARS:
            return position
    return len(values)


def to_single(encoded: EncodedPacket) -> Request | None:
    """The ordinary form; None when a value cannot stand in a header."""
    values = _to_values(encoded.packet)
    return _to_request(encoded, values) if _are_plain(values, encoded.packet) else None


def to_escaped_single(encoded: EncodedPacket) -> Request:
    """The ordinary form for any values: what cannot stand in a header is percent-encoded (UTF-8) and cut to 4 kB."""
    values = {name: value if is_plain(value) else to_escaped(value) for name, value in _to_values(encoded.packet).items()}
    if values.get(PayiHeaderNames.limit_ids):
        values[PayiHeaderNames.limit_ids] = escaped_ids(encoded.packet.limit_ids)
    return _to_request(encoded, values)


def to_result_request(category: str, response_id: str) -> Request:
    """Asks what a packet cost that was delivered before."""
    path = f"/api/v1/requests/provider/{quote(category, safe='')}/{quote(response_id, safe='')}/result"
    return Request(path, {}, b"", method="GET")


def to_bulk(batch: Sequence[EncodedPacket], path: str = BULK_PATH) -> Request:
    """Many packets, or one: no value stands in a header."""
    return Request(path, {}, b"[" + b",".join(map(_to_item, batch)) + b"]", is_bulk=True)


def _to_item(encoded: EncodedPacket) -> bytes:
    beside = to_json(replace(encoded.packet, body={}).to_bulk_item())
    joint = b"," if len(encoded.json) > 2 and len(beside) > 2 else b""
    return encoded.json[:-1] + joint + beside[1:]


def may_amend(outcome: Outcome) -> bool:
    """Whether a packet that was answered so may yet be taken in another form; see `amend`."""
    return outcome.status == 413 or outcome.code == _IN_THE_FUTURE


def amend(encoded: EncodedPacket, outcome: Outcome, now: datetime | None = None) -> EncodedPacket | None:
    """The packet as it may yet be taken after this answer: without its bodies, or dated now; None when nothing can be done."""
    if outcome.status == 413:
        return without_bodies(encoded, "413")
    if outcome.code == _IN_THE_FUTURE:
        stamp = (now or datetime.now(timezone.utc)).isoformat()
        body = orjson.loads(encoded.json)
        properties = {**(body.get("properties") or {}), DATED_ANEW: str(body.get("event_timestamp"))}
        return replace(encoded, json=to_json({**body, "event_timestamp": stamp, "properties": properties}))
    return None


def without_bodies(encoded: EncodedPacket, why: str, names: Sequence[str] = _BODIES) -> EncodedPacket | None:
    """The packet without request and answer, and with the reason in a property; None where it has neither."""
    body: dict[str, Any] = orjson.loads(encoded.json)
    slim = {name: value for name, value in body.items() if name not in names}
    if len(slim) == len(body):
        return None
    slim["properties"] = {**(slim.get("properties") or {}), BODIES_DROPPED: why}
    return replace(encoded, json=to_json(slim))


def _to_request(encoded: EncodedPacket, values: Mapping[str, str]) -> Request:
    path = f"{SINGLE_PATH}?id={quote(encoded.packet.response_id, safe='')}"
    return Request(path, {**values, **_to_flags(encoded.packet)}, encoded.json)


def _to_values(packet: IngestPacket) -> dict[str, str]:
    """The scope as header values, the empty ones left out."""
    version = packet.use_case_version
    pairs = {
        PayiHeaderNames.limit_ids: ",".join(map(str, packet.limit_ids)),
        PayiHeaderNames.use_case_name: packet.use_case_name,
        PayiHeaderNames.use_case_id: packet.use_case_id,
        PayiHeaderNames.use_case_version: None if version is None else str(version),
        PayiHeaderNames.use_case_step: packet.use_case_step,
        PayiHeaderNames.user_id: packet.user_id,
        PayiHeaderNames.account_name: packet.account_name,
        PayiHeaderNames.resource_scope: packet.resource_scope,
    }
    return {name: str(value) for name, value in pairs.items() if value}


def _to_flags(packet: IngestPacket) -> dict[str, str]:
    """The headers that are about the packet and not of its scope."""
    flags = {PayiHeaderNames.logging_disable: "True"} if packet.logging_disabled else {}
    if is_plain(packet.module):
        flags[HEADER_INSTRUMENTED_MODULE] = packet.module
    return flags


def _are_plain(values: Mapping[str, str], packet: IngestPacket) -> bool:
    if sum(map(len, values.values())) > _MAX_ALL_CHARS or not all(map(is_plain, values.values())):
        return False
    # The list is split at its commas, and a reader may strip its parts.
    return not any("," in limit_id or limit_id != limit_id.strip() for limit_id in map(str, packet.limit_ids))
