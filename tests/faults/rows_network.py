"""Rows 1-6, 10 and 17: what happens to a connection."""

from __future__ import annotations

import datetime
import itertools
import socket
import ssl
import time
from collections.abc import Iterator
from unittest import mock
from urllib.parse import urlsplit

import httpx
import trustme
from delivery_fakes import wait_for
from network import answering, black_hole, gate
from trial import KEY, Result, Scale, Trial, trial

from payi_otel.testing import Answer, IngestServer


def refused(scale: Scale) -> Result:
    """Nothing listens for a minute; then everything arrives."""
    with IngestServer(api_key=KEY) as behind, gate(behind.url) as way, trial(scale, server=behind, url=way.url) as one:
        way.shut()
        one.offer(scale.count(2000), over_s=scale.seconds(60))
        assert one.queue.stats().queued + one.queue.stats().in_flight == scale.count(2000)
        way.open()
        one.heal()
        one.drain()
        one.check()
        attempts = one.queue.stats().attempts - one.queue.stats().delivered
        assert attempts <= 8 + scale.seconds(60) / 0.05 + 1, "more than one probe at a time"
        one.result.note = f"{attempts} connections refused"
        return one.finish()


def no_name(scale: Scale) -> Result:
    """The name does not resolve for a while."""
    real, is_up = socket.getaddrinfo, []

    def resolve(host: str, *arguments: object, **options: object) -> object:
        if host == "pay-i.test" and not is_up:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1" if host == "pay-i.test" else host, *arguments, **options)  # type: ignore[arg-type]

    with (
        IngestServer(api_key=KEY) as behind,
        mock.patch("socket.getaddrinfo", resolve),
        trial(scale, server=behind, url=f"http://pay-i.test:{urlsplit(behind.url).port}") as one,
    ):
        one.offer(scale.count(1000), over_s=scale.seconds(20))
        assert one.queue.stats().delivered == 0
        is_up.append(True)
        one.heal()
        one.drain()
        one.check()
        assert one.queue.stats().duplicates_possible == 0
        return one.finish()


def swallowed(scale: Scale) -> Result:
    """Connections are not answered: an attempt ends with its connection's time-out, and is not ambiguous."""
    with black_hole() as url, trial(scale, url=url, connect_timeout_s=0.2) as one:
        began = time.monotonic()
        one.offer(50)
        wait_for(lambda: sum(one.queue.stats().failures.values()) >= 2)
        assert time.monotonic() - began < 5
        account = one.queue.stats()
        assert set(account.failures) == {"timeout"}
        assert (account.duplicates_possible, account.is_conserved) == (0, True)
        one.queue.shutdown(0.3)
        assert one.queue.stats().dropped == {"shutdown": 50}
        one.result.note = "never healed: counted as dropped at exit"
        return one.finish()


def reset(scale: Scale) -> Result:
    """Each connection is reset before a byte of the request is read."""
    with IngestServer(api_key=KEY) as behind, gate(behind.url) as way, trial(scale, server=behind, url=way.url) as one:
        way.resets = True
        one.offer(scale.count(1000), over_s=scale.seconds(20))
        assert one.queue.stats().delivered == 0
        way.resets = False
        one.heal()
        one.drain()
        one.check()
        return one.finish()


def reply_lost(scale: Scale) -> Result:
    """A tenth of the answers is lost after the packets were taken: sent again, and known by their ids."""
    with trial(scale, bulk=False) as one:
        one.server.decide(lambda request: Answer(drop_after_commit=True) if one.chance.random() < 0.1 else None)
        one.offer(scale.count(5000), over_s=scale.seconds(20))
        one.drain()
        one.heal()
        one.check()
        account = one.queue.stats()
        assert account.duplicates_possible >= len(one.server.duplicates) > 0
        one.result.note = f"{account.duplicates_possible} resends that may be duplicates, 0 billed twice"
        return one.finish()


def hang(scale: Scale) -> Result:
    """Half of the requests hang, or drip for ever: one deadline for the whole request ends them."""
    kinds = itertools.cycle([Answer(hang=True), None, Answer(drip=True), None])
    with trial(scale, timeout_s=0.3) as one:
        one.server.decide(lambda request: next(kinds))
        one.offer(40, over_s=scale.seconds(10))
        time.sleep(scale.seconds(10))
        one.heal()
        one.drain()
        one.check()
        return one.finish()


def not_http(scale: Scale) -> Result:
    """Answers that are cut short, too long, or none: none of them is believed."""
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}" + b"x" * 100,
        b"SSH-2.0-OpenSSH_9.0\r\n",
        b"",
    ]
    result = Result()
    for raw in answers:
        with answering(raw) as (url, _), trial(scale, url=url) as one:
            one.offer(5)
            wait_for(lambda one=one: sum(one.queue.stats().failures.values()) >= 3)
            assert one.queue.stats().delivered == 0
            one.queue.shutdown(0.2)
            done = one.finish()
            result.created += done.created
            result.dropped["shutdown"] = result.dropped.get("shutdown", 0) + done.dropped["shutdown"]
    result.note = "never healed: counted as dropped at exit"
    return result


def redirected(scale: Scale) -> Result:
    """A redirect to another server is never followed: key and prompt stay here."""
    with IngestServer() as other, trial(scale) as one:
        one.server.decide(
            lambda request: Answer(one.chance.choice([301, 302, 307, 308]), headers={"Location": other.url + request["path"]})
        )
        one.offer(scale.count(500), over_s=scale.seconds(5))
        wait_for(lambda: one.queue.stats().failures)
        assert other.requests == []
        one.heal()
        one.drain()
        one.check()
        return one.finish()


def tls(scale: Scale) -> Result:
    """A certificate that cannot be trusted, and TLS where there is none: all is kept, nothing goes in plain text."""
    result = Result(note="self-signed, expired, other host, plain port: held; counted as dropped at exit")
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    for served, trusted in _certificates():
        with answering(answer, tls=served) as (url, seen):
            with trial(scale, url=url, make_client=lambda trusted=trusted: httpx.Client(verify=trusted)) as one:
                _stays_held(one, result)
            assert seen == []
    with answering(answer) as (url, seen):
        with trial(scale, url=url.replace("http:", "https:")) as one:
            _stays_held(one, result)
        assert not any(b"POST" in content for content in seen)
    return result


def _stays_held(one: Trial, result: Result) -> None:
    one.offer(5)
    wait_for(lambda: one.queue.stats().failures)
    assert set(one.queue.stats().failures) == {"tls_error"}
    one.queue.shutdown(0.1)
    result.created += 5
    result.dropped["shutdown"] = result.dropped.get("shutdown", 0) + one.queue.stats().dropped["shutdown"]
    assert sum("nothing can be delivered until this is put right: tls_error" in line for line in one.log) == 1


def _certificates() -> Iterator[tuple[ssl.SSLContext, ssl.SSLContext | bool]]:
    """What a server shows, and what the client trusts."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    for bundle, trusted in (
        (authority.issue_cert("127.0.0.1"), True),  # the usual authorities, of which this is none
        (authority.issue_cert("127.0.0.1", not_after=past), trusting),
        (authority.issue_cert("somewhere.else"), trusting),
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        bundle.configure_cert(context)
        yield context, trusted
