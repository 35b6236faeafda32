"""What was said in a call, on its span and in an event beside it: only where the conventions' own switch asks for it.

`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` is read by util-genai's reader, so that there is one truth in a process; it is
said in the form in which util-genai says it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span, set_span_in_context

from payi_otel import semconv
from payi_otel._guard import guard
from payi_otel._json import to_json
from payi_otel.payload import Payload

VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_INFERENCE = frozenset({"chat", "generate_content", "text_completion"})
"""Operations whose event the conventions have."""
_FETCH = "fetch_response"
"""Has an answer, and not what was asked."""
_OUR_SCOPE = "payi_otel.instrumentors"


class ContentSwitch:
    """The variable as it was when instrumentation started: off by default, and one attribute to look at then."""

    __slots__ = ("_read_from", "is_on", "on_event", "on_span")

    def __init__(self) -> None:
        self.is_on = self.on_span = self.on_event = False
        self._read_from = ""

    def read(self) -> None:
        """Reads the variable. A value that is none of the allowed ones is off, and util-genai warns of it, once."""
        given = os.environ.get(VARIABLE, "")
        if given == self._read_from:  # every provider's instrumentor asks
            return
        from opentelemetry.util.genai.utils import get_content_capturing_mode

        mode = get_content_capturing_mode().name
        self._read_from = given
        self.on_span, self.on_event = mode in ("SPAN_ONLY", "SPAN_AND_EVENT"), mode in ("EVENT_ONLY", "SPAN_AND_EVENT")
        self.is_on = self.on_span or self.on_event


content_switch = ContentSwitch()
"""One in a process, as the variable is."""


def may_be_said(payload: Payload) -> bool:
    """False where the call's prompt and answer are not to leave the process."""
    return payload.scope.log_prompt_and_response is not False


def say_content(span: Span, operation: str, payload: Payload, attributes: Mapping[str, Any]) -> None:
    """Puts a call's content on its span, and into an event, as the switch says. Never raises.

    Args:
        span: The call's, not ended yet.
        operation: `gen_ai.operation.name`.
        payload: The call's; its content may be read again.
        attributes: The span's, which the event has, too.
    """
    if not may_be_said(payload) or (operation not in _INFERENCE and operation != _FETCH):
        return
    with guard("saying what was said in a call"):
        said = _read(operation, payload)
        if content_switch.on_span and span.is_recording():
            span.set_attributes({name: to_json(value).decode() for name, value in said.items()})
        if content_switch.on_event and operation in _INFERENCE:
            _emit(span, {**attributes, **_within_int64(said)})


def _read(operation: str, payload: Payload) -> dict[str, Any]:
    from payi_otel.instrumentors._messages import read_messages

    if payload.content is None:
        return {}
    messages = read_messages(payload.content.read(inline_data=False, estimate=None).parsed())
    said = {
        semconv.INPUT_MESSAGES: messages.inputs if operation != _FETCH else [],
        semconv.OUTPUT_MESSAGES: messages.outputs,
        semconv.SYSTEM_INSTRUCTIONS: messages.system,
        semconv.TOOL_DEFINITIONS: messages.tools,
    }
    return {name: value for name, value in said.items() if value}


def _within_int64(value: Any) -> Any:
    """The same with larger integers as text: an exporter of the application's would lose a whole batch of records to one."""
    if isinstance(value, dict):
        return {key: _within_int64(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_within_int64(item) for item in value]
    return str(value) if type(value) is int and not -(2**63) <= value < 2**63 else value


def _emit(span: Span, attributes: dict[str, Any]) -> None:
    from opentelemetry._logs import LogRecord, get_logger

    scope = getattr(getattr(span, "instrumentation_scope", None), "name", _OUR_SCOPE)
    record = LogRecord(
        timestamp=time.time_ns(),
        event_name=semconv.EVENT_INFERENCE_DETAILS,
        attributes=attributes,
        context=set_span_in_context(span),
    )
    get_logger(scope).emit(record)
