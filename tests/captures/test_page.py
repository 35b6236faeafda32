"""The report's page: what is in it, and that nothing of a capture can become markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

from payi_otel.captures.page import Source, to_page
from payi_otel.captures.series import Series
from payi_otel.captures.summary import Summary

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "<img src=x onerror=alert(1)>",
    "&lt;",
    "\u2028\u202e",
    "{data}{style}",
)


def page_of(*records: dict[str, Any], source: Source | None = None) -> str:
    """The page of these packets."""
    summary = Summary()
    for one in records:
        summary.add(one)
    series = Series(summary)
    for one in records:
        series.add(one)
    return to_page(source or Source(files=("packets.json",)), summary, series)


def record(**changes: Any) -> dict[str, Any]:
    """A packet as it stands in an offline file."""
    return {
        "resource": "gpt-5",
        "units": {"text": {"input": 60, "output": 5}, "text_cache_read": {"input": 40, "output": 0}},
        "event_timestamp": "2026-01-01T10:20:30+00:00",
        "http_status_code": 200,
        "end_to_end_latency_ms": 100,
        "use_case_name": "chat",
        "user_id": "alice",
        **changes,
    }


class Parts(HTMLParser):
    """The page as a browser would read it: its tags, and the text of its styles and scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes it."""
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        """What follows is not in it."""
        self._open = ""

    def handle_data(self, data: str) -> None:
        """Notes it with the tag that it is in."""
        self.texts.append((self._open, data))

    def data(self) -> dict[str, Any]:
        """What the script draws."""
        return json.loads(next(text for tag, text in self.texts if tag == "script"))


def test_the_page_says_what_the_summary_says() -> None:
    """Whole."""
    data = Parts(page_of(record(), record(user_id="bob", http_status_code=429, units={}))).data()
    cell = {"calls": 2, "errors": 1, "cost": None, "units": {"text": [60, 5], "text_cache_read": [40, 0]}}
    alice, bob = {**cell, "calls": 1, "errors": 0}, {**cell, "calls": 1, "units": {}}
    more = {"unpriced": 2, "cache": 0.4, "latency": [99.9] * 3, "first_token": [None] * 3}
    one, other = {**alice, **more, "unpriced": 1}, {**bob, **more, "unpriced": 1, "cache": None}
    assert data.pop("version")
    assert data == {
        "files": ["packets.json"],
        "where": [],
        "broken": [],
        "first": "2026-01-01T10:20:30+00:00",
        "last": "2026-01-01T10:20:30+00:00",
        "total": {**cell, **more},
        "failures": [["429", 1]],
        "tables": [
            {"dimension": "model", "rows": [{"name": "gpt-5", **cell, **more}]},
            {"dimension": "use case", "rows": [{"name": "chat", **cell, **more}]},
            {"dimension": "user", "rows": [{"name": "alice", **one}, {"name": "bob", **other}]},
            {"dimension": "account", "rows": [{"name": "-", **cell, **more}]},
            {"dimension": "hour", "rows": [{"name": "2026-01-01T10", **cell, **more}]},
        ],
        "time": {
            "step": "minute",
            "buckets": ["2026-01-01T10:20"],
            "total": [{**cell, **more}],
            "by": [
                {"dimension": "model", "groups": [{"name": "gpt-5", "is_others": False, "cells": [cell]}]},
                {"dimension": "use case", "groups": [{"name": "chat", "is_others": False, "cells": [cell]}]},
                {
                    "dimension": "user",
                    "groups": [
                        {"name": "alice", "is_others": False, "cells": [alice]},
                        {"name": "bob", "is_others": False, "cells": [bob]},
                    ],
                },
                {"dimension": "account", "groups": [{"name": "-", "is_others": False, "cells": [cell]}]},
            ],
        },
    }


def test_nothing_of_a_capture_is_markup() -> None:
    """Names, units, failures, files and filters: the tags of the page are the same, and the data is what was captured."""
    plain, hostile = Parts(page_of(record())), []
    for text in HOSTILE:
        source = Source(files=(text,), where=(text,), broken={text: text})
        odd = record(resource=text, user_id=text, use_case_name=text, account_name=text, units={text: {"input": 1, "output": 1}})
        hostile.append((text, Parts(page_of(odd, record(properties={"system.failure": text}), source=source))))
    for text, parts in hostile:
        assert parts.tags == plain.tags
        data = parts.data()
        assert data["files"] == data["where"] == [text]
        assert data["failures"] == [[text, 1]]
        assert [table["rows"][0]["name"] for table in data["tables"][:4]] == ["gpt-5", "chat", "alice", "-"]
        assert [table["rows"][-1]["name"] for table in data["tables"][:4]] == [text] * 4
        assert text in data["total"]["units"]


def test_only_the_page_itself_runs_and_nothing_is_loaded() -> None:
    """The policy allows its style and its script by their digests, and no other source."""
    page = page_of(record())
    parts = Parts(page)
    policy = next(given["content"] for tag, given in parts.tags if given.get("http-equiv") == "Content-Security-Policy")
    allowed = dict(part.split(maxsplit=1) for part in str(policy).split("; "))
    texts = {tag: text for tag, text in parts.texts if tag in ("style", "script")}  # the last script
    digests = {tag: "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'" for tag, text in texts.items()}
    assert allowed == {
        "default-src": "'none'",
        "style-src": digests["style"],
        "script-src": digests["script"],
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not {"src", "href", "action", "style"} & {name for _, given in parts.tags for name in given}
    assert set(re.findall(r"https?://[^\s\"']+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|@import|url\(", page)


def test_a_capture_of_nothing_is_a_page() -> None:
    """With no time to draw."""
    data = Parts(page_of()).data()
    assert (data["total"]["calls"], data["time"]["buckets"], data["first"]) == (0, [], "")
