"""`--where`: which packets of a capture are looked at."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from payi_otel.captures.summary import DIMENSIONS, NONE, key_of

Matches = Callable[[Mapping[str, Any]], bool]

_NUMBERS: Final = {"status": "http_status_code", "latency": "end_to_end_latency_ms", "first_token": "time_to_first_token_ms"}
_TEXTS: Final = {name.replace(" ", "_"): name for name in DIMENSIONS}
_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_EXPRESSION: Final = re.compile(r"\s*(\w+)\s*(!=|>=|<=|=|>|<|~)\s*(.*?)\s*")


class FilterError(ValueError):
    """An expression that is none: what was given, what is allowed."""


def read_filter(expression: str) -> Matches:
    """Reads one expression: `model=gpt-5`, `user!=alice`, `use_case~chat` (holds it), `status>=400`, `latency>1000` (ms).

    Raises:
        FilterError: It is none.
    """
    match = _EXPRESSION.fullmatch(expression)
    name, order, value = match.groups() if match else ("", "", "")
    if name in _TEXTS and order in ("=", "!=", "~"):
        return _text_filter(_TEXTS[name], order, value)
    if name in _NUMBERS and order in _ORDER and re.fullmatch(r"\d+(\.\d+)?", value):
        return _number_filter(_NUMBERS[name], _ORDER[order], float(value))
    raise FilterError(
        f"{expression!r} is no filter; allowed: {', '.join(_TEXTS)} with =, != or ~ (holds), "
        f"and {', '.join(_NUMBERS)} with =, !=, <, <=, > or >= and a number"
    )


def read_filters(expressions: tuple[str, ...]) -> Matches:
    """True for what all of them are true for.

    Raises:
        FilterError: One is none.
    """
    filters = [read_filter(expression) for expression in expressions]
    return lambda record: all(matches(record) for matches in filters)


def _text_filter(dimension: str, order: str, value: str) -> Matches:
    if order == "~":
        return lambda record: value.lower() in key_of(record, dimension).lower()
    wanted = value or NONE
    return lambda record: (key_of(record, dimension) == wanted) is (order == "=")


def _number_filter(name: str, compare: Callable[[Any, Any], bool], value: float) -> Matches:
    def matches(record: Mapping[str, Any]) -> bool:
        number = record.get(name)
        return isinstance(number, int | float) and compare(number, value)

    return matches
