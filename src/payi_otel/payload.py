"""What one call leaves in the process for its packet: everything that must not stand on a span other exporters see.

An instrumentor makes a `Payload` when a call starts, keeps it in `registry` under its span's id, and fills it in when the call
ends. The span processor claims it in `on_end`; a payload that no processor claimed (its span was sampled away) is handed to
`registry.unclaimed`, so that cost is never sampled.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import CodeType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from payi_otel._guard import guard
from payi_otel._json import read_json
from payi_otel._large import decode
from payi_otel._words import counted

if TYPE_CHECKING:
    from payi_otel.context.scope import Scope
    from payi_otel.packets.counting import TokenCounter
    from payi_otel.packets.units import Usage

logger = logging.getLogger("payi.instrument")

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MAX_OTHERS = 10_000
"""Spans of other instrumentations that are known again when a second pipeline brings them."""

EndReason = Literal["completed", "closed", "cancelled", "error", "abandoned", "unread"]
"""How a call ended: read to its end; closed early by the caller; its task cancelled; failed; garbage-collected; never read."""


def is_code(value: Any) -> bool:
    """Whether an error's code is one: codes stand on spans and in packets, and a sentence in a code's place may quote the prompt."""
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


class FunctionCall(msgspec.Struct, frozen=True):
    """A tool the model asked for. `arguments` is the JSON text as the provider sent it."""

    name: str
    arguments: str | None = None


class JsonTexts(list[str]):
    """JSON values as they went over the wire: nobody had to read them."""

    def parsed(self) -> list[Any]:
        """Their values, without those that are none."""
        values = []
        for text in self:
            with suppress(ValueError):
                values.append(read_json(text))
        return values


class LargeJson(msgspec.Struct, frozen=True):
    """A JSON value as it went over the wire, of which no text is made before it is known how much of that is wanted."""

    data: bytes

    def cut(self, max_chars: int | None) -> Any:
        """Its text, cut somewhere behind so many characters; its value, where it is no text; None where it is neither."""
        try:
            return JsonTexts([decode(self.data, max_chars)])
        except UnicodeDecodeError:
            return self.parsed()

    def parsed(self) -> Any:
        """Its value; None where it is none."""
        with suppress(ValueError):
            return read_json(self.data)
        return None


class Content(msgspec.Struct, frozen=True):
    """What was said in a call, as JSON values; made in the worker, never in the call."""

    request: Any | None
    """A JSON value, `JsonTexts` with one, or a large one."""
    responses: Sequence[Any]
    """JSON values, or `JsonTexts`; one for a plain answer, one an event for a stream."""
    streamed: bool
    function_calls: Sequence[FunctionCall] = ()
    estimated_tokens: tuple[int, int] | None = None
    """(input, output), only where a counter was given."""
    usage: Usage | None = None
    """The provider's own, where it had come although the caller left before it."""
    image_texts: Sequence[str] | None = None
    """All text of the prompt, where an image stands beside it whose tokens the provider may have counted as text."""

    def parsed(self) -> Content:
        """The same with every text read."""
        request = self.request.parsed() if isinstance(self.request, LargeJson) else self.request
        request = next(iter(request.parsed()), None) if isinstance(request, JsonTexts) else request
        responses = self.responses.parsed() if isinstance(self.responses, JsonTexts) else self.responses
        return msgspec.structs.replace(self, request=request, responses=responses)


class ContentReader(Protocol):
    """Turns the references an instrumentor kept into `Content`."""

    def read(self, *, inline_data: bool, estimate: TokenCounter | None) -> Content:
        """Runs once, in the worker.

        Args:
            inline_data: False: base64 data is replaced by `<not_instrumented>`.
            estimate: Counts tokens where the provider gave no usage; None where it did.
        """
        ...


class Ticket(Protocol):
    """A packet on its way; the call waits for it only where the user asked for inline delivery."""

    is_open: bool
    """The call has not ended."""
    is_settled: bool
    """Something has become of the packet."""
    end: Callable[[], object] | None
    """Called when somebody waits for a call that has not ended."""
    find: Callable[[float], Any] | None
    """Asked for the result of a packet that was delivered without one."""

    @property
    def result(self) -> Any:
        """What Pay-i says of the call, for the application to read."""
        ...

    def settle(self, outcome: Any, *, is_final: bool = True) -> None:
        """Says what became of the packet; None: the call makes none."""
        ...

    def give_up(self) -> None:
        """Nobody takes packets."""
        ...

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until the packet's fate is known; False when the time ran out first."""
        ...

    async def wait_async(self, timeout_s: float | None = None) -> bool:
        """The same without blocking the event loop."""
        ...


class Payload(msgspec.Struct):
    """One call's facts. Written by its invocation only; read-only once its span has ended."""

    scope: Scope
    category: str
    """The client flavour's Pay-i category, e.g. `system.openai`."""
    module: str
    """`name/version` of the provider SDK, e.g. `openai/3.53.0`."""
    priced_by: str = ""
    """Whose `model_mappings` hold for it, e.g. `openai`; "" for the SDK that `module` names."""
    model: str | None = None
    """What to price: the requested model, or the deployment where that is what the client named."""
    resource_prefix: str = ""
    """Stands before the model in `resource` (`google.`, `anthropic.`), never before a mapped resource."""
    host: str | None = None
    """`host` or `host:port` the request goes to, lower case."""
    provider_uri: str | None = None
    started_at_ns: int = 0
    """Wall clock, nanoseconds since the epoch."""
    latency_ms: int = 0
    first_token_ms: int | None = None
    first_completion_token_ms: int | None = None
    http_status: int | None = None
    """None: no answer came (the packet says 299)."""
    end_reason: EndReason = "completed"
    failure: tuple[str, str] | None = None
    """(a code or an exception's type, its text), where the call failed; the text goes into packets only where words may."""
    error_body: str | None = None
    """The provider's answer to a call it refused, as text."""
    response_id: str | None = None
    response_model: str | None = None
    usage: Usage | None = None
    """None where the provider reported none."""
    request_headers: Sequence[tuple[str, str]] = ()
    response_headers: Any = ()
    """As the HTTP library has them, or pairs; what of them may be recorded is chosen by the worker."""
    stack: Sequence[tuple[CodeType, int]] = ()
    """(code, offset of the instruction) of the frames that led to the call, outermost first."""
    properties: dict[str, str] = msgspec.field(default_factory=dict)
    content: ContentReader | None = None
    service_tier: str | None = None
    """The tier the provider says it billed, where that is not the default one."""
    resource_scope: str | None = None
    """What the provider's answer itself says of where it ran; a configured scope wins over it."""
    parts: Callable[[], Iterable[Payload]] | None = None
    """This is no call but many that were made elsewhere (a batch's results); read in the worker, each for a packet of its own."""
    ticket: Ticket | None = None
    """Whose holder can ask what became of the packet."""
    awaited: Ticket | None = None
    """Set by the processor where delivery is inline; the call waits for it before it returns."""

    def __repr__(self) -> str:
        """Names the call without a word of its content."""
        return f"<Payload {self.category} {self.model} {self.end_reason}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for rich, to which a struct shows every field."""
        return [("category", self.category), ("model", self.model), ("end_reason", self.end_reason)]


class Taker(Protocol):
    """Who gets calls whose spans no processor of ours has seen end."""

    def take(self, payload: Payload, *, late: bool) -> bool:
        """False where it takes none; `late`: nobody does that still could."""
        ...


class PayloadRegistry:
    """Payloads of the calls that are open, by span id. A span id is random and 64 bit, so one key is enough."""

    def __init__(self) -> None:
        self._open: dict[int, Payload] = {}
        self._numbers = itertools.count(1)
        self._takers: list[Taker] = []
        self._other_takers: list[Taker] = []
        self._endings: list[Callable[[], None]] = []
        self._others: dict[int, bool] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._open.clear)

    def new_key(self) -> int:
        """Stands for the span's id of a call whose span does not record."""
        return -next(self._numbers)

    def put(self, span_id: int, payload: Payload) -> None:
        """Keeps a payload from its span's start."""
        self._open[span_id] = payload

    def claim(self, span_id: int) -> Payload | None:
        """Takes the payload of a span that ended; None when it was taken already or never kept."""
        return self._open.pop(span_id, None)

    def is_first(self, span_id: int) -> bool:
        """Whether this ended span of another instrumentation is seen for the first time: of two pipelines, one makes its packet."""
        if span_id in self._others:
            return False
        self._others[span_id] = True
        if len(self._others) > _MAX_OTHERS:
            with suppress(RuntimeError, StopIteration):  # another thread adds at the same time
                self._others.pop(next(iter(self._others)), None)
        return True

    def open(self) -> list[tuple[int, Payload]]:
        """Span ids and payloads of the calls that are open."""
        while True:
            with suppress(RuntimeError):  # another thread began or ended a call
                return list(self._open.items())

    def add_taker(self, taker: Taker, *, first: bool = True) -> None:
        """Adds one who gets payloads of spans that ended unseen by any processor of ours; the last one added that takes it gets it.

        Args:
            taker: It.
            first: Before all that are not.
        """
        (self._takers if first else self._other_takers).append(taker)

    def remove_taker(self, taker: Taker) -> None:
        """Takes one out."""
        for takers in (self._takers, self._other_takers):
            with suppress(ValueError):
                takers.remove(taker)

    def before_shutdown(self, end: Callable[[], None]) -> None:
        """Adds what ends, or names as lost, calls that are open when delivery shuts down; each once."""
        if end not in self._endings:
            self._endings.append(end)

    def end_open(self) -> None:
        """Delivery shuts down: open streams end with what they have; calls without an answer are named as lost."""
        for end in self._endings:
            with guard("ending what is open"):
                end()
        if open_calls := len(self._open):
            logger.warning("%s still waiting for an answer: not recorded", counted(open_calls, "call was", "calls were"))

    def hand_over(self, span_id: int) -> None:
        """Called by the invocation after its span ended: what no processor claimed still becomes a packet."""
        payload = self._open.pop(span_id, None)
        if payload is not None:
            self.offer(payload)

    def offer(self, payload: Payload) -> None:
        """Hands over the payload of a call whose span does not record, so that no processor will see it end."""
        for late in (False, True):
            for takers in (self._takers, self._other_takers):
                for taker in reversed(takers):
                    if taker.take(payload, late=late):
                        return
        if payload.ticket is not None:
            payload.ticket.give_up()

    def __len__(self) -> int:
        return len(self._open)


registry = PayloadRegistry()
"""The process's one registry: instrumentors and processors are made apart from one another and meet only here."""
