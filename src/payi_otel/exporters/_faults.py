"""What an exception of the HTTP client means for a packet."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from payi_otel._http_library import names_of
from payi_otel.delivery.outcome import Fate, Fault, Outcome

_NOT_SENT: Final = frozenset({"ConnectTimeout", "PoolTimeout", "ConnectError", "UnsupportedProtocol", "ProxyError"})
"""Behind any other exception Pay-i may have got the packet."""


def to_outcome(fault: Exception) -> Outcome:
    """Reads an exception. Its text is not used, but for the system's own words: it may hold a URL with a password."""
    names = names_of(fault)
    if any(isinstance(cause, ssl.SSLError) for cause in _causes(fault)):
        return Outcome(Fate.RETRY, "tls_error", "TLS: check the certificate and PAYI_BASE_URL")
    if "TimeoutException" in names:
        return Outcome(Fate.RETRY, "timeout", type(fault).__name__, ambiguous=names.isdisjoint(_NOT_SENT))
    if "TransportError" in names or isinstance(fault, OSError):
        return Outcome(Fate.RETRY, "connection_error", _describe(fault), ambiguous=names.isdisjoint(_NOT_SENT))
    return Outcome(Fate.RETRY, "unexpected", type(fault).__name__, ambiguous=True, fault=Fault.PACKET)


def _describe(fault: Exception) -> str:
    system = next((cause.strerror for cause in _causes(fault) if isinstance(cause, OSError) and cause.strerror), "")
    return f"{type(fault).__name__}: {system}" if system else type(fault).__name__


def _causes(fault: BaseException) -> Iterator[BaseException]:
    seen = 0
    cause: BaseException | None = fault
    while cause is not None and seen < 10:
        yield cause
        cause, seen = cause.__cause__ or cause.__context__, seen + 1
