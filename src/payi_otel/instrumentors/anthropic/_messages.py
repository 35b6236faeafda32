"""Messages: plain, parsed, streamed, and through the `stream` helper's manager."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any

from msgspec.structs import replace

from payi_otel import semconv
from payi_otel._guard import log_fault
from payi_otel.instrumentors._claude import ClaudeContent, MessageStreamReader, read_message
from payi_otel.instrumentors._frames import CONTENT_TYPE, FrameSieve, read_frames
from payi_otel.instrumentors._invocation import Answer, Invocation, OtherCall, Request
from payi_otel.instrumentors._parameters import output_type, read_parameters, with_extra_body
from payi_otel.instrumentors._raw import Sieve, SseSieve, read_events
from payi_otel.instrumentors._stainless import StainlessOperation, raw_form, to_value
from payi_otel.instrumentors._stream import StreamReader, Tap
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors._wrapper import Binding, Prepared, call_async, call_sync, prepare
from payi_otel.instrumentors.anthropic._client import read_client
from payi_otel.payload import ContentReader

_PARAMETERS = {
    "temperature": semconv.REQUEST_TEMPERATURE,
    "top_p": semconv.REQUEST_TOP_P,
    "top_k": semconv.REQUEST_TOP_K,
    "max_tokens": semconv.REQUEST_MAX_TOKENS,
    "stop_sequences": semconv.REQUEST_STOP_SEQUENCES,
}


class Messages(StainlessOperation):
    """`messages.create` and `.parse`, and their beta twins."""

    name = "chat"

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Reads model, parameters and form of the call off its keyword arguments."""
        model, streamed = kwargs.get("model"), kwargs.get("stream") is True
        return Request(
            client=read_client(instance),
            model=model if isinstance(model, str) and model else None,
            args=args,
            kwargs=kwargs,
            attributes=_parameters(with_extra_body(kwargs)),
            stream=streamed,
            raw=raw_form(kwargs.get("extra_headers"), streamed=streamed),
            on_answer=_with_earlier,
        )

    def read_answer(self, result: Any) -> Answer:
        """Reads a `Message`."""
        return read_message(result)

    def new_reader(self, invocation: Invocation) -> StreamReader:
        """A reader of `RawMessageStreamEvent`s."""
        return _Reader(is_binary=_is_binary(invocation))

    def new_sieve(self, invocation: Invocation, tap: Tap) -> Sieve:
        """Bedrock sends frames where the others send server-sent events."""
        return FrameSieve(tap) if _is_binary(invocation) else SseSieve(tap, withholds=False)

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view: the bytes that went and came."""
        body = result if isinstance(result, bytes) else invocation.exchange.response_body()
        return ClaudeContent(invocation.exchange.request_body(), [body if body is not None else result], streamed=False)


def _parameters(asked: Mapping[str, Any]) -> dict[str, Any]:
    config = asked.get("output_config")
    return {
        **read_parameters(asked, _PARAMETERS),
        **read_parameters(config, {"effort": semconv.REQUEST_REASONING_LEVEL}),
        **output_type(asked.get("output_format")),
        **output_type(get(config, "format")),
    }


def _with_earlier(invocation: Invocation, answer: Answer) -> Answer:
    """What a middleware was answered before it asked again: billed, too. A stream's says so in its usage itself."""
    responses, invocation.exchange.earlier = invocation.exchange.earlier, []
    if not responses or invocation.request.stream:
        return answer
    others: list[OtherCall] = []
    for number, response in enumerate(responses, 1):
        earlier = read_message(to_value(getattr(response, "_content", None)))
        if earlier.usage is not None and earlier.model is not None:
            parts = (OtherCall(earlier.model, earlier.usage, ""), *earlier.others)
            others += [OtherCall(part.model, part.usage, f"request.{number}.{part.suffix}".rstrip(".")) for part in parts]
    fell_back = answer.fell_back or any(other.model != answer.model for other in others)
    return replace(answer, others=(*others, *answer.others), fell_back=fell_back)


class StreamHelper(Messages):
    """`messages.stream`: always streamed, never raw."""

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """The method takes no `stream`; it is one."""
        request = super().read_request(instance, args, kwargs)
        request.stream, request.raw = True, "no"
        return request


class _Reader(MessageStreamReader):
    __slots__ = ("_is_binary",)

    def __init__(self, *, is_binary: bool) -> None:
        super().__init__()
        self._is_binary = is_binary

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the events."""
        events = self.recorded(MessageStreamReader, read_frames if self._is_binary else read_events)
        return ClaudeContent(invocation.exchange.request_body(), events, streamed=True)


def _is_binary(invocation: Invocation) -> bool:
    headers = invocation.exchange.headers
    kind = headers.get("content-type") if headers is not None else None
    return isinstance(kind, str) and kind.startswith(CONTENT_TYPE)


class _PendingCall:
    """What an async manager awaits for its stream: the call begins when it does, and there is none where it never does."""

    def __init__(self, run: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._run = run

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._run().__await__()


def wrap_stream(operation: StreamHelper, *, is_async: bool) -> Callable[[Binding], Callable[..., Any]]:
    """A wrapper for `stream`, which hands back a manager at once and sends the request when that is entered."""

    def bind(binding: Binding) -> Callable[..., Any]:
        def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not binding.active:
                return wrapped(*args, **kwargs)
            prepared = prepare(operation, binding, instance, args, kwargs, sys._getframe().f_back)
            if not isinstance(prepared, Prepared):
                return wrapped(*args, **prepared)
            manager = wrapped(*args, **prepared.kwargs)
            try:
                _hook(manager, prepared, is_async=is_async)
            except Exception as fault:
                log_fault("instrumenting a stream manager", fault)
            return manager

        return call

    return bind


def _hook(manager: Any, prepared: Prepared, *, is_async: bool) -> None:
    """Puts our call around the request that the manager keeps for when it is entered."""
    name = next(name for name in vars(manager) if name.endswith("__api_request"))
    request = vars(manager)[name]

    def send() -> Any:
        started = prepared.begin()
        return request() if started is None else call_sync(prepared.operation, started, lambda *_, **__: request())

    async def send_later() -> Any:
        started = prepared.begin()
        return await (request if started is None else call_async(prepared.operation, started, lambda *_, **__: request))

    setattr(manager, name, _PendingCall(send_later) if is_async else send)
