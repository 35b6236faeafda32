"""A packet as one line that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from payi_otel.semconv import STATUS_WITHOUT_HTTP

CALL_PROPERTY = "call"
"""The request property in which the demo names a call."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the table shows of one packet."""

    call: str
    model: str
    units: tuple[str, ...]
    """One text for each unit, `text 12 → 30`; none where nothing was used."""
    latency_ms: int
    use_case: str
    user: str
    status: int

    @property
    def failed(self) -> bool:
        """Whether the provider refused the call, or never answered."""
        return not 200 <= self.status < STATUS_WITHOUT_HTTP

    def to_json(self) -> dict[str, Any]:
        """The row with its field names."""
        return asdict(self)


def to_row(packet: Mapping[str, Any]) -> Row:
    """Reads one record of an offline file."""
    status = packet.get("http_status_code", 0)
    name = str(packet.get("properties", {}).get(CALL_PROPERTY, ""))
    return Row(
        call=name if status < 300 else f"{name} ({status})",
        model=str(packet.get("resource", "")),
        units=tuple(f"{name} {count['input']} → {count['output']}" for name, count in packet.get("units", {}).items()),
        latency_ms=int(packet.get("end_to_end_latency_ms", 0)),
        use_case=str(packet.get("use_case_name", "")),
        user=str(packet.get("user_id", "")),
        status=status,
    )
