"""`XproxyResult`: what Pay-i said of one call, waited for when it is read."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import time
from collections.abc import Generator, Mapping
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from payi_otel._guard import guard
from payi_otel.delivery._ticket import NOT_CONFIGURED, Ticket, in_thread
from payi_otel.delivery.outcome import Fate, Outcome

if TYPE_CHECKING:
    from typing_extensions import Self

logger = logging.getLogger("payi.instrument")

DEFAULT_PATIENCE_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.1
"""Between two looks for a result that Pay-i does not know yet; doubles."""

ENQUEUED: Final = "ingest_retry_enqueued"
NOT_CONNECTED: Final = "api_connection_error"
UNKNOWN: Final = "unknown_error"
NO_JSON: Final = "invalid_json"
"""Local codes. Source: Pay-i ingest API, "Local result codes"."""
_NOT_REACHED: Final = frozenset({"connection_error", "timeout", "tls_error"})
_UNVERIFIED: Final = "unverified_answer"


_LOCAL: Final = MappingProxyType({"request_id": "local_instrumentation"})
"""A file, or any destination that tells no result, has it. The published SDK's words."""


_taking = Lock()
"""Held for a moment by who takes over what is new."""


class ReadingPatience:
    """How long a reader waits where he does not say it himself."""

    def __init__(self) -> None:
        self.seconds = DEFAULT_PATIENCE_S
        """The setting `result_timeout_s`."""


reading_patience = ReadingPatience()
"""The process's one: results are read wherever the application has them."""


def _needs_finding(ticket: Ticket) -> bool:
    outcome = ticket.outcome
    return ticket.find is not None and outcome is not None and outcome.fate is Fate.DELIVERED and outcome.result is None


def _needs_time(ticket: Ticket) -> bool:
    """Whether more may be known to who waits."""
    return not ticket.is_open and (not ticket.is_settled or _needs_finding(ticket))


def _find(ticket: Ticket, deadline_s: float) -> None:
    """Asks Pay-i for the result of a packet that went together with others, which are answered without any."""
    pause_s = _FIRST_PAUSE_S
    while _needs_finding(ticket) and ticket.find is not None:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            return
        found = None
        with guard("asking for a result"):
            found = ticket.find(left_s)
        if found is None or found.result is not None:
            ticket.outcome = found or ticket.outcome
            return
        if found.status is None:  # nobody answers: not now, or not any more after a shutdown
            return
        time.sleep(max(0.0, min(pause_s, deadline_s - time.monotonic())))
        pause_s *= 2


def _end_if_complete(ticket: Ticket) -> None:
    if ticket.is_open and ticket.end is not None:
        with guard("ending a stream"):
            ticket.end()


def _say(ticket: Ticket) -> Mapping[str, Any]:
    """What is known now, in the words of the reference."""
    outcome = ticket.outcome
    if ticket.is_open:
        return _error(UNKNOWN, "the call has not ended: its stream is still to be read")
    if not ticket.is_settled:
        return _error(ENQUEUED, "Pay-i has not answered yet: the packet is on its way")
    if outcome is None:
        return _error(UNKNOWN, "the call makes no packet of its own: it costs nothing, or is billed with another one")
    if outcome.fate is not Fate.DELIVERED:
        return _failure(outcome, is_final=ticket.is_final)
    if _needs_finding(ticket):
        return _error(UNKNOWN, "the packet is delivered, but Pay-i does not tell its result yet")
    return outcome.result if outcome.result is not None else _LOCAL


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def _failure(outcome: Outcome, *, is_final: bool) -> dict[str, Any]:
    why = f"{outcome.code} {outcome.message}".strip()
    if not is_final:
        return _error(ENQUEUED, f"{why}: the packet is sent again later")
    if outcome.code in _NOT_REACHED:
        return _error(NOT_CONNECTED, f"{why}: the packet is lost")
    if outcome.code == _UNVERIFIED:
        return _error(NO_JSON, f"{outcome.message}: the packet is lost")
    is_said = outcome.code == NOT_CONFIGURED or (outcome.status is not None and not outcome.code.startswith("http_"))
    return _error(outcome.code if is_said else UNKNOWN, f"{why}: the packet is lost")


_OPTIONAL: Final = frozenset(
    {
        *("account_name", "actions", "blocked_limit_ids", "code", "cost", "duplicate_request", "limits", "message", "request_id"),
        *("request_tags", "resource_id", "unknown_units", "use_case_id", "use_case_name", "use_case_step", "user_id", "warnings"),
    }
)
_OPTIONAL_WITHIN: Final = frozenset({"base", "currency", "input", "output", "overrun_base", "state", "total"})
"""What may be missing in an answer; None then. Source: Pay-i ingest API, "Answers"."""


class _Part(dict[str, Any]):
    """An object within a result, read by attribute or by key."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name in _OPTIONAL_WITHIN:
            return None
        raise AttributeError(f"a result of Pay-i has no {name!r} here")

    def __reduce__(self) -> Any:
        return dict, (plain(self),)


class XproxyResult(dict[str, Any]):
    """What Pay-i said of one call: `response.xproxy_result`.

    Read by attribute or key: `request_id`, `cost.total.base` (in `cost.currency`), `limits["id"].state`, `blocked_limit_ids`,
    `duplicate_request`, `unknown_units`, `warnings`, `use_case_name`, ...; what Pay-i did not say is None. Where there is no answer of
    Pay-i, `code` and `message` say why: `ingest_retry_enqueued` (queued; read again later), `api_connection_error`, `invalid_json`,
    `configuration_error`, `unknown_error`, or Pay-i's own code. Offline, `request_id` is `local_instrumentation`. Nothing is raised.

    Reading waits for Pay-i's answer, at most `result_timeout_s` (a setting; 5 s by default), and in an event loop blocks it; write
    `result = await response.xproxy_result` there. Nothing is read, and nothing waits, before. To serialisers it is a plain dict with
    what was known when it was last read. Source: Pay-i ingest API, "Answers" and "Local result codes".
    """

    __slots__ = ("__weakref__", "_ticket", "_told")

    def __init__(self, ticket: Ticket) -> None:
        super().__init__()
        self._ticket = ticket
        self._told: Mapping[str, Any] | None = None
        """What was taken over last."""
        if not (ticket.is_open or _needs_time(ticket)):
            self._take()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for Pay-i's answer.

        Args:
            timeout_s: Seconds at most; None for the setting `result_timeout_s`.

        Returns:
            Whether Pay-i has answered; else `code` says why not.
        """
        ticket = self._ticket
        _end_if_complete(ticket)
        if _needs_time(ticket):
            deadline_s = _deadline_s(timeout_s)
            _warn_in_loop()
            ticket.wait(max(0.0, deadline_s - time.monotonic()))
            _find(ticket, deadline_s)
            self._ticket.again_s = _deadline_s(None)
        return self._take()

    def __await__(self) -> Generator[Any, Any, Self]:
        """Waits as reading does, without blocking the event loop, and gives the result itself."""
        return self._wait_async().__await__()

    async def _wait_async(self, timeout_s: float | None = None) -> Self:
        ticket = self._ticket
        _end_if_complete(ticket)
        if _needs_time(ticket):
            deadline_s = _deadline_s(timeout_s)
            await ticket.wait_async(max(0.0, deadline_s - time.monotonic()))
            if _needs_finding(ticket):
                await in_thread(functools.partial(_find, ticket, deadline_s))
            self._ticket.again_s = _deadline_s(None)
        self._take()
        return self

    def _read(self) -> bool:
        """Waits, but not again right after having waited in vain: who reads several fields is held up once."""
        return self._take() if time.monotonic() < self._ticket.again_s else self.wait()

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of what Pay-i said."""
        self._read()
        return {name: plain(value) for name, value in self.items()}

    model_dump = to_dict

    def _take(self) -> bool:
        """Takes over what is known; whether it is Pay-i's answer."""
        told = _say(self._ticket)
        if told is not self._told:  # else it has been taken over, and others may be reading it
            said = {name: _parted(value) for name, value in told.items()}
            with _taking:
                self._told = told
                self.update(said)
                for name in [name for name in tuple(self) if name not in said]:
                    self.pop(name, None)
        return "code" not in told

    def __getattr__(self, name: str) -> Any:
        if name in _OPTIONAL:
            self._read()
            return super().get(name)
        if name.startswith("_"):
            raise AttributeError(name)
        self._read()
        try:
            return super().__getitem__(name)
        except KeyError:
            raise AttributeError(f"a result of Pay-i has no {name!r}") from None

    def __getitem__(self, name: str) -> Any:
        self._read()
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key, after waiting for it."""
        self._read()
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self._read()
        return super().__contains__(name)

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> Any:
        """Pickled and copied, it is a plain dict: whoever reads that need not have this package."""
        return dict, (plain(self),)

    def __repr__(self) -> str:
        return f"<XproxyResult {plain(self) or 'not read yet'}>"


def plain(value: Any) -> Any:
    """A result's value in plain dicts and lists."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in list(value.items())}
    return [plain(part) for part in value] if isinstance(value, list) else value


def _parted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _Part({name: _parted(part) for name, part in value.items()})
    return [_parted(part) for part in value] if isinstance(value, list) else value


def _deadline_s(timeout_s: float | None) -> float:
    seconds = reading_patience.seconds if timeout_s is None else timeout_s
    return time.monotonic() + (seconds if math.isfinite(seconds) else 1e9)


_has_warned = False


def _warn_in_loop() -> None:
    global _has_warned  # noqa: PLW0603 - said once
    if _has_warned:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    _has_warned = True
    logger.warning("xproxy_result is read in an event loop, which it blocks until Pay-i answers: write `await response.xproxy_result`")
