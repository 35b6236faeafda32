"""Frames of AWS event streams, as Bedrock sends them."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any


def frame(value: Any, *, kind: str, exception: bool = False) -> bytes:
    """One frame: Converse's event of this type, or an exception of this type."""
    headers = {":message-type": "exception" if exception else "event", ":exception-type" if exception else ":event-type": kind}
    packed = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
        for name, text in {**headers, ":content-type": "application/json"}.items()
    )
    payload = json.dumps(value).encode()
    head = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    body = head + struct.pack(">I", zlib.crc32(head)) + packed + payload
    return body + struct.pack(">I", zlib.crc32(body))


def chunk(value: Any) -> bytes:
    """One frame of `InvokeModelWithResponseStream`."""
    return frame({"bytes": base64.b64encode(json.dumps(value).encode()).decode()}, kind="chunk")


EVENT_STREAM = {"content-type": "application/vnd.amazon.eventstream", "x-amzn-requestid": "req-1"}
"""The headers such a stream comes with."""
