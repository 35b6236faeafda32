"""However a chat stream ends, it makes one packet that says how, with the usage or an estimate of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from openai_shapes import chat_events
from provider_server import Reply, sse
from stream_packets import ESTIMATED, REQUEST, readable, stream_packet

import payi_otel

openai = pytest.importorskip("openai")

EVENTS = chat_events()
ASKED = {**REQUEST, "stream": True}
IN_BAND = {"error": {"message": "The server had an error", "type": "server_error", "code": "boom"}}


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds a provider's last event back; opened after the test, so that no thread is left waiting."""
    event = threading.Event()
    yield event
    event.set()


def drained(stream: Any) -> None:
    """Reads all of it."""
    assert len(list(stream)) == len(EVENTS) - 1


def drained_in_with(stream: Any) -> None:
    """Reads all of it in a `with` block."""
    with stream:
        assert len(list(stream)) == len(EVENTS) - 1


def drained_then_closed(stream: Any) -> None:
    """Reads all of it and closes it, twice."""
    list(stream)
    stream.close()
    stream.close()


def left_by_break(stream: Any) -> None:
    """Leaves a `with` block after two chunks."""
    with stream:
        next(stream)
        next(stream)


def closed_after_break(stream: Any) -> None:
    """Breaks off and closes."""
    for number, _ in enumerate(stream):
        if number == 1:
            break
    stream.close()


def raised_in_loop(stream: Any) -> None:
    """The caller's own error leaves the block."""
    with contextlib.suppress(ZeroDivisionError), stream:
        next(stream)
        next(stream)
        raise ZeroDivisionError


def left_by_generator(stream: Any) -> None:
    """A generator of the caller's that reads the stream is closed."""

    def words() -> Iterator[Any]:
        with stream:
            yield from stream

    reading = words()
    next(reading)
    next(reading)
    reading.close()


def interrupted_in_block(stream: Any) -> None:
    """Control-C arrives in the caller's own code."""
    with contextlib.suppress(KeyboardInterrupt), stream:
        next(stream)
        next(stream)
        raise KeyboardInterrupt


def closed_unread(stream: Any) -> None:
    """Closes at once."""
    stream.close()


def closed_after_finish(stream: Any) -> None:
    """Leaves with the finish reason, as many do: the usage comes after it."""
    with stream:
        for one in stream:
            if one.choices and one.choices[0].finish_reason:
                break


def dropped(stream: Any) -> None:
    """Breaks off and forgets."""
    next(stream)
    next(stream)


def unread(stream: Any) -> None:
    """Never reads."""


ENDS: list[tuple[Callable[[Any], None], dict[str, Any]]] = [
    (drained, stream_packet(EVENTS)),
    (drained_in_with, stream_packet(EVENTS)),
    (drained_then_closed, stream_packet(EVENTS)),
    (left_by_break, stream_packet(EVENTS[:2], reason="closed", units=ESTIMATED)),
    (closed_after_break, stream_packet(EVENTS[:2], reason="closed", units=ESTIMATED)),
    (raised_in_loop, stream_packet(EVENTS[:2], reason="closed", units=ESTIMATED)),
    (left_by_generator, stream_packet(EVENTS[:2], reason="closed", units=ESTIMATED)),
    (interrupted_in_block, stream_packet(EVENTS[:2], reason="cancelled", units=ESTIMATED)),
    (closed_after_finish, stream_packet(EVENTS[:-1], reason="closed", units=ESTIMATED)),
    (closed_unread, stream_packet([], reason="closed", units=ESTIMATED)),
    (dropped, stream_packet(EVENTS[:2], reason="abandoned", units=ESTIMATED)),
    (unread, stream_packet([], reason="unread", units=ESTIMATED)),
]


def numbered(number: int) -> Reply:
    """A whole stream with an id of its own."""
    return Reply(events=[{**event, "id": f"chatcmpl-{number}"} for event in EVENTS])


def collected() -> None:
    """What nobody refers to is gone; a socket left open by it is the application's doing."""
    for _ in range(3):
        gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("leave", "expected"), ENDS, ids=[end[0].__name__ for end in ENDS])
def test_each_end_makes_one_packet_that_says_how(
    leave: Callable[[Any], None], expected: dict[str, Any], instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """Sync: read, left, closed, interrupted, dropped or never read."""
    instrument()
    provider.script(Reply(events=EVENTS, held="properties" in expected["body"]))
    leave(client.chat.completions.create(**ASKED))
    collected()
    (packet,) = packets()
    assert readable(packet) == expected


async def a_drained(stream: Any) -> None:
    """Reads all of it."""
    assert len([one async for one in stream]) == len(EVENTS) - 1


async def a_drained_in_with(stream: Any) -> None:
    """Reads all of it in an `async with` block."""
    async with stream:
        assert len([one async for one in stream]) == len(EVENTS) - 1


async def a_left_by_break(stream: Any) -> None:
    """Leaves a block after two chunks."""
    async with stream:
        await stream.__anext__()
        await stream.__anext__()


async def a_closed_after_break(stream: Any) -> None:
    """Breaks off and closes."""
    await stream.__anext__()
    async for _ in stream:
        break
    await stream.close()


async def a_raised_in_loop(stream: Any) -> None:
    """The caller's own error leaves the block."""
    with contextlib.suppress(ZeroDivisionError):
        async with stream:
            await stream.__anext__()
            await stream.__anext__()
            raise ZeroDivisionError


async def a_left_by_generator(stream: Any) -> None:
    """An async generator of the caller's that reads the stream is closed."""

    async def words() -> AsyncIterator[Any]:
        async with stream:
            async for one in stream:
                yield one

    reading = words()
    await reading.__anext__()
    await reading.__anext__()
    await reading.aclose()


async def a_cancelled_in_block(stream: Any) -> None:
    """The caller's task is cancelled while it does something else than reading."""
    with contextlib.suppress(asyncio.CancelledError):
        async with stream:
            await stream.__anext__()
            await stream.__anext__()
            raise asyncio.CancelledError


async def a_closed_after_finish(stream: Any) -> None:
    """Leaves with the finish reason."""
    async with stream:
        async for one in stream:
            if one.choices and one.choices[0].finish_reason:
                break


async def a_closed_unread(stream: Any) -> None:
    """Closes at once."""
    await stream.close()


async def a_dropped(stream: Any) -> None:
    """Breaks off and forgets."""
    await stream.__anext__()
    await stream.__anext__()


async def a_unread(stream: Any) -> None:
    """Never reads."""


ASYNC_ENDS: list[tuple[Callable[[Any], Any], dict[str, Any]]] = [
    (a_drained, stream_packet(EVENTS)),
    (a_drained_in_with, stream_packet(EVENTS)),
    (a_left_by_break, stream_packet(EVENTS[:2], reason="closed", units=ESTIMATED)),
    (a_closed_after_break, stream_packet(EVENTS[:2], reason="closed", units=ESTIMATED)),
    (a_raised_in_loop, stream_packet(EVENTS[:2], reason="closed", units=ESTIMATED)),
    (a_left_by_generator, stream_packet(EVENTS[:2], reason="closed", units=ESTIMATED)),
    (a_cancelled_in_block, stream_packet(EVENTS[:2], reason="cancelled", units=ESTIMATED)),
    (a_closed_after_finish, stream_packet(EVENTS[:-1], reason="closed", units=ESTIMATED)),
    (a_closed_unread, stream_packet([], reason="closed", units=ESTIMATED)),
    (a_dropped, stream_packet(EVENTS[:2], reason="abandoned", units=ESTIMATED)),
    (a_unread, stream_packet([], reason="unread", units=ESTIMATED)),
]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(("leave", "expected"), ASYNC_ENDS, ids=[end[0].__name__ for end in ASYNC_ENDS])
async def test_each_async_end_makes_one_packet_that_says_how(
    leave: Callable[[Any], Any], expected: dict[str, Any], instrument: Any, async_client: Any, provider: Any, packets: Any
) -> None:
    """Async: read, left, closed, cancelled, dropped or never read."""
    instrument()
    provider.script(Reply(events=EVENTS, held="properties" in expected["body"]))
    await leave(await async_client.chat.completions.create(**ASKED))
    collected()
    await asyncio.sleep(0)  # the loop closes async generators that were collected
    (packet,) = packets()
    assert readable(packet) == expected


@pytest.mark.parametrize("way", ["stream", "bytes"])
def test_usage_that_had_come_when_the_caller_left_is_exact(way: str, instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Many leave with the finish reason; where the usage came in the same packet of the network, it is not estimated."""
    instrument()
    provider.script(Reply(events=[*EVENTS[:-2], sse(EVENTS[-2]) + sse(EVENTS[-1])]))
    if way == "stream":
        closed_after_finish(client.chat.completions.create(**ASKED))
    else:
        with client.chat.completions.with_streaming_response.create(**ASKED) as raw:
            next(line for line in raw.iter_lines() if '"finish_reason": "stop"' in line)
    (packet,) = packets()
    packet = readable(packet)
    taken = EVENTS[:-1] if way == "stream" else EVENTS
    assert packet == stream_packet(taken, reason="closed" if way == "stream" else None)


@pytest.mark.parametrize("reads", [2, 0], ids=["left", "never read"])
def test_a_stream_that_is_collected_took_as_long_as_what_came_of_it(
    reads: int, instrument: Any, client: Any, provider: Any, packets: Any, ingest: Any
) -> None:
    """Not until the collector came by, which may be hours later."""
    instrument()
    provider.script(Reply(events=EVENTS, held=True))
    began = time.perf_counter()
    stream = client.chat.completions.create(**ASKED)
    for _ in range(reads):
        next(stream)
    came_ms = (time.perf_counter() - began) * 1000
    time.sleep(came_ms / 1000 + 0.1)
    del stream
    gc.collect()
    (packet,) = packets()
    assert packet["body"]["properties"]["payi_otel.end_reason"] == ("abandoned" if reads else "unread")
    assert ingest.packets[0]["body"]["end_to_end_latency_ms"] <= came_ms


def test_an_error_in_the_stream_is_the_sdks_own_and_makes_a_299(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A 200 that turns into an error has no HTTP status to report; what came before it was billed."""
    instrument()
    provider.script(Reply(events=[*EVENTS[:2], IN_BAND]))
    with pytest.raises(openai.APIError) as raised:
        list(client.chat.completions.create(**ASKED))
    assert raised.value.message == "The server had an error"
    (packet,) = packets()
    failed = stream_packet(EVENTS[:2], reason="error", units=ESTIMATED, status=299, failure="openai.APIError")
    assert readable(packet) == failed


async def test_an_error_in_an_async_stream_makes_a_299(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """The async twin; nothing came before the error, so nothing is estimated."""
    instrument()
    provider.script(Reply(events=[IN_BAND]))
    with pytest.raises(openai.APIError):
        async for _ in await async_client.chat.completions.create(**ASKED):
            pass
    (packet,) = packets()
    expected = stream_packet([], reason="error", units={}, status=299, failure="openai.APIError")
    assert readable(packet) == expected


def test_a_cut_connection_makes_a_299(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The error is the one without us, whatever its class in this version of the SDK."""
    provider.script(*[Reply(events=EVENTS, cut_after=2)] * 2)

    def cut() -> BaseException:
        with pytest.raises(Exception) as raised:
            list(client.chat.completions.create(**ASKED))
        return raised.value

    before = cut()
    instrument()
    error = cut()
    assert (type(error), error.args) == (type(before), before.args)
    (packet,) = packets()
    body = readable(packet)["body"]
    assert body.pop("properties").pop("system.failure").endswith(type(error).__name__)
    expected = stream_packet(EVENTS[:2], reason="error", units=ESTIMATED, status=299)["body"]
    del expected["properties"]
    assert body == expected


def test_usage_that_came_before_a_failure_is_exact(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A connection cut between the usage and the end loses nothing."""
    instrument()
    provider.script(Reply(events=EVENTS, cut_after=len(EVENTS)))
    with pytest.raises(Exception):  # noqa: B017 - its class differs between versions of the SDK
        list(client.chat.completions.create(**ASKED))
    (packet,) = packets()
    body = packet["body"]
    assert body["units"] == {"text": {"input": 12, "output": 5}}
    assert body["properties"]["payi_otel.end_reason"] == "error"
    assert "payi_otel.usage_estimated" not in body["properties"]


async def test_cancelling_a_reader_ends_its_stream_as_cancelled(
    instrument: Any, async_client: Any, provider: Any, packets: Any, gate: threading.Event
) -> None:
    """The cancellation reaches the task, and the packet has what had come."""
    instrument()
    provider.script(Reply(events=EVENTS[:2], done=False, gate=gate))
    first = asyncio.Event()

    async def read() -> None:
        async for _ in await async_client.chat.completions.create(**ASKED):
            first.set()

    task = asyncio.create_task(read())
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS[:1], reason="cancelled", units=ESTIMATED)


async def test_cancelling_a_call_before_its_answer_makes_one_packet(
    instrument: Any, async_client: Any, provider: Any, packets: Any, gate: threading.Event
) -> None:
    """No answer came: a 299 without units, that says it was cancelled."""
    instrument()
    provider.script(Reply({}, gate=gate))
    task = asyncio.create_task(async_client.chat.completions.create(**ASKED))
    while not provider.requests:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 299
    assert packet["body"]["units"] == {}
    assert packet["body"]["properties"]["payi_otel.end_reason"] == "cancelled"


async def test_a_stream_closed_by_another_task_while_it_is_read_was_closed(
    instrument: Any, async_client: Any, provider: Any, packets: Any, gate: threading.Event
) -> None:
    """What the reader then meets is not the provider's failure."""
    instrument()
    provider.script(Reply(events=EVENTS[:2], done=False, gate=gate))
    stream = await async_client.chat.completions.create(**ASKED)
    await stream.__anext__()
    waiting = asyncio.create_task(stream.__anext__())
    await asyncio.sleep(0)
    await stream.close()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS[:1], reason="closed", units=ESTIMATED)


async def test_a_stream_whose_reader_is_let_go_while_it_is_closed_was_closed(
    instrument: Any, async_client: Any, provider: Any, packets: Any
) -> None:
    """As SDKs do that put generators around their streams: the collected one closes its response, too, and may be quicker."""
    instrument()
    provider.script(Reply(events=EVENTS, held=True))
    stream = await async_client.chat.completions.create(**ASKED)
    await anext(stream)
    await anext(stream)
    closing = asyncio.create_task(stream.close())
    await asyncio.sleep(0)
    await stream._iterator.aclose()
    await closing
    (packet,) = packets()
    assert packet["body"]["properties"]["payi_otel.end_reason"] == "closed"


def test_an_interrupt_while_reading_passes_through_and_ends_the_stream(
    instrument: Any, provider: Any, packets: Any, gate: threading.Event
) -> None:
    """Control-C strikes while the SDK's own iterator waits for the provider."""
    instrument()
    provider.script(Reply(events=EVENTS[:1], gate=gate))
    with openai.OpenAI(api_key="sk", base_url=provider.url + "/v1") as client:
        stream = client.chat.completions.create(**ASKED)
        next(stream)
        control_c = threading.Timer(0.3, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
        control_c.start()
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        stream.close()
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS[:1], reason="cancelled", units=ESTIMATED)


def test_two_threads_keep_their_users_apart(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """One client, two users at the same time."""
    instrument()
    provider.always("/chat/completions", numbered)
    start = threading.Barrier(2)

    def use(user: str) -> None:
        for _ in range(5):
            with payi_otel.track_context(user_id=user, request_properties={"who": user}):
                start.wait(10)
                list(client.chat.completions.create(**ASKED))

    threads = [threading.Thread(target=use, args=(user,)) for user in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = [(packet["scope"]["xproxy-user-id"], packet["body"]["properties"]["who"]) for packet in packets(10)]
    assert sorted(seen) == [("ann", "ann")] * 5 + [("bob", "bob")] * 5


def test_a_second_thread_does_not_end_the_stream_that_a_first_one_reads(
    instrument: Any, client: Any, provider: Any, packets: Any, gate: threading.Event
) -> None:
    """It is told that the stream is being read, as without us; the first one reads on, and is not given the usage we asked for."""
    instrument()
    provider.script(Reply(events=EVENTS, gate=gate))
    stream = client.chat.completions.create(**ASKED)
    for _ in EVENTS[:-1]:
        next(stream)
    rest: list[Any] = []
    first = threading.Thread(target=lambda: rest.extend(stream))
    first.start()
    while not stream._iterator.gi_running:
        time.sleep(0.001)
    with pytest.raises(ValueError, match="already executing"):
        next(stream)
    gate.set()
    first.join(10)
    assert rest == []
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


async def test_a_second_task_does_not_end_the_stream_that_a_first_one_reads(
    instrument: Any, async_client: Any, provider: Any, packets: Any, gate: threading.Event
) -> None:
    """The same for tasks."""
    instrument()
    provider.script(Reply(events=EVENTS, gate=gate))
    stream = await async_client.chat.completions.create(**ASKED)
    for _ in EVENTS[:-1]:
        await stream.__anext__()
    first = asyncio.create_task(stream.__anext__())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already running"):
        await stream.__anext__()
    gate.set()
    with pytest.raises(StopAsyncIteration):
        await first
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


class NoGenerator:
    """A stream's iterator, as another package may have put it there."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @classmethod
    def stand_in(cls, monkeypatch: pytest.MonkeyPatch) -> None:
        """From here on, for streams to come."""
        own = openai.Stream.__stream__
        monkeypatch.setattr(openai.Stream, "__stream__", lambda stream: cls(own(stream)))


def test_a_thread_that_finds_a_stream_at_its_end_leaves_its_call_to_who_has_the_last_event(
    instrument: Any, client: Any, provider: Any, packets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usage has been taken from the provider by another thread, and is still to be noted: where the iterator is no generator."""
    found: list[Any] = []

    class Overtaken(NoGenerator):
        def __next__(self) -> Any:
            event = next(self.inner)
            if not event.choices:
                second = threading.Thread(target=lambda: found.append(next(stream, "the end")))
                second.start()
                second.join(10)
            return event

    Overtaken.stand_in(monkeypatch)
    instrument()
    provider.script(Reply(events=EVENTS))
    stream = client.chat.completions.create(**ASKED)
    assert len(list(stream)) == len(EVENTS) - 1
    assert found == ["the end"]
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


def test_a_call_ends_with_the_last_thread_that_leaves_its_stream(
    instrument: Any, client: Any, provider: Any, packets: Any, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was refused may be slower to leave than the one that came to the stream's end."""
    entered, held = threading.Event(), threading.Event()

    def hold() -> Any:
        held.set()
        gate.wait(10)
        yield

    busy = hold()
    holding = threading.Thread(target=lambda: next(busy))
    holding.start()
    assert held.wait(10)

    class Refusing(NoGenerator):
        @property
        def __next__(self) -> Any:
            if threading.current_thread() is not second:
                return self.inner.__next__
            entered.set()
            left.wait(10)
            return busy.__next__

    def read_too() -> None:
        with pytest.raises(ValueError, match="already executing"):
            next(stream)

    left, second = threading.Event(), threading.Thread(target=read_too)
    Refusing.stand_in(monkeypatch)
    instrument()
    provider.script(Reply(events=EVENTS))
    stream = client.chat.completions.create(**ASKED)
    second.start()
    assert entered.wait(10)
    assert len(list(stream)) == len(EVENTS) - 1
    left.set()
    second.join(10)
    gate.set()
    holding.join(10)
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


async def test_200_concurrent_tasks_keep_their_users_apart(instrument: Any, provider: Any, packets: Any) -> None:
    """Every packet has the user of the task that made the call, and no other."""
    instrument()
    provider.always("/chat/completions", numbered)
    users = [f"user-{number}" for number in range(200)]

    async with openai.AsyncOpenAI(api_key="sk", base_url=provider.url + "/v1", max_retries=3) as client:

        async def use(user: str) -> None:
            with payi_otel.track_context(user_id=user, request_properties={"who": user}):
                async for _ in await client.chat.completions.create(**ASKED):
                    await asyncio.sleep(0)

        await asyncio.gather(*(use(user) for user in users))
    seen = [(packet["scope"]["xproxy-user-id"], packet["body"]["properties"]["who"]) for packet in packets(200)]
    assert sorted(seen) == sorted((user, user) for user in users)


def test_a_stream_belongs_to_the_scope_it_was_made_in(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Read in another scope, in another thread: the packet is its maker's, and the reader's context is his own."""
    instrument()
    provider.script(Reply(events=EVENTS))
    with payi_otel.track_context(user_id="maker"):
        stream = client.chat.completions.create(**ASKED)
    seen: list[Any] = []

    def read() -> None:
        with payi_otel.track_context(user_id="reader"):
            seen.extend(payi_otel.get_context().get("user_id") for _ in stream)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert set(seen) == {"reader"}
    (packet,) = packets()
    assert packet["scope"]["xproxy-user-id"] == "maker"


async def test_an_async_stream_read_by_another_task_is_its_makers(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """The same between tasks."""
    instrument()
    provider.script(Reply(events=EVENTS))
    with payi_otel.track_context(user_id="maker"):
        stream = await async_client.chat.completions.create(**ASKED)

    async def read() -> None:
        with payi_otel.track_context(user_id="reader"):
            async for _ in stream:
                assert payi_otel.get_context().get("user_id") == "reader"

    await asyncio.create_task(read())
    (packet,) = packets()
    assert packet["scope"]["xproxy-user-id"] == "maker"


EXITING = """
import threading, openai, payi_otel, sys
payi = payi_otel.Payi(api_key={key!r}, base_url={ingest!r})
payi_otel.payi_instrument(payi=payi, config={{"use_case_name": "tests", "use_case_id": "case-1"}})
client = openai.OpenAI(api_key="sk", base_url={provider!r} + "/v1")
stream = client.chat.completions.create(**{asked!r})
next(stream)
next(stream)
{then}
"""
THEN = {
    "open": "",
    "in a daemon thread": "threading.Thread(target=list, args=(stream,), daemon=True).start()",
    "by sys.exit": "sys.exit(3)",
    "by an error": "raise ValueError('mine')",
}


@pytest.mark.parametrize("then", THEN)
def test_a_stream_open_at_exit_makes_its_packet(then: str, ingest: Any, provider: Any, packets: Any, gate: threading.Event) -> None:
    """The process exits with its own code although the provider still has something to say, and what was received is recorded."""
    provider.script(Reply(events=EVENTS[:3], done=False, gate=gate))
    code = EXITING.format(key=ingest.api_key, ingest=ingest.url, provider=provider.url, asked=ASKED, then=THEN[then])
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False, capture_output=True, text=True)
    assert done.returncode == {"by sys.exit": 3, "by an error": 1}.get(then, 0), done.stderr
    assert "payi" not in done.stderr
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS[:2], reason="abandoned", units=ESTIMATED)


FORKING = """
import os, openai, payi_otel
payi = payi_otel.Payi(api_key={key!r}, base_url={ingest!r})
payi_otel.payi_instrument(payi=payi, config={{"use_case_name": "tests", "use_case_id": "case-1"}})
client = openai.OpenAI(api_key="sk", base_url={provider!r} + "/v1")
stream = client.chat.completions.create(**{asked!r})
next(stream)
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    list(stream)
"""


@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="no fork here")
def test_a_fork_does_not_record_the_parents_stream_again(ingest: Any, provider: Any, packets: Any) -> None:
    """The child exits with a copy of the open stream; only the parent's call is a call."""
    provider.script(Reply(events=EVENTS))
    code = FORKING.format(key=ingest.api_key, ingest=ingest.url, provider=provider.url, asked=ASKED)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=60, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)
