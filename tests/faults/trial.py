"""One fault and what became of the packets: a queue, a Pay-i that can fail, callers that are timed, and an oracle for both sides."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import random
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from delivery_fakes import Retry, Target, make_packet, wait_for

from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.delivery.spool import Spool
from payi_otel.delivery.stats import Stats
from payi_otel.exporters.http import HttpSink
from payi_otel.packets.model import IngestPacket
from payi_otel.testing import IngestServer

KEY: Final = "canary-key-5f1d"
PROMPT: Final = "canary-prompt-5f1d"
LOGGER: Final = "payi.faults"
QUICK: Final = Retry(queue_interval=0.1)


@dataclass(frozen=True)
class Scale:
    """How long faults last and how many packets there are: as planned, or so short that all rows together are a test."""

    is_full: bool = False
    seed: int = 1

    def seconds(self, planned: float) -> float:
        """A fault's length."""
        return planned if self.is_full else min(planned, 0.4)

    def count(self, planned: int) -> int:
        """A number of packets."""
        return planned if self.is_full else max(20, planned // 20)

    def times(self, planned: int) -> int:
        """A number of trials."""
        return planned if self.is_full else max(1, planned // 20)


@dataclass
class Result:
    """One line of the table."""

    created: int = 0
    delivered: int = 0
    duplicates: int = 0
    """What the service saw twice and knew by its id."""
    dead: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    peak_mb: float = 0.0
    drain_s: float = 0.0
    exit_s: float = 0.0
    p99_ms: float = 0.0
    """Of `submit`, as the caller sees it."""
    note: str = ""


class Trial:
    """A queue against a service. Packets are functions of their names, so that whatever arrives can be checked."""

    def __init__(self, scale: Scale, server: IngestServer, queue: DeliveryQueue, log: list[str]) -> None:
        self.scale, self.server, self.queue, self.log = scale, server, queue, log
        self.chance = random.Random(scale.seed)
        self.result = Result()
        self.issued: set[str] = set()
        self._numbers = itertools.count()
        self._waits_s: list[float] = []
        self._healed_at = time.monotonic()

    def offer(self, count: int, *, over_s: float = 0.0, **scope: Any) -> None:
        """Calls end, one after the other, in so many seconds."""
        for _ in range(count):
            self._submit(f"n{next(self._numbers)}", scope)
            if over_s:
                time.sleep(over_s / count)

    def offer_from_threads(self, threads: int, each: int, *, over_s: float = 0.0) -> None:
        """The same from several at once."""
        names = [[f"t{thread}-{number}" for number in range(each)] for thread in range(threads)]

        def call(own: list[str]) -> None:
            for name in own:
                self._submit(name, {})
                if over_s:
                    time.sleep(over_s / each)

        callers = [threading.Thread(target=call, args=(own,)) for own in names]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()

    def _submit(self, name: str, scope: dict[str, Any]) -> None:
        packet = make(name, **scope)
        self.issued.add(packet.response_id)
        began = time.perf_counter()
        self.queue.submit(packet)  # type: ignore[arg-type]
        self._waits_s.append(time.perf_counter() - began)

    def heal(self) -> None:
        """The fault is over."""
        self.server.decide(None)
        self._healed_at = time.monotonic()

    def drain(self, timeout_s: float = 60.0) -> None:
        """Everything gets its fate, and the law holds all along."""
        account = self.queue.stats()
        assert account.is_conserved, account
        assert self.queue.flush(timeout_s), f"not drained: {self.queue.stats()}"
        self.result.drain_s = time.monotonic() - self._healed_at

    def check(self, *, dead: set[str] = frozenset(), slim: set[str] | None = None) -> None:  # type: ignore[assignment]
        """Both sides agree: what was issued has arrived, as it was, but for what had to be refused."""
        self.offer(1)  # a fresh packet passes
        assert self.queue.flush(20)
        account = self.queue.stats()
        taken = {packet["body"]["provider_response_id"]: packet["body"] for packet in self.server.packets}
        expected = self.issued - {f"chatcmpl-{name}" for name in dead}
        assert account.is_conserved, account
        assert account.created == len(self.issued)
        assert sum(account.dropped.values()) == 0
        assert account.delivered == len(expected), account
        assert set(taken) == expected, "lost, or invented"
        assert self.server.billed_twice == []
        for name, body in taken.items():
            without = slim is not None and (name in slim or "properties" in body)
            assert body["provider_request_json"] == content_of(name) if not without else "provider_request_json" not in body
            assert body["units"] == make("any").body["units"]
        assert len(self.server.duplicates) <= account.duplicates_possible

    def finish(self) -> Result:
        """The line of the table."""
        began = time.monotonic()
        self.queue.shutdown(5.0)
        self.result.exit_s = time.monotonic() - began
        account, result = self.queue.stats(), self.result
        result.created, result.delivered = account.created, account.delivered
        result.dead, result.dropped = dict(account.dead_lettered), dict(account.dropped)
        result.duplicates, result.requests = len(self.server.duplicates), len(self.server.requests)
        assert account.is_conserved, account
        assert not any(KEY in line or PROMPT in line for line in self.log), "a secret in the log"
        _note_what_happened(account, self.log)
        if self._waits_s:
            result.p99_ms = sorted(self._waits_s)[len(self._waits_s) * 99 // 100] * 1000
        return result


SEEN: Final[set[str]] = set()
"""What has happened so far, in any row: a plan in which nothing was ever sent twice has proved nothing about duplicates."""
SOMETIMES: Final = frozenset(
    (
        *("retry", "possible duplicate", "duplicate", "poison", "refused", "dropped", "bodies left out"),
        *("down", "back", "held", "halved", "key replaced"),
    )
)


def _note_what_happened(account: Stats, log: list[str]) -> None:
    signs = {
        "retry": account.retries,
        "possible duplicate": account.duplicates_possible,
        "duplicate": account.duplicates_reported,
        "poison": account.dead_lettered.get("poison"),
        "refused": sum(account.dead_lettered.values()),
        "bodies left out": account.bodies_dropped,
        "dropped": sum(account.dropped.values()),
        "down": any("cannot be reached" in line for line in log),
        "held": any("until this is put right" in line for line in log),
        "back": any("takes packets again" in line for line in log),
        "key replaced": any("has been replaced" in line for line in log),
    }
    SEEN.update(name for name, sign in signs.items() if sign)


def content_of(response_id: str) -> str:
    """What a packet of this id must hold."""
    return f"{PROMPT} {hashlib.sha256(response_id.encode()).hexdigest()}"


def make(name: str, **scope: Any) -> IngestPacket:
    """The packet of this name."""
    body = scope.pop("body", {})
    return make_packet(name, {"provider_request_json": content_of(f"chatcmpl-{name}"), **body}, **scope)


@contextmanager
def trial(
    scale: Scale,
    *,
    server: IngestServer | None = None,
    url: str | None = None,
    retry: Retry = QUICK,
    bulk: Any = "auto",
    spool: Path | None = None,
    sink_class: type[HttpSink] = HttpSink,
    **target: Any,
) -> Iterator[Trial]:
    """A service and a queue; afterwards no thread and no descriptor is left."""
    before = (threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)
    log: list[str] = []
    logger = _listen(log)
    tracemalloc.start()
    with nullcontext(server) if server is not None else IngestServer(api_key=KEY) as service:
        limits = {"timeout_s": 2.0, "connect_timeout_s": 0.3, **target}
        sink = sink_class(Target(url or service.url, api_key=KEY, **limits), bulk=bulk, logger=logger)
        kept = Spool(str(spool), logger=logger) if spool is not None else None
        queue = DeliveryQueue(
            sink,
            convert=lambda payload: payload,  # type: ignore[arg-type,return-value]
            retry=retry,
            connection_error_logging_window_s=0,
            spool=kept,
            logger=logger,
        )
        one = Trial(scale, service, queue, log)
        try:
            yield one
        finally:
            one.result.peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
            tracemalloc.stop()
            queue.shutdown(0.0)
    wait_for(lambda: threading.active_count() <= before[0])
    if before[1]:
        wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before[1])


def _listen(log: list[str]) -> logging.Logger:
    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.append(record.getMessage())

    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [Keeper()]
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    return logger
