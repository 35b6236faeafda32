"""`payi-otel demo`: the real OpenAI SDK against a provider on loopback, and the packets its calls became, as a table."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payi_otel._words import counted
from payi_otel.cli._demo.rows import Row, to_row
from payi_otel.cli._demo.tour import show_tour

if TYPE_CHECKING:
    from rich.table import Table

MISSING_EXTRA = 2
FLUSH_TIMEOUT_S = 10.0
"""Loopback and a local file take milliseconds; this bounds a machine under heavy load."""
DESCRIPTION = (
    "Runs chat completions, responses and embeddings through the real OpenAI SDK, sync, async and streamed, against a provider "
    "on loopback that the command starts itself; then shows what the other commands make of the packets. Nothing leaves this machine, "
    "and no key is needed."
)


@click.command(short_help="see packets of real SDK calls, offline", help=DESCRIPTION)
@click.option("--keep", metavar="FILE", type=click.Path(path_type=Path), help="Write the packets to FILE, and leave it at that.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON, and nothing else.")
def command(keep: Path | None, as_json: bool) -> int:
    """Runs the demo and shows what was captured; 0 where every call became a packet."""
    if importlib.util.find_spec("openai") is None:
        click.echo("payi-otel demo needs the OpenAI SDK: pip install 'payi-otel[openai]'", err=True)
        return MISSING_EXTRA
    file = keep or Path(tempfile.mkdtemp(prefix="payi-otel-demo-")) / "packets.json"
    expected = _capture(file)
    rows = [to_row(packet) for packet in json.loads(file.read_bytes())]
    if as_json:
        click.echo(json.dumps({"file": str(file), "calls": [row.to_json() for row in rows]}, indent=2))
    else:
        _show(rows, file)
    if len(rows) != expected:
        click.echo(f"payi-otel demo: {expected} calls were made, but {counted(len(rows), 'packet')} captured", err=True)
        return 1
    return 0 if as_json or keep or show_tour(file) else 1


def _capture(file: Path) -> int:
    """Makes the calls with their packets going to `file`; returns how many calls were made."""
    import payi_otel
    from payi_otel.cli._demo import calls
    from payi_otel.cli._demo.provider import ProviderServer

    payi_otel.payi_instrument(config={"use_case_name": "demo", "offline_instrumentation": {"file_name": str(file)}})
    with ProviderServer() as provider:
        click.echo(f"A provider listens on {provider.url}; calling it with the OpenAI SDK ...", err=True)
        made = calls.make_all(provider.url)
    payi_otel.flush(FLUSH_TIMEOUT_S)
    return made


def _show(rows: list[Row], file: Path) -> None:
    from rich.console import Console

    console = Console()
    console.print(_table(rows))
    console.print(f"{len(rows)} packets, as Pay-i would ingest them: ", end="")
    console.print(str(file), markup=False, highlight=False, soft_wrap=True)


def _table(rows: list[Row]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title="What each call would be billed by", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("call", min_width=11)
    table.add_column("model", min_width=10, overflow="fold")
    table.add_column("units in → out", no_wrap=True)
    table.add_column("latency", no_wrap=True, justify="right")
    table.add_column("use case", no_wrap=True)
    table.add_column("user", min_width=5, no_wrap=True)
    for row in rows:
        cells = (row.call, row.model, "\n".join(row.units) or "-", f"{row.latency_ms} ms", row.use_case, row.user)
        table.add_row(*map(Text, cells), style="red" if row.failed else None)
    return table
