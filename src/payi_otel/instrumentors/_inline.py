"""Base64 data in a request or an answer: where a provider's JSON holds it, and how it is taken out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from msgspec import Struct, field

from payi_otel._large import SLICE, Marks, find, give_way, holds_only
from payi_otel.semconv import NOT_INSTRUMENTED

_MIN_INLINE_CHARS: Final = 256
"""A shorter value under one of the `maybe_keys` is a word, not data."""
_MAX_DATA_URL_HEAD: Final = 200
"""Characters in which the media type of a `data:` URL ends."""
_DATA_URL: Final = b";base64,"
_PLAIN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_"
_BASE64: Final = _PLAIN + b"\r\n"
_LONG: Final = 64 * 1024
"""Data of so many bytes is taken out before the JSON around it is read."""
_CUT_KEYS: Final = frozenset({"data", "bytes", "file_data", "b64_json"})
"""Of the keys that hold base64, those whose values no provider's content counts as text."""
_BLANK: Final = " \t\r\n"
_MAX_HEAD: Final = 256
"""Bytes of anything that stands before data."""


class InlineRules(Struct, frozen=True, dict=True):
    """Where a provider's JSON holds base64 data. `data:` URLs are found wherever they stand."""

    fields: Mapping[str, str] = field(default_factory=dict)
    """By the `type` of an object, its field that holds base64."""
    keys: frozenset[str] = frozenset()
    """Keys that hold base64 wherever they stand."""
    parents: frozenset[str] = frozenset()
    """Objects whose `data` is base64."""
    maybe_keys: frozenset[str] = frozenset({"data", "image", "mask"})
    """Keys that hold base64 in some APIs and words in others."""
    maybe_lists: frozenset[str] = frozenset()
    """Keys of lists of the same."""

    @cached_property
    def marks(self) -> Marks:
        """Without any of these JSON holds none."""
        words = {"data", *self.fields, *self.keys, *self.maybe_keys, *self.maybe_lists}
        return Marks(_DATA_URL, *(f'"{word}"'.encode() for word in sorted(words)))

    @cached_property
    def _before_data(self) -> re.Pattern[bytes]:
        """What stands before base64 data, as far as it is plain: the head of a `data:` URL, or a key."""
        keys = "|".join(sorted(_CUT_KEYS & (self.keys | self.maybe_keys)))
        blank = rf"[{_BLANK}]{{0,9}}"
        return re.compile(rf'"(?:([dD][aA][tT][aA]:[^"\\]{{0,180}};base64,)|(?:{keys})"{blank}:{blank}")'.encode())

    def may_be_in(self, text: bytes) -> bool:
        """Whether JSON may hold any of it. Looking through its bytes is a hundred times as fast as going through its values."""
        return self.marks.are_in(text)

    def strip(self, value: Any, parent: str = "") -> Any:
        """The same JSON with base64 data replaced by `<not_instrumented>`; `parent` is the key it stands under."""
        if isinstance(value, dict):
            own = self.fields.get(str(value.get("type")))
            return {
                key: NOT_INSTRUMENTED if self._is_inline(key, item, parent, own) else self.strip(item, key) for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.strip(item, parent) for item in value]
        is_data = isinstance(value, str) and (is_data_url(value) or (parent in self.maybe_lists and _may_be_data(value)))
        return NOT_INSTRUMENTED if is_data else value

    def _is_inline(self, key: str, value: Any, parent: str, own: str | None) -> bool:
        if not isinstance(value, str) or not value:
            return False
        sure = key == own or key in self.keys or (key == "data" and parent in self.parents)
        return holds_only(_BASE64, value) if sure else key in self.maybe_keys and _may_be_data(value)

    def cut(self, text: bytes) -> bytes:
        """JSON with its longest base64 data cut, of which `strip` makes the same: reading it takes no time.

        What is not plainly such data (with escapes in it, or as a key) is left as it is.
        """
        if len(text) <= _LONG:
            return text
        parts: list[bytes] = []
        done = 0
        for start, stop in self._long_data(text):
            parts.append(text[done:start])
            done = stop
        return b"".join([*parts, text[done:]]) if parts else text

    def _long_data(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where such data begins and ends, in order, but for as much of it as makes it what it is."""
        at = 0
        while at < len(text):
            found = self._before_data.search(text, at, at + SLICE + _MAX_HEAD)
            if found is None:
                at += SLICE
                give_way()
                continue
            start, at = found.end(), found.end() - 1
            stop = find(b'"', text, start)
            is_quoted = text.startswith(b"\\", found.start() - 1)
            if is_quoted or stop - start < _LONG or not holds_only(_PLAIN, text[start:stop]):
                continue
            if found[1] is None:
                yield start + _MIN_INLINE_CHARS, stop
            elif not text[stop + 1 : stop + _MAX_HEAD].lstrip(_BLANK.encode()).startswith(b":"):
                yield start, stop
            at = stop


def _may_be_data(text: str) -> bool:
    return len(text) >= _MIN_INLINE_CHARS and holds_only(_BASE64, text)


def is_data_url(text: str) -> bool:
    """Whether a text is a `data:` URL in base64."""
    return text[:5].lower() == "data:" and ";base64," in text[:_MAX_DATA_URL_HEAD]
