"""`payi-otel watch`: a running process's calls, as they come."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, Protocol

import click

from payi_otel.captures.filters import Matches
from payi_otel.captures.following import Event, Follower
from payi_otel.cli._errors import WrongUsage
from payi_otel.cli._summing import BROKEN, prices_option, read_prices, read_where, where_option
from payi_otel.cli._tap import HOST, Tap
from payi_otel.cli._watching import Lines, Tally, View, to_output

_TICK_S: Final = 0.25
"""Between two looks at the file, and at whether it is to end."""
DESCRIPTION = """Show a running process's calls as they come: totals, a table, and the last packets.

FILE is an offline file that another process writes (offline_instrumentation.file_name, payi-otel run --offline). What is in it already
is counted first. A file that is not there yet is waited for; one that is replaced or truncated is read from its beginning.

With --tap there is no file: packets are taken as Pay-i takes them, from programs on this machine, and it is said how to point one at
it. The tap stores nothing and sends nothing on.

\b
  payi-otel watch packets.json --by user
  payi-otel watch --tap
  payi-otel watch packets.json --json | jq .units

Where the output is no terminal, each packet is a line: time, model, units, latency, use case, user. Ctrl-C ends it, with the totals of
what was seen.

Exit code 0: ended by Ctrl-C, or by whoever read its output. 1: a line was no packet, or a packet was refused; it is said where, and not
counted. 2: wrong usage.
"""


class _Source(Protocol):
    """Where packets come from."""

    @property
    def broken(self) -> int:
        """How much of it was no packet."""
        ...

    @property
    def is_caught_up(self) -> bool:
        """Whether what comes now is new."""
        ...

    def take(self, timeout_s: float) -> Iterator[Event]:
        """What comes, within so long; all of it is looked at."""
        ...

    def close(self) -> Iterator[Event]:
        """Ends it; what it had taken already."""
        ...


@click.command(short_help="watch calls as they are made", help=DESCRIPTION)
@click.argument("file", required=False, metavar="[FILE]", type=click.Path(path_type=Path))
@click.option("--tap", is_flag=True, help="Take packets as Pay-i does, on 127.0.0.1, instead of reading a file.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="The tap's port.  [default: a free one]")
@click.option(
    "--by", type=click.Choice(["model", "use-case", "user", "account"]), default="model", show_default=True, help="What the table is of."
)
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="Rows of the table, as they fit.")
@where_option
@prices_option
@click.option("--json", "as_json", is_flag=True, help="Print each packet as a line of JSON as it comes.")
def command(
    file: Path | None,
    tap: bool,
    port: int | None,
    by: str,
    top: int,
    filters: tuple[str, ...],
    price_file: Path | None,
    as_json: bool,
) -> int:
    """Shows what comes until it is told to end; 0 where all of it were packets."""
    if (file is None) is not tap:
        raise click.UsageError("give the FILE to watch, or --tap; not both")
    if port is not None and not tap:
        raise click.UsageError("--port is the tap's: give --tap, too")
    matches, tally = read_where(filters), Tally(read_prices(price_file))
    with _Ending() as ending:
        source: _Source = _FileSource(file, ending) if file is not None else _open_tap(port or 0)
        title = f"watching {file.name}" if file is not None else "a tap that stores nothing"
        output = to_output(tally, as_json=as_json, title=f"{title}; Ctrl-C ends it", dimension=by.replace("-", " "), top=top)
        try:
            _watch(source, output, matches, ending)
            output.conclude()
        except OSError as fault:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer would fail once more
            if not isinstance(fault, BrokenPipeError):  # of which whoever read it had enough
                raise click.ClickException(f"the output cannot be written ({fault.strerror})") from None
    return BROKEN if source.broken else 0


def _watch(source: _Source, output: Lines | View, matches: Matches, ending: _Ending) -> None:
    def show(event: Event) -> None:
        if isinstance(event, str):
            output.say(event)
        elif matches(event):
            output.add(event, is_new=source.is_caught_up)

    try:
        while not ending.is_due:
            for event in source.take(_TICK_S):
                show(event)
            output.refresh()
        for event in source.close():
            show(event)
    finally:
        output.close()


class _Ending:
    """Ctrl-C, or a SIGTERM: what was begun is finished. A second one ends it at once."""

    def __init__(self) -> None:
        self.is_due = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Ending:
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as of a shell's background job
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.is_due = True
        self.__exit__()


class _FileSource:
    def __init__(self, file: Path, ending: _Ending) -> None:
        self._file, self._follower, self._ending = file, Follower(file), ending
        self._is_first = True

    @property
    def broken(self) -> int:
        return self._follower.broken

    @property
    def is_caught_up(self) -> bool:
        return self._follower.is_caught_up

    def take(self, timeout_s: float) -> Iterator[Event]:
        if not self._is_first:
            time.sleep(timeout_s)
        self._is_first = False
        try:
            for event in self._follower.look():
                yield event
                if self._ending.is_due:  # in the middle of gigabytes
                    return
        except OSError as fault:
            text = f"{self._file} cannot be read ({fault.strerror or fault}): give a file that is written by offline_instrumentation"
            raise WrongUsage(text) from None

    def close(self) -> Iterator[Event]:
        return iter(())


def _open_tap(port: int) -> Tap:
    try:
        tap = Tap(port)
    except OSError as fault:
        raise WrongUsage(f"--port {port}: {HOST} cannot be listened on ({fault.strerror}): give another, or none") from None
    click.echo(
        f"A tap listens on {tap.url}. It stores nothing, and what is sent to it does not reach Pay-i. Start a program so:\n\n"
        f"  PAYI_BASE_URL={tap.url} PAYI_API_KEY=any python app.py\n\n"
        "Where the program does not call payi_instrument() itself, the same with: payi-otel run -- python app.py\n",
        err=True,
    )
    return tap
