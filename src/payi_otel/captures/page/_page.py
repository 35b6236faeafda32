"""`to_page`: a summary and its series as a page. What captures say is data in it: the script sets it as text."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from payi_otel.captures.series import Series
from payi_otel.captures.summary import DIMENSIONS, Durations, Group, Summary, in_order

_ESCAPES: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
"""In JSON the same; in HTML neither the end of a script nor the begin of a comment."""
_PERCENTILES: Final = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Source:
    """What a report is of."""

    files: tuple[str, ...]
    where: tuple[str, ...] = ()
    """The filters."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """By file, where it could not be read further."""


def to_page(source: Source, summary: Summary, series: Series) -> str:
    """The whole page. No script but its own runs in it, and nothing is loaded (Content-Security-Policy, level 2)."""
    style, script = _read("report.css"), _read("report.js")
    policy = f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    data = json.dumps(to_data(source, summary, series), separators=(",", ":"), allow_nan=False).translate(_ESCAPES)
    page = _read("report.html")
    for name, text in (("policy", policy), ("style", style), ("script", script), ("data", data)):  # data last: it may hold anything
        page = page.replace(f"{{{name}}}", text, 1)
    return page


def to_data(source: Source, summary: Summary, series: Series) -> dict[str, Any]:
    """What the script draws."""
    step = series.step
    return {
        "version": version("payi-otel"),
        "files": source.files,
        "where": source.where,
        "broken": list(source.broken.items()),
        "first": summary.first,
        "last": summary.last,
        "total": _numbers(summary.total),
        "failures": sorted(summary.failures.items(), key=lambda item: (-item[1], item[0])),
        "tables": [{"dimension": name, "rows": _rows(name, summary.by[name])} for name in DIMENSIONS],
        "time": {
            "step": step.name,
            "buckets": series.buckets,
            "total": [_numbers(group) if (group := series.total.get(bucket)) else None for bucket in series.buckets],
            "by": [{"dimension": name, "groups": _cells(groups, series.buckets)} for name, groups in series.by.items()],
        },
    }


def _rows(dimension: str, groups: Mapping[str, Group]) -> list[dict[str, Any]]:
    return [{"name": name, **_numbers(group)} for name, group in in_order(dimension, groups)]


def _cells(groups: Mapping[str, Mapping[str, Group]], buckets: list[str]) -> list[dict[str, Any]]:
    others = list(groups)[-1]
    return [
        {"name": name, "is_others": name == others, "cells": [_counts(cells[bucket]) if bucket in cells else None for bucket in buckets]}
        for name, cells in groups.items()
        if cells
    ]


def _counts(group: Group) -> dict[str, Any]:
    return {"calls": group.calls, "errors": group.errors, "cost": group.cost if group.priced else None, "units": group.units}


def _numbers(group: Group) -> dict[str, Any]:
    return {
        **_counts(group),
        "unpriced": group.unpriced,
        "cache": group.cache_share,
        "latency": _percentiles(group.latency),
        "first_token": _percentiles(group.first_token),
    }


def _percentiles(durations: Durations) -> list[float | None]:
    return [None if (ms := durations.percentile(percent)) is None else round(ms, 1) for percent in _PERCENTILES]


def _read(name: str) -> str:
    return files("payi_otel.captures.page").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
