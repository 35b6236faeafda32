"""From settings to the delivery queue: the same one for `payi_instrument()` and for the exporters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payi_otel.delivery.outcome import Sink
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.delivery.spool import Spool
from payi_otel.gateway import Prices, gateway
from payi_otel.limits import limits
from payi_otel.packets.convert import PacketRules, to_packet
from payi_otel.payload import registry

if TYPE_CHECKING:
    from payi_otel.config import Settings


def to_queue(sink: Sink, settings: Settings, *, log_prompt_and_response: bool, has_owner: bool = False) -> DeliveryQueue:
    """A queue that makes packets by these settings and delivers them to the sink; with an owner, which shuts it down."""
    max_chars: int | None = getattr(sink, "max_chars", None)
    rules = PacketRules.from_settings(settings, log_prompt_and_response=log_prompt_and_response, max_chars=max_chars)
    return DeliveryQueue(
        sink,
        convert=lambda payload: to_packet(payload, rules),
        retry=settings.ingest_retry,
        connection_error_logging_window_s=settings.connection_error_logging_window,
        exit_timeout_s=settings.exit_timeout_s,
        inline=settings.delivery == "inline",
        before_shutdown=registry.end_open,
        has_owner=has_owner,
        on_result=limits.note,
        spool=to_spool(settings) if settings.offline_instrumentation is None else None,
    )


def to_http_sink(payi: Any, settings: Settings, *, yields: bool = False) -> Sink:
    """Where packets go that are sent, and calls in proxy mode.

    Args:
        payi: A client, ours or the published SDK's; None for what the environment says.
        settings: The settings.
        yields: Calls in proxy mode go where the application itself says, if it does.

    Raises:
        ConfigurationError: There is no key, or the client is none.
    """
    from payi_otel.clients import to_target
    from payi_otel.exporters.http import HttpSink

    # A bulk's answer says nothing of limits.
    bulk = False if settings.enforce_limits and settings.ingest_bulk == "auto" else settings.ingest_bulk
    # Images that are wanted are not cut.
    sink = HttpSink(to_target(payi), bulk=bulk, is_limited=not settings.instrument_inline_data)
    rules = PacketRules.from_settings(settings)
    gateway.open(sink, Prices(rules.model_mappings, rules.host_mappings), yields=yields)
    return sink


def to_spool(settings: Settings) -> Spool | None:
    """The spool of these settings, if there is one."""
    retry = settings.ingest_retry
    if retry.spool_directory is None:
        return None
    return Spool(retry.spool_directory, sync_always=retry.spool_sync == "always", max_bytes=retry.spool_max_bytes)
