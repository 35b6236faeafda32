"""Two spans of one call: whether their models are one, and what each knows that the other does not. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from msgspec.structs import replace

from payi_otel.packets.units import Usage
from payi_otel.payload import Payload

_VENDOR = re.compile(r"^(?:[a-z]{2,6}\.)?[a-z0-9]+\.(?=[a-z])")
"""Bedrock's `us.anthropic.`, Pay-i's and Google's `google.`; no version, as in `gpt-4.1`."""
_VERSION = re.compile(r"[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|\d{3,6}|latest|v\d+(?::\d+)*)$|:\d+$")


def is_same_model(ours: Iterable[str | None], theirs: Iterable[str | None]) -> bool:
    """Whether the names that two spans have for a model are of one: without vendor, region, version and date. Unknown ones are not."""
    return not {_plain_model(name) for name in ours if name}.isdisjoint(_plain_model(name) for name in theirs if name)


@lru_cache(maxsize=1000)
def _plain_model(name: str) -> str:
    plain = _VENDOR.sub("", name.rpartition("/")[2].lower())
    while (shorter := _VERSION.sub("", plain)) != plain:
        plain = shorter
    return plain


def fill_in(payload: Payload, other: Payload, *, fuller_usage: bool = False) -> None:
    """Adds to a call what another instrumentation saw of it and the first did not.

    Args:
        payload: The call; it is changed.
        other: The same call as the other saw it.
        fuller_usage: Its usage is taken, too, where it tells more kinds of tokens apart.
    """
    if payload.failure is not None and other.failure is None:
        return  # an attempt that failed has none of what another one had
    if payload.usage is None or (fuller_usage and _is_fuller(other.usage, payload.usage)):
        payload.usage = other.usage
    for name in ("model", "response_model", "response_id", "host", "provider_uri", "first_token_ms"):
        if getattr(payload, name) is None:
            setattr(payload, name, getattr(other, name))


def _is_fuller(one: Usage | None, other: Usage) -> bool:
    """Whether a usage tells more parts apart than another of the same call, and has lost none of it."""
    if one is None or len(one.units) <= len(other.units):
        return False
    return (one.input_tokens or 0) >= (other.input_tokens or 0) and (one.output_tokens or 0) >= (other.output_tokens or 0)


def finished(payload: Payload, later: Payload) -> Payload:
    """A call that had not been finished when its span ended, with the usage of a look that found it finished."""
    return replace(payload, usage=later.usage, response_model=payload.response_model or later.response_model)
