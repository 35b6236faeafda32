"""Rows 7-9 and 11-16: what a service answers."""

from __future__ import annotations

import email.utils
import itertools
import json
import math
import time
from collections.abc import Mapping
from typing import Any

from delivery_fakes import Retry, wait_for
from trial import KEY, SEEN, Result, Scale, Trial, trial

from payi_otel.exporters._answers import MAX_RETRY_AFTER_S, to_retry_after_s
from payi_otel.testing import Answer


def failing(scale: Scale) -> Result:
    """500, 502, 503 and 504, one after the other: everything arrives, and nothing is poison."""
    with trial(scale) as one:
        for status in (500, 502, 503, 504):
            one.server.decide(lambda request, status=status: Answer(status))
            one.offer(scale.count(1000), over_s=scale.seconds(30))
        one.heal()
        one.drain()
        one.check()
        return one.finish()


def retry_after(scale: Scale) -> Result:
    """Seconds, a date, the past, negative, far too long, nonsense: the pause is what was asked for, within five minutes."""
    asked = 2.0 if scale.is_full else 0.3
    now = time.time()
    forms = {
        f"{asked}": asked,
        email.utils.formatdate(now + 100, usegmt=True): 100.0,
        email.utils.formatdate(now - 100, usegmt=True): 0.0,
        "-1": 0.0,
        "1e9": MAX_RETRY_AFTER_S,
        "nan": None,
        "soon": None,
        "": None,
    }
    for form, expected in forms.items():
        found = to_retry_after_s(form)
        assert found == expected or (found is not None and expected is not None and abs(found - expected) < 5), (form, found)
    with trial(scale, retry=Retry(queue_interval=0.01)) as one:
        times: list[float] = []

        def decide(request: object) -> Answer | None:
            times.append(time.monotonic())
            return Answer(429, headers={"Retry-After": str(asked)}) if len(times) == 1 else None

        one.server.decide(decide)
        one.offer(1)
        wait_for(lambda: len(times) == 2)
        assert asked <= times[1] - times[0] <= asked * 1.1 + 1.0, "the last for a machine under load"
        one.result.note = f"asked for {asked} s, waited {times[1] - times[0]:.2f} s"
        one.heal()
        one.drain()
        one.check()
        return one.finish()


def key_replaced(scale: Scale) -> Result:
    """The key is refused for a while, then replaced where it came from: nothing is dropped, and hardly anything asked meanwhile."""
    keys = [KEY]
    with trial(scale, retry=Retry(queue_interval=0.5), find_key=lambda: keys[-1]) as one:
        one.server.api_key = "the-new-key"
        one.offer(scale.count(500), over_s=scale.seconds(20))
        wait_for(lambda: one.queue.stats().failures)
        asked = len(one.server.requests)
        assert asked <= 8 + 3, "eight at first, then three probes at most"
        keys.append("the-new-key")
        one.heal()
        one.drain()
        one.check()
        one.result.note = f"{asked} requests with the old key"
        return one.finish()


def not_believed(scale: Scale) -> Result:
    """200 with a page, with nothing, cut short, and 204: none counts as delivered."""
    answers = itertools.cycle([Answer(200, "<html>Sign in</html>"), Answer(200, b""), Answer(200, b'{"request_id": "r"'), Answer(204)])
    with trial(scale) as one:
        one.server.decide(lambda request: next(answers))
        one.offer(scale.count(500), over_s=scale.seconds(10))
        assert one.queue.stats().delivered == 0
        one.heal()
        one.drain()
        one.check()
        return one.finish()


def _with_backlog(one: Trial, names: int) -> None:
    """So many packets wait, so that they go together."""
    one.server.decide(lambda request: Answer(503))
    one.offer(1)
    wait_for(lambda: one.queue.stats().failures)
    one.offer(names)
    wait_for(lambda: not one.queue._backlog.inbox and not one.queue.stats().in_flight)


def _ids(request: Mapping[str, Any]) -> set[str]:
    items = request["body"] if isinstance(request["body"], list) else [request["body"]]
    return {item["provider_response_id"] for item in items}


def poison_in_a_batch(scale: Scale) -> Result:
    """One packet of a hundred is refused, and the answer does not say which."""
    with trial(scale, retry=Retry(queue_interval=3600)) as one:
        _with_backlog(one, 100)
        before = len(one.server.requests)
        one.server.decide(lambda request: Answer(400, {"statusCode": 400}) if "chatcmpl-n57" in _ids(request) else None)
        one.drain()
        asked = len(one.server.requests) - before - 1
        assert asked <= 2 * math.ceil(math.log2(100)) + 2
        one.heal()
        one.check(dead={"n57"})
        one.result.note = f"found with {asked} requests"
        SEEN.add("halved")
        return one.finish()


def parts_of_a_batch(scale: Scale) -> Result:
    """Of ten, one is refused and one cannot be taken now: the other eight are not sent again."""
    with trial(scale, retry=Retry(queue_interval=0.2)) as one:
        _with_backlog(one, 10)
        once = iter([True])

        def judge(request: Mapping[str, Any]) -> Answer | None:
            if not isinstance(request["body"], list) or not next(once, False):
                return None
            for position, item in enumerate(request["body"]):
                if position not in (3, 7):
                    one.server._keep(dict(request), item)
            names.extend(item["provider_response_id"].removeprefix("chatcmpl-") for item in request["body"])
            errors = [
                {"item_index": 3, "xproxy_result": {"statusCode": 400, "xproxy_error": {"code": "category_not_found"}}},
                {"item_index": 7, "xproxy_result": {"statusCode": 503}},
            ]
            total = len(request["body"])
            return Answer(200, {"ingest_count": total - 2, "total_count": total, "error_count": 2, "item_error_count": 2, "errors": errors})

        names: list[str] = []
        one.server.decide(judge)
        one.drain()
        one.heal()
        one.check(dead={names[3]})
        assert one.server.duplicates == []
        assert dict(one.queue.stats().dead_lettered) == {"category_not_found": 1}
        return one.finish()


def too_large(scale: Scale) -> Result:
    """Nothing over 256 KiB is taken: units always arrive, bodies where they fit."""
    with trial(scale) as one:
        _with_backlog(one, scale.count(200))
        one.server.decide(lambda request: Answer(413) if len(json.dumps(request["body"])) > 256 * 1024 else None)
        one.offer(3, body={"provider_response_json": "a" * 300_000})
        one.drain()
        large = {f"chatcmpl-n{len(one.issued) - number}" for number in (1, 2, 3)}
        slim = {packet["body"]["provider_response_id"]: packet["body"].get("properties") for packet in one.server.packets}
        assert all(slim[name] == {"payi_otel.bodies_dropped": "413"} for name in large)
        one.heal()
        one.check(slim=large)
        return one.finish()


def known_already(scale: Scale) -> Result:
    """409, and 200 with `duplicate_request`: delivered, once."""
    with trial(scale, bulk=False) as one:

        def decide(request: Mapping[str, Any]) -> Answer | None:
            one.server.judge(dict(request))
            return Answer(409) if one.chance.random() < 0.5 else None

        one.server.decide(decide)
        one.offer(scale.count(500))
        one.drain()
        assert one.queue.stats().duplicates_reported == scale.count(500)
        one.result.duplicates = len(one.server.duplicates)
        one.server.duplicates.clear()
        one.heal()
        one.check()
        return one.finish()


def breaks_the_server(scale: Scale) -> Result:
    """One packet is answered with 500 for ever: others are not held up, and it is poison in the end."""
    with trial(scale, retry=Retry(queue_interval=0.02)) as one:
        one.server.decide(lambda request: Answer(500) if "chatcmpl-n3" in _ids(request) else None)
        one.offer(scale.count(500))
        fresh = itertools.count()
        wait_for(lambda: one.queue.stats().delivered >= scale.count(500) - 1)
        wait_for(lambda: one._submit(f"x{next(fresh)}", {}) or time.sleep(0.01) or one.queue.stats().dead_lettered, 30)
        one.drain()
        one.heal()
        one.check(dead={"n3"})
        return one.finish()
