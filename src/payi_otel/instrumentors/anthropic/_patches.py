"""What is wrapped of the `anthropic` SDK."""

from __future__ import annotations

from payi_otel.instrumentors._base import Patch, Table
from payi_otel.instrumentors._capture import capture_request, capture_response, send_without_baggage, send_without_baggage_async
from payi_otel.instrumentors._claude import UNIT_SOURCES
from payi_otel.instrumentors._http_calls import SdkCall
from payi_otel.instrumentors._proxy import redirect_signed, redirect_signed_async
from payi_otel.instrumentors.anthropic._batches import RESULTS, billed
from payi_otel.instrumentors.anthropic._messages import Messages, StreamHelper, wrap_stream

MESSAGES, STREAM = Messages(), StreamHelper()

_BASE = "anthropic._base_client"
_MESSAGES = "anthropic.resources.messages"
_BETA = "anthropic.resources.beta.messages"
_BEDROCK = "anthropic.lib.bedrock._beta_messages"
_VERTEX = "anthropic.lib.vertex._beta_messages"


def _patches(module: str, *, create: str = "", parse: str = "", stream: str = "") -> tuple[Patch, ...]:
    """The methods of `Messages` and `AsyncMessages` in one module, each with the SDK's version that brought it there."""
    sync, later = wrap_stream(STREAM, is_async=False), wrap_stream(STREAM, is_async=True)
    return (
        Patch(module, "Messages.create", MESSAGES, since=create),
        Patch(module, "AsyncMessages.create", MESSAGES, is_async=True, since=create),
        Patch(module, "Messages.parse", MESSAGES, since=parse),
        Patch(module, "AsyncMessages.parse", MESSAGES, is_async=True, since=parse),
        Patch(module, "Messages.stream", bound_wrapper=sync, since=stream),
        Patch(module, "AsyncMessages.stream", bound_wrapper=later, since=stream),
    )


def _signing(module: str, client: str, *, since: str = "") -> tuple[Patch, ...]:
    """Where clients of AWS sign."""
    return (
        Patch(module, f"{client}._prepare_request", wrapper=redirect_signed, since=since),
        Patch(module, f"Async{client}._prepare_request", wrapper=redirect_signed_async, since=since),
    )


TABLE = Table(
    units=UNIT_SOURCES,
    forget=billed.forget,
    routes=(SdkCall(MESSAGES).on(r"/v1/messages$"),),
    patches=(
        Patch(_BASE, "BaseClient._build_request", wrapper=capture_request, keeps_ours=True),
        Patch(_BASE, "SyncAPIClient._process_response", wrapper=capture_response),
        Patch(_BASE, "AsyncAPIClient._process_response", wrapper=capture_response),
        Patch(_BASE, "SyncAPIClient.request", wrapper=send_without_baggage, keeps_ours=True),
        Patch(_BASE, "AsyncAPIClient.request", wrapper=send_without_baggage_async, keeps_ours=True),
        Patch(_BASE, "SyncAPIClient._prepare_request", wrapper=redirect_signed),
        Patch(_BASE, "AsyncAPIClient._prepare_request", wrapper=redirect_signed_async),
        *_signing("anthropic.lib.bedrock._client", "AnthropicBedrock"),
        *_signing("anthropic.lib.bedrock._mantle", "AnthropicBedrockMantle", since="0.91"),
        *_signing("anthropic.lib.aws._client", "AnthropicAWS", since="0.88"),
        *_patches(_MESSAGES, parse="0.77"),
        *_patches(_BETA, parse="0.73"),
        # These two take the methods of the first into their own classes when they are imported, wrapped or not.
        *_patches(_BEDROCK, parse="0.122", stream="0.122"),
        *_patches(_VERTEX, parse="0.122", stream="0.60"),
        Patch(_MESSAGES + ".batches", "Batches.results", bound_wrapper=RESULTS.wrap),
        Patch(_MESSAGES + ".batches", "AsyncBatches.results", bound_wrapper=RESULTS.wrap_async),
        Patch(_BETA + ".batches", "Batches.results", bound_wrapper=RESULTS.wrap),
        Patch(_BETA + ".batches", "AsyncBatches.results", bound_wrapper=RESULTS.wrap_async),
    ),
)
