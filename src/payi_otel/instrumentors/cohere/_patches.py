"""What is wrapped of `cohere`: the raw clients, through which all others make their requests, and its HTTP client."""

from __future__ import annotations

from collections.abc import Iterator

from payi_otel.instrumentors._base import Patch, Table
from payi_otel.instrumentors._generators import keep_scope
from payi_otel.instrumentors.cohere._http import plain, send, send_async, send_stream, streamed
from payi_otel.instrumentors.cohere._operations import CohereOperation
from payi_otel.instrumentors.cohere._usage import UNIT_SOURCES

_CHAT, _TEXT = CohereOperation("chat"), CohereOperation("text_completion")
_EMBED, _RERANK, _CLASSIFY = CohereOperation("embeddings"), CohereOperation("rerank"), CohereOperation("classify")
_V1 = {"chat": _CHAT, "generate": _TEXT, "summarize": _TEXT, "embed": _EMBED, "rerank": _RERANK, "classify": _CLASSIFY}
_V2 = {"chat": _CHAT, "embed": _EMBED, "rerank": _RERANK, "parse": CohereOperation("generate_content")}
_V1_STREAMS = {
    "chat_stream": CohereOperation("chat", stream=True, lines=True),
    "generate_stream": CohereOperation("text_completion", stream=True, lines=True),
}
_V2_STREAMS = {"chat_stream": CohereOperation("chat", stream=True)}
_SINCE = {"parse": "7.1"}
_ASKED_LATER = {
    "cohere.base_client": ("BaseCohere.chat_stream", "BaseCohere.generate_stream"),
    "cohere.v2.client": ("V2Client.chat_stream",),
}
_HTTP = "cohere.core.http_client"


def _patches() -> Iterator[Patch]:
    yield Patch(_HTTP, "HttpClient.request", wrapper=send, keeps_ours=True)
    yield Patch(_HTTP, "AsyncHttpClient.request", wrapper=send_async, keeps_ours=True)
    yield Patch(_HTTP, "HttpClient.stream", wrapper=send_stream, keeps_ours=True)
    yield Patch(_HTTP, "AsyncHttpClient.stream", wrapper=send_stream, keeps_ours=True)
    places = (
        ("cohere.raw_base_client", "RawBaseCohere", "AsyncRawBaseCohere", _V1, _V1_STREAMS),
        ("cohere.v2.raw_client", "RawV2Client", "AsyncRawV2Client", _V2, _V2_STREAMS),
    )
    for module, sync, twin, methods, streams in places:
        for name, operation in methods.items():
            since = _SINCE.get(name, "")
            yield Patch(module, f"{sync}.{name}", bound_wrapper=plain(operation, is_async=False), since=since)
            yield Patch(module, f"{twin}.{name}", bound_wrapper=plain(operation, is_async=True), is_async=True, since=since)
        for name, operation in streams.items():
            yield Patch(module, f"{sync}.{name}", bound_wrapper=streamed(operation))
            yield Patch(module, f"{twin}.{name}", bound_wrapper=streamed(operation))
    for module, generators in _ASKED_LATER.items():
        for name in generators:
            yield Patch(module, name, bound_wrapper=keep_scope)
            yield Patch(module, f"Async{name}", bound_wrapper=keep_scope)
    yield Patch("cohere.client", "Client.embed_stream", bound_wrapper=keep_scope, since="6.1")


TABLE = Table(
    units=UNIT_SOURCES,
    patches=tuple(_patches()),
)
