"""What a program tells the `payi-otel run` or `payi-otel doctor` that started it: a line for each packet, and its account at its end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

from payi_otel._requests import requests
from payi_otel.delivery.stats import HostCalls, Stats
from payi_otel.packets.model import IngestPacket
from payi_otel.semconv import STATUS_WITHOUT_HTTP

PRINT_VARIABLE: Final = "_PAYI_OTEL_PRINT"
"""Set: each packet is a line on stderr."""
ACCOUNT_VARIABLE: Final = "_PAYI_OTEL_ACCOUNT"
"""A file that is there already; each process of the program appends a line of JSON to it."""
_STDERR: Final = 2
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def prints() -> bool:
    """Whether packets are to be printed."""
    return bool(os.environ.get(PRINT_VARIABLE))


def print_packet(packet: IngestPacket) -> None:
    """Writes what a packet is billed by, and nothing that was said. To the descriptor: the program's `sys.stderr` may be its own."""
    try:
        os.write(_STDERR, (to_line(packet) + "\n").encode("utf-8", "replace"))
    except OSError:  # closed, or full
        return


def to_line(packet: IngestPacket) -> str:
    """Time (UTC), model, units, latency, use case and user; the status where the call failed."""
    body = packet.body
    units = ", ".join(f"{name} {count.get('input', 0)} → {count.get('output', 0)}" for name, count in body.get("units", {}).items())
    who = " ".join(str(part) for part in (packet.use_case_name, packet.user_id) if part)
    status = body.get("http_status_code", 0)
    parts = (
        str(body.get("event_timestamp", ""))[11:19],
        str(body.get("resource", "")),
        units or "no units",
        f"{body.get('end_to_end_latency_ms', 0)} ms",
        who or "-",
        "" if isinstance(status, int) and 200 <= status < STATUS_WITHOUT_HTTP else f"HTTP {status}",
    )
    line = "  ".join(part for part in parts if part)
    return "".join(character if character.isprintable() else "\ufffd" for character in line)


def hand_over(account: Stats) -> None:
    """Appends the account of this process where it is asked for."""
    path = os.environ.get(ACCOUNT_VARIABLE)
    if not path:
        return
    unbilled = {one.host: {"requests": one.requests, "packets": one.packets} for one in requests.unbilled()}
    line = json.dumps({"stats": to_plain(account), "unbilled": unbilled}) + "\n"
    try:
        file = os.open(path, _FLAGS)
    except OSError:  # whoever asked is gone
        return
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def to_plain(account: Stats) -> dict[str, Any]:
    """The account as JSON values."""
    return {name: _to_plain(getattr(account, name)) for name in Stats.__slots__}


def _to_plain(value: Any) -> Any:
    if isinstance(value, HostCalls):
        return {"requests": value.requests, "packets": value.packets}
    return {key: _to_plain(inner) for key, inner in value.items()} if isinstance(value, Mapping) else value
