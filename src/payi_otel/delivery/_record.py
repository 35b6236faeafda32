"""A packet as it stands in the spool: what travels beside its body as one line of JSON, then the body's JSON as it is."""

from __future__ import annotations

from typing import Any, Final

import orjson

from payi_otel._json import to_json
from payi_otel.delivery.outcome import EncodedPacket, Outcome
from payi_otel.packets.model import IngestPacket

_BESIDE: Final = tuple(name for name in IngestPacket.__struct_fields__ if name != "body")
_ID: Final = "provider_response_id"


def to_record(encoded: EncodedPacket) -> bytes:
    """Neither key nor headers are in it: they are added when the packet is sent."""
    packet = encoded.packet
    beside = {name: value for name in _BESIDE if (value := getattr(packet, name))}
    return to_json({_ID: packet.response_id, **beside}) + b"\n" + encoded.json


def to_dead_letter(encoded: EncodedPacket, outcome: Outcome, at: str) -> bytes:
    """A line of JSON: why and when it was refused, what travels beside its body, and the body."""
    beside, _, body = to_record(encoded).partition(b"\n")
    why = to_json({"code": outcome.code, "status": outcome.status, "time": at})
    return why[:-1] + b',"scope":' + beside + b',"packet":' + body + b"}\n"


def from_record(content: bytes) -> EncodedPacket | None:
    """None when it is none: written by a version that knew other fields, or by somebody else."""
    line, _, body = content.partition(b"\n")
    try:
        beside: dict[str, Any] = orjson.loads(line)
        packet = IngestPacket({_ID: beside.pop(_ID)}, **{**beside, "limit_ids": tuple(beside.get("limit_ids", ()))})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return EncodedPacket(body, packet) if body.startswith(b"{") else None
