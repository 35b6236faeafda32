"""Draws the pictures of the report that the documentation shows, of a made-up capture: `nox -s screenshots`."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from payi_otel.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURES = {"report.png": (1100, "light", False), "report-dark.png": (1100, "dark", False), "report-phone.png": (390, "light", True)}
"""By file: width, colours, whether it is cut at the height of a screen or so."""
PRICES = """category,resource,unit,input,output
,gpt-5,text,0.00000125,0.00001
,gpt-5,text_cache_read,0.000000125,0
,gpt-5-mini,text,0.00000025,0.000002
,gpt-5-mini,text_cache_read,0.000000025,0
,claude-haiku-4-5,text,0.000001,0.000005
,claude-haiku-4-5,text_cache_read,0.0000001,0
,text-embedding-3-small,text,0.00000002,0
"""
CALLS = (("support_chat", "gpt-5"), ("support_chat", "gpt-5-mini"), ("summaries", "claude-haiku-4-5"), ("search", "text-embedding-3-small"))


def packets() -> list[dict[str, Any]]:
    """Three days of a shop."""
    chance, time, made = random.Random(7), datetime(2026, 3, 2, tzinfo=timezone.utc), []
    while time < datetime(2026, 3, 5, tzinfo=timezone.utc):
        by_day = 8 <= time.hour < 20
        time += timedelta(minutes=chance.expovariate(1 / (2 if by_day else 12)))
        use_case, model = chance.choices(CALLS, weights=(5, 3, 4, 6))[0]
        latency = int(chance.lognormvariate(6.6 if "embedding" not in model else 4.5, 0.6))
        units = {"text": {"input": chance.randint(200, 4000), "output": 0 if use_case == "search" else chance.randint(40, 900)}}
        if use_case == "support_chat" and chance.random() < 0.8:
            units["text_cache_read"] = {"input": 2048, "output": 0}
        refused = chance.random() < 0.02
        made.append(
            {
                "category": "system.anthropic" if "claude" in model else "system.openai",
                "resource": model,
                "units": {} if refused else units,
                "event_timestamp": time.isoformat(),
                "http_status_code": 429 if refused else 200,
                "end_to_end_latency_ms": latency,
                "time_to_first_token_ms": latency // 3 if use_case == "support_chat" and not refused else None,
                "use_case_name": use_case,
                "user_id": chance.choices(("alice", "bob", "carol", "dave", "erin", "frank"), weights=(9, 6, 5, 3, 2, 1))[0],
                "account_name": chance.choice(("acme", "globex")),
            }
        )
    return made


def draw(folder: Path) -> None:
    """Writes the capture and its report there, and the pictures into the documentation."""
    from playwright.sync_api import sync_playwright
    from test_report_page import QUIET

    (folder / "packets.json").write_text(json.dumps(packets()))
    (folder / "prices.csv").write_text(PRICES)
    main(["report", str(folder / "packets.json"), "-o", str(folder / "report.html"), "--prices", str(folder / "prices.csv")])
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        for name, (width, scheme, is_cut) in PICTURES.items():
            page = browser.new_context(viewport={"width": width, "height": 1500}, color_scheme=scheme).new_page()  # type: ignore[arg-type]
            page.goto((folder / "report.html").as_uri())
            page.evaluate("document.querySelector('#scope bdi').textContent = 'packets.json'")
            page.screenshot(path=DOCS / name, full_page=not is_cut)
        browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        draw(Path(directory))
