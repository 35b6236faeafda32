"""Images: generated, edited, varied; plain and streamed.

Source: the docstrings of `openai.types.images_response` (3.57), and https://platform.openai.com/docs/pricing, "Image generation".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from payi_otel import semconv
from payi_otel.instrumentors._content import RecordingReader
from payi_otel.instrumentors._invocation import Answer, Invocation, OtherCall, Request
from payi_otel.instrumentors._values import get
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.instrumentors.openai._operation import OpenAIOperation, request_body
from payi_otel.instrumentors.openai._usage import add_usages, read_image_usage, read_usage
from payi_otel.packets.units import IMAGE, Units, Usage
from payi_otel.payload import ContentReader
from payi_otel.semconv import UNKNOWN_MODEL

_PRICED = {"size": semconv.PROPERTY_IMAGE_SIZE, "quality": semconv.PROPERTY_IMAGE_QUALITY}
"""What an image's price depends on beside its model."""


class Images(OpenAIOperation):
    """`images.generate`, `.edit` and `.create_variation`."""

    name = "generate_content"
    attributes: Mapping[str, Any] = {semconv.OUTPUT_TYPE: "image"}

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Size and quality stand in the request of the models that do not repeat them in their answer."""
        request = super().read_request(instance, args, kwargs)
        asked = {name: value for name in _PRICED if isinstance(value := kwargs.get(name), str)}
        request.on_answer = lambda invocation, answer: _with_asked(invocation, answer, asked)
        return request

    def read_answer(self, result: Any) -> Answer:
        """Reads an `ImagesResponse`: tokens, or the images themselves where that is what is billed."""
        usage = read_image_usage(get(result, "usage"))
        if usage is None:
            made = get(result, "data")
            usage = Usage({IMAGE: Units(0, len(made) if isinstance(made, list) else 0)})
        return Answer(usage=usage, properties=_properties(result), others=_written([result]))

    def new_reader(self, invocation: Invocation) -> ImageStreamReader:
        """A reader of `ImageGenStreamEvent`s and `ImageEditStreamEvent`s."""
        asked = invocation.request.kwargs.get("n")
        return ImageStreamReader(asked if isinstance(asked, int) else 1)


def read_image_tool(response: Any) -> tuple[OtherCall, ...]:
    """What the image models did for a `Response`: it is beside the response's own usage, and has prices of its own."""
    usage = read_image_usage(get(get(response, "tool_usage"), "image_gen"))
    written = _written(get(response, "output") or ())
    if usage is None or not (usage.input_tokens or usage.output_tokens):
        return written
    tool = next((one for one in get(response, "tools") or () if get(one, "type") == "image_generation"), None)
    model = get(tool, "model")
    return (OtherCall(model if isinstance(model, str) and model else UNKNOWN_MODEL, usage, "image_gen"), *written)


def _written(items: Iterable[Any]) -> tuple[OtherCall, ...]:
    """An SVG is written by a text model, which the item names."""
    found: list[OtherCall] = []
    for item in items:
        svg = get(item, "svg_usage")
        model, usage = get(svg, "model"), read_usage(_as_response_usage(svg))
        if isinstance(model, str) and usage is not None:
            found.append(OtherCall(model, usage, f"svg.{len(found) + 1}"))
    return tuple(found)


def _as_response_usage(svg: Any) -> dict[str, Any]:
    names = ("input_tokens", "output_tokens", "total_tokens")
    return {**{name: get(svg, name) for name in names}, "output_tokens_details": {"reasoning_tokens": get(svg, "reasoning_tokens")}}


def _properties(result: Any) -> dict[str, str]:
    return {name: value for field, name in _PRICED.items() if isinstance(value := get(result, field), str)}


def _with_asked(invocation: Invocation, answer: Answer, asked: Mapping[str, str]) -> Answer:
    for name, value in asked.items():
        invocation.payload.properties.setdefault(_PRICED[name], value)
    return answer


class ImageStreamReader(RecordingReader):
    """Takes an image's events. Each finished image tells its own usage."""

    __slots__ = ("_asked", "_error", "_properties", "_usages")

    def __init__(self, asked: int = 1) -> None:
        super().__init__()
        self._asked = asked
        self._usages: list[Usage] = []
        self._properties: dict[str, str] = {}
        self._error: Any = None

    def take(self, event: Any) -> bool:
        """Notes the usage of a finished image."""
        self.keep(event)
        kind = str(get(event, "type"))
        if kind.endswith((".partial_image", ".completed")):
            self.output_seen = True
        if kind.endswith(".completed"):
            self._properties = _properties(event)
            self._usages.append(read_image_usage(get(event, "usage")) or Usage({IMAGE: Units(0, 1)}))
        elif kind == "error":
            self._error = get(event, "error") or event
        return False

    def answer(self) -> Answer:
        """The images so far."""
        usage = add_usages(self._usages) if self._usages else None
        if self._error is None:
            return Answer(usage=usage, properties=self._properties)
        failure = (str(get(self._error, "code") or get(self._error, "type") or "error"), str(get(self._error, "message") or ""))
        return Answer(usage=usage, properties=self._properties, failure=failure, refused=True)

    def is_complete(self) -> bool:
        """True when every image that was asked for has come."""
        return len(self._usages) >= self._asked

    def content(self, invocation: Invocation) -> ContentReader:
        """The worker's view of the events."""
        return OpenAIContent(request_body(invocation), self.recorded(ImageStreamReader), streamed=True)
