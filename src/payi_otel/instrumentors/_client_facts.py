"""What a client is and where its calls go: found by a provider's reader before each call, kept with the call's `Request`."""

from __future__ import annotations

from msgspec import Struct

from payi_otel.instrumentors._endpoint import Endpoint
from payi_otel.semconv import PROXY_PATH


class ClientFacts(Struct, frozen=True):
    """Of a provider's client, as it is when a call is made."""

    provider: str
    """`gen_ai.provider.name`."""
    category: str
    host: str | None = None
    port: int | None = None
    """None where it is the scheme's own."""
    uri: str | None = None
    resource_prefix: str = ""
    deployment: str | None = None
    """The model's stand-in that the client itself names (Azure)."""
    is_proxied: bool = False
    """Pointed at the Pay-i proxy: its address and key stay as they are."""
    base_path: str = ""
    """The path of its base URL."""

    @property
    def address(self) -> str | None:
        """`host` or `host:port`, as `Payload.host` has it."""
        return f"{self.host}:{self.port}" if self.port and self.host else self.host


def facts_at(
    endpoint: Endpoint,
    provider: str,
    category: str,
    resource_prefix: str = "",
    *,
    deployment: str | None = None,
    base_path: str | None = None,
) -> ClientFacts:
    """What a client is whose calls go to an endpoint.

    Args:
        endpoint: Its base URL, read by `read_endpoint`.
        provider: `gen_ai.provider.name`.
        category: Pay-i's name of the service.
        resource_prefix: What stands before its models' names at Pay-i.
        deployment: The model's stand-in that the client itself names.
        base_path: The path that an SDK puts between the endpoint and a call's own; the endpoint's where there is none.
    """
    return ClientFacts(
        provider=provider,
        category=category,
        host=endpoint.host or None,
        port=endpoint.port,
        uri=endpoint.uri,
        resource_prefix=resource_prefix,
        deployment=deployment,
        is_proxied=PROXY_PATH in endpoint.path,
        base_path=endpoint.path.rstrip("/") if base_path is None else base_path,
    )
