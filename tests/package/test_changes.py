"""What the tool makes of the fragments of changes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., str]

ROOT = Path(__file__).parents[2]


def test_every_fragment_is_gathered(run: Run) -> None:
    """A release's part of CHANGELOG.md has an entry for each fragment, with the number of its issue."""
    towncrier = shutil.which("towncrier")
    assert towncrier is not None
    told = run(towncrier, "build", "--draft", "--version", "1.2.3", "--date", "2026-12-01", "--dir", ROOT)
    fragments = [(path.name.split(".")[0], path.read_text()) for path in (ROOT / "changelog").glob("[0-9]*.md")]
    assert "## 1.2.3 (2026-12-01)\n" in told
    entries = re.sub(r"\s+", " ", told)
    assert [text for issue, text in fragments if f"- {' '.join(text.split())} (#{issue})" not in entries] == []
