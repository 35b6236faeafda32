"""How fast what an outage left is delivered: packets one by one, and together, in turns against the same server."""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import threading
import time
from typing import Any

from payi_otel import Payi
from payi_otel.clients import to_target
from payi_otel.config import load_settings
from payi_otel.delivery.queue import DeliveryQueue
from payi_otel.exporters.http import HttpSink
from payi_otel.packets.model import IngestPacket
from payi_otel.testing import Answer, IngestServer

ANSWER_S = (0.005, 0.1)
BODY_CHARS = 2000


def main() -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packets", type=int, default=2000, help="how many wait (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often, in turns (default: %(default)s)")
    arguments = parser.parse_args()
    logging.getLogger("payi.instrument").addHandler(logging.NullHandler())
    print("| an answer takes | one by one, packets/s | together, packets/s | ratio |\n|---|---|---|---|")
    for answer_s in ANSWER_S:
        rates: dict[Any, list[float]] = {False: [], "auto": []}
        for _ in range(arguments.rounds):
            for bulk, measured in rates.items():
                measured.append(drain(bulk, answer_s, arguments.packets))
        single, together = (statistics.median(measured) for measured in rates.values())
        print(f"| {answer_s * 1000:.0f} ms | {single:.0f} | {together:.0f} | {together / single:.0f} |", flush=True)
    return 0


def drain(bulk: Any, answer_s: float, count: int) -> float:
    """Packets a second."""
    is_up = threading.Event()
    with IngestServer() as server:
        server.decide(lambda request: Answer(delay_s=answer_s) if is_up.is_set() else Answer(503))
        sink = HttpSink(to_target(Payi(api_key=server.api_key, base_url=server.url)), bulk=bulk)
        retry = load_settings({"ingest_retry": {"queue_interval": 3600.0}}).ingest_retry
        queue = DeliveryQueue(sink, convert=lambda payload: payload, retry=retry)  # type: ignore[arg-type, return-value]
        for number in range(count):
            queue.submit(to_packet(number))  # type: ignore[arg-type]
        while queue.stats().in_flight or not queue.stats().failures:
            time.sleep(0.01)
        is_up.set()
        began = time.perf_counter()
        queue.flush(300)
        took_s = time.perf_counter() - began
        queue.shutdown()
        assert queue.stats().delivered == count
    return count / took_s


def to_packet(number: int) -> IngestPacket:
    """A packet of 2 kB."""
    body = {"category": "system.openai", "units": {"text": {"input": 10, "output": 5}}, "provider_request_json": "q" * BODY_CHARS}
    return IngestPacket({**body, "provider_response_id": f"drain-{number}"}, module="bench/1")


if __name__ == "__main__":
    sys.exit(main())
