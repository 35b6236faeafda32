"""What was said in a call, read in the worker: JSON of request and answer, inline data taken out, tool calls, estimates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Protocol

from payi_otel import _large
from payi_otel._json import read_json
from payi_otel._large import Marks
from payi_otel.instrumentors._inline import InlineRules, is_data_url
from payi_otel.instrumentors._invocation import Answer
from payi_otel.instrumentors._raw import read_events, read_texts
from payi_otel.packets.counting import TokenCounter, by_length
from payi_otel.packets.units import Usage
from payi_otel.payload import Content, FunctionCall, JsonTexts, LargeJson


class EventReader(Protocol):
    """As much of a `StreamReader` as reads recorded events again."""

    def take(self, event: Any) -> bool:
        """Notes one event."""
        ...

    def answer(self) -> Answer:
        """What they said."""
        ...


class RecordedEvents:
    """The bytes of a stream, as they came, and how many of its events were taken by the caller."""

    def __init__(
        self,
        pieces: Sequence[bytes],
        taken: int,
        new_reader: Callable[[], EventReader],
        parse: Callable[[bytes], Iterator[dict[str, Any]]] = read_events,
    ) -> None:
        self._pieces, self._taken, self._new_reader, self._parse = pieces, taken, new_reader, parse

    @cached_property
    def data(self) -> bytes:
        """All of the bytes."""
        return b"".join(self._pieces)

    def texts(self) -> JsonTexts | None:
        """The JSON of the events that were taken, as it came; None where they came in another form, or are no text."""
        texts = read_texts(self.data) if self._parse is read_events else None
        return JsonTexts(texts[: self._taken]) if texts is not None else None

    def read(self, *, late_usage: bool) -> tuple[list[Any], Usage | None]:
        """The events that were taken; and the usage, where it had come already when the caller left."""
        events = list(self._parse(self.data))
        usage = None
        if late_usage and len(events) > self._taken:
            reader = self._new_reader()
            for event in events:
                reader.take(event)
            usage = reader.answer().usage
        return events[: self._taken], usage


class RecordingReader:
    """The part of a `StreamReader` that keeps its events until the worker reads them: as bytes, where those pass by."""

    __slots__ = ("_kept", "_taken", "output_seen", "pieces")

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._taken = 0
        self.pieces: list[bytes] = []
        self.output_seen = False

    def keep(self, event: Any) -> None:
        """Called with every event."""
        self._taken += 1
        if not self.pieces:
            self._kept.append(event)

    def recorded(
        self, again: Callable[[], EventReader], parse: Callable[[bytes], Iterator[dict[str, Any]]] = read_events
    ) -> Sequence[Any] | RecordedEvents:
        """The events for a `CallContent`; `again` makes a reader that reads them once more."""
        return RecordedEvents(self.pieces, self._taken, again, parse) if self.pieces else self._kept


class CallContent:
    """References kept from a call until the worker reads them; a provider's subclass says what its JSON means."""

    inline: ClassVar[InlineRules] = InlineRules()
    call_marks: ClassVar[Marks | None] = None
    """Without any of these an answer holds no tool call; None: it may always."""
    image_marks: ClassVar[Marks] = Marks()
    """Without any of these a request holds no image."""
    _request_marks: ClassVar[Marks]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Puts together what a request is looked through for."""
        super().__init_subclass__(**kwargs)
        cls._request_marks = Marks(*cls.inline.marks.all, *cls.image_marks.all)

    def __init__(
        self,
        request: Any,
        answers: Sequence[Any] | RecordedEvents,
        *,
        streamed: bool,
        restore: Mapping[str, Any] | None = None,
        estimates: bool = True,
    ) -> None:
        """Keeps them as they are.

        Args:
            request: Bytes of JSON or a JSON value that cannot change any more; None where there is none.
            answers: Bytes, SDK objects or JSON values; one for a plain answer, one an event for a stream.
            streamed: Whether the answers are events.
            restore: What we changed in the request, with the caller's own values (None: was not there).
            estimates: False where the call is known to have cost nothing.
        """
        self._request, self._answers = request, answers
        self._streamed, self._restore, self._estimates = streamed, restore or {}, estimates

    def read(self, *, inline_data: bool, estimate: TokenCounter | None) -> Content:
        """As it went over the wire, where that is JSON of which nothing is left out; else as JSON values."""
        is_text = estimate is None
        request_text = self._request_text(inline_data=inline_data) if is_text else None
        texts = self._answer_texts(inline_data=inline_data) if is_text else None
        cuts = is_text and not inline_data
        request = self._request_json(cuts=cuts) if request_text is None else None
        answers, usage = self._answer_values(late_usage=not is_text, cuts=cuts) if texts is None else ([], None)
        estimated = self.estimate(request, answers, estimate) if estimate and self._estimates and usage is None else None
        image_texts = tuple(self.prompt_texts(request)) if self.has_image(request) else None
        if request is not None and not inline_data and self._may_hold_inline(self._request):
            request = self.inline.strip(request)
        if answers and not inline_data and self._may_hold_inline(self._answer_bytes()):
            answers = [self.inline.strip(answer) for answer in answers]
        return Content(
            request=request_text or request,
            responses=answers if texts is None else texts,
            streamed=self._streamed,
            function_calls=tuple(self.read_function_calls(answers) if texts is None else self._calls_in(texts)),
            estimated_tokens=estimated,
            usage=usage,
            image_texts=image_texts,
        )

    def without_ours(self, request: bytes) -> bytes | None:
        """A request's JSON without what we had added to it; None where it has to be read for that."""
        return None if self._restore else request

    def _request_text(self, *, inline_data: bool) -> JsonTexts | LargeJson | None:
        """None where it has to be read."""
        kept = self._request
        marks = self.image_marks if inline_data else self._request_marks
        if not isinstance(kept, bytes) or marks.are_in(kept):
            return None
        kept = self.without_ours(kept.strip())
        if kept is not None and len(kept) > _large.SLICE and _is_object(kept):
            return LargeJson(kept)
        return _as_texts(kept) if kept is not None else None

    def _answer_texts(self, *, inline_data: bool) -> JsonTexts | None:
        """None where they have to be read."""
        kept = self._answer_bytes()
        if kept is None or not (inline_data or not self.inline.may_be_in(kept)):
            return None
        if isinstance(self._answers, RecordedEvents):
            return self._answers.texts()
        return _as_texts(kept)

    def _answer_bytes(self) -> bytes | None:
        answers = self._answers
        if isinstance(answers, RecordedEvents):
            return answers.data
        return answers[0] if len(answers) == 1 and isinstance(answers[0], bytes) else None

    def _answer_values(self, *, late_usage: bool, cuts: bool) -> tuple[list[Any], Usage | None]:
        kept, usage = self._answers, None
        if isinstance(kept, RecordedEvents):
            kept, usage = kept.read(late_usage=late_usage)
        return [value for answer in kept if (value := self._value(answer, cuts=cuts)) is not None], usage

    def _value(self, kept: Any, *, cuts: bool) -> Any:
        """A request or an answer read; `cuts`: base64 data in it is not wanted."""
        return self.to_json_value(self.inline.cut(kept) if cuts and isinstance(kept, bytes) else kept)

    def _calls_in(self, texts: JsonTexts) -> Iterator[FunctionCall]:
        marks = self.call_marks
        if marks is not None and not marks.are_in(self._answer_bytes() or b""):
            return iter(())
        return self.read_function_calls(texts.parsed())

    def _may_hold_inline(self, kept: Any) -> bool:
        """Whether base64 data may stand in a request or in answers, as they were kept."""
        return not isinstance(kept, bytes) or self.inline.may_be_in(kept)

    def to_json_value(self, value: Any) -> Any:
        """Bytes, an SDK object or a JSON value as a JSON value; None where it is none."""
        return to_json_value(value)

    def read_function_calls(self, answers: Sequence[Any]) -> Iterator[FunctionCall]:
        """The caller's tools that the model called, in order, from plain answers and from streams."""
        return iter(())

    def prompt_texts(self, request: Any) -> Iterator[str]:
        """Everything the model was given as text."""
        return iter(())

    def said(self, answer: Any) -> Iterator[str]:
        """The model's own words and tool arguments in an answer or an event."""
        return iter(())

    def has_image(self, request: Any) -> bool:
        """Whether the model was given an image, whose tokens the provider counts as text."""
        return False

    def prompt_tokens(self, request: Any) -> int:
        """Tokens of the prompt that were given as tokens."""
        return 0

    def estimate(self, request: Any, answers: Sequence[Any], count: TokenCounter) -> tuple[int, int]:
        """(input, output) tokens of a call whose provider gave no usage."""
        tokens_in = self.prompt_tokens(request) + count(self.prompt_texts(request))
        said = [text for answer in answers if (text := "".join(self.said(answer)))]
        tokens_out = count(["".join(said)])
        if count is by_length and len(answers) > 1:
            tokens_out = max(tokens_out, len(said))  # a stream sends about one event a token
        return tokens_in, tokens_out

    def _request_json(self, *, cuts: bool) -> Any:
        request = self._value(self._request, cuts=cuts)
        if isinstance(request, dict):
            for name, original in self._restore.items():
                if original is None:
                    request.pop(name, None)
                else:
                    request[name] = original
        return request


def _as_texts(kept: bytes) -> JsonTexts | None:
    """JSON of an object as the only text; None where it is something else."""
    kept = kept.strip()
    if not _is_object(kept):
        return None
    try:
        return JsonTexts([_large.decode(kept)])
    except UnicodeDecodeError:
        return None


def _is_object(kept: bytes) -> bool:
    return kept.startswith(b"{") and kept.endswith(b"}")


def to_json_value(value: Any) -> Any:
    """An SDK object, bytes or a JSON value as a JSON value; None where it is none."""
    if isinstance(value, bytes):
        try:
            return read_json(value)
        except ValueError:
            return None
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        return to_dict(mode="json", warnings=False)
    return value


def texts_in(value: Any, without: frozenset[str] = frozenset()) -> Iterator[str]:
    """Every text in a JSON value but `data:` URLs and the values of these keys."""
    if isinstance(value, str):
        if not is_data_url(value):
            yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item, without)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in without:
                yield from texts_in(item, without)
