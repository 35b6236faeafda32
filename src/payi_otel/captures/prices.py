"""`PriceTable`: what units cost, of a file that the user passes. Prices are never invented: what is not in it is not priced."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from payi_otel.captures.summary import units_of

FIELDS: Final = ("category", "resource", "unit", "input", "output")


class PriceError(Exception):
    """A table that cannot be used: where, what stands there, what is allowed."""


_Key = tuple[str, str, str]
_Price = tuple[float | None, float | None]


class PriceTable:
    """Prices of one unit each, by category, resource and unit."""

    def __init__(self, prices: Mapping[_Key, _Price]) -> None:
        """Takes them as they are; an empty category is any, and None is no price."""
        self._prices = prices

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PriceTable:
        """Reads a CSV file with a head, or a JSON array of objects, each with `category` (may be empty: any), `resource`, `unit`, `input`
        and `output`: the price of one unit (one token, not a thousand or a million of them). An empty price is none; 0 is free.

        Raises:
            PriceError: It cannot be read, or a line of it is wrong.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as fault:
            raise PriceError(f"{path} cannot be read: {fault}") from None
        try:
            rows = json.loads(text) if text.lstrip().startswith("[") else _read_csv(text)
        except (ValueError, RecursionError, csv.Error) as fault:
            raise PriceError(f"{path} is neither CSV nor a JSON array: {fault}") from None
        prices: dict[_Key, _Price] = {}
        for number, row in enumerate(rows, 1):
            key, price = _read_row(path, number, row)
            if prices.setdefault(key, price) != price:
                raise PriceError(f"{path}, row {number}: {' '.join(key).strip()} has another price above; which one is right?")
        if not prices:
            raise PriceError(f"{path} holds no prices; a row has {', '.join(FIELDS)}")
        return cls(prices)

    def cost_of(self, record: Mapping[str, Any]) -> float | None:
        """None where anything that was used has no price."""
        category, resource, cost = str(record.get("category", "")), str(record.get("resource", "")), 0.0
        for unit, *counts in units_of(record):
            prices = self._prices.get((category, resource, unit)) or self._prices.get(("", resource, unit))
            if prices is None:
                return None
            for count, price in zip(counts, prices, strict=True):
                if price is None and count:
                    return None
                cost += count * (price or 0.0)
        return cost


def _read_csv(text: str) -> list[dict[str, str]]:
    """With commas, semicolons or tabs, whichever its head has most of; spaces around cells, and capitals in the head, mean nothing."""
    head = text.partition("\n")[0]
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), skipinitialspace=True)
    rows = [[cell.strip() for cell in line] for line in lines if line]
    names = [name.lower() for name in rows[0]] if rows else []
    return [dict(zip(names, row, strict=False)) for row in rows[1:]]


def _read_row(path: Any, number: int, row: Any) -> tuple[_Key, _Price]:
    missing = [name for name in FIELDS[1:] if not isinstance(row, Mapping) or name not in row]
    if missing:
        raise PriceError(f"{path}, row {number}: no {', no '.join(missing)}; a row has {', '.join(FIELDS)}")
    key = (str(row.get("category") or ""), str(row["resource"]), str(row["unit"]))
    return key, (_price(path, number, row, "input"), _price(path, number, row, "output"))


def _price(path: Any, number: int, row: Mapping[str, Any], side: str) -> float | None:
    if row[side] in ("", None):
        return None
    try:
        price = math.nan if isinstance(row[side], bool) else float(row[side])
    except (TypeError, ValueError, OverflowError):
        price = math.nan
    if not (math.isfinite(price) and price >= 0):
        raise PriceError(f"{path}, row {number}: {side} is {row[side]!r}; allowed: the price of one unit, a number >= 0, or nothing")
    return price
