"""Every code block of the user's `payi_instrument()` reference runs unchanged, and a call made after it becomes a packet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from payi_otel.cli._demo.provider import ProviderServer
from payi_otel.testing import IngestServer

Run = Callable[..., str]

BLOCKS = Path(__file__).parent / "reference_blocks"
ONLINE = sorted(path.stem for path in BLOCKS.glob("*.py") if path.stem != "offline")
APPLICATION = """
import payi_otel.compat
import os, runpy

from payi.lib.instrument import payi_instrument

runpy.run_path(os.environ["BLOCK"], init_globals={"payi_instrument": payi_instrument})

import openai

with openai.OpenAI(base_url=os.environ["PROVIDER"], api_key="sk-test", max_retries=0) as client:
    client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "hello"}])
payi_otel.flush(10)
"""


def application(block: str, provider: ProviderServer, ingest: IngestServer) -> dict[str, str]:
    """The environment in which the block's program runs."""
    return {"BLOCK": str(BLOCKS / f"{block}.py"), "PROVIDER": provider.url, "PAYI_API_KEY": ingest.api_key, "PAYI_BASE_URL": ingest.url}


@pytest.mark.parametrize("block", ONLINE)
def test_block_runs_and_a_call_becomes_a_packet(block: str, run_beside: Run) -> None:
    """The use case is the one the block names, or the name of the file the block stands in."""
    with ProviderServer(thinking_s=0) as provider, IngestServer() as ingest:
        run_beside(APPLICATION, **application(block, provider, ingest))
        (packet,) = ingest.packets
    expected = {"xproxy-usecase-name": block}
    if block == "context_defaults":
        expected = {"xproxy-usecase-name": "customer_support_bot", "xproxy-user-id": "user5", "xproxy-limit-ids": "global_budget"}
        assert packet["body"]["properties"]["environment"] == "production"
    assert expected.items() <= packet["headers"].items()
    assert (packet["body"]["category"], packet["body"]["resource"]) == ("system.openai", "gpt-4.1")


def test_offline_block_writes_its_file(run_beside: Run, tmp_path: Path) -> None:
    """The packet stands in the file the block names before the program ends, and nothing is sent."""
    with ProviderServer(thinking_s=0) as provider, IngestServer() as ingest:
        run_beside(APPLICATION + "os._exit(0)  # as a kill would: nothing runs at exit", **application("offline", provider, ingest))
        assert not ingest.requests
    (packet,) = read_json(tmp_path / "telemetry_capture.json")
    assert (packet["use_case_name"], packet["resource"]) == ("offline", "gpt-4.1")


def test_mapping_block_prices_its_deployment(run_beside: Run) -> None:
    """The model the mapping names is priced as the resource it gives."""
    code = APPLICATION.replace('model="gpt-4.1"', 'model="my-gpt4-deployment"')
    with ProviderServer(thinking_s=0) as provider, IngestServer() as ingest:
        run_beside(code, **application("openai_mappings", provider, ingest))
        (packet,) = ingest.packets
    assert packet["body"]["resource"] == "gpt-4"


def read_json(path: Path) -> Any:
    """The JSON value in a file."""
    return json.loads(path.read_bytes())
