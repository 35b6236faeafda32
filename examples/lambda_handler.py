"""A function that is frozen between two events: what a call cost is sent before it returns.

Its process gets no time after that, and no signal at its end. So `flush` waits, no longer than the event may take.
"""

from typing import Any

import payi_otel
from openai import OpenAI

payi_otel.payi_instrument(config={"use_case_name": "lambda-example"})
client = OpenAI()


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers an event's question for its user."""
    try:
        with payi_otel.track_context(user_id=event["user"]):
            said = client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": event["question"]}])
        return {"statusCode": 200, "body": said.choices[0].message.content}
    finally:
        payi_otel.flush(2.0)
