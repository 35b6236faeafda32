"""Answers as OpenAI sends them: what the tests of this folder share."""

from __future__ import annotations

from typing import Any

from provider_server import Reply

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


def completion(**changes: Any) -> dict[str, Any]:
    """A chat completion as OpenAI sends it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there."}, "finish_reason": "stop"}],
        "usage": USAGE,
        **changes,
    }


def numbered(number: int) -> Reply:
    """A chat completion with an id of its own, for `ProviderServer.always`."""
    return Reply(completion(id=f"chatcmpl-{number}"))


def chunk(content: str | None = None, **changes: Any) -> dict[str, Any]:
    """A chunk of a chat stream; `delta`, `finish` and `usage` change it."""
    delta = changes.pop("delta", {"content": content} if content is not None else {})
    finish, usage, choices = changes.pop("finish", None), changes.pop("usage", None), changes.pop("choices", None)
    if choices is None:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini-2024-07-18"}
    return {**base, "choices": choices, **({"usage": usage} if usage is not None else {}), **changes}


def chat_events(*, usage: dict[str, Any] | None = USAGE, words: tuple[str, ...] = ("Hello", " there", ".")) -> list[dict[str, Any]]:
    """A whole chat stream, with its usage chunk unless `usage` is None."""
    events = [chunk(delta={"role": "assistant", "content": ""}), *(chunk(word) for word in words), chunk(finish="stop")]
    return [*events, chunk(choices=[], usage=usage)] if usage is not None else events
