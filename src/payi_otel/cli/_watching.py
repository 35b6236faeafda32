"""What `payi-otel watch` shows: a live view on a terminal, lines elsewhere, or JSON lines; each with the totals of what was seen."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from payi_otel._words import counted
from payi_otel.captures.prices import PriceTable
from payi_otel.captures.summary import Summary, units_of
from payi_otel.cli._tables import printable, to_table
from payi_otel.delivery._handover import to_line
from payi_otel.packets.model import IngestPacket

if TYPE_CHECKING:
    from rich.console import Group

_SHOWN_S: Final = 0.25
"""Between two pictures."""
_MINUTE_S: Final = 60
_MAX_LINES: Final = 50
"""Last packets that are kept: no terminal is much higher."""
_MAX_LINE_CHARS: Final = 500
"""Of a packet's line: names may be of any length."""
_OTHER_ROWS: Final = 9
"""Of a picture: title, totals, blank lines, the table's head and caption."""


class Tally:
    """All that was seen, in memory that does not grow."""

    def __init__(self, prices: PriceTable | None) -> None:
        """Nothing yet."""
        self.summary = Summary(prices)
        self.lines: deque[str] = deque(maxlen=_MAX_LINES)
        self._arrivals: deque[tuple[int, int]] = deque(maxlen=_MINUTE_S + 1)
        """By second, how many came in it."""

    def add(self, record: Mapping[str, Any], *, is_new: bool) -> str:
        """Counts a packet; the line that shows it.

        Args:
            record: As in an offline file, whatever stands in it.
            is_new: It came while it was watched.
        """
        self.summary.add(record)
        if is_new:
            second = int(time.monotonic())
            count = self._arrivals.pop()[1] if self._arrivals and self._arrivals[-1][0] == second else 0
            self._arrivals.append((second, count + 1))
        line = line_of(record)
        self.lines.append(line)
        return line

    @property
    def last_minute(self) -> int:
        """How many came in it."""
        return sum(count for second, count in self._arrivals if second > time.monotonic() - _MINUTE_S)

    @property
    def totals(self) -> str:
        """Of all that was seen."""
        total = self.summary.total
        said = f"{counted(total.calls, 'call')}, {total.errors:,} of them failed, units {total.tokens_in:,} → {total.tokens_out:,}"
        if total.priced:
            said += f", cost {total.cost:,.4f}" + (f" ({counted(total.unpriced, 'call')} without a price)" if total.unpriced else "")
        return said


def line_of(record: Mapping[str, Any]) -> str:
    """A packet as `payi-otel run --print` shows it, whatever stands in the record."""
    body = {name: record[name] for name in ("event_timestamp", "resource") if name in record}
    body["units"] = {name: {"input": given, "output": said} for name, given, said in units_of(record)}
    body["end_to_end_latency_ms"] = record.get("end_to_end_latency_ms") or 0
    body["http_status_code"] = record.get("http_status_code") or 200
    line = to_line(IngestPacket(body, use_case_name=record.get("use_case_name"), user_id=record.get("user_id")))
    return line if len(line) <= _MAX_LINE_CHARS else line[: _MAX_LINE_CHARS - 1] + "…"


class Lines:
    """A line for each packet, and nothing that could steer a terminal."""

    def __init__(self, tally: Tally) -> None:
        """Writes to stdout, whatever its encoding is, and what is no packet to stderr."""
        self._tally = tally
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")

    def add(self, record: Mapping[str, Any], *, is_new: bool) -> None:
        """Shows a packet."""
        sys.stdout.write(self._tally.add(record, is_new=is_new) + "\n")

    def say(self, text: str) -> None:
        """Says what became of the source."""
        sys.stdout.flush()
        click.echo(f"payi-otel watch: {printable(text)}", err=True)

    def refresh(self) -> None:
        """What was written is seen."""
        sys.stdout.flush()

    def close(self) -> None:
        """Ends it."""

    def conclude(self) -> None:
        """The totals."""
        click.echo(self._tally.totals)


class JsonLines(Lines):
    """Each packet as a line of JSON on stdout; the totals are no packet, and go to stderr."""

    def add(self, record: Mapping[str, Any], *, is_new: bool) -> None:
        """Shows a packet."""
        self._tally.add(record, is_new=is_new)
        sys.stdout.write(json.dumps(record) + "\n")

    def conclude(self) -> None:
        """The totals."""
        click.echo(self._tally.totals, err=True)


class View:
    """Totals, a table and the last packets, drawn anew as packets come."""

    def __init__(self, tally: Tally, *, title: str, dimension: str, top: int) -> None:
        """Draws nothing yet."""
        from rich.console import Console
        from rich.live import Live

        self._tally, self._title, self._dimension, self._top = tally, title, dimension, top
        self._console = Console()
        options: dict[str, Any] = {"auto_refresh": False, "transient": True, "redirect_stdout": False, "redirect_stderr": False}
        self._live = Live(console=self._console, vertical_overflow="crop", **options)
        self._drawn_s = 0.0
        self._drawn: object = None
        self._live.start()

    def add(self, record: Mapping[str, Any], *, is_new: bool) -> None:
        """Shows a packet, soon."""
        self._tally.add(record, is_new=is_new)
        self.refresh()

    def say(self, text: str) -> None:
        """Says what became of the source, above the picture; it stays there."""
        from rich.text import Text

        self._console.print(Text(printable(text), style="yellow"), soft_wrap=True)

    def refresh(self) -> None:
        """Draws, if there is something else to see and it is time to."""
        if time.monotonic() - self._drawn_s < _SHOWN_S:
            return
        state = self._tally.summary.total.calls, self._tally.last_minute, self._console.size
        if state != self._drawn:
            self._live.update(self._draw(), refresh=True)
            self._drawn_s, self._drawn = time.monotonic(), state

    def close(self) -> None:
        """Takes the picture away, and gives the cursor back."""
        self._live.stop()

    def conclude(self) -> None:
        """The totals, with the table."""
        from rich.text import Text

        self._console.print(Text(self._tally.totals))
        if self._tally.summary.total.calls:
            self._console.print(self._table(self._top))

    def _draw(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        def to_text(line: str, style: str = "") -> Text:
            return Text(printable(line), style=style, no_wrap=True, overflow="ellipsis")

        free = max(self._console.height - _OTHER_ROWS, 2)
        groups = len(self._tally.summary.by[self._dimension])
        rows = max(1, min(self._top, groups, free // 2))
        lines = list(self._tally.lines)[-(free - rows) :]
        totals = f"{self._tally.totals}, {self._tally.last_minute:,} in the last minute"
        table = [self._table(rows)] if groups else []
        return Group(to_text(self._title, "dim"), Text(totals, style="bold"), *table, *(to_text(line) for line in lines))

    def _table(self, rows: int) -> Any:
        summary = self._tally.summary
        table, _ = to_table(self._dimension, summary.by[self._dimension], rows, self._console.width, has_cost=bool(summary.total.priced))
        return table


def to_output(tally: Tally, *, as_json: bool, title: str, dimension: str, top: int) -> Lines | View:
    """How it is shown here: on a terminal that can, as a view."""
    if as_json:
        return JsonLines(tally)
    from rich.console import Console

    if not sys.stdout.isatty() or Console().is_dumb_terminal:
        return Lines(tally)
    return View(tally, title=title, dimension=dimension, top=top)
