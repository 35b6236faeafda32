"""Answers of the Responses API as OpenAI sends them: what the tests of this folder share."""

from __future__ import annotations

from typing import Any

RESPONSE_USAGE = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 45,
}
UNITS = {"text": {"input": 36, "output": 9}}
"""What `RESPONSE_USAGE` is billed as."""
REQUEST = {"model": "gpt-4.1", "input": "Say hello."}


def message(text: str = "Hello there.") -> dict[str, Any]:
    """An output item with the model's words."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}


def response(**changes: Any) -> dict[str, Any]:
    """A response as OpenAI sends it; `drop` names keys to leave out."""
    drop = changes.pop("drop", ())
    whole = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-4.1-2025-04-14",
        "output": [message()],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": RESPONSE_USAGE,
        **changes,
    }
    return {key: value for key, value in whole.items() if key not in drop}


def unfinished(status: str = "queued", **changes: Any) -> dict[str, Any]:
    """A background response on its way."""
    return response(status=status, background=True, output=[], usage=None, **changes)


def finished(**changes: Any) -> dict[str, Any]:
    """The same when it is done."""
    return response(background=True, **changes)


def events(
    final: dict[str, Any] | None = None, *, kind: str = "response.completed", words: tuple[str, ...] = ("Hello", " there.")
) -> list[Any]:
    """A whole stream, ending with `final` in an event of type `kind`."""
    final = response() if final is None else final
    start = {**final, "status": "in_progress", "output": [], "usage": None, "error": None, "incomplete_details": None}
    item = {"output_index": 0, "item_id": "msg_1"}
    part = {**item, "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}}
    made = [
        {"type": "response.created", "response": start},
        {"type": "response.in_progress", "response": start},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message(""), "content": [], "status": "in_progress"}},
        {"type": "response.content_part.added", **part},
        *({"type": "response.output_text.delta", **item, "content_index": 0, "delta": word, "logprobs": []} for word in words),
        {"type": "response.output_text.done", **item, "content_index": 0, "text": "".join(words), "logprobs": []},
        {"type": "response.output_item.done", "output_index": 0, "item": message("".join(words))},
        {"type": kind, "response": final},
    ]
    return [{"sequence_number": number, **event} for number, event in enumerate(made)]


def call(name: str, arguments: str, call_id: str = "call_1") -> dict[str, Any]:
    """An output item that calls the caller's function."""
    return {"type": "function_call", "id": "fc_" + call_id, "call_id": call_id, "name": name, "arguments": arguments, "status": "completed"}


def search(action: dict[str, Any] | None = None) -> dict[str, Any]:
    """An output item for a search of the web."""
    return {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action or {"type": "search", "query": "weather"}}
