"""A program under the launcher whose account is read when it has ended: `payi-otel doctor -- python app.py`."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from payi_otel._environ import FLAG_PREFIX
from payi_otel._words import counted
from payi_otel.cli._doctor.check import NOTE, OK, PROBLEM, Check
from payi_otel.cli._launch import command_line, flush
from payi_otel.delivery._handover import ACCOUNT_VARIABLE

_OFFLINE: Final = FLAG_PREFIX + "PAYI_OTEL_OFFLINE_INSTRUMENTATION_FILE_NAME"
_LOST: Final = ("dead_lettered", "dropped")
_FORWARDED: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@dataclass(slots=True)
class Account:
    """What a program and its children said at their ends."""

    exit_code: int
    processes: int = 0
    hosts: dict[str, dict[str, int]] = field(default_factory=dict)
    """`requests` and `packets` by host."""
    stats: dict[str, Any] = field(default_factory=dict)
    unbilled: dict[str, dict[str, int]] = field(default_factory=dict)
    """Hosts of which a process itself says that calls to them are missing."""
    strange: int = 0
    """Lines that are no account."""

    def take(self, line: str) -> None:
        """One process's, if it is one: the file is the program's to write to."""
        try:
            said = json.loads(line)
            self._add(said["stats"], said["unbilled"])
        except (ValueError, TypeError, KeyError, AttributeError):
            self.strange += 1

    def _add(self, stats: dict[str, Any], unbilled: Mapping[str, Any]) -> None:
        for host, calls in stats.pop("hosts").items():
            _add_up(self.hosts.setdefault(host, {"requests": 0, "packets": 0}), calls)
        for host, calls in unbilled.items():
            _add_up(self.unbilled.setdefault(host, {"requests": 0, "packets": 0}), calls)
        _add_up(self.stats, stats)
        self.processes += 1


def _add_up(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, Mapping):
            _add_up(into.setdefault(name, {}), value)
        else:
            into[name] = into.get(name, 0) + value


def run(program: Sequence[str], environ: Mapping[str, str], *, is_offline: bool, is_quiet: bool) -> Account:
    """Runs it to its end.

    Args:
        program: Its command line.
        environ: Its environment.
        is_offline: Its packets go to a file that is removed with the rest, and not to Pay-i.
        is_quiet: What it prints goes to stderr.
    """
    with tempfile.TemporaryDirectory(prefix="payi-otel-doctor-") as folder:  # for this user only, as the file in it
        file = Path(folder, "account")
        file.touch(0o600)
        variables = {**environ, ACCOUNT_VARIABLE: str(file)}
        if is_offline:
            variables[_OFFLINE] = str(Path(folder, "packets.json"))
        account = Account(_wait_for(command_line(program), variables, is_quiet))
        with contextlib.suppress(OSError):  # the program may have removed it
            for line in file.read_text("utf-8", "replace").splitlines():
                account.take(line)
    return account


def _wait_for(line: Sequence[str], environ: Mapping[str, str], is_quiet: bool) -> int:
    flush()
    with subprocess.Popen(line, env=dict(environ), stdout=sys.stderr if is_quiet else None) as process, _forwarding_to(process):
        return process.wait()


@contextmanager
def _forwarding_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """What ends this command is meant for the program. Ctrl-C reaches it by itself, being sent to all of a terminal's processes."""
    before = {number: signal.signal(number, lambda number, frame: process.send_signal(number)) for number in _FORWARDED}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)  # None: one of C's


def judge(account: Account) -> list[Check]:
    """What is to be said of it."""
    checks = list[Check]()
    code = f"signal {-account.exit_code}" if account.exit_code < 0 else f"exit code {account.exit_code}"
    text = f"ended with {code}; {counted(account.processes, 'process', 'processes')} gave an account"
    checks.append(Check("program", NOTE if account.exit_code else OK, text))
    if account.strange:
        text = f"{counted(account.strange, 'line')} of its account cannot be read"
        checks.append(Check("program", NOTE, text, "all processes must use one payi-otel"))
    if not account.processes:
        remedy = "it must be a Python of this environment, end in an orderly way, and not have OTEL_SDK_DISABLED or another PYTHONPATH set"
        checks.append(Check("program", PROBLEM, "nothing was recorded in it, not even that there was nothing", remedy))
        return checks
    checks += [_judge_host(host, calls, host in account.unbilled) for host, calls in sorted(account.hosts.items())]
    if not account.hosts:
        remedy = "let it make one; calls to hosts that are not known are counted once host_mappings names them"
        checks.append(Check("calls", NOTE, "no GenAI call was seen, by any instrumentation or on the way to a known host", remedy))
    lost = sum(sum(account.stats.get(name, {}).values()) for name in _LOST)
    delivered, created = account.stats.get("delivered", 0), account.stats.get("created", 0)
    reasons = ", ".join(f"{count} {reason}" for name in _LOST for reason, count in account.stats.get(name, {}).items())
    kept = account.stats.get("spooled", 0)
    text = f"{created} made, {delivered} delivered, {lost} lost{f' ({reasons})' if reasons else ''}, {kept} kept on disk"
    remedy = "the program's log says why; docs/delivery.md says what each reason means" if lost else ""
    checks.append(Check("packets", PROBLEM if lost else OK, text, remedy))
    return checks


def _judge_host(host: str, calls: Mapping[str, int], is_unbilled: bool) -> Check:
    made, packets = calls["requests"], calls["packets"]
    text = f"{host}: {counted(made, 'request')}, {counted(packets, 'packet')}"
    if is_unbilled:
        remedy = "make these calls through one of the SDKs below, imported in this process; or see what is said of it there"
        return Check("calls", PROBLEM, f"{text}: calls are not recorded", remedy)
    if made and not packets:
        return Check("calls", NOTE, f"{text}: this host serves more than models, or its provider is not wanted", "")
    return Check("calls", OK, text)


def to_json(account: Account) -> dict[str, Any]:
    """For `--json`."""
    return {"exit_code": account.exit_code, "processes": account.processes, "hosts": account.hosts, "stats": account.stats}
