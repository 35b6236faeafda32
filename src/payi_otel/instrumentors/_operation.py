"""How one kind of call of a provider is read: what a provider's folder implements, and what it gets for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from payi_otel.context.headers import split_headers
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._results import attach
from payi_otel.payload import ContentReader, Ticket

Failure = tuple[Answer, Any, int | None]
"""What a failed call says all the same: an answer, the result it was read from (or None), and the HTTP status (or None)."""


class Operation:
    """One kind of call. Pure, and shared by the sync and the async method; an instance serves the whole process."""

    name: str = "chat"
    """`gen_ai.operation.name`."""
    is_inference: bool = True
    """A model is asked: a blocked limit refuses it. False for looking at what was made before."""

    def take_headers(self, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Our per-call headers, or None; and the keyword arguments without them (the caller's own where there are none)."""
        headers = kwargs.get("extra_headers")
        if not headers or not isinstance(headers, Mapping):
            return None, kwargs
        overrides, rest = split_headers(headers)
        if len(rest) == len(headers):
            return None, kwargs
        return overrides, {**kwargs, "extra_headers": rest}

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Reads a call before it is made; `kwargs` is already a copy without our headers."""
        raise NotImplementedError

    def read_answer(self, result: Any) -> Answer:
        """Reads a plain result (an SDK object or its JSON)."""
        raise NotImplementedError

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """The worker's view of a plain result; `result` is None where a call failed without one."""
        raise NotImplementedError

    def attach(self, result: Any, ticket: Ticket | None) -> None:
        """Gives a result (a stream's object, too) its `xproxy_result`."""
        attach(result, ticket)

    def value_of(self, invocation: Invocation, result: Any) -> Any:
        """A plain result in the form that `read_answer` takes."""
        return result

    def adopt(self, invocation: Invocation, result: Any, *, is_async: bool) -> bool:
        """Instruments a result that is still to be read (a stream, a raw response); False when it is a plain one."""
        return False

    def read_failure(self, invocation: Invocation, error: BaseException) -> Failure:
        """Reads what the provider said to a call that failed, and sets the payload's `error_body`."""
        return Answer(), None, status_of(error)

    def second_try(self, invocation: Invocation, error: BaseException) -> dict[str, Any] | None:
        """Other keyword arguments for a call that failed because of what we had added to it; None where it did not."""
        return None

    def accepted(self, invocation: Invocation) -> None:
        """The provider took the request as it was."""


def status_of(error: BaseException) -> int | None:
    """The HTTP status of an SDK's error, where it has one that says failure."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and status >= 400 else None
