"""From ended spans to the queue: which of them are calls, and which of those are the same call seen twice.

A call that several instrumentations saw is billed once, from the innermost of its spans, which ends first; what the others knew of it
is added. Ours is always the one that counts, for it saw the bytes.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from payi_otel.context.scope import Scope, current_scope
from payi_otel.delivery._sightings import Call, Sighting, sightings
from payi_otel.delivery._unclaimed import offer
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.packets.dialects import has_usage, may_be_call, read_call, scope_of_attributes, scope_of_span
from payi_otel.packets.merging import fill_in, finished
from payi_otel.payload import Payload, registry
from payi_otel.semconv import OWN_SCOPES

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

K = TypeVar("K")
V = TypeVar("V")

_MAX_OPEN: Final = 50_000
"""Spans of calls, and below calls, that have begun and not ended; one that never ends is forgotten then."""
_MAX_REMEMBERED: Final = 10_000
"""Calls that are remembered after their end, to know them again; and calls that wait for what stands above them."""
_HOLD_S: Final = 5.0
"""A call waits so long for the spans above it, which end later."""
_MAX_BACKGROUND_S: Final = 3600.0
"""And so long to be found finished, where it is one in the background."""


class Intake:
    """Takes the spans of one pipeline, and hands each call to the queue once."""

    def __init__(self, queue: DeliveryQueue, *, sees_starts: bool, categories: Collection[str] | None = None) -> None:
        """Keeps nothing of spans that are no calls.

        Args:
            queue: Where calls go.
            sees_starts: `start` is called for every span: what stands above a call is then known at once.
            categories: The Pay-i categories that are wanted of other instrumentations' calls; None for all.
        """
        self._queue, self._sees_starts, self._categories = queue, sees_starts, categories
        self.clear()
        queue.attend(self.finish, self.clear)

    def clear(self) -> None:
        """Forgets everything: in a forked child the parent's calls are the parent's."""
        self._lock = threading.RLock()  # a collector may end a span in the middle of anything here
        self._timer: threading.Timer | None = None
        self._open: OrderedDict[int, int] = OrderedDict()
        """By span, the nearest call at it or above it."""
        self._outer: OrderedDict[int, int] = OrderedDict()
        """By call, the nearest call above it."""
        self._inner: OrderedDict[int, int] = OrderedDict()
        """By call, how many calls are open right below it."""
        self._late: dict[int, tuple[Call, int | None]] = {}
        """Calls that ended before one inside them, and what stands above them."""
        self._scopes: OrderedDict[int, Scope | None] = OrderedDict()
        """By call of another instrumentation, its scope; None where it is not to be recorded."""
        self._waiting: dict[int, list[Call]] = {}
        """By what stands above them, calls that have ended inside it."""
        self._has_unsent = False
        """Something of `_late` or `_waiting` is still to be sent, perhaps."""
        self._ended: OrderedDict[int, Sighting] = OrderedDict()
        self._due: deque[Payload] = deque()
        """What is settled, on its way to the queue."""
        self._unfinished: dict[str, Call] = {}
        """Background responses, by their ids: a later look at one finds its usage."""

    # spans

    def start(self, span: ReadableSpan) -> None:
        """Notes whose call a span is, in the caller's own context."""
        context, parent = span.context, span.parent
        if context is None:
            return
        above = self._open.get(parent.span_id) if parent is not None else None  # known here, whatever it says: Logfire calls its own remote
        name = scope_of_span(span)[0]
        if not name.startswith(OWN_SCOPES):
            if not may_be_call(name, span.attributes or {}):
                if above is not None:
                    _keep(self._open, context.span_id, above, _MAX_OPEN)
                return
            _keep(self._scopes, context.span_id, current_scope() if is_instrumentation_enabled() else None, _MAX_OPEN)
        _keep(self._open, context.span_id, context.span_id, _MAX_OPEN)
        if above is not None:
            _keep(self._outer, context.span_id, above, _MAX_OPEN)
            _keep(self._inner, above, self._inner.get(above, 0) + 1, _MAX_OPEN)

    def end(self, span: ReadableSpan) -> None:
        """Takes a span that ended."""
        context = span.context
        if context is None:
            return
        payload = registry.claim(context.span_id)
        if payload is None and self._sees_starts and context.span_id not in self._open and not has_usage(span.attributes or {}):
            return
        is_own = payload is not None or scope_of_span(span)[0].startswith(OWN_SCOPES)
        whose = None if is_own else self._whose(span)
        try:
            with self._lock:
                above = self._above(span)
                below = self._waiting.pop(context.span_id, [])
                is_early = self._inner.pop(context.span_id, 0) > 0
                if is_own:
                    self._take_own(span, payload, below, above)
                else:
                    self._take_other(span, whose, below, above, is_early=is_early)
        finally:
            if payload is not None:
                offer(self._queue, payload)
            self._hand_over()

    def export(self, spans: Sequence[ReadableSpan]) -> None:
        """Takes spans that ended, without having seen them start."""
        for span in spans:
            self.end(span)

    def release(self) -> None:
        """Sends what waits for spans that have not ended."""
        with self._lock:
            self._release(lambda call: True)
        self._hand_over()

    def finish(self) -> None:
        """Sends everything, background responses too that nobody found finished."""
        with self._lock:
            self._release(lambda call: True)
            while self._unfinished:
                self._give_up_oldest()
        self._hand_over()

    def _hand_over(self) -> None:
        """Outside of the lock: the queue's first packet starts a thread."""
        while self._due:
            try:
                payload = self._due.popleft()
            except IndexError:  # another thread was faster
                break
            self._queue.submit(payload)
        if self._has_unsent and self._timer is None:
            self._wait()

    # what they mean

    def _whose(self, span: ReadableSpan) -> Scope | None:
        """Whose call a span may be; None where it is not to be recorded."""
        assert span.context is not None
        if span.context.span_id in self._scopes:
            return self._scopes.pop(span.context.span_id)
        scope = current_scope()
        return scope if scope is None or self._sees_starts else scope_of_attributes(scope, span.attributes or {})

    def _above(self, span: ReadableSpan) -> int | None:
        """What may stand above a span: the nearest call, or, where starts are not seen, whatever its parent is."""
        assert span.context is not None
        if self._sees_starts:
            self._open.pop(span.context.span_id, None)
            above = self._outer.pop(span.context.span_id, None)
            if above is not None and self._inner.get(above, 0) > 0:
                self._inner[above] -= 1
            return above
        parent = span.parent
        if parent is not None and parent.is_remote and not any(parent.span_id == span_id for span_id, _ in registry.open()):
            return None
        return parent.span_id if parent is not None else None

    def _take_own(self, span: ReadableSpan, payload: Payload | None, below: list[Call], above: int | None) -> None:
        """A call of ours. Without its payload it is on its way already, or costs nothing: then nothing inside it does."""
        assert span.context is not None
        if payload is not None and above is None and not below:
            _keep(self._ended, span.context.span_id, sightings.note(payload, span.context.trace_id), _MAX_REMEMBERED)
            return
        facts = payload
        if facts is None:
            read = read_call(span, Scope())
            if read is None:
                return
            facts = read[1]
        own = Call(facts, span.context.trace_id, OWN_SCOPES, is_sent=True)
        same = [call for call in below if call.is_same_as(own)]
        if payload is not None:
            for call in same:
                if call.payload is not None:
                    fill_in(payload, call.payload)
        _keep(self._ended, span.context.span_id, Sighting(own), _MAX_REMEMBERED)
        sightings.add(own)
        self._pass_up([*(call for call in below if call not in same), own], above)

    def _take_other(self, span: ReadableSpan, scope: Scope | None, below: list[Call], above: int | None, *, is_early: bool) -> None:
        """Another instrumentation's span; `is_early`: it ends before a call inside it does."""
        assert span.context is not None
        read = read_call(span, scope) if scope is not None else None
        if read is None or not self._wants(read[1]) or not registry.is_first(span.context.span_id):
            self._pass_up(below, above)
            return
        kind, payload = read
        call = Call(payload, span.context.trace_id, scope_of_span(span)[0], is_poll=kind == "poll")
        if self._sees_starts and payload.usage is None:
            call.end_ns = time.time_ns()  # a stream's span may say that it ended when the stream began (LlamaIndex)
        same = [inner for inner in below if inner.is_same_as(call)] or _summed_up_by(call, below)
        _merge(call, same)
        _keep(self._ended, span.context.span_id, Sighting(call.known()), _MAX_REMEMBERED)
        if is_early and not same:
            self._has_unsent = True
            self._late[span.context.span_id] = (call, above)  # what is inside it may know more, and ends in a moment
            self._pass_up(below, above)
        else:
            self._pass_up(below if same else [*below, call], above)

    def _wants(self, payload: Payload) -> bool:
        return self._categories is None or payload.category in self._categories

    def _pass_up(self, calls: Iterable[Call], above: int | None) -> None:
        """To what stands above, while that is open; else to the queue."""
        known = self._ended.get(above) if above is not None else None
        ended = known.call if known is not None else None
        if above in self._late:
            calls, above, ended = self._with_late(calls, above), self._late.pop(above)[1], None
        for call in calls:
            if ended is not None:
                if not call.is_same_as(ended):
                    self._send(call)
            elif above is None or (self._sees_starts and above not in self._open):
                self._send(call)
            else:
                self._has_unsent = self._has_unsent or call.payload is not None
                self._waiting.setdefault(above, []).append(call)
        if len(self._waiting) > _MAX_REMEMBERED:
            for oldest in self._waiting.pop(next(iter(self._waiting))):
                self._send(oldest)

    def _with_late(self, calls: Iterable[Call], above: int) -> list[Call]:
        """The calls that ended inside one that had ended before them, and that one, unless it is one of them."""
        outer, inner = self._late[above][0], list(calls)
        same = [call for call in inner if call.is_same_as(outer)]
        _merge(outer, same)
        return inner if same else [*inner, outer]

    def _send(self, call: Call) -> None:
        payload, response_id = call.payload, call.response_id
        if payload is None:
            return
        if call.is_poll:
            found = self._unfinished.pop(response_id or "", None) if payload.usage is not None else None
            if found is None or found.payload is None:
                return
            call = Call(finished(found.payload, payload), found.trace_id, found.scope_name)
        elif payload.usage is None and payload.failure is None and response_id is not None and response_id.startswith("resp_"):
            self._unfinished[response_id] = call
            if len(self._unfinished) > _MAX_REMEMBERED:
                self._give_up_oldest()
            return
        if self._waits_for_ours(call) or sightings.has(call):
            return
        self._unfinished.pop(response_id or "", None)
        sightings.add(call.known())
        self._due.append(call.payload or payload)

    def _give_up_oldest(self) -> None:
        """Of the background responses: its packet says that its usage is missing."""
        call = self._unfinished.pop(next(iter(self._unfinished)))
        if call.payload is not None and not sightings.knows(call.response_id):
            self._due.append(call.payload)

    def _waits_for_ours(self, call: Call) -> bool:
        """Whether a call of ours is open that may be the same: some instrumentations keep their spans out of the context, and end first."""
        if call.is_guess:
            return False
        for span_id, payload in registry.open():
            waiting = self._waiting.get(span_id, [])
            if call.began_with(payload) and not any(other.is_guess and other.scope_name == call.scope_name for other in waiting):
                call.is_guess = self._has_unsent = True
                self._waiting.setdefault(span_id, []).append(call)
                return True
        return False

    # waiting

    def _wait(self) -> None:
        """Nothing waits for long: a call inside an agent's step of an hour is sent, and known to what stands above it."""
        with self._lock:
            unsent = (call for calls in self._waiting.values() for call in calls if call.payload is not None)
            self._has_unsent = bool(self._late) or next(unsent, None) is not None
            if self._timer is not None or not self._has_unsent:
                return
            timer = self._timer = threading.Timer(_HOLD_S, self._release_old)
        timer.daemon = True
        timer.name = "payi-intake"
        timer.start()

    def _release_old(self) -> None:
        with self._lock:
            self._timer = None
            now_s = time.monotonic()
            self._release(lambda call: call.since_s <= now_s - _HOLD_S)
            while self._unfinished and next(iter(self._unfinished.values())).since_s <= now_s - _MAX_BACKGROUND_S:
                self._give_up_oldest()
        self._hand_over()

    def _release(self, is_due: Callable[[Call], bool]) -> None:
        late, self._late = self._late, {}
        for span_id, (call, above) in late.items():
            if is_due(call):
                self._send(call)
            else:
                self._late[span_id] = (call, above)
        waiting, self._waiting = self._waiting, {}
        for above_id, calls in waiting.items():
            for call in calls:
                is_sent = is_due(call)
                if is_sent:
                    self._send(call)
                self._waiting.setdefault(above_id, []).append(call.known() if is_sent else call)  # what stands above it will ask


def _summed_up_by(outer: Call, inner: list[Call]) -> list[Call]:
    """The calls inside a span whose usage is theirs together: it tells of no other."""
    totals = [call.totals for call in inner if call.totals is not None]
    if outer.totals is None or len(totals) < 2 or outer.totals != tuple(map(sum, zip(*totals, strict=True))):
        return []
    return inner


def _merge(outer: Call, inner: list[Call]) -> None:
    """Adds what the outer span knows to the inner call it is about: the one of its id, or the only one."""
    about = [call for call in inner if call.response_id and call.response_id == outer.response_id]
    if not about and len(inner) == 1:
        about = inner
    for call in about:
        if call.payload is not None and outer.payload is not None:
            fill_in(call.payload, outer.payload, fuller_usage=True)


def _keep(kept: OrderedDict[K, V], key: K, value: V, at_most: int) -> None:
    """Adds to a dict that forgets its oldest."""
    kept[key] = value
    if len(kept) > at_most:
        with suppress(KeyError):  # another thread emptied it
            kept.popitem(last=False)
