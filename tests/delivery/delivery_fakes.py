"""Packets, settings and targets that the delivery tests share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from payi_otel._http_library import http_library
from payi_otel.delivery.outcome import Fate, Fault, Outcome, Sink
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.packets.model import IngestPacket
from payi_otel.testing import API_KEY, Answer, IngestServer

DELIVERED = Outcome(Fate.DELIVERED)
DEAD = Outcome(Fate.DEAD, "category_not_found", status=400)
DOWN = Outcome(Fate.RETRY, "connection_error")
FAILED = Outcome(Fate.RETRY, "http_500", fault=Fault.PACKET, ambiguous=True, status=500)


SCOPE: dict[str, Any] = {
    "limit_ids": ("one", "two"),
    "use_case_name": "chat",
    "use_case_id": "u-1",
    "use_case_version": 3,
    "use_case_step": "answer",
    "user_id": "José",
    "account_name": "acme",
    "resource_scope": "global",
}
"""Whose call it is, in every way that there is; the user cannot stand in a header."""


@dataclass(frozen=True)
class Retry:
    """The `ingest_retry` settings, quick enough for tests."""

    max_inline_retries: int = 0
    inline_retry_initial_delay: float = 0.01
    queue_enabled: bool = True
    queue_max_size: int = 0
    queue_max_bytes: int = 0
    queue_interval: float = 0.02
    spool_content: bool = True


@dataclass(frozen=True)
class Target:
    """Where an `HttpSink` sends to."""

    base_url: str
    api_key: str = API_KEY
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = 5.0
    connect_timeout_s: float | None = 2.0
    find_key: Callable[[], object] = lambda: None
    make_client: Callable[[], Any] = lambda: http_library().Client()
    owns_client: bool = True


def make_packet(name: object = 1, body: Mapping[str, Any] | None = None, **scope: Any) -> IngestPacket:
    """A packet that the ingest server takes."""
    return IngestPacket(
        {
            "category": "system.openai",
            "resource": "gpt-5",
            "units": {"text": {"input": 10, "output": 5}},
            "event_timestamp": "2026-01-01T00:00:00+00:00",
            "http_status_code": 200,
            "provider_response_id": f"chatcmpl-{name}",
            **(body or {}),
        },
        **{"module": "openai/3.53.0", **scope},
    )


@contextmanager
def running(sink: Sink, retry: Retry | None = None, **settings: Any) -> Iterator[DeliveryQueue]:
    """A queue whose calls are the packets themselves, shut down at the end without waiting for what a test left in it."""
    queue = DeliveryQueue(sink, retry=retry or Retry(), **{"convert": lambda payload: payload, "exit_timeout_s": 0.0, **settings})
    try:
        yield queue
    finally:
        queue.shutdown()
        queue._workers.join(time.monotonic() + 1.0)  # what is being sent arrives in this test's time, not in that of its next queue


def break_down(server: IngestServer) -> Callable[[], None]:
    """Has it answer 503 until the result is called."""
    is_over = threading.Event()
    server.decide(lambda request: None if is_over.is_set() else Answer(503))
    return is_over.set


def submit(queue: DeliveryQueue, *packets: Any) -> None:
    """Hands packets to a queue of `running`."""
    for packet in packets:
        queue.submit(packet)


def ids(packets: list[IngestPacket]) -> list[str]:
    """The response ids without their prefix, in order."""
    return [packet.response_id.removeprefix("chatcmpl-") for packet in packets]


def delivery_threads() -> set[threading.Thread]:
    """Those that there are. What other tests of the process have left may be among them: ask before, too."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("payi-delivery")}


def wait_for(condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
    """Waits for what no event tells."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        pause.wait(0.002)
