"""Chat completions: plain, parsed and streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from msgspec.structs import replace

from payi_otel import semconv
from payi_otel.instrumentors._content import RecordingReader
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._parameters import output_type
from payi_otel.instrumentors._values import Fields, fields_of, get
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.instrumentors.openai._operation import OpenAIOperation, request_body
from payi_otel.instrumentors.openai._usage import read_usage
from payi_otel.payload import ContentReader

_MAX_REMEMBERED = 1024
"""Services remembered as refusing or taking `include_usage`; past it either set starts anew."""
_OTHER_REFUSALS = frozenset({"content_filter", "content_policy_violation", "context_length_exceeded", "model_not_found"})
"""Codes of a 400 that would come again, and that a service may bill."""

_Service = tuple[str | None, int | None, str | None]
"""Host, port and model."""


class UsageOption:
    """Which services take `stream_options.include_usage`: one that refuses it is asked once."""

    def __init__(self) -> None:
        self._refused: set[_Service] = set()
        self._taken: set[_Service] = set()
        self._tried: set[_Service] = set()
        """Called once more without the option, on the mere chance: once for each service is enough."""

    def forget(self) -> None:
        """Knows nothing again."""
        self._refused.clear()
        self._taken.clear()
        self._tried.clear()

    def is_refused(self, request: Request) -> bool:
        """True where asking again would only fail again."""
        return self._key(request) in self._refused

    def took(self, request: Request) -> None:
        """A request with the option went through."""
        self._add(self._taken, request)

    def may_be_refusal(self, request: Request, error: BaseException) -> bool:
        """True where a refused request may have been refused for the option alone.

        Servers say so in many ways, some only "extra fields not permitted": where nothing is known of the service yet, a 400 or
        422 that blames nothing else is tried once more without it, and then the caller sees what he would have seen without us.
        """
        if getattr(error, "status_code", None) not in (400, 422):
            return False
        text = str(error)
        if "stream_options" in text or "include_usage" in text:
            return True
        blames_another = isinstance(getattr(error, "param", None), str) or getattr(error, "code", None) in _OTHER_REFUSALS
        if blames_another or self._key(request) in self._taken or self._key(request) in self._tried:
            return False
        self._add(self._tried, request)
        return True

    def refuse(self, request: Request) -> None:
        """Remembers a refusal."""
        self._add(self._refused, request)

    def _key(self, request: Request) -> _Service:
        return request.client.host, request.client.port, request.model

    def _add(self, services: set[_Service], request: Request) -> None:
        if len(services) >= _MAX_REMEMBERED:
            services.clear()
        services.add(self._key(request))


usage_option = UsageOption()
"""Shared by all clients of the process: the knowledge is about services, not clients."""


class Chat(OpenAIOperation):
    """`chat.completions.create` and `.parse`."""

    name = "chat"
    attributes: Mapping[str, Any] = {semconv.OPENAI_API_TYPE: "chat_completions"}

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Also asks for the usage of a stream, merged into the caller's own `stream_options`."""
        request = super().read_request(instance, args, kwargs)
        if request.stream and not usage_option.is_refused(request):
            asking = with_usage(kwargs)
            if asking is not None:
                request.kwargs, request.kwargs_without, request.usage_injected = asking, kwargs, True
        return request

    def parameters(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """With the form of the answer."""
        attributes = super().parameters(asked)
        if "response_format" in asked:
            attributes.update(output_type(asked["response_format"]))
        return attributes

    def read_answer(self, result: Any) -> Answer:
        """Reads a `ChatCompletion`."""
        fields = fields_of(result)
        reasons = [str(reason) for choice in fields.get("choices") or () if (reason := get(choice, "finish_reason"))]
        return _answer(fields, fields.get("usage"), reasons)

    def new_reader(self, invocation: Invocation) -> ChatStreamReader:
        """A reader of `ChatCompletionChunk`s."""
        request = invocation.request
        choices = request.kwargs.get("n")
        return ChatStreamReader(hide_usage=request.usage_injected, choices=choices if isinstance(choices, int) else 1)

    def second_try(self, invocation: Invocation, error: BaseException) -> dict[str, Any] | None:
        """Without the usage option, where the service may have refused it."""
        request = invocation.request
        if not request.usage_injected or not usage_option.may_be_refusal(request, error):
            return None
        request.usage_injected = False
        request.kwargs_without = with_replayed(request.kwargs_without or {}, invocation.exchange.request_body())
        return request.kwargs_without

    def accepted(self, invocation: Invocation) -> None:
        """Remembers whether the service took the usage option: only a call that went through without it was refused for it."""
        request = invocation.request
        if request.usage_injected:
            usage_option.took(request)
        elif request.kwargs_without is not None:
            usage_option.refuse(request)


class TextCompletions(Chat):
    """`completions.create`, the API before chat: a text of a prompt, with the same usage and the same option for it."""

    name = "text_completion"
    attributes: Mapping[str, Any] = {}


def with_usage(kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """New keyword arguments with `stream_options.include_usage` merged in; None where the caller asked for it already."""
    body = kwargs.get("extra_body")
    in_body = isinstance(body, Mapping) and "stream_options" in body
    options = caller_options(kwargs)
    if options and (not isinstance(options, Mapping) or options.get("include_usage")):
        return None
    merged = {**(options or {}), "include_usage": True}
    if in_body:
        return {**kwargs, "extra_body": {**(body or {}), "stream_options": merged}}
    return {**kwargs, "stream_options": merged}


def caller_options(kwargs: Mapping[str, Any]) -> Any:
    """The `stream_options` that would be sent: `extra_body` wins in the SDK, too."""
    body = kwargs.get("extra_body")
    return body["stream_options"] if isinstance(body, Mapping) and "stream_options" in body else kwargs.get("stream_options")


def restored_options(invocation: Invocation) -> dict[str, Any]:
    """What we changed in the request's body, with the caller's own values (None: was not there)."""
    request = invocation.request
    if not request.usage_injected or request.kwargs_without is None:
        return {}
    options = caller_options(request.kwargs_without)
    return {"stream_options": dict(options) if isinstance(options, Mapping) else None}


def with_replayed(kwargs: dict[str, Any], body: bytes | None) -> dict[str, Any]:
    """The same keyword arguments for a second call: iterators, which the first one used up, as what was sent of them."""
    used_up = [name for name, value in kwargs.items() if isinstance(value, Iterator) or (name == "messages" and _has_iterator(value))]
    if not used_up or body is None:
        return kwargs
    sent = orjson.loads(body)
    return {**kwargs, **{name: sent[name] for name in used_up if name in sent}}


def _has_iterator(messages: Any) -> bool:
    return isinstance(messages, list | tuple) and any(
        isinstance(value, Iterator) for message in messages if isinstance(message, Mapping) for value in message.values()
    )


class ChatStreamReader(RecordingReader):
    """Takes `ChatCompletionChunk`s. The last usage wins: some servers send a running total on every chunk."""

    __slots__ = ("_choices", "_error", "_hide_usage", "_last", "_named", "_reasons", "_usage")

    def __init__(self, *, hide_usage: bool, choices: int = 1) -> None:
        super().__init__()
        self._hide_usage, self._choices = hide_usage, choices
        self._error: Any = None
        self._usage: Any = None
        self._named: Any = None
        """The first chunk that says whose it is: Azure's filters send some before and behind that do not."""
        self._last: Any = None
        self._reasons: dict[int, str] = {}

    def take(self, event: Any) -> bool:
        """Three fields; the worker reads the rest."""
        self.keep(event)
        if self._named is None and (get(event, "id") or get(event, "model")):
            self._named = event
        if type(event) is dict:
            choices, usage = event.get("choices"), event.get("usage")
        else:
            try:  # there are many chunks, and `getattr` takes twice as long
                choices, usage = event.choices, event.usage
            except AttributeError:
                choices, usage = get(event, "choices"), get(event, "usage")
        if usage is not None:
            self._usage = usage
            if not choices:
                self._last = event
                return self._hide_usage
        if choices:
            self._last = event
            for choice in choices:
                try:
                    reason = choice.finish_reason
                except AttributeError:
                    reason = get(choice, "finish_reason")
                if reason:
                    self._reasons[get(choice, "index") or 0] = str(reason)
                elif not self.output_seen:
                    self.output_seen = bool(get(choice, "text")) or _has_output(get(choice, "delta"))
        if type(event) is dict and event.get("error"):  # in bytes only: the SDK raises it
            self._error = event["error"]
        return False

    def answer(self) -> Answer:
        """Ids and model from the chunks, which all repeat them; usage from the last that had one."""
        named, reasons = self._named, [self._reasons[index] for index in sorted(self._reasons)]
        told = named if get(named, "id") and not get(self._last, "id") else self._last
        answer = _answer(fields_of(told), self._usage, reasons)
        if (not answer.response_id or not answer.model) and named is not None:
            answer = replace(answer, response_id=get(named, "id") or answer.response_id, model=get(named, "model") or answer.model)
        if self._error is None:
            return answer
        kind = get(self._error, "type") or get(self._error, "code") or "error"
        return replace(answer, failure=(str(kind), str(get(self._error, "message") or "")), refused=True)

    def is_complete(self) -> bool:
        """The usage is what a stream ends with, except where it runs along: then every choice must have finished, too."""
        return self._usage is not None and len(self._reasons) >= self._choices

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the chunks."""
        events = self.recorded(_read_again)
        return OpenAIContent(request_body(invocation), events, streamed=True, restore=restored_options(invocation))


def _read_again() -> ChatStreamReader:
    return ChatStreamReader(hide_usage=False)


def _answer(fields: Fields, usage: Any, reasons: list[str]) -> Answer:
    tier, fingerprint = fields.get("service_tier"), fields.get("system_fingerprint")
    attributes = {}
    if isinstance(tier, str):
        attributes[semconv.OPENAI_RESPONSE_SERVICE_TIER] = tier
    if isinstance(fingerprint, str):
        attributes[semconv.OPENAI_RESPONSE_SYSTEM_FINGERPRINT] = fingerprint
    return Answer(
        response_id=fields.get("id") or None,
        model=fields.get("model") or None,
        finish_reasons=reasons,
        usage=read_usage(usage),
        service_tier=tier if isinstance(tier, str) else None,
        attributes=attributes,
    )


def _has_output(delta: Any) -> bool:
    return bool(
        get(delta, "content") or get(delta, "tool_calls") or get(delta, "refusal") or get(delta, "function_call") or get(delta, "audio")
    )
