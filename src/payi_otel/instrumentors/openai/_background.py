"""Background responses: made by one call, billed by the fetch that first shows them finished, with the scope of the first."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from threading import RLock
from types import CodeType

from msgspec import Struct
from msgspec.structs import replace

from payi_otel.context.scope import Scope
from payi_otel.instrumentors._invocation import Answer, Invocation
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.payload import Payload
from payi_otel.semconv import OPENAI_BACKGROUND

logger = logging.getLogger("payi.instrument")

_MAX_OPEN = 10_000
"""Responses remembered as being made, and ids remembered as billed: a few MB at most, the oldest are let go."""
_UNFINISHED = frozenset({"queued", "in_progress"})
"""Statuses after which another one comes."""


class _Opened(Struct, frozen=True):
    """What the fetched response's packet takes from the call that asked for it."""

    scope: Scope
    category: str
    model: str | None
    resource_prefix: str
    host: str | None
    provider_uri: str | None
    started_at_ns: int
    stack: Sequence[tuple[CodeType, int]]
    headers: Sequence[tuple[str, str]]
    request: bytes | None

    @classmethod
    def by(cls, invocation: Invocation) -> _Opened:
        """Of the asking call. Its content is not kept: a stream's events may be many."""
        made = invocation.payload
        return cls(
            made.scope,
            made.category,
            made.model,
            made.resource_prefix,
            made.host,
            made.provider_uri,
            made.started_at_ns,
            made.stack,
            made.request_headers,
            invocation.exchange.request_body(),
        )


class BackgroundResponses:
    """What is known in this process of responses that are made in the background.

    The lock is reentrant: a garbage collection may end a stream, and with it a call, in the middle of anything here.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Opened] = OrderedDict()
        self._billed: OrderedDict[str, None] = OrderedDict()
        self._evicted = 0
        self._lock = RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def asked(self, invocation: Invocation, answer: Answer) -> Answer:
        """For a call that asked for the background: remembers its response until that is fetched and has finished."""
        if answer.response_id is None or _was_refused(invocation):
            return answer
        if answer.usage is not None or _is_finished(answer):
            return self._bill(answer)[0]
        opened = _Opened.by(invocation)
        with self._lock:
            self._open[answer.response_id] = opened
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
                self._evicted += 1
        return replace(answer, unbilled=True, attributes={**answer.attributes, OPENAI_BACKGROUND: True})

    def created(self, invocation: Invocation, answer: Answer) -> Answer:
        """For any other call: the answer says whether it is made in the background (`extra_body` may ask for it, too)."""
        return self.asked(invocation, answer) if answer.attributes.get(OPENAI_BACKGROUND) else answer

    def fetched(self, invocation: Invocation, answer: Answer) -> Answer:
        """For a fetch: bills a response that was made in the background and is seen to have finished for the first time.

        Of a response that was asked for elsewhere only its usage says that it is to be billed: one that failed was that call's to tell.
        """
        asked_here = answer.response_id in self._open
        finished = answer.usage is not None or (asked_here and _is_finished(answer))
        if _was_refused(invocation) or not finished or not (asked_here or answer.attributes.get(OPENAI_BACKGROUND)):
            return replace(answer, unbilled=True)
        answer, opened = self._bill(answer)
        if opened is not None:
            _take_over(invocation.payload, opened, answer)
        return answer

    def _bill(self, answer: Answer) -> tuple[Answer, _Opened | None]:
        """The answer to be billed, once, with the call that asked for it; unbilled from the second time on."""
        response_id = answer.response_id
        if response_id is None:
            return answer, None
        with self._lock:
            if response_id in self._billed:
                return replace(answer, unbilled=True), None
            self._billed[response_id] = None
            if len(self._billed) > _MAX_OPEN:
                self._billed.popitem(last=False)
            return answer, self._open.pop(response_id, None)

    def forget(self) -> int:
        """Lets go of the responses that were never seen to finish; how many there were."""
        with self._lock:
            count = len(self._open) + self._evicted
            self._open.clear()
            self._billed.clear()
            self._evicted = 0
        return count

    def _after_fork_in_child(self) -> None:
        self._lock = RLock()  # another thread of the parent may have held it


def _was_refused(invocation: Invocation) -> bool:
    """True where no response came of the call: the provider refused it, or could not be reached."""
    return invocation.payload.failure is not None and (invocation.exchange.status or 500) >= 400


def _is_finished(answer: Answer) -> bool:
    """Its status is a last one. A response that failed or was cancelled has no usage."""
    return bool(answer.finish_reasons) and answer.finish_reasons[0] not in _UNFINISHED


def _take_over(payload: Payload, opened: _Opened, answer: Answer) -> None:
    """The packet is the asking call's: its scope, client, model, request and start."""
    status = answer.finish_reasons[0] if answer.finish_reasons else None
    waited_ms = max(0, (payload.started_at_ns - opened.started_at_ns) // 1_000_000)
    payload.scope, payload.category, payload.model = opened.scope, opened.category, opened.model
    payload.resource_prefix, payload.host, payload.provider_uri = opened.resource_prefix, opened.host, opened.provider_uri
    payload.stack, payload.request_headers = opened.stack, opened.headers
    payload.started_at_ns = opened.started_at_ns
    payload.latency_ms += waited_ms
    if payload.first_token_ms is not None:
        payload.first_token_ms += waited_ms
    if payload.first_completion_token_ms is not None:
        payload.first_completion_token_ms += waited_ms
    if isinstance(payload.content, OpenAIContent):
        payload.content = payload.content.with_request(opened.request, estimates=status not in ("failed", "cancelled"))
    if status == "cancelled":
        payload.end_reason = "cancelled"


background = BackgroundResponses()
"""The process's one memory of them: a response may be fetched with another client than it was asked with."""
