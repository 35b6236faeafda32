"""`payi-otel replay`: delivers what processes that are gone have left in a spool directory."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payi_otel.delivery.stats import Stats

LEFT = 1
WRONG_USAGE = 2
DESCRIPTION = (
    "Sends the packets that are kept in a spool directory (ingest_retry.spool_directory) by processes that have ended, with the key and "
    "address of the environment (PAYI_API_KEY, PAYI_BASE_URL). What running processes keep there is theirs. "
    "Exit code 1: something is left or was refused."
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser("replay", help="deliver what is kept in a spool directory", description=DESCRIPTION)
    parser.add_argument("directory", help="the spool directory")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="give up after so long (default: 60)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Delivers everything there is; 0 where nothing is left."""
    from payi_otel.clients import to_target
    from payi_otel.config import load_settings
    from payi_otel.delivery.queue import DeliveryQueue
    from payi_otel.delivery.spool import Spool
    from payi_otel.errors import ConfigurationError
    from payi_otel.exporters.http import HttpSink

    if not os.path.isdir(arguments.directory):
        print(f"payi-otel replay: {arguments.directory} is no directory", file=sys.stderr)
        return WRONG_USAGE
    try:
        settings, target = load_settings(None), to_target(None)
    except ConfigurationError as error:
        print(f"payi-otel replay: {error}", file=sys.stderr)
        return WRONG_USAGE
    queue = DeliveryQueue(
        HttpSink(target, bulk=settings.ingest_bulk),
        convert=lambda payload: None,
        retry=settings.ingest_retry,
        connection_error_logging_window_s=settings.connection_error_logging_window,
        spool=Spool(arguments.directory),
    )
    try:
        queue.replay(arguments.timeout)
    finally:
        queue.shutdown(1.0)
    account = queue.stats()
    _show(account)
    return 0 if account.delivered == account.created and not account.corrupt_records else LEFT


def _show(account: Stats) -> None:
    print(f"packets found {account.created}, delivered {account.delivered}, left {account.spooled}")
    if account.duplicates_reported:
        print(f"  Pay-i had {account.duplicates_reported} of them already")
    for kind, counts in (("refused", account.dead_lettered), ("lost", account.dropped)):
        for why, count in counts.items():
            print(f"  {kind}: {count} ({why})")
    if account.corrupt_records:
        print(f"  damaged places: {account.corrupt_records}, kept in quarantine/")
