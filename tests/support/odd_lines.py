"""Lines of JSON as no provider should send them: any value at all, or a good line with anything in some of its places."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

_WORDS = st.text(st.characters(exclude_categories=()), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3),
    max_leaves=5,
)
"""Any JSON, with lone surrogates, NaN and infinities."""


def odd_lines(*good: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Any value, or one of these lines with up to three odd values in it."""
    return VALUES | st.sampled_from(good).flatmap(_spoiled)


def _spoiled(line: dict[str, Any]) -> st.SearchStrategy[Any]:
    places = st.lists(st.sampled_from(list(_places(line))), min_size=1, max_size=3)
    return places.flatmap(lambda chosen: st.tuples(*[VALUES] * len(chosen)).map(lambda values: _put(line, chosen, values)))


def _places(value: Any, *above: Any) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*above, name)
        yield from _places(one, *above, name)


def _put(line: dict[str, Any], places: list[tuple[Any, ...]], values: tuple[Any, ...]) -> Any:
    spoiled = copy.deepcopy(line)
    for (*above, name), value in zip(places, values, strict=True):
        holder: Any = spoiled
        for step in above:
            holder = holder[step] if step in (holder if isinstance(holder, dict) else range(len(holder))) else {}
            if not isinstance(holder, dict | list):
                holder = {}
        if isinstance(holder, dict) or (isinstance(name, int) and name < len(holder)):
            holder[name] = value
    return spoiled
