"""Where a client's calls go, read off its base URL (of httpx, of httpx2, or a text)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Endpoint(Struct, frozen=True):
    """A base URL in parts, without user, password and query: gateways are given keys there."""

    host: str = ""
    """Lower case."""
    port: int | None = None
    """None where it is the scheme's own."""
    path: str = ""
    uri: str | None = None


def read_endpoint(url: Any) -> Endpoint:
    """Takes a URL apart; an empty `Endpoint` where it names no host."""
    if isinstance(url, str):
        url = urlsplit(url)
        host = url.hostname or ""
    else:
        host = getattr(url, "host", "") or ""
    host, scheme, path = host.lower(), getattr(url, "scheme", ""), str(getattr(url, "path", ""))
    port = getattr(url, "port", None)
    if port == _DEFAULT_PORTS.get(scheme):
        port = None
    if not host:
        return Endpoint(path=path)
    name = f"[{host}]" if ":" in host else host
    return Endpoint(host, port, path, f"{scheme}://{name}{f':{port}' if port else ''}{path}")
