"""Bedrock's HTTP API as a gateway asks it: Converse and InvokeModel, plain and streamed."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from payi_otel.instrumentors._client_facts import facts_at
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._http_calls import Call, HttpCall
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._raw import Sieve
from payi_otel.instrumentors._stream import Tap
from payi_otel.instrumentors._wrapper import Binding
from payi_otel.instrumentors.bedrock._content import BedrockContent
from payi_otel.instrumentors.bedrock._operations import (
    BedrockOperation,
    Converse,
    ConverseStream,
    InvokeModel,
    InvokeModelWithResponseStream,
)
from payi_otel.instrumentors.bedrock._stream import FrameReader
from payi_otel.payload import ContentReader
from payi_otel.semconv import PayiCategories


class _FrameSieve:
    """Notes the frames among the bytes, as botocore takes them apart; every byte passes as it comes."""

    withholds = False

    def __init__(self, tap: Tap) -> None:
        from botocore.eventstream import EventStreamBuffer  # who speaks to Bedrock has it: it signs

        self._tap, self._frames = tap, EventStreamBuffer()

    def pass_on(self, piece: bytes) -> bytes:
        """Notes the frames that are whole with this piece."""
        self._frames.add_data(piece)
        for frame in self._frames:
            self._tap.note(frame)
        return piece

    def flush(self) -> bytes:
        """Nothing is held back."""
        return b""


class _BedrockCall(HttpCall):
    """What Converse and InvokeModel share: the model and the form of the answer stand in the path."""

    def __init__(self, plain: BedrockOperation, streamed: BedrockOperation) -> None:
        super().__init__()
        self._plain, self._streamed = plain, streamed

    def read_call(self, call: Call) -> Request:
        """With the guardrail, which only the request names."""
        endpoint, model = read_endpoint(call.url[: call.path.start()]), unquote(call.path["model"])
        guardrail = self._plain.guardrail(call.body)
        request = Request(
            client=facts_at(endpoint, "aws.bedrock", PayiCategories.aws_bedrock),
            model=model,
            args=(),
            kwargs={},
            attributes=self._plain.parameters(call.body),
            stream=call.path["form"].endswith("stream"),
            on_answer=lambda invocation, answer: self._plain.complete(invocation, answer, guardrail),
        )
        if "embed" in model:
            request.operation = "embeddings"
        return request

    def read_value(self, invocation: Invocation, value: Any) -> Answer:
        """Reads an answer's JSON."""
        return self._plain.read_answer(value)

    def new_reader(self, invocation: Invocation) -> FrameReader:
        """A reader of frames."""
        return self._streamed.new_reader(invocation)

    def new_sieve(self, invocation: Invocation, tap: Tap) -> Sieve:
        """Of frames."""
        return _FrameSieve(tap)

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view of the bytes."""
        body = result if isinstance(result, bytes) else invocation.exchange.response_body()
        return BedrockContent(invocation.exchange.request_body(), [] if body is None else [body], streamed=False)


class _InvokeCall(_BedrockCall):
    def read_value(self, invocation: Invocation, value: Any) -> Answer:
        """Reads an answer's JSON with its headers, which have counts for every family."""
        return self._plain.read_answer((value, invocation.exchange.headers or {}, invocation.request.model))


_UNBOUND = Binding()
"""Of the settings that a client of boto3's is changed by, none is for a request that is signed already."""
_MODEL = r"/model/(?P<model>[^/]+)/"
ROUTES = (
    _BedrockCall(Converse(_UNBOUND), ConverseStream(_UNBOUND)).on(_MODEL + "(?P<form>converse|converse-stream)$"),
    _InvokeCall(InvokeModel(_UNBOUND), InvokeModelWithResponseStream(_UNBOUND)).on(
        _MODEL + "(?P<form>invoke|invoke-with-response-stream)$"
    ),
)
