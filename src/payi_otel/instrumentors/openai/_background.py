"""Background responses: made by one call, billed by the fetch that first shows their usage, with the scope of the first."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock

from payi_otel.context.scope import Scope
from payi_otel.instrumentors._invocation import Answer, Invocation
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.payload import Payload
from payi_otel.semconv import OPENAI_BACKGROUND

logger = logging.getLogger("payi.instrument")

_MAX_OPEN = 10_000
"""Responses remembered as being made, and ids remembered as billed: a few MB at most, the oldest are let go."""


@dataclass(frozen=True, slots=True)
class _Opened:
    scope: Scope
    model: str | None
    started_at_ns: int
    request: bytes | None
    payload: Payload


class BackgroundResponses:
    """What is known in this process of responses that are made in the background."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, _Opened] = OrderedDict()
        self._billed: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def created(self, invocation: Invocation, answer: Answer) -> Answer:
        """For the call that asked: remembers it while there is no usage yet."""
        if answer.response_id is None:
            return answer
        if answer.usage is not None:
            return self._bill(answer)
        payload = invocation.payload
        if payload.failure is not None and payload.http_status is None and not invocation.exchange.status:
            return answer
        opened = _Opened(payload.scope, payload.model, payload.started_at_ns, invocation.exchange.request_body(), payload)
        with self._lock:
            self._open[answer.response_id] = opened
            lost = self._open.popitem(last=False)[0] if len(self._open) > _MAX_OPEN else None
        if lost is not None:
            logger.warning("background response %s was never seen to finish: its cost is not recorded", lost)
        return replace(answer, unbilled=True)

    def fetched(self, invocation: Invocation, answer: Answer) -> Answer:
        """For a fetch: bills a response that was made in the background and shows its usage for the first time."""
        made_here = answer.response_id in self._open
        if answer.response_id is None or answer.usage is None or not (made_here or answer.attributes.get(OPENAI_BACKGROUND)):
            return replace(answer, unbilled=True)
        answer = self._bill(answer)
        opened = self._open.pop(answer.response_id or "", None)
        if opened is not None and not answer.unbilled:
            _take_over(invocation.payload, opened)
        return answer

    def _bill(self, answer: Answer) -> Answer:
        response_id = answer.response_id or ""
        with self._lock:
            if response_id in self._billed:
                return replace(answer, unbilled=True)
            self._billed[response_id] = None
            if len(self._billed) > _MAX_OPEN:
                self._billed.popitem(last=False)
        return answer

    def forget(self) -> int:
        """Lets go of the responses that were never seen to finish; how many there were."""
        with self._lock:
            count = len(self._open)
            self._open.clear()
            self._billed.clear()
        return count


def _take_over(payload: Payload, opened: _Opened) -> None:
    """The packet is the asking call's: its scope, model, request and start."""
    payload.scope, payload.model = opened.scope, opened.model
    payload.stack = opened.payload.stack
    payload.latency_ms = max(0, (time.time_ns() - opened.started_at_ns) // 1_000_000)
    payload.started_at_ns = opened.started_at_ns
    if isinstance(payload.content, OpenAIContent):
        payload.content = payload.content.with_request(opened.request)


background = BackgroundResponses()
"""The process's one memory of them: a response may be fetched with another client than it was asked with."""


def unfinished_background_responses() -> int:
    """How many were asked for in this process and never seen to finish; they are forgotten with that."""
    return background.forget()
