"""`cost_of`: what a response cost, as a number, or why it is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from payi_otel import _bootstrap
from payi_otel._providers import category_of_class
from payi_otel.delivery._ticket import NOT_CONFIGURED, Ticket
from payi_otel.delivery.outcome import Fate, FindingSink, Outcome
from payi_otel.delivery.result import UNKNOWN, XproxyResult, plain
from payi_otel.instrumentors._results import NAME


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call cost, in `currency`; `amount` is None where that is not known, and `reason` says why."""

    amount: float | None
    """All of it."""
    input: float | None = None
    """What was asked."""
    output: float | None = None
    """What was answered."""
    currency: str = "usd"
    code: str | None = None
    """Why it is not known; one of the reference's codes."""
    reason: str | None = None
    """The same in words."""

    def __float__(self) -> float:
        """The amount.

        Raises:
            ValueError: It is not known.
        """
        if self.amount is None:
            raise ValueError(self.reason or "the cost is not known")
        return self.amount

    def __str__(self) -> str:
        return f"{self.amount:.8g} {self.currency}" if self.amount is not None else f"unknown: {self.reason}"


def cost_of(response: Any, *, category: str | None = None, timeout_s: float | None = None) -> Cost:
    """What a call cost.

    Waits for Pay-i's answer where it is not there yet. In an event loop, write `cost_of(await response.xproxy_result)`, or await
    `cost_of_async`.

    Args:
        response: A response, a stream or its last chunk, a `response.xproxy_result`, a dict that has one; or, for a call of another
            process, a response that was kept, or a provider's response id, which Pay-i is then asked for.
        category: The `PayiCategories` value of a call of another process; by default what the response's own class says.
        timeout_s: Seconds to wait at most; None for the setting `result_timeout_s`.

    Returns:
        The cost, or why it is not known. Nothing is raised.
    """
    result = _result_of(response, category)
    if isinstance(result, Cost):
        return result
    result.wait(timeout_s)
    return _to_cost(plain(result))


async def cost_of_async(response: Any, *, category: str | None = None, timeout_s: float | None = None) -> Cost:
    """The same without blocking the event loop."""
    result = _result_of(response, category)
    if isinstance(result, Cost):
        return result
    await result._wait_async(timeout_s)
    return _to_cost(plain(result))


def _result_of(response: Any, category: str | None) -> XproxyResult | Cost:
    if isinstance(response, XproxyResult):
        return response
    own = response.get(NAME) if isinstance(response, Mapping) else getattr(response, NAME, None)
    if isinstance(own, XproxyResult):
        return own
    response_id = _id_of(response)
    category = category or category_of_class(type(response))
    if response_id is None:
        return _unknown(f"{type(response).__name__} is no response that was recorded, and has no id to ask Pay-i for")
    if category is None:
        return _unknown("say the category, e.g. category=PayiCategories.openai: Pay-i knows a call by it and its id")
    sink = _bootstrap.current_sink()
    if not isinstance(sink, FindingSink):
        return _unknown("there is no Pay-i to ask: payi_instrument() was not called, or packets go to a file")
    return _asked_for(partial(sink.find_result, category, response_id))


def _id_of(response: Any) -> str | None:
    if isinstance(response, str):
        return response or None
    names = ("id", "response_id")
    found: Iterator[Any] = (response.get(name) if isinstance(response, Mapping) else getattr(response, name, None) for name in names)
    if isinstance(response, Mapping) and isinstance(metadata := response.get("ResponseMetadata"), Mapping):
        found = iter((metadata.get("RequestId"),))
    return next((value for value in found if isinstance(value, str) and value), None)


def _asked_for(find: Callable[[float], Outcome]) -> XproxyResult:
    ticket = Ticket()
    ticket.find = find
    ticket.settle(Outcome(Fate.DELIVERED))
    return ticket.result


def _to_cost(said: Mapping[str, Any]) -> Cost:
    cost = said.get("cost")
    total = _amount(cost, "total")
    if total is None:
        return _unknown(said.get("message") or _why_none(said), said.get("code") or UNKNOWN)
    return Cost(total, _amount(cost, "input"), _amount(cost, "output"), str(cost.get("currency") or "usd") if cost else "usd")


def _why_none(said: Mapping[str, Any]) -> str:
    if said.get("request_id") == "local_instrumentation":
        return "packets go to a file: nobody has priced them"
    return "Pay-i told no cost" + (f"; it does not know the units {', '.join(said['unknown_units'])}" if said.get("unknown_units") else "")


def _amount(cost: Any, name: str) -> float | None:
    part = cost.get(name) if isinstance(cost, Mapping) else None
    base = part.get("base") if isinstance(part, Mapping) else None
    return float(base) if isinstance(base, int | float) and not isinstance(base, bool) else None


def _unknown(reason: str, code: str = NOT_CONFIGURED) -> Cost:
    return Cost(None, code=code, reason=reason)
