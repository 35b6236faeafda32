"""`payi-otel replay`: sends what was captured in offline files, or kept in a spool directory, to Pay-i."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from payi_otel._words import counted
from payi_otel.cli._errors import WrongUsage
from payi_otel.errors import ConfigurationError

if TYPE_CHECKING:
    from payi_otel.cli._replaying import Report
    from payi_otel.delivery.stats import Stats

LEFT = 1
DESCRIPTION = """Send packets to Pay-i, with the key and address of the environment (PAYI_API_KEY, PAYI_BASE_URL).

FILE is a capture (offline_instrumentation.file_name, payi-otel run --offline). Beside it FILE.replayed notes how far it was sent: the
same command goes on there after an interrupt, and sends only what is new. A packet that Pay-i has already is not counted twice. What
Pay-i refuses is written to FILE.rejected, a capture of its own.

A directory, or --spool DIRECTORY, is a spool (ingest_retry.spool_directory): what processes that have ended left there is delivered; what
running processes keep there is theirs.

Exit code 0: all is delivered. 1: something is left or was refused. 2: wrong usage. 130: interrupted.
"""


@click.command(short_help="send a capture or a spool to Pay-i", help=DESCRIPTION)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@click.option("--spool", "spools", multiple=True, metavar="DIRECTORY", type=click.Path(path_type=Path), help="A spool directory.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Send at most N packets a second.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing. Needs no key.")
@click.option("--again", is_flag=True, help="Send a file from its beginning, though it was sent before.")
@click.option("--rejected", metavar="FILE", type=click.Path(path_type=Path), help="Where what is refused goes, instead of FILE.rejected.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after so long without progress.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    files: Sequence[Path],
    spools: Sequence[Path],
    rate: float | None,
    dry_run: bool,
    again: bool,
    rejected: Path | None,
    timeout_s: float,
    as_json: bool,
) -> int:
    """Sends everything there is; 0 where nothing is left."""
    captures = [file for file in files if not file.is_dir()]
    directories = [*spools, *(file for file in files if file.is_dir())]
    _check(captures, directories, rejected, dry_run)
    try:
        reports = [_replay_capture(file, rate, dry_run, again, rejected, timeout_s) for file in captures]
        accounts = [_replay_spool(directory, timeout_s) for directory in directories]
    except ConfigurationError as error:
        raise WrongUsage(str(error)) from None
    except OSError as fault:
        raise WrongUsage(
            f"{fault.filename or 'the capture'} cannot be used ({fault.strerror or fault}): give a capture of your own"
        ) from None
    if as_json:
        click.echo(json.dumps({"files": [asdict(report) for report in reports], "spools": [_to_json(*one) for one in accounts]}, indent=2))
    else:
        for report in reports:
            _show_capture(report, dry_run)
        for _, account in accounts:
            _show_spool(account)
    is_done = all(report.is_done for report in reports) and all(_is_done(account) for _, account in accounts)
    if any(report.interrupted for report in reports):
        raise click.Abort
    return 0 if is_done else LEFT


def _check(captures: Sequence[Path], directories: Sequence[Path], rejected: Path | None, dry_run: bool) -> None:
    if not captures and not directories:
        raise click.UsageError("give a capture FILE to send, or --spool DIRECTORY")
    for directory in directories:
        if not directory.is_dir():
            raise WrongUsage(f"{directory} is no directory")
    if dry_run and directories:
        raise click.UsageError("--dry-run is for files: a spool is not read without taking it over; payi-otel doctor says what is in it")
    for capture in captures:
        if not capture.exists():
            raise WrongUsage(f"{capture} is not there: give a file that was written by offline_instrumentation, or a spool directory")
        if not capture.is_file():
            raise WrongUsage(f"{capture} is no file that can be read twice: save what comes out of it, and give that")
    if rejected is not None and len(captures) > 1:
        raise click.UsageError("--rejected is for one FILE: leave it out, and each has its own FILE.rejected")


def _replay_capture(file: Path, rate: float | None, dry_run: bool, again: bool, rejected: Path | None, timeout_s: float) -> Report:
    from payi_otel.cli._replaying import Replay

    replay = Replay(file, rejected or file.with_name(file.name + ".rejected"), rate=rate, timeout_s=timeout_s, again=again)
    return replay.look() if dry_run else replay.send()


def _replay_spool(directory: Path, timeout_s: float) -> tuple[Path, Stats]:
    from payi_otel.clients import to_target
    from payi_otel.config import load_settings
    from payi_otel.delivery.queue import DeliveryQueue
    from payi_otel.delivery.spool import Spool
    from payi_otel.exporters.http import HttpSink

    settings, target = load_settings(None), to_target(None)
    queue = DeliveryQueue(
        HttpSink(target, bulk=settings.ingest_bulk),
        convert=lambda payload: None,
        retry=settings.ingest_retry,
        connection_error_logging_window_s=settings.connection_error_logging_window,
        spool=Spool(str(directory)),
    )
    try:
        queue.replay(timeout_s)
    finally:
        queue.shutdown(1.0)
    return directory, queue.stats()


def _is_done(account: Stats) -> bool:
    return account.delivered == account.created and not account.corrupt_records


def _show_capture(report: Report, dry_run: bool) -> None:
    if dry_run:
        waiting = counted(report.waiting, "packet")
        click.echo(f"{report.file}: {waiting} would be sent to {report.url}, {report.sent_before} were sent before")
    else:
        counts = f"accepted {report.accepted}, duplicate {report.duplicate}, rejected {report.rejected_count}, left {report.left}"
        click.echo(f"{report.file}: {counts}")
        if report.sent_before:
            click.echo(f"  {report.sent_before} were sent before")
    for why, count in report.rejected.items():
        click.echo(f"  rejected: {count} ({why})")
    if report.rejected and report.rejected_file:
        click.echo(f"  those are in {report.rejected_file}")
    if report.interrupted:
        click.echo("  interrupted: the same command goes on from here")
    if report.broken:
        click.echo(f"  the file is broken {report.broken}")


def _show_spool(account: Stats) -> None:
    click.echo(f"packets found {account.created}, delivered {account.delivered}, left {account.spooled}")
    if account.duplicates_reported:
        click.echo(f"  Pay-i had {account.duplicates_reported} of them already")
    for kind, counts in (("refused", account.dead_lettered), ("lost", account.dropped)):
        for why, count in counts.items():
            click.echo(f"  {kind}: {count} ({why})")
    if account.corrupt_records:
        click.echo(f"  damaged places: {account.corrupt_records}, kept in quarantine/")


def _to_json(directory: Path, account: Stats) -> dict[str, Any]:
    return {
        "directory": str(directory),
        "found": account.created,
        "delivered": account.delivered,
        "left": account.spooled,
        "duplicates": account.duplicates_reported,
        "refused": dict(account.dead_lettered),
        "lost": dict(account.dropped),
        "damaged": account.corrupt_records,
    }
