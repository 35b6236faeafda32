"""The report in a real browser: `nox -s browser`, where Debian's chromium (or another one) and playwright are installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from payi_otel.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: nox -s browser")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""It asks no server of its maker for anything."""
CONTRASTS = """
(() => {
  const channel = (value) => (value /= 255, value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4);
  const light = (color) => {
    const [red, green, blue] = color.match(/[\\d.]+/g).map(Number);
    return .2126 * channel(red) + .7152 * channel(green) + .0722 * channel(blue);
  };
  const ground = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return color.startsWith("rgba(0, 0, 0, 0") ? ground(element.parentElement) : color;
  };
  const texts = document.querySelectorAll("p, li, dt, dd, th, td, select, input, button, output, text");
  return [...texts].filter((element) => element.textContent.trim()).map((element) => {
    const style = getComputedStyle(element);
    const one = light(element.tagName === "text" ? style.fill : style.color), other = light(ground(element));
    return (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
  });
})()
"""
"""Of each text on the page and its ground."""
FOCUSED = """
(() => {
  const element = document.activeElement;
  return [element === document.body ? "" : element.id || element.textContent, getComputedStyle(element).outlineStyle];
})()
"""
HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
    "<!--<script>",
    "__proto__",
    "constructor",
    "\u202egnp.exe",
    "a" * 5000,
    "\x1b[31m\x00",
    "{data}",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless."""
    with playwright.sync_playwright() as player:
        one = player.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield one
        one.close()


class Opened:
    """A report that is open, and all that it did beside being shown."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def rows(self, table: str = "table") -> list[list[str]]:
        """The cells of a table's rows."""
        return [row.locator("th, td").all_inner_texts() for row in self.page.locator(f"#{table} tbody tr").all()]

    def sorted_by(self) -> list[tuple[str, str | None]]:
        """Columns that say how they are sorted."""
        heads = self.page.locator("#table thead th").all()
        return [(head.inner_text(), order) for head in heads if (order := head.get_attribute("aria-sort"))]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    """Opens the report of some packets; whatever it is of, it asks for nothing but itself, and nothing goes wrong in it."""
    pages = []

    def open_report(packets: list[dict[str, Any]], *arguments: str, width: int = 1100, scheme: Any = "light") -> Opened:
        capture, report = tmp_path / "packets.json", tmp_path / "report.html"
        capture.write_text(json.dumps(packets))
        assert main(["report", str(capture), "-o", str(report), *arguments]) == 0
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        one = Opened(context.new_page())
        pages.append((one, report))
        one.page.goto(report.as_uri())
        return one

    yield open_report
    for one, report in pages:
        assert one.said == []
        assert one.asked == [report.as_uri()]
        assert one.page.title() == "GenAI calls"


def packet(user: str = "alice", hour: int = 10, **more: Any) -> dict[str, Any]:
    """As it stands in an offline file."""
    return {
        "category": "system.openai",
        "resource": "gpt-5",
        "units": {"text": {"input": 1000, "output": 200}, "text_cache_read": {"input": 3000, "output": 0}},
        "event_timestamp": f"2026-01-01T{hour:02}:20:30+00:00",
        "http_status_code": 200,
        "end_to_end_latency_ms": 1500,
        "time_to_first_token_ms": 100,
        "use_case_name": "chat",
        "user_id": user,
        **more,
    }


def many() -> list[dict[str, Any]]:
    """Of 120 users over eight hours, the first the largest."""
    return [packet(f"user {number:03}", 8 + number % 8) for number in range(120) for _ in range(1 + (number == 0))]


def test_it_says_what_was_captured(opened: Any) -> None:
    """In all, units, failures, and by model."""
    report = opened([packet(), packet("bob", http_status_code=429, units={})])
    tiles = dict(zip(report.page.locator("dt").all_inner_texts(), report.page.locator("dd").all_inner_texts(), strict=True))
    assert tiles["calls"] == "2"
    assert tiles["failed"].split("\n")[0] == "1"
    assert tiles["units in"].split() == ["4K", "4,000"]
    assert tiles["text out of a cache"].startswith("75.0%")
    assert report.rows("units") == [["text_cache_read", "3,000", "0"], ["text", "1,000", "200"]]
    assert report.rows("failures") == [["429", "1"]]
    assert report.rows() == [["gpt-5", "2", "1", "4,000", "200", "1.51 s", "1.51 s", "100 ms", "75.0%"]]
    assert "No cost is known" in report.page.locator("#notes").inner_text()


def test_spend_is_of_prices_alone(opened: Any, tmp_path: Path) -> None:
    """What has none is named."""
    prices = tmp_path / "prices.csv"
    prices.write_text("category,resource,unit,input,output\n,gpt-5,text,0.001,0.01\n,gpt-5,text_cache_read,0.0001,\n")
    report = opened([packet(), packet("bob", resource="other")], "--prices", str(prices))
    assert report.page.locator("dd").first.inner_text().split("\n") == ["3.30", "of 1 call"]
    assert report.page.locator("#notes").inner_text() == "1 call has no price; spend is that of the others. Without a price: other."
    assert report.page.locator("#bars-at").inner_text() == "2026-01-01 10:20: 3.30 (gpt-5 3.30)"


def test_names_stay_names(opened: Any) -> None:
    """Markup is text, what turns text around is made visible, and names that scripts know are as any other."""
    hostile = [
        packet(name, resource=name, use_case_name=name, account_name=name, units={name: {"input": 1, "output": 1}}) for name in HOSTILE
    ]
    report = opened([*hostile, packet(properties={"system.failure": HOSTILE[0]})])
    expected = {name.replace("\u202e", "\ufffd").replace("\x1b", "\ufffd").replace("\x00", "\ufffd") for name in HOSTILE}
    for dimension in ("model", "use case", "user", "account"):
        report.page.locator("#dimension").select_option(label=dimension)
        assert expected <= {row[0] for row in report.rows()}
        report.page.locator("#split").select_option(label=dimension)
    assert report.rows("failures") == [[HOSTILE[0], "1"]]
    assert report.page.locator("img, iframe, script:not([id]):not(:last-of-type)").count() == 0
    assert report.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_table_is_sorted_and_filtered_by_keys(opened: Any) -> None:
    """No pointer is needed, and the column says how it is sorted."""
    report = opened(many())
    report.page.locator("#dimension").select_option(label="user")
    assert report.rows()[0][:2] == ["user 000", "2"]
    assert len(report.rows()) == 50
    report.page.get_by_role("button", name="More rows").press("Enter")
    assert len(report.rows()) == 100
    name = report.page.get_by_role("button", name="user")
    name.focus()
    report.page.keyboard.press("Enter")
    assert (report.rows()[0][0], report.sorted_by()) == ("user 000", [("user", "ascending")])
    report.page.keyboard.press("Enter")
    assert (report.rows()[0][0], report.sorted_by()) == ("user 119", [("user", "descending")])
    report.page.get_by_label("only with").fill("R 00")
    assert [row[0] for row in report.rows()] == [f"user {number:03}" for number in reversed(range(10))]
    assert report.page.locator("#shown").inner_text() == "10 of 10 rows, of 120 without the filter"


def test_units_are_told_apart(opened: Any) -> None:
    """In the table, and over time."""
    report = opened([packet()])
    report.page.locator("#unit").select_option(label="text")
    assert report.rows()[0][3:5] == ["1,000", "200"]
    assert report.page.locator("#measure option").all_inner_texts() == [
        "text_cache_read, in",
        "text, in",
        "text, out",
        "calls",
        "failed calls",
    ]


def test_time_is_walked_by_keys_and_pointer(opened: Any) -> None:
    """Each bucket is said as text."""
    report = opened(many())
    report.page.locator("#measure").select_option(label="calls")
    report.page.locator("#split").select_option(label="use case")
    at = report.page.locator("#bars-at")
    assert at.inner_text() == "2026-01-01 08: 16 (chat 16)"
    report.page.locator("#bars-cursor").focus()
    report.page.keyboard.press("ArrowRight")
    assert at.inner_text() == "2026-01-01 09: 15 (chat 15)"
    assert report.page.locator("#bars-cursor").get_attribute("aria-valuetext") == "2026-01-01 09"
    box = report.page.locator("#bars svg").bounding_box()
    report.page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 50)
    assert at.inner_text() == "2026-01-01 15: 15 (chat 15)"
    assert report.page.locator("#lines-at").inner_text() == "2026-01-01 08: median 1.51 s, 90 of 100 1.51 s, 99 of 100 1.51 s"
    report.page.locator("#duration").select_option(label="time to first token")
    assert report.page.locator("#lines-at").inner_text().endswith("median 100 ms, 90 of 100 100 ms, 99 of 100 100 ms")


def test_everything_is_reached_by_tab(opened: Any) -> None:
    """Each control has a name, and shows that it has the focus."""
    report = opened(many())
    reached = []
    for _ in range(40):
        report.page.keyboard.press("Tab")
        one = report.page.evaluate(FOCUSED)
        if one[0] in [name for name, _ in reached] or not one[0]:
            break
        reached.append(one)
    assert {"measure", "split", "bars-cursor", "duration", "lines-cursor", "dimension", "unit", "filter"} <= {name for name, _ in reached}
    assert {style for _, style in reached} == {"solid"}
    unnamed = (
        "[...document.querySelectorAll('select, input, button')].filter(e => !(e.labels?.length || e.textContent.trim())).map(e => e.id)"
    )
    assert report.page.evaluate(unnamed) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1100])
def test_it_is_read_on_a_phone_and_in_the_dark(opened: Any, width: int, scheme: str) -> None:
    """Nothing is wider than the screen but tables, which scroll; text stands out from its ground (WCAG 2, AA)."""
    report = opened(many(), width=width, scheme=scheme)
    assert report.page.evaluate("document.documentElement.scrollWidth") == width
    contrasts = report.page.evaluate(CONTRASTS)
    assert len(contrasts) > 20
    assert min(contrasts) >= 4.5


def test_a_capture_of_nothing_is_said(opened: Any) -> None:
    """No chart of nothing."""
    report = opened([])
    assert report.page.locator("#scope").inner_text() == "0 calls, of " + str(report.page.url).removeprefix("file://").replace(
        "report.html", "packets.json"
    )
    assert not report.page.locator("#time").is_visible()
    assert report.page.locator("#shown").inner_text() == "0 of 0 rows"
