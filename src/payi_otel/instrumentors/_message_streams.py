"""The events of a stream put together to the answer that they are parts of, as its plain form would have been. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from payi_otel.instrumentors._message_parts import dicts, field, parsed

_WORDS = ("generation", "outputText", "completion", "text")
"""What the model families of Bedrock call the next words of an answer."""
_FINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})


def put_together(events: Sequence[Any]) -> Any:
    """The answer that these events make; None where they are of no known kind."""
    known = [event for event in events if isinstance(event, dict)]
    for event in known:
        for is_one, fold in _KINDS:
            if is_one(event):
                return fold(known)
    return None


def _key(*names: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: any(name in event for name in names)


def _type(*heads: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: str(event.get("type")).startswith(heads)


def _add(target: dict[str, Any], name: str, more: Any) -> None:
    if isinstance(more, str):
        target[name] = (target.get(name) or "") + more


def _index(holder: Any, name: str = "index") -> int:
    number = field(holder, name)
    return number if type(number) is int else 0


# ---- OpenAI


def _chat(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Chat's chunks, and those of completions."""
    choices: dict[int, dict[str, Any]] = {}
    for event in events:
        for chunk in dicts(event.get("choices")):
            choice = choices.setdefault(_index(chunk), {"message": None, "calls": {}, "finish_reason": None})
            choice["finish_reason"] = chunk.get("finish_reason") or choice["finish_reason"]
            _add(choice, "text", chunk.get("text"))
            if isinstance(delta := chunk.get("delta"), dict):
                _add_delta(choice, delta)
    for choice in choices.values():
        if choice["message"] is not None:
            choice["message"]["tool_calls"] = [choice["calls"][index] for index in sorted(choice["calls"])]
    return {"choices": [choices[index] for index in sorted(choices)]}


def _add_delta(choice: dict[str, Any], delta: dict[str, Any]) -> None:
    message = choice["message"] = choice["message"] or {"role": None}
    message["role"] = delta.get("role") or message["role"]
    for name in ("content", "refusal", "reasoning_content", "reasoning"):
        _add(message, name, delta.get(name))
    if isinstance(audio := delta.get("audio"), dict):
        _add(message.setdefault("audio", {}), "transcript", audio.get("transcript") or "")
    if isinstance(legacy := delta.get("function_call"), dict):
        _add_call(message.setdefault("function_call", {}), legacy)
    for position, piece in enumerate(dicts(delta.get("tool_calls"))):
        call = choice["calls"].setdefault(_index(piece) if "index" in piece else position, {"id": None})
        call["id"] = piece.get("id") or call["id"]
        for kind in ("function", "custom"):
            if isinstance(called := piece.get(kind), dict):
                _add_call(call.setdefault(kind, {}), called)


def _add_call(call: dict[str, Any], piece: dict[str, Any]) -> None:
    for name in ("name", "arguments", "input"):
        _add(call, name, piece.get(name))


def _response(events: list[dict[str, Any]]) -> Any:
    """The final event has the whole of a response; without it, what its items had come to."""
    items: dict[int, dict[str, Any]] = {}
    for event in events:
        kind, index = event.get("type"), _index(event, "output_index")
        if kind in _FINAL:
            return event.get("response")
        item = event.get("item")
        if kind in ("response.output_item.added", "response.output_item.done") and isinstance(item, dict):
            items[index] = dict(item)
        elif kind == "response.output_text.delta":
            _add(_block_of(items, index, event), "text", event.get("delta"))
        elif kind == "response.refusal.delta":
            _add(_block_of(items, index, event, "refusal"), "refusal", event.get("delta"))
        elif kind == "response.function_call_arguments.delta":
            _add(items.setdefault(index, {"type": "function_call"}), "arguments", event.get("delta"))
        elif kind == "response.custom_tool_call_input.delta":
            _add(items.setdefault(index, {"type": "custom_tool_call"}), "input", event.get("delta"))
    return {"output": [items[index] for index in sorted(items)], "status": None}


def _block_of(items: dict[int, dict[str, Any]], index: int, event: dict[str, Any], kind: str = "output_text") -> dict[str, Any]:
    item = items.setdefault(index, {"type": "message", "content": []})
    content = item["content"] = list(item.get("content") or ())
    position = _index(event, "content_index")
    while len(content) <= position and len(content) < _MAX_BLOCKS:
        content.append({"type": kind})
    block: dict[str, Any] = content[min(position, len(content) - 1)]
    return block


_MAX_BLOCKS = 1000
"""A higher index is none that was counted."""


def _transcript(events: list[dict[str, Any]]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for event in events:
        if event.get("type") == "transcript.text.done" and isinstance(event.get("text"), str):
            return {"text": event["text"]}
        _add(said, "text", event.get("delta"))
    return said


def _images(events: list[dict[str, Any]]) -> dict[str, Any]:
    return {"data": [event for event in events if str(event.get("type")).endswith(".completed")]}


# ---- Claude


def _claude(events: list[dict[str, Any]]) -> dict[str, Any]:
    blocks: dict[int, dict[str, Any]] = {}
    answer: dict[str, Any] = {"role": "assistant", "stop_reason": None}
    for event in events:
        kind, index = event.get("type"), _index(event)
        if kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            blocks[index] = dict(event["content_block"])
        elif kind == "content_block_delta" and index in blocks:
            _add_claude(blocks[index], event.get("delta"))
        elif kind == "message_delta":
            answer["stop_reason"] = field(event.get("delta"), "stop_reason") or answer["stop_reason"]
    for block in blocks.values():
        if given := block.pop("partial_json", None):
            block["input"] = parsed(given)
    return {**answer, "content": [blocks[index] for index in sorted(blocks)]}


def _add_claude(block: dict[str, Any], delta: Any) -> None:
    for name in ("text", "thinking", "partial_json", "content"):
        _add(block, name, field(delta, name))


# ---- Bedrock


def _converse(events: list[dict[str, Any]]) -> dict[str, Any]:
    blocks: dict[int, dict[str, Any]] = {}
    role, reason = "assistant", None
    for event in events:
        role = field(event.get("messageStart"), "role") or role
        reason = field(event.get("messageStop"), "stopReason") or reason
        start, delta = event.get("contentBlockStart"), event.get("contentBlockDelta")
        if (use := field(field(start, "start"), "toolUse")) is not None and isinstance(use, dict):
            blocks[_index(start, "contentBlockIndex")] = {"toolUse": {**use, "input": ""}}
        if delta is not None:
            _add_converse(blocks.setdefault(_index(delta, "contentBlockIndex"), {}), field(delta, "delta"))
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = parsed(block["toolUse"].get("input") or "{}")
    message = {"role": role, "content": [blocks[index] for index in sorted(blocks)]}
    return {"output": {"message": message}, "stopReason": reason}


def _add_converse(block: dict[str, Any], delta: Any) -> None:
    if isinstance(field(delta, "text"), str):
        _add(block, "text", field(delta, "text"))
    if (thought := field(field(delta, "reasoningContent"), "text")) is not None:
        _add(block.setdefault("reasoningContent", {}).setdefault("reasoningText", {}), "text", thought)
    if (given := field(field(delta, "toolUse"), "input")) is not None:
        _add(block.setdefault("toolUse", {}), "input", given)


def _words(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Any other family: its words, and why it stopped."""
    said: dict[str, Any] = {}
    for event in events:
        for holder in (event, *dicts(event.get("outputs"))):
            for name in _WORDS:
                _add(said, "text", holder.get(name))
            reason = field(holder, "stop_reason", "completionReason", "finish_reason")
            said["stop_reason"] = reason or said.get("stop_reason")
    return {**said, "stop_reason": said.get("stop_reason") or "error"}


# ---- Gemini


def _gemini(events: list[dict[str, Any]]) -> dict[str, Any]:
    candidates: dict[int, dict[str, Any]] = {}
    for event in events:
        for position, piece in enumerate(dicts(event.get("candidates"))):
            index = _index(piece) if "index" in piece else position
            whole = candidates.setdefault(index, {"content": {"role": "model", "parts": []}, "finishReason": None})
            whole["finishReason"] = field(piece, "finishReason", "finish_reason") or whole["finishReason"]
            for part in dicts(field(piece.get("content"), "parts")):
                _add_part(whole["content"]["parts"], part)
    return {"candidates": [candidates[index] for index in sorted(candidates)]}


def _add_part(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Words that go on are one part."""
    last = parts[-1] if parts else {}
    if isinstance(part.get("text"), str) and isinstance(last.get("text"), str) and part.get("thought") == last.get("thought"):
        last["text"] += part["text"]
    else:
        parts.append(dict(part))


def _interaction(events: list[dict[str, Any]]) -> dict[str, Any]:
    steps: dict[int, dict[str, Any]] = {}
    status = None
    for event in events:
        status = field(event.get("interaction"), "status") or status
        index, step, delta = _index(event), event.get("step"), event.get("delta")
        if isinstance(step, dict):
            steps[index] = dict(step)
        elif isinstance(delta, dict):
            _add_step(steps.setdefault(index, {"type": "model_output"}), delta)
    return {"steps": [steps[index] for index in sorted(steps)], "status": status}


def _add_step(step: dict[str, Any], delta: dict[str, Any]) -> None:
    if delta.get("type") == "arguments_delta":
        step["arguments"] = (step["arguments"] if isinstance(step.get("arguments"), str) else "") + str(delta.get("arguments") or "")
    elif isinstance(text := field(delta, "text") or field(delta.get("content"), "text"), str):
        name = "summary" if step.get("type") == "thought" else "content"
        blocks = step[name] = list(step.get(name) or ())
        if blocks and isinstance(blocks[-1], dict) and isinstance(blocks[-1].get("text"), str):
            blocks[-1] = {**blocks[-1], "text": blocks[-1]["text"] + text}
        else:
            blocks.append({"type": "text", "text": text})


_KINDS: tuple[tuple[Callable[[dict[str, Any]], bool], Callable[[list[dict[str, Any]]], Any]], ...] = (
    (_key("choices"), _chat),
    (_key("candidates"), _gemini),
    (_key("event_type"), _interaction),
    (_type("response."), _response),
    (_type("message_start", "content_block_"), _claude),
    (_type("transcript."), _transcript),
    (_type("image_generation.", "image_edit."), _images),
    (_key("messageStart", "contentBlockStart", "contentBlockDelta", "messageStop"), _converse),
    (_key(*_WORDS, "outputs"), _words),
)
"""How an event says what kind of stream it is of."""
