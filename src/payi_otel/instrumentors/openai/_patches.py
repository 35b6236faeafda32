"""What is wrapped of the `openai` SDK."""

from __future__ import annotations

from payi_otel.instrumentors._base import Patch, Table
from payi_otel.instrumentors._capture import capture_request, capture_response, send_without_baggage, send_without_baggage_async
from payi_otel.instrumentors._http_calls import SdkCall
from payi_otel.instrumentors._operation import Operation
from payi_otel.instrumentors._proxy import redirect_signed, redirect_signed_async
from payi_otel.instrumentors.openai._audio import Speech, Transcriptions
from payi_otel.instrumentors.openai._background import background
from payi_otel.instrumentors.openai._batches import FILE_CONTENT, billed
from payi_otel.instrumentors.openai._chat import Chat, TextCompletions, usage_option
from payi_otel.instrumentors.openai._decisions import Decisions
from payi_otel.instrumentors.openai._embeddings import Embeddings
from payi_otel.instrumentors.openai._images import Images
from payi_otel.instrumentors.openai._posted import wrap_post, wrap_post_async
from payi_otel.instrumentors.openai._responses import FetchResponse, Responses
from payi_otel.instrumentors.openai._usage import UNIT_SOURCES

CHAT, TEXT, RESPONSES, FETCH, EMBEDDINGS = Chat(), TextCompletions(), Responses(), FetchResponse(), Embeddings()
IMAGES, TRANSCRIPTIONS, SPEECH, DECISIONS = Images(), Transcriptions(), Speech(), Decisions()

POSTED = {"/chat/completions": CHAT, "/completions": TEXT, "/responses": RESPONSES, "/embeddings": EMBEDDINGS}

_BASE = "openai._base_client"
_CHAT = "openai.resources.chat.completions"
_OLD_CHAT = "openai.resources.beta.chat.completions"  # gone since 1.92, where `parse` moved to the module above
_TEXT = "openai.resources.completions"
_RESPONSES = "openai.resources.responses"
_BETA_RESPONSES = "openai.resources.beta.responses"
_EMBEDDINGS = "openai.resources.embeddings"
_IMAGES = "openai.resources.images"
_AUDIO = "openai.resources.audio"
_DECISIONS = "openai.resources.decisions"
_FILES = "openai.resources.files"


def _both(module: str, target: str, operation: Operation, *, since: str = "", until: str = "") -> tuple[Patch, Patch]:
    """A method and its async twin."""
    return (
        Patch(module, target, operation, since=since, until=until),
        Patch(module, "Async" + target, operation, is_async=True, since=since, until=until),
    )


def _unfinished() -> str | None:
    """Background responses that nobody fetched to their end."""
    count = background.forget()
    return f"{count} background responses were never seen to finish: their cost is not recorded" if count else None


def _forget() -> None:
    usage_option.forget()
    billed.forget()


TABLE = Table(
    units=UNIT_SOURCES,
    unfinished=_unfinished,
    forget=_forget,
    routes=(SdkCall(RESPONSES).on(r"/responses$"), SdkCall(EMBEDDINGS).on(r"/embeddings$")),
    patches=(
        Patch(_BASE, "BaseClient._build_request", wrapper=capture_request, keeps_ours=True),
        Patch(_BASE, "SyncAPIClient._prepare_request", wrapper=redirect_signed),
        Patch(_BASE, "AsyncAPIClient._prepare_request", wrapper=redirect_signed_async),
        Patch("openai._client", "OpenAI._prepare_request", wrapper=redirect_signed, since="2.44"),
        Patch("openai._client", "AsyncOpenAI._prepare_request", wrapper=redirect_signed_async, since="2.44"),
        Patch(_BASE, "SyncAPIClient._process_response", wrapper=capture_response),
        Patch(_BASE, "AsyncAPIClient._process_response", wrapper=capture_response),
        Patch(_BASE, "SyncAPIClient.request", wrapper=send_without_baggage, keeps_ours=True),
        Patch(_BASE, "AsyncAPIClient.request", wrapper=send_without_baggage_async, keeps_ours=True),
        Patch(_BASE, "SyncAPIClient.post", bound_wrapper=wrap_post(POSTED)),
        Patch(_BASE, "AsyncAPIClient.post", bound_wrapper=wrap_post_async(POSTED)),
        *_both(_CHAT, "Completions.create", CHAT),
        *_both(_CHAT, "Completions.parse", CHAT, since="1.92"),
        *_both(_OLD_CHAT, "Completions.parse", CHAT, until="1.92"),
        *_both(_TEXT, "Completions.create", TEXT),
        *_both(_RESPONSES, "Responses.create", RESPONSES),
        *_both(_RESPONSES, "Responses.parse", RESPONSES),
        *_both(_RESPONSES, "Responses.compact", RESPONSES, since="2.9"),
        *_both(_RESPONSES, "Responses.retrieve", FETCH),
        *_both(_RESPONSES, "Responses.cancel", FETCH, since="1.81"),
        *_both(_BETA_RESPONSES, "Responses.create", RESPONSES, since="2.45"),
        *_both(_BETA_RESPONSES, "Responses.compact", RESPONSES, since="2.45"),
        *_both(_BETA_RESPONSES, "Responses.retrieve", FETCH, since="2.45"),
        *_both(_BETA_RESPONSES, "Responses.cancel", FETCH, since="2.45"),
        *_both(_EMBEDDINGS, "Embeddings.create", EMBEDDINGS),
        *_both(_IMAGES, "Images.generate", IMAGES),
        *_both(_IMAGES, "Images.edit", IMAGES),
        *_both(_IMAGES, "Images.create_variation", IMAGES),
        *_both(_AUDIO + ".transcriptions", "Transcriptions.create", TRANSCRIPTIONS),
        *_both(_AUDIO + ".translations", "Translations.create", TRANSCRIPTIONS),
        *_both(_AUDIO + ".speech", "Speech.create", SPEECH),
        *_both(_DECISIONS, "Decisions.create", DECISIONS, since="3.26"),
        Patch(_FILES, "Files.content", bound_wrapper=FILE_CONTENT.wrap),
        Patch(_FILES, "AsyncFiles.content", bound_wrapper=FILE_CONTENT.wrap_async),
        Patch(_FILES, "Files.retrieve_content", bound_wrapper=FILE_CONTENT.wrap),
        Patch(_FILES, "AsyncFiles.retrieve_content", bound_wrapper=FILE_CONTENT.wrap_async),
    ),
)
