"""Gemini's HTTP API as a gateway asks it, of the Gemini API and of Vertex AI."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from payi_otel.instrumentors._client_facts import facts_at
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._gemini import GeminiContent, GeminiReader, answered_by
from payi_otel.instrumentors._gemini_request import config_parameters
from payi_otel.instrumentors._http_calls import Call, HttpCall
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._raw import Sieve, SseSieve
from payi_otel.instrumentors._stream import Tap
from payi_otel.payload import ContentReader
from payi_otel.semconv import PayiCategories

_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_READ = ("modelVersion", "responseId", "usageMetadata", "candidates")
"""What the reader looks at of an answer; its words are left as they are."""


class _HttpReader(GeminiReader):
    """Takes answers as they are on the wire."""

    __slots__ = ()

    def take(self, event: Any) -> bool:
        """Reads the names that the SDK would have given, and keeps the answer as it came."""
        hide = super().take(in_python(event))
        self._kept[-1] = event
        return hide


def in_python(answer: Any) -> Any:
    """An answer's fields that are counted, under the names that they have in Python."""
    if not isinstance(answer, dict):
        return {}
    return {_snake(name): _renamed(answer[name]) for name in _READ if name in answer}


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake(name): _renamed(item) for name, item in value.items() if name != "args"}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def _snake(name: str) -> str:
    return _CAPITAL.sub(r"_\1", name).lower()


class HttpGenerateContent(HttpCall):
    """`:generateContent` and `:streamGenerateContent`; the model stands in the path."""

    name = "generate_content"

    def read_call(self, call: Call) -> Request:
        """Which of Google's services it is, the path says."""
        endpoint = read_endpoint(call.url[: call.path.start()])
        is_vertex = "/publishers/" in endpoint.path or endpoint.host.endswith("aiplatform.googleapis.com")
        return Request(
            client=facts_at(endpoint, "gcp.vertex_ai" if is_vertex else "gcp.gemini", PayiCategories.google_vertex, "google."),
            model=unquote(call.path["model"]),
            args=(),
            kwargs={},
            attributes=config_parameters(call.body.get("generationConfig") or call.body.get("generation_config")),
            stream=call.path["form"] == "streamGenerateContent",
            on_answer=answered_by,
        )

    def read_value(self, invocation: Invocation, value: Any) -> Answer:
        """Reads an answer's JSON."""
        reader = _HttpReader()
        reader.take(value)
        return reader.answer()

    def new_reader(self, invocation: Invocation) -> GeminiReader:
        """A reader of answers."""
        return _HttpReader()

    def new_sieve(self, invocation: Invocation, tap: Tap) -> Sieve:
        """Of server-sent events."""
        return SseSieve(tap, withholds=False)

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view of the bytes."""
        body = result if isinstance(result, bytes) else invocation.exchange.response_body()
        return GeminiContent(invocation.exchange.request_body(), [] if body is None else [body], streamed=False)


ROUTES = (HttpGenerateContent().on(r"/models/(?P<model>[^/:]+):(?P<form>generateContent|streamGenerateContent)$"),)
