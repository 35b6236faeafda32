"""AWS event streams, the binary protocol of Bedrock's streams: their frames taken apart, and noted as they pass.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html, "Response message format".
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any

from payi_otel._json import read_json
from payi_otel.instrumentors._stream import Tap

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_PRELUDE = struct.Struct(">III")
_MIN_FRAME = 16
_MAX_FRAME = 25 * 1024 * 1024
"""Longer than AWS sends (24 MB); a larger length is not the start of a frame."""


def read_frames(data: bytes) -> Iterator[dict[str, Any]]:
    """The JSON events in the whole frames of some recorded bytes."""
    rest = bytearray(data)
    for frame in _cut(rest):
        if (value := _value_of(frame)) is not None:
            yield value


def _cut(buffer: bytearray) -> Iterator[bytes]:
    """Takes the whole frames off a buffer's front."""
    while len(buffer) >= _MIN_FRAME:
        length, _, _ = _PRELUDE.unpack_from(buffer)
        if not _MIN_FRAME <= length <= _MAX_FRAME:
            buffer.clear()
            return
        if len(buffer) < length:
            return
        frame = bytes(buffer[:length])
        del buffer[:length]
        yield frame


def _value_of(frame: bytes) -> dict[str, Any] | None:
    headers_length = _PRELUDE.unpack_from(frame)[1]
    try:
        value = read_json(frame[_PRELUDE.size + headers_length : -4])
        if isinstance(value, dict) and isinstance(value.get("bytes"), str):
            value = read_json(base64.b64decode(value["bytes"]))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


class FrameSieve:
    """Notes the events among the bytes of an event stream; every byte passes as it comes."""

    withholds = False

    def __init__(self, tap: Tap) -> None:
        self._tap, self._buffer = tap, bytearray()

    def pass_on(self, piece: bytes) -> bytes:
        """Notes the frames that are whole with this piece."""
        self._tap.keep(piece)
        self._buffer += piece
        for frame in _cut(self._buffer):
            if (value := _value_of(frame)) is not None:
                self._tap.note(value)
        return piece

    def flush(self) -> bytes:
        """Nothing is held back."""
        return b""
