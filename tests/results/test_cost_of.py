"""`cost_of`: a number, or why not; of this process's calls and of those before it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from flavours import CHAT, COMPLETED
from provider_server import ProviderServer, Reply

import openai
import payi_otel
from payi_otel import Cost, PayiCategories, cost_of, cost_of_async
from payi_otel.testing import Answer, IngestServer

COST = Cost(9 / 1_000_000, 5 / 1_000_000, 4 / 1_000_000, "usd")


def ask(provider: ProviderServer, response_id: str) -> Any:
    """One call whose answer has this id."""
    provider.script(Reply({**COMPLETED.body, "id": response_id}))
    with openai.OpenAI(api_key="k", base_url=f"{provider.url}/v1", max_retries=0) as client:
        return client.chat.completions.create(**CHAT)


def test_a_response(instrument: Any, provider: ProviderServer) -> None:
    """As a number, and in words."""
    instrument()
    answer = ask(provider, "c-1")
    assert cost_of(answer) == COST
    assert cost_of(answer.xproxy_result) == COST
    assert (float(cost_of(answer)), str(cost_of(answer))) == (9 / 1_000_000, "9e-06 usd")


async def test_async(instrument: Any, provider: ProviderServer, ingest: IngestServer) -> None:
    """The loop goes on."""
    ingest.script(Answer(delay_s=0.2))
    instrument()
    provider.script(COMPLETED)
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{provider.url}/v1") as client:
        answer = await client.chat.completions.create(**CHAT)
    asking = asyncio.ensure_future(cost_of_async(answer))
    await asyncio.sleep(0.01)
    assert not asking.done()
    assert await asking == COST


class TestPacketsThatWentTogether:
    """A bulk is answered without results: Pay-i is asked for each that is read."""

    def test_the_result_is_fetched_when_it_is_read(self, instrument: Any, provider: ProviderServer, ingest: IngestServer) -> None:
        """And only then, once."""
        ingest.decide(lambda request: Answer(503))
        instrument({"ingest_bulk": True, "ingest_retry": {"queue_interval": 0.1}})
        answers = [ask(provider, f"c-{number}") for number in range(20)]
        ingest.decide(None)
        assert payi_otel.flush(10)
        looks = [request for request in ingest.requests if "/requests/provider/" in request["path"]]
        assert not looks
        assert any("bulk" in request["path"] for request in ingest.requests)
        assert [cost_of(answer) for answer in answers] == [COST] * 20
        asked = len(ingest.requests)
        assert [cost_of(answer) for answer in answers] == [COST] * 20
        assert len(ingest.requests) == asked

    def test_a_result_that_pay_i_does_not_know_yet_is_waited_for(
        self, instrument: Any, provider: ProviderServer, ingest: IngestServer
    ) -> None:
        """It may be made later than the packet is taken."""
        ingest.script(Answer(409, {}))
        instrument()
        answer = ask(provider, "c-1")
        assert payi_otel.flush(10)
        ingest.script(Answer(404), Answer(404), Answer(200, {"xproxy_result": {"cost": {"total": {"base": 2.5}}}}))
        assert cost_of(answer) == Cost(2.5)

    def test_not_for_ever(self, instrument: Any, provider: ProviderServer, ingest: IngestServer) -> None:
        """Then it says so."""
        ingest.script(Answer(409, {}))
        instrument()
        answer = ask(provider, "c-1")
        assert payi_otel.flush(10)
        ingest.decide(lambda request: Answer(404))
        cost = cost_of(answer, timeout_s=0.3)
        assert (cost.amount, cost.code, cost.reason) == (
            None,
            "unknown_error",
            "the packet is delivered, but Pay-i does not tell its result yet",
        )


class TestAnotherProcess:
    """Pay-i knows a call by category and response id."""

    def test_a_response_that_was_kept(self, instrument: Any, provider: ProviderServer, ingest: IngestServer) -> None:
        """Of the SDK's class, by its id alone, as a dict; the key and the address are those that are set up."""
        program = f"""
import openai, payi_otel
payi_otel.payi_instrument(payi=payi_otel.Payi(api_key={ingest.api_key!r}, base_url={ingest.url!r}))
answer = openai.OpenAI(api_key="k", base_url={provider.url + "/v1"!r}).chat.completions.create(**{CHAT!r})
payi_otel.shutdown()
print(answer.to_json())
"""
        provider.script(Reply({**COMPLETED.body, "id": "c-before"}))
        kept = json.loads(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60).stdout)
        instrument()
        answer = openai.types.chat.ChatCompletion.model_validate(kept)
        assert cost_of(answer) == COST
        assert cost_of("c-before", category=PayiCategories.openai) == COST
        assert cost_of(kept, category=PayiCategories.openai) == COST
        assert [request["path"] for request in ingest.requests][-1] == "/api/v1/requests/provider/system.openai/c-before/result"

    def test_an_id_that_pay_i_does_not_know(self, instrument: Any, ingest: IngestServer) -> None:
        """Bounded, and said."""
        instrument()
        cost = cost_of("unheard-of", category=PayiCategories.azure_openai, timeout_s=0.2)
        assert cost.amount is None
        assert ingest.requests[0]["path"] == "/api/v1/requests/provider/system.azureopenai/unheard-of/result"

    def test_ids_are_escaped(self, instrument: Any, ingest: IngestServer) -> None:
        """Whatever is in them is one part of the path."""
        instrument()
        cost_of("a/../b?c=d#e", category="x/y", timeout_s=0.1)
        assert ingest.requests[0]["path"] == "/api/v1/requests/provider/x%2Fy/a%2F..%2Fb%3Fc%3Dd%23e/result"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (None, "NoneType is no response that was recorded, and has no id to ask Pay-i for"),
        ("c-1", "say the category, e.g. category=PayiCategories.openai: Pay-i knows a call by it and its id"),
        ({"id": ""}, "dict is no response that was recorded, and has no id to ask Pay-i for"),
        (COMPLETED.body, "say the category, e.g. category=PayiCategories.openai: Pay-i knows a call by it and its id"),
    ],
)
def test_what_cannot_be_known_says_why(response: Any, reason: str) -> None:
    """Nothing is raised, but where a number is insisted on."""
    cost = cost_of(response)
    assert (cost.amount, cost.code, cost.reason, str(cost)) == (None, "configuration_error", reason, f"unknown: {reason}")
    with pytest.raises(ValueError, match=reason[:20]):
        float(cost)


def test_nobody_to_ask() -> None:
    """No `payi_instrument()`."""
    assert cost_of("c-1", category=PayiCategories.openai).reason == (
        "there is no Pay-i to ask: payi_instrument() was not called, or packets go to a file"
    )


def test_a_packet_that_was_not_priced(instrument: Any, provider: ProviderServer, ingest: IngestServer) -> None:
    """Units that Pay-i does not know."""
    said = {"request_id": "r", "cost": None, "unknown_units": {"text": {"input": 5, "output": 2}}}
    ingest.script(Answer(200, {"request_id": "r", "xproxy_result": said}))
    instrument()
    cost = cost_of(ask(provider, "c-1"))
    assert (cost.amount, cost.code, cost.reason) == (None, "unknown_error", "Pay-i told no cost; it does not know the units text")


def test_offline(provider: ProviderServer, tmp_path: Any) -> None:
    """Nobody has priced it."""
    payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": str(tmp_path / "packets.json")}})
    try:
        assert cost_of(ask(provider, "c-1")).reason == "packets go to a file: nobody has priced them"
    finally:
        payi_otel.shutdown(5)
