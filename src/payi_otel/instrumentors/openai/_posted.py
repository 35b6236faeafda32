"""Calls made by `client.post`, the SDK's own way around its methods: LiteLLM asks for chats and embeddings so.

Every method of the SDK ends there, too; what a wrapped method has begun is not begun again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from payi_otel._guard import log_fault
from payi_otel.instrumentors._capture import current_exchange
from payi_otel.instrumentors._invocation import Invocation
from payi_otel.instrumentors._operation import Operation
from payi_otel.instrumentors._wrapper import Binding, call_async, call_sync, start

_NAMES = {"extra_headers": "headers", "extra_body": "extra_json"}
"""What a method's arguments are called among the options of a request."""


class _Resource:
    """Stands where a resource object (`client.chat.completions`) would: operations read the client off one."""

    def __init__(self, client: Any) -> None:
        self._client = client


class _Post:
    """One call of `post`, and the keyword arguments that the method for its path would have had."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._args, self._kwargs = args, kwargs
        self._options = dict(kwargs.get("options") or {})
        self._body: Mapping[str, Any] = kwargs["body"]

    def as_method(self) -> dict[str, Any]:
        """The body, how it is sent, and whether its answer is streamed."""
        beside = {name: self._options[option] for name, option in _NAMES.items() if self._options.get(option) is not None}
        return {**self._body, **beside, "stream": bool(self._kwargs.get("stream"))}

    def send(self, post: Callable[..., Any], asked: Mapping[str, Any]) -> Any:
        """Posts what an operation has made of those arguments."""
        names = [*self._body, *(name for name in asked if name == "stream_options" and name not in self._body)]
        body = {name: asked[name] if name != "stream" else self._body[name] for name in names if name in asked}
        options = {**self._options, **{option: asked[name] for name, option in _NAMES.items() if name in asked}}
        return post(*self._args, **{**self._kwargs, "body": body, "options": options})


def _begin(
    operations: Mapping[str, Operation], binding: Binding, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Operation, Invocation, _Post] | None:
    """The call, where a path is one of a model's and nobody has begun it; None where it is to be posted as it is."""
    path = args[0] if args else kwargs.get("path")
    operation = operations.get(path) if isinstance(path, str) else None
    if operation is None or not isinstance(kwargs.get("body"), Mapping) or current_exchange.get() is not None:
        return None
    frame = sys._getframe(1).f_back
    try:
        posted = _Post(args, kwargs)
        asked = posted.as_method()
    except Exception as fault:
        log_fault("reading a posted call", fault)
        return None
    started = start(operation, binding, _Resource(client), (), asked, frame)
    return (operation, started, posted) if isinstance(started, Invocation) else None


def wrap_post(operations: Mapping[str, Operation]) -> Callable[[Binding], Callable[..., Any]]:
    """A wrapper for `post`.

    Args:
        operations: By path, those that are calls of a model.
    """

    def bind(binding: Binding) -> Callable[..., Any]:
        def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            begun = _begin(operations, binding, instance, args, kwargs) if binding.active else None
            if begun is None:
                return wrapped(*args, **kwargs)
            operation, started, posted = begun
            return call_sync(operation, started, lambda **asked: posted.send(wrapped, asked))

        return call

    return bind


def wrap_post_async(operations: Mapping[str, Operation]) -> Callable[[Binding], Callable[..., Any]]:
    """The same for a client that is awaited."""

    def bind(binding: Binding) -> Callable[..., Any]:
        async def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            begun = _begin(operations, binding, instance, args, kwargs) if binding.active else None
            if begun is None:
                return await wrapped(*args, **kwargs)
            operation, started, posted = begun
            return await call_async(operation, started, lambda **asked: posted.send(wrapped, asked))

        return call

    return bind
