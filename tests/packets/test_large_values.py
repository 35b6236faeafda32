"""What is worked on in slices comes out the same as in one piece: the slices are made small here, so that every seam is met."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from payi_otel import _large
from payi_otel._json import read_json, to_json
from payi_otel.context.scope import Scope
from payi_otel.delivery import _encode
from payi_otel.exporters import _wire
from payi_otel.instrumentors import _content, _inline
from payi_otel.instrumentors._claude import ClaudeContent
from payi_otel.instrumentors._content import CallContent
from payi_otel.instrumentors._gemini import GeminiContent
from payi_otel.instrumentors._inline import InlineRules
from payi_otel.instrumentors.bedrock._content import BedrockContent
from payi_otel.instrumentors.openai._content import OpenAIContent
from payi_otel.packets.convert import PacketRules, to_packet
from payi_otel.packets.units import Units, Usage
from payi_otel.payload import LargeJson, Payload

MARKS = (b'"ab"', b'"abc"', b"ba", b'";')
DATA = st.binary(min_size=0, max_size=60).map(lambda data: base64.b64encode(data).decode())
PIECES = st.one_of(
    st.text(max_size=9),
    st.sampled_from(["data", "image", "bytes", 'a "data":"', "\\", '\\"', "type", "input_audio", "audio", "é😀", "\ud83d", "\ude00"]),
    DATA,
    DATA.map(lambda data: f"data:image/png;base64,{data}"),
    DATA.map(lambda data: f"DATA:;base64,{data} "),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), PIECES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(PIECES, inner, max_size=4)),
    max_leaves=12,
)
LONG_FIELDS = st.sampled_from(["provider_request_json", "provider_response_json"])


@pytest.fixture(autouse=True, scope="module")
def small_slices() -> Any:
    """Slices of a few bytes, and data that is long soon."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (_large, _inline, _encode):
            patched.setattr(module, "SLICE", 7)
        patched.setattr(_inline, "_LONG", 20)
        patched.setattr(_inline, "_MIN_INLINE_CHARS", 8)
        yield


@pytest.mark.parametrize("sample", [0, _large._SAMPLE], ids=["split", "searched"])
@given(
    text=st.lists(st.sampled_from([*MARKS, b'"', b"a", b"b", b"c", b";", b"xyz"]), max_size=20).map(b"".join),
    marks=st.sets(st.sampled_from(MARKS)),
)
def test_marks_are_found_wherever_they_stand(sample: int, text: bytes, marks: set[bytes]) -> None:
    """On seams, too; in either way."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_large, "_SAMPLE", sample)
        assert _large.Marks(*marks).are_in(text) == any(mark in text for mark in marks)


def test_quotation_marks_are_looked_for_in_all_of_a_text() -> None:
    """A long word in the middle of much JSON does not have it split into thousands of pieces."""
    quoted, word = b'"a":"b",' * 2000, b"w" * 3000
    assert not _large._has_few_quotes(quoted + word + quoted)
    assert _large._has_few_quotes(word + quoted[:100] + word)


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=3), st.integers(0, 10))
def test_a_mark_is_found_where_it_stands_first(text: bytes, mark: bytes, start: int) -> None:
    """From where the search begins."""
    assert _large.find(mark, text, start) == text.find(mark, start)


@given(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)), st.one_of(st.none(), st.integers(0, 40)))
def test_a_text_is_read_or_refused_as_a_whole(data: bytes, max_chars: int | None) -> None:
    """Characters of several bytes may stand on a seam; what is cut is longer than what is wanted."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            _large.decode(data, max_chars)
        return
    decoded = _large.decode(data, max_chars)
    assert text.startswith(decoded)
    assert decoded == text or (max_chars is not None and len(decoded) > max_chars)


@given(st.text(alphabet="ab\r\né", max_size=20))
def test_a_text_holds_only_what_it_holds(text: str) -> None:
    """Text and bytes."""
    assert _large.holds_only(b"ab\r\n", text) == set("ab\r\n").issuperset(text)
    assert _large.holds_only(b"ab\r\n", text.encode()) == set("ab\r\n").issuperset(text)


@example({"provider_request_json": "x" * 6 + "\ud83d\ude00" + "y" * 9})
@example({"provider_request_json": "x" * 6 + "\ud83d\ud83d\ude00" + "y" * 9})
@given(st.dictionaries(LONG_FIELDS | st.text(max_size=3), st.one_of(VALUES, st.lists(PIECES), st.lists(PIECES).map("".join)), max_size=4))
def test_a_packet_is_encoded_the_same(body: dict[str, Any]) -> None:
    """Long texts, and lists of them; halves of characters, which may make a pair."""
    assert _encode.to_wire_json(body) == to_json(body)


@pytest.mark.parametrize("rules", [OpenAIContent.inline, ClaudeContent.inline, BedrockContent.inline, GeminiContent.inline])
@given(VALUES, st.booleans())
def test_data_that_is_cut_before_is_taken_out_the_same(rules: InlineRules, value: Any, is_wide: bool) -> None:
    """Whatever stands around it: escapes, keys that look like data, words that look like keys."""
    text = orjson.dumps(orjson.loads(to_json(value)), option=orjson.OPT_INDENT_2 if is_wide else 0)
    assert rules.strip(read_json(rules.cut(text))) == rules.strip(read_json(text))


@given(st.text(max_size=60))
def test_what_is_no_json_stays_none(text: str) -> None:
    """Cutting mends nothing."""
    data = f'{{"data":"{text}"}}'.encode("utf-8", "surrogatepass")
    assert (_content.to_json_value(OpenAIContent.inline.cut(data)) is None) == (_content.to_json_value(data) is None)


def test_long_data_is_cut() -> None:
    """And so are several of them; what is not data stays."""
    long = "A" * 30
    text = f'{{"data": "{long}", "x": "{long}", "url": "data:a;base64,{long}", "data:b;base64,{long}": ["data:c;base64,{long}"]}}'
    cut = f'{{"data": "AAAAAAAA", "x": "{long}", "url": "data:a;base64,", "data:b;base64,{long}": ["data:c;base64,"]}}'
    assert OpenAIContent.inline.cut(text.encode()) == cut.encode()


def test_a_quoted_mark_of_data_is_a_word() -> None:
    """Of a text, or of a key."""
    long = "A" * 30
    text = f'{{"x\\"data": "{long}", "content": "x\\"data:a;base64,{long}"}}'.encode()
    assert OpenAIContent.inline.cut(text) == text
    assert OpenAIContent.inline.strip(read_json(text)) == read_json(text)


REQUEST = '{"model":"m","messages":[{"role":"user","content":"é%s😀"}],"stream":true,"stream_options":{"include_usage":true}}' % (
    "word " * 30
)
REQUESTS = {
    "as it came": REQUEST,
    "with blanks around it": f" {REQUEST}\n",
    "no object": f"[{REQUEST}]",
    "no JSON": REQUEST[:-1],
    "another of that name before ours": REQUEST.replace("word", '\\"stream_options\\"', 1).replace('"model"', '"stream_options":1,"model"'),
    "another of that name that looks like ours": REQUEST.replace('"model"', '"x":{"y":1,"stream_options":{"include_usage":true}},"model"'),
    "a half character": REQUEST.replace("é", "\ud83d"),
}


def to_encoded(request: str, *, max_chars: int | None, restore: bool) -> bytes:
    """A call's packet as it is sent."""
    data = request.encode("utf-8", "surrogatepass")
    content = OpenAIContent(data, [b'{"id":"r"}'], streamed=False, restore={"stream_options": None} if restore else None)
    payload = Payload(Scope(), "system.openai", "openai/3", usage=Usage({"text": Units(1, 1)}), response_id="r", content=content)
    return _wire.encode(to_packet(payload, PacketRules(max_chars=max_chars))).json


@pytest.mark.parametrize("max_chars", [50, 1000])
@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize("request_text", REQUESTS.values(), ids=REQUESTS)
def test_a_packet_of_a_large_request_is_the_same(request_text: str, restore: bool, max_chars: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether all of it is made a text, or only what is sent; as if it were not large; and as if every word were read."""
    monkeypatch.setattr(_wire, "MAX_CHARS", max_chars)
    limited = to_encoded(request_text, max_chars=max_chars, restore=restore)
    assert limited == to_encoded(request_text, max_chars=None, restore=restore)
    monkeypatch.setattr(_large, "SLICE", 1000)
    assert limited == to_encoded(request_text, max_chars=None, restore=restore)
    sent = orjson.loads(limited)
    if max_chars == 1000 and request_text != REQUESTS["no JSON"]:
        monkeypatch.setattr(CallContent, "_request_text", lambda self, *, inline_data: None)
        read = orjson.loads(to_encoded(request_text, max_chars=None, restore=restore))
        assert read_json(sent.pop("provider_request_json")) == read_json(read.pop("provider_request_json"))
        assert sent == read
    sent = orjson.loads(limited)
    if request_text == REQUEST:
        whole = request_text.replace(',"stream_options":{"include_usage":true}', "") if restore else request_text
        assert sent["provider_request_json"] == whole[:max_chars]
        assert sent.get("properties") == ({_wire.TRUNCATED: "provider_request_json"} if max_chars == 50 else None)


def test_a_large_request_is_read_where_its_value_is_asked_for() -> None:
    """For the messages on a span."""
    content = OpenAIContent(REQUEST.encode(), [], streamed=False).read(inline_data=False, estimate=None)
    assert isinstance(content.request, LargeJson)
    assert content.parsed().request == orjson.loads(REQUEST)
