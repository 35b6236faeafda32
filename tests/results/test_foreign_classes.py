"""A framework that makes its classes of an SDK's finds nothing there that fails when it is read."""

from __future__ import annotations

from typing import Any

import pytest
from openai_shapes import completion
from provider_server import Reply

openai = pytest.importorskip("openai")


def test_every_name_of_a_class_made_of_the_sdks_can_be_read(instrument: Any, provider: Any, packets: Any) -> None:
    """LiteLLM looks through `dir` of the pieces of its streams; the SDK's own objects say as before that they have no result."""

    class Delta(openai.BaseModel):  # type: ignore[misc]
        content: str = "a"

    instrument()
    provider.script(Reply(completion()))
    client = openai.OpenAI(api_key="sk-secret", base_url=provider.url + "/v1", max_retries=0)
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi."}])
    assert answer.xproxy_result is not None
    made = Delta()
    assert "xproxy_result" in dir(made)
    assert made.xproxy_result is None
    assert not hasattr(openai.types.CompletionUsage(prompt_tokens=1, completion_tokens=1, total_tokens=2), "xproxy_result")
    packets()
    client.close()
