"""The instrumentor for the `openai` SDK, 1.66 and newer."""

from __future__ import annotations

from typing import Any

from payi_otel.instrumentors._base import Patch, ProviderInstrumentor
from payi_otel.instrumentors._capture import capture_request, capture_response
from payi_otel.instrumentors.openai._background import background
from payi_otel.instrumentors.openai._chat import Chat, TextCompletions, usage_option
from payi_otel.instrumentors.openai._client import CATEGORIES
from payi_otel.instrumentors.openai._embeddings import Embeddings
from payi_otel.instrumentors.openai._responses import FetchResponse, Responses

CHAT, TEXT, RESPONSES, FETCH, EMBEDDINGS = Chat(), TextCompletions(), Responses(), FetchResponse(), Embeddings()

_BASE = "openai._base_client"
_CHAT = "openai.resources.chat.completions"
_OLD_CHAT = "openai.resources.beta.chat.completions"  # gone since 1.92, where `parse` moved to the module above
_TEXT = "openai.resources.completions"
_RESPONSES = "openai.resources.responses"
_EMBEDDINGS = "openai.resources.embeddings"


class OpenAIInstrumentor(ProviderInstrumentor):
    """OpenAI, Azure OpenAI, and Bedrock, Vertex and Databricks through the `openai` SDK."""

    name = "payi_openai"
    distribution = "openai"
    module = "openai"
    supported = "openai >= 1.66"
    categories = CATEGORIES
    patches = (
        Patch(_BASE, "BaseClient._build_request", wrapper=capture_request),
        Patch(_BASE, "SyncAPIClient._process_response", wrapper=capture_response),
        Patch(_BASE, "AsyncAPIClient._process_response", wrapper=capture_response),
        Patch(_CHAT, "Completions.create", CHAT),
        Patch(_CHAT, "AsyncCompletions.create", CHAT, is_async=True),
        Patch(_CHAT, "Completions.parse", CHAT, since="1.92"),
        Patch(_CHAT, "AsyncCompletions.parse", CHAT, is_async=True, since="1.92"),
        Patch(_OLD_CHAT, "Completions.parse", CHAT, until="1.92"),
        Patch(_OLD_CHAT, "AsyncCompletions.parse", CHAT, is_async=True, until="1.92"),
        Patch(_TEXT, "Completions.create", TEXT),
        Patch(_TEXT, "AsyncCompletions.create", TEXT, is_async=True),
        Patch(_RESPONSES, "Responses.create", RESPONSES),
        Patch(_RESPONSES, "AsyncResponses.create", RESPONSES, is_async=True),
        Patch(_RESPONSES, "Responses.parse", RESPONSES),
        Patch(_RESPONSES, "AsyncResponses.parse", RESPONSES, is_async=True),
        Patch(_RESPONSES, "Responses.compact", RESPONSES),
        Patch(_RESPONSES, "AsyncResponses.compact", RESPONSES, is_async=True),
        Patch(_RESPONSES, "Responses.retrieve", FETCH),
        Patch(_RESPONSES, "AsyncResponses.retrieve", FETCH, is_async=True),
        Patch(_RESPONSES, "Responses.cancel", FETCH),
        Patch(_RESPONSES, "AsyncResponses.cancel", FETCH, is_async=True),
        Patch(_EMBEDDINGS, "Embeddings.create", EMBEDDINGS),
        Patch(_EMBEDDINGS, "AsyncEmbeddings.create", EMBEDDINGS, is_async=True),
    )

    def unfinished(self) -> str | None:
        """Background responses that nobody fetched to their end."""
        count = background.forget()
        return f"{count} background responses were never seen to finish: their cost is not recorded" if count else None

    def _uninstrument(self, **kwargs: Any) -> None:
        super()._uninstrument(**kwargs)
        usage_option.forget()
