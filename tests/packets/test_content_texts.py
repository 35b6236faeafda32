"""What was said goes into a packet as it came over the wire, where nothing of it is left out: the same as if every word had been read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payi_otel.instrumentors._claude import ClaudeContent
from payi_otel.instrumentors._content import CallContent, RecordedEvents
from payi_otel.instrumentors._raw import read_events, read_texts
from payi_otel.instrumentors.bedrock._content import BedrockContent
from payi_otel.instrumentors.google_genai._interactions import InteractionContent
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.payload import Content, JsonTexts

KINDS = (OpenAIContent, ClaudeContent, BedrockContent, InteractionContent)

CHUNK = b'{"id": "c", "choices": [{"delta": {"content": "w"}}]}'
STREAMS = {
    "one line an event": b"data: " + CHUNK + b"\n\ndata: " + CHUNK + b"\n\ndata: [DONE]\n\n",
    "named events": b"event: a\ndata: " + CHUNK + b"\n\nevent: b\ndata: " + CHUNK + b"\n\n",
    "carriage returns": b"event: a\r\ndata: " + CHUNK + b"\r\n\r\ndata: " + CHUNK + b"\r\n\r\n",
    "only carriage returns": b"data: " + CHUNK + b"\r\rdata: " + CHUNK + b"\r\r",
    "no blank behind the colon": b"data:" + CHUNK + b"\n\ndata:" + CHUNK,
    "an event of several lines": b'data: {"id":\ndata: "c"}\n\ndata: ' + CHUNK + b"\n\n",
    "lines that look whole": b'data: {"a": {}\ndata: }\n\n',
    "comments and ids": b": ping\n\nid: 1\nretry: 5\ndata: " + CHUNK + b"\n\n\n\ndata: " + CHUNK + b"\n\n",
    "pings": b'event: ping\ndata: {"type": "ping"}\n\nevent: a\ndata: ' + CHUNK + b'\n\n\nevent: ping\ndata: {"type": "ping"}\n\n',
    "broken off": b"data: " + CHUNK + b'\n\ndata: {"id": "c", "cho',
    "no text": b'data: {"id": "\xff"}\n\n',
    "no events": b"",
    "odd line ends within a text": 'data: {"a": "x\u2028y\x85z"}\n\n'.encode(),
}
BODIES = {
    "plain": b'{"model": "m", "messages": [{"role": "user", "content": "\xc3\xa9"}]}',
    "with a call": b'{"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}]}',
    "with a call of Claude's": b'{"type": "message", "content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]}',
    "with a call of Converse": b'{"output": {"message": {"content": [{"toolUse": {"name": "f", "input": {}}}]}}}',
    "with a call in steps": b'{"steps": [{"type": "function_call", "name": "f", "arguments": {}}]}',
    "with data": b'{"data": "aGVsbG8=", "image": "b", "b64_json": "aGVsbG8="}',
    "with a data URL": b'{"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}]}',
    "a list": b"[1, 2]",
    "nothing": b"",
}


def read_slowly(content: CallContent, monkeypatch: pytest.MonkeyPatch, *, inline_data: bool) -> Content:
    """Every word read."""
    with monkeypatch.context() as patched:
        patched.setattr(CallContent, "_request_text", lambda self, *, inline_data: None)
        patched.setattr(CallContent, "_answer_texts", lambda self, *, inline_data: None)
        return content.read(inline_data=inline_data, estimate=None)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_texts_of_a_stream_are_its_events(stream: bytes) -> None:
    """In the very number and order; where that is not sure, they are read."""
    texts = read_texts(stream)
    if texts is not None:
        assert [orjson.loads(text) for text in texts] == list(read_events(stream))


@pytest.mark.parametrize(
    "name", ["one line an event", "named events", "carriage returns", "comments and ids", "odd line ends within a text"]
)
def test_usual_streams_are_not_read(name: str) -> None:
    """That is what this is for."""
    assert read_texts(STREAMS[name])


LINES = st.tuples(
    st.sampled_from(["data: ", "data:", "event: ", ": ", "x", ""]),
    st.sampled_from(["{}", "{", "}", '{"a":1}', "[DONE]", "é", "ping", ""]),
    st.sampled_from(["\n", "\n\n", "\r\n", "\r\n\r\n", "\r", "\n\r\n"]),
)


@given(st.lists(LINES, max_size=8))
def test_any_stream_is_read_alike(lines: list[tuple[str, str, str]]) -> None:
    """Whatever a server sends: what is no event to one reader is none to the other."""
    stream = "".join(map("".join, lines)).encode()
    texts = read_texts(stream)
    if texts is not None:
        assert [value for text in texts if (value := loaded(text)) is not None] == list(read_events(stream))


def loaded(text: str) -> Any:
    """None where it is no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def test_pings_are_no_events() -> None:
    """The SDKs give them to nobody: counted as events, they would stand for the last ones of a stream."""
    assert read_texts(STREAMS["pings"]) == [CHUNK.decode()]


@pytest.mark.parametrize("inline_data", [True, False])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("kind", KINDS)
def test_bodies_are_the_same_read_or_not(kind: type[CallContent], body: bytes, inline_data: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Request, answer, tool calls, and what is told of images."""
    content = kind(body, [body], streamed=False)
    fast, slow = content.read(inline_data=inline_data, estimate=None), read_slowly(content, monkeypatch, inline_data=inline_data)
    assert fast.parsed() == slow


def test_a_body_that_is_no_json_goes_as_it_came() -> None:
    """Pay-i is told what the provider said."""
    content = OpenAIContent(b'{"model": "m"}', [b"{]}"], streamed=False).read(inline_data=False, estimate=None)
    assert (content.request, content.responses) == (['{"model": "m"}'], ["{]}"])
    assert isinstance(content.responses, JsonTexts)


@pytest.mark.parametrize("inline_data", [True, False])
@pytest.mark.parametrize("event", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("kind", KINDS)
def test_events_are_the_same_read_or_not(kind: type[CallContent], event: bytes, inline_data: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also only as many of them as the caller was given."""
    stream = b"data: " + event + b"\n\ndata: " + CHUNK + b"\n\ndata: " + CHUNK + b"\n\n"
    content = kind(None, RecordedEvents([stream[:9], stream[9:]], 2, lambda: pytest.fail("read again")), streamed=True)
    fast, slow = content.read(inline_data=inline_data, estimate=None), read_slowly(content, monkeypatch, inline_data=inline_data)
    assert fast.parsed() == slow


OURS = b'"stream_options":{"include_usage":true}'
QUOTED = OURS.replace(b'"', b'\\"')


@pytest.mark.parametrize(
    ("request_body", "left"),
    [
        (b'{"model":"m",' + OURS + b"}", b'{"model":"m"}'),
        (b'{"messages":["' + QUOTED + b'"],' + OURS + b"}", b'{"messages":["' + QUOTED + b'"]}'),
        (b'{"tools":[{"x":1,' + OURS + b"}]," + OURS + b"}", b'{"tools":[{"x":1,' + OURS + b"}]}"),
        (b'{"stream_options": {"include_usage": true}, "model": "m"}', b'{"model": "m"}'),
    ],
)
def test_what_we_added_is_not_in_the_request(request_body: bytes, left: bytes) -> None:
    """And what looks like it stays: a word in a text, a key within a tool."""
    content = OpenAIContent(request_body, [CHUNK], streamed=False, restore={"stream_options": None}).read(inline_data=False, estimate=None)
    assert content.parsed().request == orjson.loads(left)
