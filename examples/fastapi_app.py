"""A FastAPI service: each request's calls are its user's, however many are served at once.

pip install 'payi-otel[openai]' fastapi uvicorn && uvicorn fastapi_app:app
"""

from typing import Annotated

from fastapi import FastAPI, Header

import payi_otel
from openai import AsyncOpenAI

payi_otel.payi_instrument(config={"use_case_name": "fastapi-example"})
app = FastAPI()
client = AsyncOpenAI()


@app.get("/ask")
async def ask(question: str, x_user: Annotated[str, Header()]) -> str | None:
    """Answers a question of a user's, named in the header `X-User`."""
    with payi_otel.track_context(user_id=x_user):
        answer = await client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content
