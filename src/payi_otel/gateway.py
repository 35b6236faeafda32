"""Where calls in proxy mode go: Pay-i's address and key, as the client that packets are sent with has them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct


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


class Prices(Struct, frozen=True):
    """How models and hosts are priced, by the settings."""

    model_mappings: Mapping[str, Any]
    """By provider SDK."""
    host_mappings: Mapping[str, str | None]


class Gateway:
    """The process's way to the proxy; closed until a client of Pay-i's is there."""

    def __init__(self) -> None:
        self._side: weakref.ref[Any] | None = None
        self._is_taken = False
        """The application itself has opened it."""
        self.prices = Prices({}, {})
        self.said: set[str] = set()
        """What has been said of calls that cannot go this way."""

    def open(self, side: PayiSide, prices: Prices, *, yields: bool = False) -> None:
        """From here on calls may be sent through it; the last one that was opened counts.

        Args:
            side: What knows Pay-i. It is not kept alive for this.
            prices: How calls are priced.
            yields: Does nothing where somebody has opened it who does not yield.
        """
        if yields and self._is_taken and self.side is not None:
            return
        self._is_taken = not yields
        self._side, self.prices, self.said = weakref.ref(side), prices, set()

    def close(self) -> None:
        """There is none."""
        self._side, self._is_taken, self.prices, self.said = None, False, Prices({}, {}), set()

    @property
    def side(self) -> PayiSide | None:
        """What knows Pay-i; None where nothing is sent there."""
        side: PayiSide | None = self._side() if self._side is not None else None
        return side


gateway = Gateway()
"""The process's one."""
