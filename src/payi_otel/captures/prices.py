"""`PriceTable`: what units cost, of a file that the user passes. Prices are never invented: what is not in it is not priced."""

from __future__ import annotations

import csv
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


class PriceTable:
    """Prices of one unit each, by category, resource and unit."""

    def __init__(self, prices: Mapping[tuple[str, str, str], tuple[float, float]]) -> None:
        """Takes them as they are; an empty category is any."""
        self._prices = prices

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PriceTable:
        """Reads a CSV file with a head, or a JSON array of objects, each with `category` (may be empty: any), `resource`, `unit`, `input`
        and `output`: the price of one unit (one token, not a thousand or a million of them).

        Raises:
            PriceError: It cannot be read, or a line of it is wrong.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as fault:
            raise PriceError(f"{path} cannot be read: {fault}") from None
        try:
            rows = json.loads(text) if text.lstrip().startswith("[") else list(csv.DictReader(text.splitlines()))
        except (json.JSONDecodeError, csv.Error) as fault:
            raise PriceError(f"{path} is neither CSV nor a JSON array: {fault}") from None
        return cls(dict(_read_row(path, number, row) for number, row in enumerate(rows, 1)))

    def cost_of(self, record: Mapping[str, Any]) -> float | None:
        """None where any of its units has no price."""
        category, resource, cost = str(record.get("category", "")), str(record.get("resource", "")), 0.0
        units = units_of(record)
        for unit, given, said in units:
            price = self._prices.get((category, resource, unit)) or self._prices.get(("", resource, unit))
            if price is None:
                return None
            cost += given * price[0] + said * price[1]
        return cost


def _read_row(path: Any, number: int, row: Any) -> tuple[tuple[str, str, str], tuple[float, float]]:
    missing = [name for name in FIELDS[1:] if not isinstance(row, Mapping) or row.get(name) is None]
    if missing:
        raise PriceError(f"{path}, row {number}: no {', no '.join(missing)}; a row has {', '.join(FIELDS)}")
    return (str(row.get("category") or ""), str(row["resource"]), str(row["unit"])), (
        _price(path, number, row, "input"),
        _price(path, number, row, "output"),
    )


def _price(path: Any, number: int, row: Mapping[str, Any], side: str) -> float:
    try:
        price = float(row[side] or 0)
    except (TypeError, ValueError):
        price = math.nan
    if not (math.isfinite(price) and price >= 0):
        raise PriceError(f"{path}, row {number}: {side} is {row[side]!r}; allowed: the price of one unit, a number >= 0")
    return price
