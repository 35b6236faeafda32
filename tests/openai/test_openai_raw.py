"""Raw responses: the caller sees the provider's bytes without the event we asked for, as lazily as without us; one packet each."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from comparing import SCOPE
from openai_shapes import chat_events, completion
from provider_server import Reply, sse
from stream_packets import ESTIMATED, EXACT, REQUEST, STREAMED, readable, stream_packet

openai = pytest.importorskip("openai")

EVENTS = chat_events()
SHOWN = EVENTS[:-1]
DONE = "data: [DONE]\n\n"
PLAIN = {
    "body": {
        "category": "system.openai",
        "resource": "gpt-4o-mini",
        "units": EXACT,
        "http_status_code": 200,
        "provider_response_id": "chatcmpl-1",
        "provider_request_json": REQUEST,
    },
    "scope": SCOPE,
}


def plain(packet: dict[str, Any]) -> dict[str, Any]:
    """The packet of a plain call, its answer checked and taken out."""
    packet = readable(packet)
    assert json.loads(packet["body"].pop("provider_response_json")) == completion()
    return packet


# ---- the bytes of a stream


def by_iter_bytes(response: Any) -> bytes:
    """In pieces as they come."""
    return b"".join(response.iter_bytes())


def by_iter_bytes_of_5(response: Any) -> bytes:
    """In pieces of one size, but for the last."""
    pieces = list(response.iter_bytes(5))
    assert {len(piece) for piece in pieces[:-1]} <= {5}
    assert 1 <= len(pieces[-1]) <= 5
    return b"".join(pieces)


def by_iter_text(response: Any) -> bytes:
    """As text."""
    return "".join(response.iter_text()).encode()


def by_iter_raw(response: Any) -> bytes:
    """As the provider sent them."""
    return b"".join(response.iter_raw())


def by_read(response: Any) -> bytes:
    """At once."""
    content: bytes = response.read()
    assert response.content == content
    assert b"".join(response.iter_bytes()) == content
    assert response.text.encode() == content
    return content


def by_half_generator(response: Any) -> bytes:
    """By a generator that is what the HTTP library gives."""
    reading = response.iter_bytes()
    assert inspect.isgenerator(reading)
    return next(reading) + b"".join(reading)


READS = [by_iter_bytes, by_iter_bytes_of_5, by_iter_text, by_read, by_half_generator]


async def a_by_iter_bytes(response: Any) -> bytes:
    """In pieces as they come."""
    return b"".join([piece async for piece in response.aiter_bytes()])


async def a_by_iter_bytes_of_5(response: Any) -> bytes:
    """In pieces of one size, but for the last."""
    pieces = [piece async for piece in response.aiter_bytes(5)]
    assert {len(piece) for piece in pieces[:-1]} <= {5}
    return b"".join(pieces)


async def a_by_iter_text(response: Any) -> bytes:
    """As text."""
    return "".join([text async for text in response.aiter_text()]).encode()


async def a_by_iter_raw(response: Any) -> bytes:
    """As the provider sent them."""
    return b"".join([piece async for piece in response.aiter_raw()])


async def a_by_read(response: Any) -> bytes:
    """At once."""
    content: bytes = await response.aread()
    return content


A_READS = [a_by_iter_bytes, a_by_iter_bytes_of_5, a_by_iter_text, a_by_read]

HIDDEN = sse(EVENTS[-1])
LF = "".join(sse(event) for event in EVENTS) + DONE
COMMENTED = ": keep-alive\n\n" + LF.replace("data: ", ": note\nid: 1\ndata: ", 1).replace(DONE, ": late\n\n" + DONE)
WIRES = {
    "line feeds": (LF, HIDDEN),
    "carriage returns and line feeds": (LF.replace("\n", "\r\n"), HIDDEN.replace("\n", "\r\n")),
    "carriage returns": (LF.replace("\n", "\r"), HIDDEN.replace("\n", "\r")),
    "mixed line ends": (LF.replace("\n\n", "\n\r\n"), HIDDEN.replace("\n\n", "\n\r\n")),
    "comments": (COMMENTED, HIDDEN),
    "no end": (LF.removesuffix("\n\n"), HIDDEN),
    "ends with the hidden event": (LF.removesuffix(DONE), HIDDEN),
    "ends within the hidden event": (LF.removesuffix(DONE).rstrip("\n"), HIDDEN.rstrip("\n")),
    "data in two lines": (LF.replace('"usage"', '\ndata: "usage"'), HIDDEN.replace('"usage"', '\ndata: "usage"')),
    "no space": (LF.replace("data: ", "data:"), HIDDEN.replace("data: ", "data:")),
}
PIECES = [1, 7, None]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("gzipped", [False, True], ids=["identity", "gzip"])
@pytest.mark.parametrize("wire", WIRES)
def test_bytes_are_the_providers_without_the_event_we_asked_for(
    wire: str, gzipped: bool, piece: int | None, instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """Whatever the line ends, the pieces, the compression and the way to read."""
    text, hidden = WIRES[wire]
    assert text.count(hidden) == 1
    reads = READS if gzipped else [*READS, by_iter_raw]
    instrument()
    for number, read in enumerate(reads):
        sent = text.replace("chatcmpl-1", f"chatcmpl-{number}")
        provider.script(Reply(events=[sent], done=False, gzipped=gzipped, piece=piece))
        with client.chat.completions.with_streaming_response.create(**STREAMED) as raw:
            assert read(raw.http_response).decode() == sent.replace(hidden.replace("chatcmpl-1", f"chatcmpl-{number}"), "")
    got = sorted((readable(packet) for packet in packets(len(reads))), key=lambda packet: packet["body"]["provider_response_id"])
    assert got == [
        stream_packet([{**event, "id": f"chatcmpl-{number}"} for event in EVENTS], response_id=f"chatcmpl-{number}")
        for number in range(len(reads))
    ]


@pytest.mark.parametrize("piece", PIECES)
async def test_async_bytes_are_the_providers_without_the_event_we_asked_for(
    piece: int | None, instrument: Any, async_client: Any, provider: Any
) -> None:
    """The async twin."""
    instrument()
    for text, hidden in WIRES.values():
        for gzipped in (False, True):
            for read in A_READS if gzipped else [*A_READS, a_by_iter_raw]:
                provider.script(Reply(events=[text], done=False, gzipped=gzipped, piece=piece))
                async with async_client.chat.completions.with_streaming_response.create(**STREAMED) as raw:
                    assert (await read(raw.http_response)).decode() == text.replace(hidden, "")


@pytest.mark.parametrize("text", ["", "hello, no event at all", '{"not": "an event"}', "data: {broken\n\ndata: \n\n\n\n: x"])
def test_bytes_that_are_no_events_pass_whole(text: str, instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Whatever a host may send instead of a stream."""
    instrument()
    provider.script(Reply(events=[text] if text else [], done=False))
    with client.chat.completions.with_streaming_response.create(**STREAMED) as raw:
        assert raw.read().decode() == text
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 200


SDK_READS: dict[str, Callable[[Any], Any]] = {
    "iter_lines": lambda raw: [line for line in raw.iter_lines() if line],
    "iter_text": lambda raw: [line for line in "".join(raw.iter_text()).split("\n") if line],
    "iter_bytes": lambda raw: [line for line in b"".join(raw.iter_bytes(3)).decode().split("\n") if line],
    "read": lambda raw: [line for line in raw.read().decode().split("\n") if line],
    "text": lambda raw: [line for line in raw.text().split("\n") if line],
}


@pytest.mark.parametrize("way", SDK_READS)
def test_the_sdks_own_ways_to_read_make_one_whole_packet(way: str, instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """`with_streaming_response` of a stream, read line by line or at once."""
    instrument()
    provider.script(Reply(events=EVENTS))
    with client.chat.completions.with_streaming_response.create(**STREAMED) as raw:
        lines = SDK_READS[way](raw)
    assert [json.loads(line[6:]) for line in lines[:-1]] == SHOWN
    assert lines[-1] == "data: [DONE]"
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


def test_bytes_are_untouched_where_the_caller_asked_for_usage(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """They come as they are sent, piece by piece, and are counted all the same."""
    asked = {**STREAMED, "stream_options": {"include_usage": True}}
    instrument()
    provider.script(Reply(events=EVENTS))
    with client.chat.completions.with_streaming_response.create(**asked) as raw:
        assert b"".join(raw.iter_bytes(4)).decode() == LF
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS, request=asked)


def test_an_error_among_the_bytes_makes_a_299(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Nobody raises it where only bytes are read; the packet says it all the same."""
    error = {"error": {"message": "The server had an error", "type": "server_error"}}
    instrument()
    provider.script(Reply(events=[*EVENTS[:2], error]))
    with client.chat.completions.with_streaming_response.create(**STREAMED) as raw:
        assert json.loads(list(filter(None, raw.iter_lines()))[2][6:]) == error
    (packet,) = packets()
    expected = stream_packet(EVENTS[:2], reason="error", units=ESTIMATED, status=299, failure="server_error")
    expected["body"]["provider_response_json"].append(error)
    assert readable(packet) == expected


@pytest.mark.parametrize("size", [None, 5])
def test_bytes_before_a_cut_all_reach_the_caller(size: int | None, instrument: Any, provider: Any, packets: Any) -> None:
    """What was held back to see whether it has to be hidden comes before the error, which is the one without us."""
    half = [sse(EVENTS[0]), sse(EVENTS[1])[:30], "never sent"]
    provider.script(*[Reply(events=half, done=False, cut_after=2)] * 2)

    def read() -> tuple[bytes, BaseException]:
        got: list[bytes] = []
        with (
            openai.OpenAI(api_key="sk", base_url=provider.url + "/v1") as client,
            client.chat.completions.with_streaming_response.create(**STREAMED) as raw,
            pytest.raises(Exception) as raised,
        ):
            got.extend(raw.iter_bytes(size))
        return b"".join(got), raised.value

    bytes_before, error_before = read()
    instrument()
    bytes_after, error_after = read()
    assert bytes_after == bytes_before
    assert (type(error_after), error_after.args) == (type(error_before), error_before.args)
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 299
    assert packet["body"]["properties"]["payi_otel.end_reason"] == "error"


def test_lines_left_early_are_closed(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Leaving the block ends the call with what was read."""
    instrument()
    provider.script(Reply(events=EVENTS, piece=40, held=True))
    with client.chat.completions.with_streaming_response.create(**STREAMED) as raw:
        for line in raw.iter_lines():
            if "Hello" in line:
                break
    (packet,) = packets()
    packet = readable(packet)
    assert packet["body"]["properties"] == {"payi_otel.end_reason": "closed", "payi_otel.usage_estimated": "input,output"}
    assert packet["body"]["http_status_code"] == 200


# ---- streams parsed from raw responses


def test_a_raw_response_of_a_stream_parses_in_one_expression(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """`with_raw_response.create(...).parse()`: nobody holds the raw response when `parse` runs."""
    instrument()
    provider.script(Reply(events=EVENTS))
    stream = client.chat.completions.with_raw_response.create(**STREAMED).parse()
    assert type(stream) is openai.Stream
    assert [one.to_dict() for one in stream] == SHOWN
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


def test_a_raw_response_of_a_stream_has_everything_it_has_without_us(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Headers, status, ids; `parse` gives the same stream each time; the HTTP response is the library's own."""
    instrument()
    provider.script(Reply(events=EVENTS))
    raw = client.chat.completions.with_raw_response.create(**STREAMED)
    assert raw.headers["x-request-id"] == "req_1"
    assert raw.status_code == 200
    assert raw.http_response.status_code == 200
    assert raw.parse() is raw.parse()
    assert not inspect.iscoroutinefunction(raw.parse)
    assert inspect.signature(raw.parse) == inspect.signature(type(raw).parse.__get__(raw))
    assert [one.to_dict() for one in raw.parse()] == SHOWN
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


async def test_an_async_raw_response_of_a_stream(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """Its `parse` is not awaited, as without us."""
    instrument()
    provider.script(Reply(events=EVENTS))
    raw = await async_client.chat.completions.with_raw_response.create(**STREAMED)
    assert not inspect.iscoroutinefunction(raw.parse)
    assert [one.to_dict() async for one in raw.parse()] == SHOWN
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


def test_a_streaming_response_of_a_stream_parses(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The sync twin of what openai-agents does."""
    instrument()
    provider.script(Reply(events=EVENTS))
    with client.chat.completions.with_streaming_response.create(**STREAMED) as raw:
        assert [one.to_dict() for one in raw.parse()] == SHOWN
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


async def test_an_async_streaming_response_of_a_stream_parses(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """As openai-agents does it: entered by hand, parsed with `await`, closed at the end."""
    instrument()
    provider.script(Reply(events=EVENTS))
    manager = async_client.chat.completions.with_streaming_response.create(**STREAMED)
    raw = await manager.__aenter__()
    assert inspect.iscoroutinefunction(raw.parse)
    assert [one.to_dict() async for one in await raw.parse()] == SHOWN
    await manager.__aexit__(None, None, None)
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


def test_a_stream_parsed_from_a_raw_response_and_left_is_closed(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Leaving the response's block closes the stream."""
    instrument()
    provider.script(Reply(events=EVENTS, held=True))
    with client.chat.completions.with_streaming_response.create(**STREAMED) as raw:
        next(raw.parse())
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS[:1], reason="closed", units=ESTIMATED)


def test_a_parsed_stream_whose_bytes_are_read_instead_is_counted(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Parsing reads nothing, so the bytes are still there."""
    instrument()
    provider.script(Reply(events=EVENTS))
    raw = client.chat.completions.with_raw_response.create(**STREAMED)
    raw.parse()
    assert raw.http_response.read().decode() == LF.replace(HIDDEN, "")
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


def test_bytes_read_first_and_parsed_later_are_counted_once(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The stream parsed from bytes that were read shows the same events."""
    instrument()
    provider.script(Reply(events=EVENTS))
    raw = client.chat.completions.with_raw_response.create(**STREAMED)
    raw.http_response.read()
    assert [one.to_dict() for one in raw.parse()] == SHOWN
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


def test_a_streams_own_response_read_as_bytes_hides_the_event(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """`stream.response` is public: who reads it gets what the provider sends without us."""
    instrument()
    provider.script(Reply(events=EVENTS))
    stream = client.chat.completions.create(**STREAMED)
    assert stream.response.read().decode() == LF.replace(HIDDEN, "")
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


# ---- plain calls


def test_a_raw_response_of_a_plain_call(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """It is read already; parsing it twice is one call."""
    instrument()
    provider.script(Reply(completion()))
    raw = client.chat.completions.with_raw_response.create(**REQUEST)
    assert (raw.status_code, raw.headers["x-request-id"], raw.request_id) == (200, "req_1", "req_1")
    assert raw.http_response.json() == completion()
    assert raw.parse() is raw.parse()
    assert raw.parse().to_dict() == completion()
    (packet,) = packets()
    assert plain(packet) == PLAIN


async def test_an_async_raw_response_of_a_plain_call(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """As LangChain makes every call: parsed in one expression."""
    instrument()
    provider.script(Reply(completion()))
    assert (await async_client.chat.completions.with_raw_response.create(**REQUEST)).parse().to_dict() == completion()
    (packet,) = packets()
    assert plain(packet) == PLAIN


def by_json(raw: Any) -> None:
    """As JSON."""
    assert raw.json() == completion()


def by_parse(raw: Any) -> None:
    """As the SDK's object, twice."""
    assert raw.parse().to_dict() == raw.parse().to_dict() == completion()


def by_bytes(raw: Any) -> None:
    """In pieces."""
    assert json.loads(b"".join(raw.iter_bytes(10))) == completion()


def by_content(raw: Any) -> None:
    """At once, twice."""
    assert json.loads(raw.read()) == json.loads(raw.read()) == completion()


@pytest.mark.parametrize("read", [by_json, by_parse, by_bytes, by_content])
@pytest.mark.parametrize("gzipped", [False, True])
def test_a_streaming_response_of_a_plain_call(
    read: Callable[[Any], None], gzipped: bool, instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """Counted when the caller reads it, however he does."""
    instrument()
    provider.script(Reply(completion(), gzipped=gzipped))
    with client.chat.completions.with_streaming_response.create(**REQUEST) as raw:
        read(raw)
    (packet,) = packets()
    assert plain(packet) == PLAIN


async def test_an_async_streaming_response_of_a_plain_call(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """The async twin."""
    instrument()
    provider.script(Reply(completion()))
    async with async_client.chat.completions.with_streaming_response.create(**REQUEST) as raw:
        assert (await raw.parse()).to_dict() == completion()
        assert await raw.json() == completion()
    (packet,) = packets()
    assert plain(packet) == PLAIN


def test_a_streaming_response_nobody_reads_is_closed(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """One packet, that says so and estimates."""
    instrument()
    provider.script(Reply(completion()))
    with client.chat.completions.with_streaming_response.create(**REQUEST) as raw:
        assert raw.headers["x-request-id"] == "req_1"
    (packet,) = packets()
    expected = stream_packet([], reason="closed", units=ESTIMATED, request=REQUEST)
    assert readable(packet) == expected


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds the provider's body back."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_lazy_response_is_handed_over_before_its_body_comes(
    streamed: bool, instrument: Any, client: Any, provider: Any, packets: Any, gate: threading.Event
) -> None:
    """Nothing is read that the caller does not read."""
    instrument()
    if streamed:
        provider.script(Reply(events=["".join(map(sse, EVENTS))], done=False, gate=gate))
    else:
        provider.script(Reply(completion(), gate=gate, head_first=True))
    with client.chat.completions.with_streaming_response.create(**(STREAMED if streamed else REQUEST)) as raw:
        assert raw.http_response.num_bytes_downloaded == 0
        assert not raw.http_response.is_stream_consumed
        parsed = raw.parse() if streamed else None
        assert raw.http_response.num_bytes_downloaded == 0
        gate.set()
        assert [one.to_dict() for one in parsed] == SHOWN if streamed else raw.json() == completion()
    (packet,) = packets()
    assert (readable(packet) == stream_packet(EVENTS)) if streamed else (plain(packet) == PLAIN)


def test_text_comes_event_by_event_not_at_the_end(instrument: Any, client: Any, provider: Any, packets: Any, gate: threading.Event) -> None:
    """Holding back an event that may have to be hidden does not hold back those before it."""
    instrument()
    provider.script(Reply(events=EVENTS, gate=gate))
    with client.chat.completions.with_streaming_response.create(**STREAMED) as raw:
        lines = (line for line in raw.iter_lines() if line)
        assert [json.loads(next(lines)[6:]) for _ in SHOWN] == SHOWN
        assert not gate.is_set()
        gate.set()
        assert list(lines) == ["data: [DONE]"]
    packets()
