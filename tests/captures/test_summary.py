"""Captures are summed up exactly, whatever stands in them, in memory that does not grow."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from payi_otel.captures import summary as summary_module
from payi_otel.captures.filters import FilterError, read_filters
from payi_otel.captures.prices import PriceError, PriceTable
from payi_otel.captures.summary import NONE, OTHERS, Durations, Summary


def record(**changes: Any) -> dict[str, Any]:
    """A packet as it stands in an offline file."""
    return {
        "category": "system.openai",
        "resource": "gpt-5",
        "units": {"text": {"input": 60, "output": 5}, "text_cache_read": {"input": 40, "output": 0}},
        "event_timestamp": "2026-01-01T10:20:30+00:00",
        "http_status_code": 200,
        "end_to_end_latency_ms": 100,
        "provider_response_id": "a",
        "use_case_name": "chat",
        "user_id": "alice",
        **changes,
    }


def summed(*records: dict[str, Any], prices: PriceTable | None = None) -> Summary:
    """Of these."""
    summary = Summary(prices)
    for one in records:
        summary.add(one)
    return summary


def test_a_group_is_all_that_its_packets_say() -> None:
    """Calls, errors, units, cache, durations, time."""
    summary = summed(
        record(time_to_first_token_ms=10),
        record(user_id="bob", http_status_code=429, units={}, end_to_end_latency_ms=7, event_timestamp="2026-01-01T12:00:00+00:00"),
        record(properties={"system.failure": "Timeout"}, account_name="acme"),
    )
    told = summary.to_json()
    assert (told["first"], told["last"]) == ("2026-01-01T10:20:30+00:00", "2026-01-01T12:00:00+00:00")
    total = told["total"]
    latency, first_token = total.pop("latency_ms"), total.pop("time_to_first_token_ms")
    assert total == {
        "calls": 3,
        "errors": 2,
        "units": {"text": {"input": 120, "output": 10}, "text_cache_read": {"input": 80, "output": 0}},
        "cost": None,
        "unpriced": 3,
        "cache_share": 0.4,
    }
    assert told["failures"] == {"429": 1, "Timeout": 1}
    assert latency["p50"] == pytest.approx(100, rel=0.02)
    assert first_token["p99"] == pytest.approx(10, rel=0.02)
    assert {name: {key: group["calls"] for key, group in groups.items()} for name, groups in told["by"].items()} == {
        "model": {"gpt-5": 3},
        "use case": {"chat": 3},
        "user": {"alice": 2, "bob": 1},
        "account": {NONE: 2, "acme": 1},
        "hour": {"2026-01-01T10": 2, "2026-01-01T12": 1},
    }


ODD: tuple[Any, ...] = (None, "text", -1, 1e400, True, [], {}, {"input": "x"}, float("nan"), 10**400)


@pytest.mark.parametrize("name", list(record()))
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_odd_values_count_as_nothing(name: str, value: Any) -> None:
    """And the rest of the packet counts."""
    summary = summed(record(**{name: value}), {})
    assert summary.total.calls == 2
    json.dumps(summary.to_json(), allow_nan=False)


def test_percentiles_are_right_to_two_percent() -> None:
    """Of any spread."""
    numbers = [random.Random(1).lognormvariate(5, 2) + 1 for _ in range(10_000)]
    durations = Durations()
    for number in numbers:
        durations.add(number)
    for percent in (1, 50, 90, 99, 100):
        exact = sorted(numbers)[max(0, -(-len(numbers) * percent // 100) - 1)]
        assert durations.percentile(percent) == pytest.approx(exact, rel=0.02)
    assert Durations().percentile(50) is None


def test_groups_beyond_the_bound_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out of the sums."""
    monkeypatch.setattr(summary_module, "MAX_GROUPS", 3)
    summary = summed(*(record(user_id=f"user {number}") for number in range(10)), record(user_id="user 0"))
    assert {name: group.calls for name, group in summary.by["user"].items()} == {"user 0": 2, "user 1": 1, "user 2": 1, OTHERS: 7}


class TestPrices:
    """Never invented."""

    CSV = "category,resource,unit,input,output\n,gpt-5,text,0.01,0.1\nsystem.openai,gpt-5,text_cache_read,0.001,\n"

    def read(self, folder: Path, text: str) -> PriceTable:
        """A file with this in it."""
        file = folder / "prices"
        file.write_text(text)
        return PriceTable.read(file)

    def test_a_packet_costs_what_its_units_do(self, tmp_path: Path) -> None:
        """One that has a unit without a price costs nobody knows what, and is said to."""
        summary = summed(record(), record(resource="other"), prices=self.read(tmp_path, self.CSV))
        assert summary.total.cost == pytest.approx(60 * 0.01 + 5 * 0.1 + 40 * 0.001)
        assert (summary.total.priced, summary.total.unpriced) == (1, 1)

    def test_json_is_the_same(self, tmp_path: Path) -> None:
        """Numbers may be numbers there."""
        rows = [
            {"category": "", "resource": "gpt-5", "unit": "text", "input": 0.01, "output": 0.1},
            {"resource": "gpt-5", "unit": "text_cache_read", "input": 0.001, "output": 0},
        ]
        table = self.read(tmp_path, json.dumps(rows))
        assert table.cost_of(record()) == pytest.approx(1.14)

    @pytest.mark.parametrize(
        "text",
        [
            CSV.upper()
            .replace("GPT-5", "gpt-5")
            .replace("TEXT", "text")
            .replace("_CACHE_READ", "_cache_read")
            .replace("SYSTEM.OPENAI", ""),
            CSV.replace(",", ";"),
            CSV.replace(",", "\t"),
            CSV.replace(",", " , "),
            "\ufeff" + CSV.replace("\n", "\r\n"),
            CSV.replace("gpt-5", '"gpt-5"'),
            CSV + "\n" + CSV.partition("\n")[2],
        ],
        ids=["capitals", "semicolons", "tabs", "spaces", "as Excel writes it", "quoted", "the same twice"],
    )
    def test_a_table_is_read_as_programs_write_it(self, tmp_path: Path, text: str) -> None:
        """It is the same table."""
        assert self.read(tmp_path, text).cost_of(record()) == pytest.approx(60 * 0.01 + 5 * 0.1 + 40 * 0.001)

    def test_an_empty_price_is_none_and_0_is_free(self, tmp_path: Path) -> None:
        """Only what was used needs a price."""
        table = self.read(tmp_path, "resource,unit,input,output\ngpt-5,text,0.5,\nfree,text,0,0\n")
        used = {"text": {"input": 2, "output": 1}}
        assert table.cost_of(record(units=used)) is None
        assert table.cost_of(record(units={"text": {"input": 2, "output": 0}})) == 1.0
        assert table.cost_of(record(resource="free", units=used)) == 0.0

    def test_a_captured_cost_counts_more(self, tmp_path: Path) -> None:
        """It is Pay-i's own."""
        known = record(xproxy_result={"cost": {"total": {"base": 7.5}}})
        assert summed(known, prices=self.read(tmp_path, self.CSV)).total.cost == 7.5

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("resource,unit,input\ngpt-5,text,1\n", "row 1: no output"),
            ("resource,unit,input,output\ngpt-5,text,cheap,1\n", "row 1: input is 'cheap'"),
            ("resource,unit,input,output\ngpt-5,text,-1,1\n", "row 1: input is '-1'"),
            ("[1]", "row 1: no resource"),
            ("[{]", "is neither CSV nor a JSON array"),
            ("[" * 100_000, "is neither CSV nor a JSON array"),
            ("", "holds no prices"),
            ("resource,unit,input,output\n", "holds no prices"),
            ("resource,unit,input,output\ngpt-5,text,1,1\ngpt-5,text,2,1\n", "row 2: gpt-5 text has another price above"),
            ('[{"resource": "gpt-5", "unit": "text", "input": true, "output": 1}]', "row 1: input is True"),
        ],
    )
    def test_a_wrong_table_is_one_clear_error(self, tmp_path: Path, text: str, said: str) -> None:
        """Where, what, and what is allowed."""
        with pytest.raises(PriceError, match=said):
            self.read(tmp_path, text)


@pytest.mark.parametrize(
    ("expressions", "found"),
    [
        (("model=gpt-5",), True),
        (("model=gpt",), False),
        (("model~GPT",), True),
        (("user!=alice",), False),
        (("account=",), True),
        (("use_case!=chat",), False),
        (("status>=400",), False),
        (("status<400", "latency=100"), True),
        (("latency>99.5", "user=bob"), False),
        (("first_token>0",), False),
        ((" hour = 2026-01-01T10 ",), True),
        ((), True),
    ],
)
def test_filters(expressions: tuple[str, ...], found: bool) -> None:
    """All of them must hold."""
    assert read_filters(expressions)(record()) is found


@pytest.mark.parametrize("expression", ["", "model", "colour=red", "status~4", "status=high", "model>gpt", "latency>", "user==bob=="])
def test_a_wrong_filter_is_one_clear_error(expression: str) -> None:
    """What was given and what is allowed; `==` is taken for `=` and a text that begins with it."""
    if expression.startswith("user"):
        assert not read_filters((expression,))(record())
        return
    with pytest.raises(FilterError, match="allowed: model, use_case, user, account, hour with"):
        read_filters((expression,))
