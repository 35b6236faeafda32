"""The recorded spans of other instrumentations: each golden file is whole, and says of which versions it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*/*.json"))
PARTS = {"package", "versions", "case", "reply_usage", "expected_units", "never_ended", "spans"}
SPAN_PARTS = {
    *("scope", "scope_version", "schema_url", "name", "kind", "status"),
    *("id", "parent", "trace", "attributes", "start_attributes", "events"),
}
RESPONSES = ("response", "response-background", "response-kept")
SPANLESS = {
    "traceloop-openai": ("response-incomplete",),
    "traceloop-openai-0.40": RESPONSES,
    "openai-v2": (*RESPONSES, "embeddings"),
}
"""Calls of which an instrumentation makes no span; README.md beside the goldens says why."""


def golden(file: Path) -> dict[str, Any]:
    """What a file holds."""
    return json.loads(file.read_text())


def test_there_are_goldens_of_every_family() -> None:
    """None of the dialects is missing."""
    families = {file.parent.name.split("-")[0] for file in FILES}
    assert families >= {"genai", "traceloop", "openinference", "native", "botocore", "google", "openai"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_golden_is_whole(file: Path) -> None:
    """It has every part, says its versions, and its spans stand in order of ending with the numbers that say so."""
    found = golden(file)
    assert found.keys() == PARTS
    assert (found["package"], found["case"]) == (file.parent.name, file.stem)
    assert "opentelemetry-sdk" in found["versions"]
    assert len(found["versions"]) > 1
    assert all(version[0].isdigit() for version in found["versions"].values())
    units = found["expected_units"]
    assert units is None or all(pair.keys() == {"input", "output"} for pair in units.values())
    spans = found["spans"]
    assert spans or found["never_ended"] or found["case"] in SPANLESS.get(found["package"], ())
    assert [span["id"] for span in spans] == list(range(1, len(spans) + 1))
    for span in spans:
        assert span.keys() == SPAN_PARTS
        assert span["status"] in ("OK", "ERROR", "UNSET")
        assert span["start_attributes"].keys() - span["attributes"].keys() == set()
        assert span["parent"] is None or span["parent"] in range(1, len(spans) + 1)
