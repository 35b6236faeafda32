"""What a user's code looks like to mypy and pyright: never run, only checked, against the installed wheel.

A comment that ignores an error says that there must be one: both checkers report an ignore that is not needed.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Literal

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from typing_extensions import assert_type

import payi_otel
from payi_otel import (
    AsyncPayi,
    Cost,
    LimitExceeded,
    Payi,
    PayiCategories,
    PayiFileSpanExporter,
    PayiHeaderNames,
    PayiInstrumentConfig,
    PayiSpanExporter,
    XproxyResult,
    cost_of,
    cost_of_async,
    create_headers,
    flush,
    get_context,
    increment_kpi_score,
    increment_kpi_score_async,
    instrumented,
    payi_instrument,
    shutdown,
    stats,
    track,
    track_context,
)
from payi_otel.testing import CapturingSink, IngestServer


def set_up() -> None:
    """Every way to say where packets go and how."""
    config: PayiInstrumentConfig = {
        "use_case_name": "shop",
        "limit_ids": ["daily"],
        "ingest_retry": {"queue_max_size": 100, "spool_sync": "always"},
        "offline_instrumentation": {"file_name": "packets.json"},
    }
    assert_type(payi_instrument(), None)
    payi_instrument(config=config, instruments={PayiCategories.openai}, logger=logging.getLogger("shop"))
    payi_instrument(payi=Payi(api_key="key"), instruments=["*"], log_prompt_and_response=False)
    payi_instrument(payi=[Payi(api_key="key"), AsyncPayi(api_key=lambda: "key")], config={"user_id": "ada"})
    payi_instrument(config)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    payi_instrument(log_prompt_and_response="no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    wrong: PayiInstrumentConfig = {"use_case": "shop"}  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportAssignmentType]
    assert wrong


@track(use_case_name="shop", use_case_version=1, limit_ids=["daily"], request_properties={"tier": "gold", "plan": None})
def plain(question: str, *, times: int = 1) -> list[str]:
    """A function keeps its type."""
    return [question] * times


@track(user_id="ada")
async def awaited(question: str) -> str:
    """So does a coroutine function."""
    return question


@track()
def generated() -> Iterator[int]:
    """And a generator."""
    yield 1


@track(account_name=None)
async def generated_async() -> AsyncIterator[int]:
    """And an asynchronous one."""
    yield 1


class Shop:
    """Methods are functions."""

    @track(use_case_step="answer")
    def answer(self, question: str) -> str:
        """A method keeps its type."""
        return question

    @track_context(resource_scope="datazone")
    def ask(self, question: str) -> bytes:
        """`track_context` decorates, too."""
        return question.encode()


async def tracked() -> None:
    """What a decorator gives back, and what a block gives."""
    assert_type(plain("Where?", times=2), "list[str]")
    assert_type(await awaited("Where?"), str)
    assert_type(list(generated()), "list[int]")
    assert_type([number async for number in generated_async()], "list[int]")
    assert_type(Shop().answer("Where?"), str)
    assert_type(Shop().ask("Where?"), bytes)
    plain(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with track_context(user_id="ada", use_case_properties={"a": "b"}, proxy=False, price_as_category=PayiCategories.anthropic):
        assert_type(get_context().get("user_id"), "str | None")
        assert_type(get_context().get("limit_ids"), "list[str] | None")
    async with track_context(log_prompt_and_response=False):
        pass
    track(use_case="shop")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    track_context(user_id=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def headers() -> None:
    """What goes into one call's `extra_headers`."""
    assert_type(create_headers(user_id="ada", limit_ids=["daily"], use_case_version=2), "dict[str, str]")
    assert_type(PayiHeaderNames.user_id, Literal["xProxy-User-ID"])
    create_headers(proxy=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def read(response: object) -> None:
    """What became of calls, and what they cost."""
    account = stats()
    assert_type(account.created, int)
    assert_type(account.dropped, Mapping[str, int])
    assert_type(account.hosts["api.openai.com"].packets, int)
    assert_type(account.is_conserved, bool)
    account.created = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    assert_type(flush(1.5), bool)
    assert_type(instrumented()[0].wrapped, tuple[str, ...])
    cost = cost_of(response)
    assert_type(cost, Cost)
    assert_type(cost.amount, "float | None")
    assert_type(await cost_of_async(response, category=PayiCategories.openai, timeout_s=1), Cost)
    assert_type(increment_kpi_score(None, "solved", increment=0.5), bool)
    assert_type(await increment_kpi_score_async(None, "solved"), bool)
    assert_type(shutdown(timeout_s=2), None)


async def result(answer: XproxyResult) -> Any:
    """A result is awaited, and read by attribute."""
    assert_type(await answer, XproxyResult)
    assert_type(answer.wait(1), bool)
    assert_type(answer.to_dict(), "dict[str, Any]")
    return answer.cost.total.base


def caught() -> tuple[str, ...]:
    """The one exception that a call may raise."""
    try:
        return tuple(plain("Where?"))
    except LimitExceeded as refused:
        return assert_type(refused.limit_ids, tuple[str, ...])


def pipeline(provider: TracerProvider) -> None:
    """Our exporters stand where OpenTelemetry wants its own."""
    provider.add_span_processor(BatchSpanProcessor(PayiSpanExporter(api_key="key", use_case_name="shop")))
    provider.add_span_processor(BatchSpanProcessor(PayiFileSpanExporter(file_name="packets.json")))


def misspelt() -> Any:
    """A name that is not there is refused, though some are loaded late."""
    return payi_otel.payi_instrumnt  # type: ignore[attr-defined]  # pyright: ignore


def tested() -> None:
    """The fakes for users' own tests."""
    with IngestServer() as server:
        assert_type(server.wait_for_packets(1), bool)
        Payi(api_key=server.api_key, base_url=server.url)
    assert_type(CapturingSink().closed, bool)
