"""Where calls in proxy mode go: Pay-i's address and key, as the client that packets are sent with has them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class PayiSide(Protocol):
    """What knows Pay-i: the HTTP sink."""

    @property
    def base_url(self) -> str:
        """Without a slash at its end."""
        ...

    @property
    def api_key(self) -> str:
        """The key that holds now."""
        ...

    def renew_key(self, used: str) -> bool:
        """Looks for another key than the one that was refused; True where there is one."""
        ...

    def find_result(self, category: str, response_id: str, timeout_s: float) -> Any:
        """Asks for the result of a call."""
        ...

    def note_result(self, result: Mapping[str, Any]) -> None:
        """Says what Pay-i warns of."""
        ...


@dataclass(frozen=True, slots=True)
class Prices:
    """How models and hosts are priced, by the settings."""

    model_mappings: Mapping[str, Any]
    """By provider SDK."""
    host_mappings: Mapping[str, str | None]


class Gateway:
    """The process's way to the proxy; closed until a client of Pay-i's is there."""

    def __init__(self) -> None:
        self.close()

    def open(self, side: PayiSide, prices: Prices) -> None:
        """From here on calls may be sent through it; the last one that was opened counts."""
        self._side: weakref.ref[Any] | None = weakref.ref(side)
        self.prices = prices
        self.said: set[str] = set()
        """What has been said of calls that cannot go this way."""

    def close(self) -> None:
        """There is none."""
        self._side = None
        self.prices = Prices({}, {})
        self.said = set()

    @property
    def side(self) -> PayiSide | None:
        """What knows Pay-i; None where nothing is sent there."""
        side: PayiSide | None = self._side() if self._side is not None else None
        return side


gateway = Gateway()
"""The process's one."""
