"""How Pay-i's proxy adds `xproxy_result` to what a provider answers: to a JSON body, or to the last event of a stream as it passes."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from typing import Any, Protocol

RESULT = "xproxy_result"
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_CHUNK = re.compile(rb"\x0b:event-type\x07\x00\x05chunk")
"""The header of a frame of `InvokeModelWithResponseStream`, whose payload holds another JSON as base64."""


class Addition(Protocol):
    """Adds the result to a stream, of which it holds back the last event only."""

    def take(self, data: bytes) -> bytes:
        """What can go on, now that this has come."""
        ...

    def end(self) -> bytes:
        """The rest, with the result in its last event."""
        ...

    def broken_off(self) -> bytes:
        """The rest as it came: the stream was cut."""
        ...


def add_to_json(content: bytes, result: Any) -> bytes:
    """A JSON object with the result; anything else as it is."""
    try:
        value = json.loads(content)
    except ValueError:
        return content
    return json.dumps({**value, RESULT: result}).encode() if isinstance(value, dict) else content


class _LastEvent:
    """What both kinds of stream have in common: the last event that can carry the result is held back, and whatever follows it."""

    def __init__(self, result: Any) -> None:
        self._result = result
        self._pending = b""
        self._held = b""
        self._behind = b""

    def take(self, data: bytes) -> bytes:
        self._pending += data
        return b"".join(map(self._next, self._cut()))

    def end(self) -> bytes:
        before = self._next(self._pending) if self._pending else b""
        self._pending = b""
        return before + self._release(self._added(self._held))

    def broken_off(self) -> bytes:
        return self._release(self._held) + self._pending

    def _cut(self) -> list[bytes]:
        raise NotImplementedError

    def _added(self, event: bytes) -> bytes:
        raise NotImplementedError

    def _next(self, event: bytes) -> bytes:
        if self._added(event) == event:
            self._behind += event
            return b""
        before = self._release(self._held)
        self._held = event
        return before

    def _release(self, held: bytes) -> bytes:
        behind, self._held, self._behind = self._behind, b"", b""
        return held + behind


class SseAddition(_LastEvent):
    """Server-sent events. The result goes into the last one whose data is a JSON object; `[DONE]` is none, and releases it."""

    def take(self, data: bytes) -> bytes:
        """As the base; `[DONE]` says that no other event will come."""
        passed = super().take(data)
        return passed + self._release(self._added(self._held)) if b"[DONE]" in self._behind else passed

    def _cut(self) -> list[bytes]:
        events = []
        while match := _EVENT_END.search(self._pending):
            events.append(self._pending[: match.end()])
            self._pending = self._pending[match.end() :]
        return events

    def _added(self, event: bytes) -> bytes:
        lines = _LINE_END.split(event)
        data = b"\n".join(line[5:].lstrip() for line in lines if line.startswith(b"data:"))
        changed = add_to_json(data, self._result)
        if changed == data:
            return event
        end = _EVENT_END.search(event)
        others = [line for line in lines if line and not line.startswith(b"data:")]
        return b"\n".join((*others, b"data: " + changed)) + (end.group() if end else b"")


class FrameAddition(_LastEvent):
    """An AWS event stream. The result goes into the payload of the last frame, or into the JSON within a chunk's."""

    def _cut(self) -> list[bytes]:
        frames = []
        while len(self._pending) >= 4 and len(self._pending) >= (length := struct.unpack_from(">I", self._pending)[0]):
            frames.append(self._pending[:length])
            self._pending = self._pending[length:]
        return frames

    def _added(self, event: bytes) -> bytes:
        if len(event) < 16:
            return event
        headers_length = struct.unpack_from(">I", event, 4)[0]
        headers, payload = event[12 : 12 + headers_length], event[12 + headers_length : -4]
        changed = self._added_in_chunk(payload) if _CHUNK.search(headers) else add_to_json(payload, self._result)
        return event if changed == payload else to_frame(headers, changed)

    def _added_in_chunk(self, payload: bytes) -> bytes:
        outer = json.loads(payload)
        inner = base64.b64decode(outer["bytes"])
        changed = add_to_json(inner, self._result)
        return payload if changed == inner else json.dumps({**outer, "bytes": base64.b64encode(changed).decode()}).encode()


def to_frame(headers: bytes, payload: bytes) -> bytes:
    """One frame, with its lengths and checksums.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html
    """
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    frame = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return frame + struct.pack(">I", zlib.crc32(frame))
