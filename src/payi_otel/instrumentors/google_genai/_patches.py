"""What is wrapped of the `google-genai` SDK.

That are the private methods that make one request each: a public one may make several, and shows the usage of the last only.
"""

from __future__ import annotations

from payi_otel.instrumentors._base import Patch, Table
from payi_otel.instrumentors._capture import capture_request as capture_http_request
from payi_otel.instrumentors._capture import (
    send_and_capture,
    send_and_capture_async,
    send_without_baggage,
    send_without_baggage_async,
)
from payi_otel.instrumentors._gemini_usage import UNIT_SOURCES
from payi_otel.instrumentors._generators import keep_scope, keep_scope_async, wrap_async_generator, wrap_generator
from payi_otel.instrumentors.google_genai._decisions import Decisions
from payi_otel.instrumentors.google_genai._http import ROUTES
from payi_otel.instrumentors.google_genai._interactions import Interactions
from payi_otel.instrumentors.google_genai._operations import (
    EmbedContent,
    GenerateContent,
    GenerateContentStream,
    GenerateImages,
    capture_request,
)

CONTENT, STREAM, EMBEDDINGS, IMAGES = GenerateContent(), GenerateContentStream(), EmbedContent(), GenerateImages()
INTERACTIONS, DECISIONS = Interactions(), Decisions()

_CLIENT = "google.genai._api_client"
_SENDS = ("_request", "_upload_fd", "download_file")
_SENDS_ASYNC = ("_async_request", "_async_upload_fd", "async_download_file")
"""Methods of the client, one of which every request goes through, but for those of interactions."""
_MODELS = "google.genai.models"
_CHATS = "google.genai.chats"
_GAOS = "google.genai._gaos."
_ASKED_LATER = ((_MODELS, "Models.generate_content_stream"), (_CHATS, "Chat.send_message_stream"))
_GAOS_SINCE = "2.9"
"""Before it, interactions were made by another part of the SDK."""


TABLE = Table(
    units=UNIT_SOURCES,
    routes=ROUTES,
    patches=(
        Patch(_CLIENT, "BaseApiClient._build_request", wrapper=capture_request, keeps_ours=True),
        *(Patch(_CLIENT, f"BaseApiClient.{name}", wrapper=send_without_baggage, keeps_ours=True) for name in _SENDS),
        *(Patch(_CLIENT, f"BaseApiClient.{name}", wrapper=send_without_baggage_async, keeps_ours=True) for name in _SENDS_ASYNC),
        Patch(_MODELS, "Models._generate_content", CONTENT),
        Patch(_MODELS, "AsyncModels._generate_content", CONTENT, is_async=True),
        Patch(_MODELS, "Models._generate_content_stream", bound_wrapper=wrap_generator(STREAM)),
        Patch(_MODELS, "AsyncModels._generate_content_stream", bound_wrapper=wrap_async_generator(STREAM)),
        *(Patch(module, name, bound_wrapper=keep_scope) for module, name in _ASKED_LATER),
        *(Patch(module, f"Async{name}", bound_wrapper=keep_scope_async) for module, name in _ASKED_LATER),
        Patch(_MODELS, "Models._embed_content", EMBEDDINGS, since="1.64"),
        Patch(_MODELS, "AsyncModels._embed_content", EMBEDDINGS, is_async=True, since="1.64"),
        Patch(_MODELS, "Models._generate_images", IMAGES),
        Patch(_MODELS, "AsyncModels._generate_images", IMAGES, is_async=True),
        Patch(_GAOS + "basesdk", "BaseSDK._build_request", wrapper=capture_http_request, since=_GAOS_SINCE),
        Patch(_GAOS + "basesdk", "AsyncBaseSDK._build_request_async", wrapper=capture_http_request, since=_GAOS_SINCE),
        Patch(_GAOS + "basesdk", "BaseSDK.do_request", wrapper=send_and_capture, since=_GAOS_SINCE),
        Patch(_GAOS + "basesdk", "AsyncBaseSDK.do_request_async", wrapper=send_and_capture_async, since=_GAOS_SINCE),
        Patch(_GAOS + "interactions", "Interactions.create", INTERACTIONS, since=_GAOS_SINCE),
        Patch(_GAOS + "interactions", "AsyncInteractions.create", INTERACTIONS, is_async=True, since=_GAOS_SINCE),
        Patch(_GAOS + "decisions", "Decisions.create", DECISIONS, since="3.2"),
        Patch(_GAOS + "decisions", "AsyncDecisions.create", DECISIONS, is_async=True, since="3.2"),
    ),
)
