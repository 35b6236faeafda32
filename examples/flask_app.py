"""A threaded Flask service that asks two questions at once: the pool's threads know whose request it is.

pip install 'payi-otel[openai]' flask && flask --app flask_app run
"""

from concurrent.futures import ThreadPoolExecutor

from flask import Flask, request

import payi_otel
from openai import OpenAI

payi_otel.payi_instrument(config={"use_case_name": "flask-example"})
app = Flask(__name__)
client = OpenAI()
pool = ThreadPoolExecutor(4)


def answer(question: str) -> str | None:
    """One call."""
    said = client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": question}])
    return said.choices[0].message.content


@app.get("/compare")
def compare() -> list[str | None]:
    """Answers two questions of a user's."""
    with payi_otel.track_context(user_id=request.headers["X-User"], use_case_name="compare"):
        return list(pool.map(answer, request.args.getlist("question")))
