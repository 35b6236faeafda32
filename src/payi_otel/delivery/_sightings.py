"""Calls as single spans tell of them, and the memory in which a second telling of one is found."""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque
from contextlib import suppress
from typing import Final

from payi_otel.context.scope import Scope
from payi_otel.packets.merging import is_same_model
from payi_otel.packets.units import Usage
from payi_otel.payload import Payload
from payi_otel.semconv import OWN_SCOPES, PayiCategories

_MAX_BY_ID: Final = 10_000
_MAX_RECENT: Final = 500
"""Calls among which one without an id is looked for; it ends with the one it is, so that few stand between them."""
_TOLERANCE_NS: Final = 50_000_000
"""Two wrappers around one call read the clock one after the other, on a busy machine some time apart."""
_ROUNDING_NS: Final = 1_000_000
"""Ours keeps milliseconds."""
_TOKENS_OFF: Final = 2
"""OpenLLMetry adds the first event's output to the last one's."""
_FRAMEWORK_IDS = ("run-", "run_", "lc_", "lc-")
"""Frameworks make ids of their own where a provider's should stand."""
_NOBODY: Final = Scope()
_LITELLM, _LITELLM_IDS = "litellm", "chatcmpl-"
"""LiteLLM's look like OpenAI's, whoever answered."""


class Call:
    """A call as one span tells of it."""

    __slots__ = (
        "category",
        "end_ns",
        "is_guess",
        "is_poll",
        "models",
        "payload",
        "response_id",
        "scope_name",
        "seen_by",
        "since_s",
        "start_ns",
        "totals",
        "trace_id",
    )

    def __init__(self, payload: Payload, trace_id: int, scope_name: str, *, is_poll: bool = False, is_sent: bool = False) -> None:
        self.response_id = _known_id(payload.response_id, scope_name)
        self.payload = None if is_sent else payload
        """None: its packet is on its way, and the call is kept only to be known again."""
        self.trace_id, self.scope_name, self.is_poll = trace_id, scope_name, is_poll
        self.since_s = time.monotonic()
        self.category, self.models = payload.category, (payload.model, payload.response_model)
        usage = payload.usage
        self.totals = (usage.input_tokens or 0, usage.output_tokens or 0) if usage is not None else None
        self.start_ns = payload.started_at_ns
        self.end_ns = payload.started_at_ns + payload.latency_ms * 1_000_000
        self.is_guess = False
        """It waits for a call of ours that began with it and is related to it in no other way."""
        self.seen_by: tuple[str, ...] = ()
        """Other scopes that have told of it."""

    def is_same_as(self, other: Call) -> bool:
        """Whether two spans, one inside the other, are of one call: by id, by what it took, else by its model."""
        if self.is_guess:  # a stream of ours may end long after its reader has read what he wants of it
            is_then = self.start_ns <= other.start_ns <= self.end_ns or _is_over_the_same_time(self, other)
            if not is_then or self.totals not in (None, other.totals):
                return False
        one, two = self.response_id, other.response_id
        if one and one == two:
            return True
        if self.totals is not None and self.totals == other.totals and any(self.totals):
            return True  # whatever a gateway or a framework calls it
        if one and two and PayiCategories.aws_bedrock not in (self.category, other.category):
            return False  # Bedrock has two ids for an answer: its own and the model's
        return is_same_model(self.models, other.models) and self._is_near(other)

    def _is_near(self, other: Call) -> bool:
        """Whether two counts may be of one call: dialects differ in what they leave out of the input, hardly in the output."""
        if self.totals is None or other.totals is None:
            return True
        return self.totals[0] == other.totals[0] or abs(self.totals[1] - other.totals[1]) <= _TOKENS_OFF

    def began_with(self, payload: Payload) -> bool:
        """Whether a call of ours began with this one or within it (a gateway prepares its own for a while), with the same model."""
        is_then = self.start_ns - _TOLERANCE_NS <= payload.started_at_ns <= max(self.end_ns, self.start_ns + _TOLERANCE_NS)
        return is_then and is_same_model(self.models, (payload.model,))

    def known(self) -> Call:
        """The same without its payload, to be kept after its end."""
        copy: Call = object.__new__(Call)
        for name in Call.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.payload = None
        return copy


_Facts = tuple[int, "str | None", str, "str | None", "str | None", int, int, "tuple[int | None, int | None] | None"]
"""A call's trace, and of its payload: response id, category, model, the answer's model, start (ns), duration (ms) and totals."""


class Sighting:
    """A call that is remembered; made of its facts when it is asked for."""

    __slots__ = ("_of",)

    def __init__(self, of: Call | _Facts) -> None:
        self._of = of

    @property
    def call(self) -> Call:
        """It, the same one at each look."""
        of = self._of
        if isinstance(of, tuple):
            trace_id, response_id, category, model, response_model, start_ns, latency_ms, totals = of
            facts = Payload(
                _NOBODY,
                category,
                module="",
                model=model,
                started_at_ns=start_ns,
                latency_ms=latency_ms,
                response_id=response_id,
                response_model=response_model,
                usage=Usage({}, *totals) if totals is not None else None,
            )
            of = self._of = Call(facts, trace_id, OWN_SCOPES, is_sent=True)
        return of

    @property
    def response_id(self) -> str | None:
        """The call's, where it is the provider's own."""
        return _known_id(self._of[1], OWN_SCOPES) if isinstance(self._of, tuple) else self._of.response_id


def _known_id(response_id: str | None, scope_name: str) -> str | None:
    """The provider's own; None where somebody else made it up."""
    made_up = _FRAMEWORK_IDS if scope_name != _LITELLM else (*_FRAMEWORK_IDS, _LITELLM_IDS)
    return None if response_id is None or response_id.startswith(made_up) else response_id


class Sightings:
    """Finds the call of a span that stands in no relation to the span it was billed by: frameworks begin traces of their own."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets all."""
        self._unread: deque[Sighting] = deque()
        """Calls of ours: to append them is all that is done in a call. They are read when another scope's span tells of one."""
        self._by_id: OrderedDict[str, list[Sighting]] = OrderedDict()  # a plain dict takes longer to find its oldest, the more it forgot
        self._recent: deque[Sighting] = deque(maxlen=_MAX_RECENT)

    def note(self, payload: Payload, trace_id: int = 0) -> Sighting:
        """Remembers a call of ours that is billed.

        Args:
            payload: The call.
            trace_id: Of its span, if it has one.
        """
        usage = payload.usage
        sighting = Sighting(
            (
                trace_id,
                payload.response_id,
                payload.category,
                payload.model,
                payload.response_model,
                payload.started_at_ns,
                payload.latency_ms,
                usage and (usage.input_tokens, usage.output_tokens),
            )
        )
        self._unread.append(sighting)
        if len(self._unread) > _MAX_BY_ID:
            with suppress(IndexError):  # another thread has read them all
                self._unread.popleft()
        return sighting

    def add(self, call: Call) -> None:
        """Remembers a call that is billed. Threads do so at once, and no lock is held: each step here is one of the interpreter's."""
        self._read()
        self._add(Sighting(call))

    def _read(self) -> None:
        with suppress(IndexError):
            while True:
                self._add(self._unread.popleft())

    def _add(self, sighting: Sighting) -> None:
        response_id = sighting.response_id
        if response_id is not None:
            same = self._by_id.setdefault(response_id, [])
            same.append(sighting)
            del same[:-20]  # a test's provider may give every answer the same id
            if len(self._by_id) > _MAX_BY_ID:
                self._by_id.popitem(last=False)
        self._recent.append(sighting)

    def knows(self, response_id: str | None) -> bool:
        """Whether any call with this id is billed already."""
        self._read()
        return response_id in self._by_id

    def has(self, call: Call) -> bool:
        """Whether it is billed already: by its id in its trace, by its id and time, or by time, model and usage where it has no id."""
        self._read()
        for sighting in self._by_id.get(call.response_id or "", ()):
            other = sighting.call
            if other.trace_id == call.trace_id or self._is_told_again(other, call):
                return True
        return any(
            self._is_told_again(other, call)
            for other in (sighting.call for sighting in reversed(list(self._recent)))  # a copy: a collector may end a span in between
            if (call.response_id is None or other.response_id is None) and _is_alike(other, call)
        )

    def _is_told_again(self, other: Call, call: Call) -> bool:
        """Another scope's span over the same time; each scope tells of a call once."""
        if other.scope_name == call.scope_name or call.scope_name in other.seen_by or not _is_over_the_same_time(other, call):
            return False
        other.seen_by += (call.scope_name,)
        return True


def _is_over_the_same_time(one: Call, other: Call) -> bool:
    """Whether one's time lies within the other's, or nearly so: a gateway in the process may have its end told by another thread."""
    if max(one.start_ns, other.start_ns) > min(one.end_ns, other.end_ns) + _ROUNDING_NS:
        return False
    starts, ends = one.start_ns - other.start_ns, one.end_ns - other.end_ns
    return (starts >= -_TOLERANCE_NS and ends <= _TOLERANCE_NS) or (starts <= _TOLERANCE_NS and ends >= -_TOLERANCE_NS)


def _is_alike(one: Call, other: Call) -> bool:
    """The same model and usage; where one tells of no usage, nothing but the model: it could not be billed for any."""
    return (one.totals is None or other.totals is None or one.totals == other.totals) and is_same_model(one.models, other.models)


sightings = Sightings()
"""The process's one memory: several pipelines may see one call, each of them another of its spans."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=sightings.clear)
