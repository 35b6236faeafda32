"""What was said in a Bedrock call: Converse's messages, and the bodies of the model families."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from payi_otel._json import to_json
from payi_otel._large import Marks
from payi_otel.instrumentors._claude import read_tool_uses
from payi_otel.instrumentors._content import CallContent, texts_in
from payi_otel.instrumentors._inline import InlineRules
from payi_otel.payload import FunctionCall

_NO_TEXT = frozenset({"bytes", "data", "type", "role", "id", "toolUseId", "tool_use_id", "signature", "format", "media_type", "image"})
"""Keys whose values are no tokens of text."""
_IMAGE_KEYS = frozenset(
    {"image", "mask", "inputImage", "conditionImage", "maskImage", "sourceImage", "referenceImage", "init_image", "mask_image"}
)
"""Of the bodies of Titan, Nova Canvas and Stability."""
_PROMPT_KEYS = ("system", "messages", "toolConfig", "tools", "prompt", "inputText", "message", "texts", "inputs", "input")
_SAID_KEYS = (
    "output",
    "content",
    "generation",
    "outputText",
    "results",
    "generations",
    "text",
    "outputs",
    "choices",
    "completion",
    "delta",
)


class BedrockContent(CallContent):
    """The content of a Bedrock call of any family."""

    inline = InlineRules(
        keys=frozenset({"bytes", "data", "redactedContent", "base64", "base64String"}),
        maybe_keys=_IMAGE_KEYS,
        maybe_lists=frozenset({"images"}),
    )
    call_marks = Marks(b"toolUse", b"tool_use", b"tool_calls")
    image_marks = Marks(b'"image"')

    def read_function_calls(self, answers: Sequence[Any]) -> Iterator[FunctionCall]:
        """Tools by Converse, by Claude, and in the shape of OpenAI's choices."""
        answers = [answer for answer in answers if isinstance(answer, dict)]
        yield from _converse_tools(answers)
        yield from read_tool_uses([answer for answer in answers if "type" in answer])
        yield from _choice_tools(answers)

    def prompt_texts(self, request: Any) -> Iterator[str]:
        """Messages, system and tools, or the family's own name for its prompt."""
        if isinstance(request, dict):
            yield from texts_in([request.get(key) for key in _PROMPT_KEYS], _NO_TEXT)

    def said(self, answer: Any) -> Iterator[str]:
        """The model's words in a body or in an event."""
        if isinstance(answer, dict):
            deltas = answer.get("contentBlockDelta")
            yield from texts_in([answer.get(key) for key in _SAID_KEYS] if deltas is None else deltas, _NO_TEXT)

    def has_image(self, request: Any) -> bool:
        """Whether a message holds an image block."""
        return _has_image(request.get("messages")) if isinstance(request, dict) else False


def _has_image(value: Any) -> bool:
    if isinstance(value, list):
        return any(_has_image(item) for item in value)
    return isinstance(value, dict) and (value.get("type") == "image" or "image" in value or _has_image(value.get("content")))


def _choice_tools(answers: Sequence[dict[str, Any]]) -> Iterator[FunctionCall]:
    """The tool calls of choices; in a stream, put together of their pieces, of which the first has the name."""
    calls: list[tuple[str, list[str]]] = []
    begun: dict[tuple[Any, Any], tuple[str, list[str]]] = {}
    for answer in answers:
        for choice in answer.get("choices") or ():
            said = choice.get("message") or choice.get("delta") or {} if isinstance(choice, dict) else {}
            for position, call in enumerate(said.get("tool_calls") or ()):
                function = call.get("function") or {}
                name, place = str(function.get("name") or ""), (choice.get("index"), call.get("index", position))
                if place not in begun or (name and "index" not in call):  # a family that numbers none of them sends each in one piece
                    begun[place] = name, []
                    calls.append(begun[place])
                if (piece := function.get("arguments")) is not None:
                    begun[place][1].append(piece if isinstance(piece, str) else to_json(piece).decode())
    for name, pieces in calls:
        if name:
            yield FunctionCall(name, "".join(pieces) if pieces else None)


def _converse_tools(answers: Sequence[dict[str, Any]]) -> Iterator[FunctionCall]:
    """`toolUse` blocks that are the caller's: a `server_tool_use` runs at the provider."""
    begun: dict[int, list[Any]] = {}
    for answer in answers:
        output = answer.get("output")
        message = output.get("message") if isinstance(output, dict) else None
        for block in (message or {}).get("content") or ():
            use = block.get("toolUse")
            if use and use.get("type") != "server_tool_use":
                yield FunctionCall(str(use.get("name")), to_json(use.get("input") or {}).decode())
        start = answer.get("contentBlockStart") or {}
        use = (start.get("start") or {}).get("toolUse")
        if use and use.get("type") != "server_tool_use":
            begun[start.get("contentBlockIndex") or 0] = [str(use.get("name")), ""]
        delta = answer.get("contentBlockDelta") or {}
        call = begun.get(delta.get("contentBlockIndex") or 0)
        if call is not None:
            call[1] += ((delta.get("delta") or {}).get("toolUse") or {}).get("input") or ""
    for name, arguments in (begun[index] for index in sorted(begun)):
        yield FunctionCall(name, arguments or "{}")
