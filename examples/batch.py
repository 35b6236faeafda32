"""A script that summarises each line of a file: each an instance of its use case, and the account at the end.

pip install 'payi-otel[openai]' && python batch.py lines.txt
"""

import sys
from pathlib import Path

import payi_otel
from openai import OpenAI

payi_otel.payi_instrument(config={"account_name": "acme"})
client = OpenAI()


@payi_otel.track(use_case_name="summarise", use_case_version=1)
def summarise(line: str) -> str | None:
    """One call; each call of this function is an instance of the use case of its own."""
    said = client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": f"Summarise: {line}"}])
    return said.choices[0].message.content


for text in Path(sys.argv[1]).read_text().splitlines():
    print(summarise(text))

is_all_delivered = payi_otel.flush(60)
account = payi_otel.stats()
print(f"{account.delivered} of {account.created} packets delivered", file=sys.stderr)
sys.exit(0 if is_all_delivered else 1)
