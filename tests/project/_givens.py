"""What blocks of the documentation take for granted: a block that says `given client` runs after the text under that name."""

from __future__ import annotations

from typing import Final

GIVENS: Final = {
    "client": """
import payi_otel
from openai import OpenAI

payi_otel.payi_instrument()
client = OpenAI()
""",
    "payi_otel": "import payi_otel\n",
}
"""By name. A reader of the page knows where these come from."""
APP: Final = """
from openai import OpenAI

OpenAI().chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "Say hello."}])
"""
"""The `app.py` of commands: an application that knows nothing of this package."""
PRICES: Final = "category,resource,unit,input,output\n,gpt-4.1,text,0.000002,0.000008\n"
SETTINGS: Final = 'use_case_name = "shop"\n'
"""The `payi.toml` of commands."""
COMPLETION: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4.1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}
REPLIES: Final = {
    "/chat/completions": COMPLETION,
    "/messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    },
    "/converse": {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
        "metrics": {"latencyMs": 1},
    },
    ":generateContent": {
        "responseId": "r1",
        "modelVersion": "gemini-2.5-flash",
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
    },
    "/invocations": COMPLETION,
}
"""What providers beside OpenAI answer (the first is Azure), by the end of the path."""
