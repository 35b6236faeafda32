"""What Pay-i last said of each limit: told to the user, and, where he asks for it, obeyed before a call is made."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from threading import RLock, Thread
from typing import Any, Final

from payi_otel._guard import guard
from payi_otel.errors import LimitExceeded

logger = logging.getLogger("payi.instrument")

OK: Final = "ok"
_BLOCKED: Final = "blocked"
"""Begins the states in which a call is refused: `blocked`, `blocked_external`."""
_RECHECK_S: Final = 60.0
"""So long a blocked limit is believed; then one call goes through, whose packet says what it is now."""
_MAX_LIMITS: Final = 10_000
"""Limits whose states are remembered; of more, the one that was told of longest ago is forgotten."""


class LimitBook:
    """The states of limits, as the answers to single ingests tell them. Source: Pay-i ingest API, `xproxy_result.limits`."""

    def __init__(self) -> None:
        self.after_fork()
        self._on_limit: Callable[[str, str], object] | None = None
        self._is_taken = False
        """The application itself has begun."""
        self._begun = object()
        """Which beginning holds."""
        self.enforces = False
        """Calls that a blocked limit holds for are refused."""
        self._states: dict[str, tuple[str, float]] = {}
        """By limit, its state and when it may be asked again."""

    def after_fork(self) -> None:
        """In a forked child another thread may have held the lock."""
        self._lock = RLock()  # a collector may end a proxied stream, and note its limits, in the middle of anything here

    def begin(self, on_limit: Callable[[str, str], object] | None, *, enforces: bool = False, yields: bool = False) -> object:
        """Forgets all, and tells of changes from now on.

        Args:
            on_limit: Called with a limit's id and its state whenever that is another one than before, `ok` at first. It runs in the thread
                that delivers, or in one of its own, never in a call.
            enforces: Calls that a blocked limit holds for are refused.
            yields: Does nothing where somebody has begun who does not yield.

        Returns:
            This beginning, for `end`.
        """
        begun = object()
        with self._lock:
            if not (yields and self._is_taken):
                self._on_limit, self._states, self.enforces, self._is_taken = on_limit, {}, enforces, not yields
                self._begun = begun
        return begun

    def end(self, begun: object = None) -> None:
        """As if nobody had ever begun.

        Args:
            begun: Does nothing where it is not this beginning that holds; None: whichever does.
        """
        with self._lock:
            if begun is None or begun is self._begun:
                self._on_limit, self._states, self.enforces, self._is_taken = None, {}, False, False

    def note(self, result: Mapping[str, Any], *, in_call: bool = False) -> None:
        """Takes what an answer says of limits; anything else in it is left alone.

        Args:
            result: Pay-i's `xproxy_result`.
            in_call: This is the thread of a call: the user's function runs in another one.
        """
        for limit_id, state in _states_of(result).items():
            self._take(limit_id, state, in_call=in_call)

    def _take(self, limit_id: str, state: str, *, in_call: bool) -> None:
        with self._lock:
            before = self._states.pop(limit_id, (OK, 0.0))[0]
            self._states[limit_id] = (state, time.monotonic() + _RECHECK_S)
            if len(self._states) > _MAX_LIMITS:
                del self._states[next(iter(self._states))]
            tell = self._on_limit
        if state == before:
            return
        level = logging.INFO if state == OK else logging.WARNING
        logger.log(level, "the limit %s is %s now, it was %s", limit_id, state, before)
        if tell is not None and in_call:
            with guard("telling of a limit"):
                Thread(target=_tell, args=(tell, limit_id, state), name="payi-limit", daemon=True).start()
        elif tell is not None:
            _tell(tell, limit_id, state)

    def states(self) -> dict[str, str]:
        """The last state of each limit that was ever told of."""
        with self._lock:
            return {limit_id: state for limit_id, (state, _) in self._states.items()}

    def refuse_blocked(self, limit_ids: Iterable[str]) -> None:
        """Refuses a call that a blocked limit holds for; once in a minute one goes through, to learn whether it still is.

        Raises:
            LimitExceeded: One of the limits is blocked.
        """
        now_s = time.monotonic()
        with self._lock:
            blocked = [limit_id for limit_id in limit_ids if self._states.get(limit_id, (OK, 0.0))[0].startswith(_BLOCKED)]
            if not blocked:
                return
            if any(self._states[limit_id][1] > now_s for limit_id in blocked):
                raise LimitExceeded(blocked)
            for limit_id in blocked:
                self._states[limit_id] = (self._states[limit_id][0], now_s + _RECHECK_S)


def _tell(tell: Callable[[str, str], object], limit_id: str, state: str) -> None:
    with guard("telling of a limit"):
        tell(limit_id, state)


def _states_of(result: Mapping[str, Any]) -> dict[str, str]:
    limits, blocked = result.get("limits"), result.get("blocked_limit_ids")
    found: dict[str, str] = {}
    if isinstance(limits, Mapping):
        for limit_id, limit in limits.items():
            state = limit.get("state") if isinstance(limit, Mapping) else None
            if isinstance(limit_id, str) and isinstance(state, str):
                found[limit_id] = state
    if isinstance(blocked, list):
        found |= {
            limit_id: _BLOCKED for limit_id in blocked if isinstance(limit_id, str) and not found.get(limit_id, "").startswith(_BLOCKED)
        }
    return found


limits = LimitBook()
"""The process's one book: a limit is the account's, whichever call met it."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=limits.after_fork)
