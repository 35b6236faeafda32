"""Span and payload to packet: pure, whole, and never lost for one odd value."""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import dataclass
from types import CodeType
from typing import Any

import pytest
from rich.pretty import pretty_repr

from payi_otel import _ingest_rules as rules
from payi_otel._json import to_json
from payi_otel.context.scope import Scope
from payi_otel.packets.convert import PacketRules, stack_lines, to_packet
from payi_otel.packets.counting import TokenCounter
from payi_otel.packets.units import Units, Usage
from payi_otel.payload import Content, FunctionCall, Payload

START_NS = 1_700_000_000_123_456_789
USAGE = Usage({"text": Units(12, 5)}, 12, 5)


def payload(**changes: Any) -> Payload:
    """An ended call."""
    facts: dict[str, Any] = {
        "scope": Scope(),
        "category": "system.openai",
        "module": "openai/3.53.0",
        "model": "gpt-4o-mini",
        "started_at_ns": START_NS,
        "latency_ms": 7,
        "http_status": 200,
        "response_id": "chatcmpl-1",
        "usage": USAGE,
    }
    return Payload(**{**facts, **changes})


@dataclass
class Said:
    """Content that is ready, or fails."""

    content: Content | Exception
    asked: tuple[bool, bool] | None = None

    def read(self, *, inline_data: bool, estimate: TokenCounter | None) -> Content:
        """Gives it, and remembers what was asked."""
        self.asked = (inline_data, estimate is not None)
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def body_of(call: Payload, **settings: Any) -> dict[str, Any]:
    """The body of its packet, which a strict ingest takes."""
    packet = to_packet(call, PacketRules(**settings))
    body = json.loads(json.dumps(dict(packet.body)))
    assert rules.check_packet(body, is_bulk=False) is None
    return body


def test_least_packet_is_whole() -> None:
    """What is not known is not there."""
    assert body_of(payload()) == {
        "category": "system.openai",
        "resource": "gpt-4o-mini",
        "units": {"text": {"input": 12, "output": 5}},
        "event_timestamp": "2023-11-14T22:13:20.123457+00:00",
        "end_to_end_latency_ms": 7,
        "http_status_code": 200,
        "provider_response_id": "chatcmpl-1",
    }


def test_full_packet_is_whole() -> None:
    """Everything that is known is there, once, under its name."""
    content = Content({"a": 1}, [{"b": 2}], False, (FunctionCall("f", "{}"), FunctionCall("g")))
    call = payload(
        scope=Scope(request_properties={"k": "v"}, use_case_name="u", use_case_properties={"p": None}, user_id="ada", limit_ids=("l",)),
        provider_uri="https://api.openai.com/v1/",
        first_token_ms=3,
        first_completion_token_ms=4,
        request_headers=(("x-a", "1"),),
        response_headers=(("x-b", "2"),),
        content=Said(content),
        service_tier="flex",
        properties={"system.x": "y"},
    )
    packet = to_packet(call, PacketRules())
    body = dict(packet.body)
    assert json.loads(body.pop("provider_request_json")) == {"a": 1}
    assert json.loads(body.pop("provider_response_json")) == {"b": 2}
    assert {key: body[key] for key in body if key not in body_of(payload())} == {
        "provider_uri": "https://api.openai.com/v1/",
        "time_to_first_token_ms": 3,
        "time_to_first_completion_token_ms": 4,
        "provider_request_headers": [{"name": "x-a", "value": "1"}],
        "provider_response_headers": [{"name": "x-b", "value": "2"}],
        "provider_response_function_calls": [{"name": "f", "arguments": "{}"}, {"name": "g"}],
        "properties": {"k": "v", "system.x": "y", "payi_otel.service_tier": "flex"},
        "use_case_properties": {"p": None},
    }
    assert packet.scope_fields() == {"limit_ids": ["l"], "use_case_name": "u", "user_id": "ada"}


@pytest.mark.parametrize(
    ("changes", "estimated"),
    [
        ({"usage": USAGE}, False),
        ({"usage": None}, True),
        ({"usage": None, "http_status": 400}, False),
        ({"usage": None, "http_status": None}, False),
        ({"usage": None, "http_status": None, "end_reason": "cancelled"}, False),
        ({"usage": None, "http_status": None, "end_reason": "error", "failure": ("E", "")}, False),
        ({"usage": None, "http_status": None, "end_reason": "error", "failure": ("E", ""), "first_token_ms": 1}, True),
        ({"usage": None, "end_reason": "closed", "first_token_ms": 1}, True),
        ({"usage": None, "failure": ("server_error", "")}, False),
        ({"usage": None, "failure": ("server_error", ""), "first_completion_token_ms": 1}, True),
    ],
)
def test_when_units_are_estimated(changes: dict[str, Any], *, estimated: bool) -> None:
    """Only where the provider had begun to answer and gave no usage."""
    said = Said(Content(None, [], False, estimated_tokens=(3, 2) if estimated else None))
    body = body_of(payload(content=said, **changes))
    assert said.asked == (False, estimated)
    if estimated:
        assert body["units"] == {"text": {"input": 3, "output": 2}}
        assert body["properties"]["payi_otel.usage_estimated"] == "input,output"


def test_bad_content_costs_the_bodies_only(caplog: pytest.LogCaptureFixture) -> None:
    """One odd answer must not lose its bill; the fault's own text is not logged, for it may quote the answer."""
    with caplog.at_level(logging.WARNING):
        assert body_of(payload(content=Said(ValueError("a secret")))) == body_of(payload())
    assert [record.getMessage() for record in caplog.records] == [
        "the bodies of a call could not be read (ValueError): its packet goes without them"
    ]


@pytest.mark.parametrize("said", ["plain", "stream of one", "empty stream", "nothing"])
def test_form_of_the_answer(said: str) -> None:
    """A plain answer is a text, a stream a list of them, whatever their number."""
    content = {
        "plain": Content(None, [{"a": 1}], False),
        "stream of one": Content(None, [{"a": 1}], True),
        "empty stream": Content(None, [], True),
        "nothing": Content(None, [None], False),
    }[said]
    expected: Any = {"plain": '{"a":1}', "stream of one": ['{"a":1}'], "empty stream": None, "nothing": "null"}[said]
    assert body_of(payload(content=Said(content))).get("provider_response_json") == expected


deep: Any = []
for _ in range(5000):
    deep = [deep]
circle: list[Any] = []
circle.append(circle)
ODD: list[tuple[Any, str | None]] = [
    (float("nan"), "null"),
    ({1: "a", None: "b", 2.5: "c"}, '{"1":"a","null":"b","2.5":"c"}'),
    (2**70, f'"{2**70}"'),
    ([10**5000], f'["{hex(10**5000)}"]'),
    ({"circle": circle}, None),
    ([2**70, float("nan"), float("inf"), -float("inf")], f'["{2**70}",null,null,null]'),
    ("\ud800 lone", None),
    ({"\udfff": ["\ud800", float("nan")]}, None),
    (b"bytes", '"Ynl0ZXM="'),
    ({1, 2}, "[1,2]"),
    (object(), '"<object>"'),
    ({("a", "b"): 1}, None),
    ([2**70, {("a", "b"): {1}}], None),
    (deep, None),
]


@pytest.mark.parametrize(("value", "text"), ODD)
def test_every_value_becomes_json(value: Any, text: str | None) -> None:
    """What no JSON can hold becomes something that it can, strictly."""

    def refuse(name: str) -> Any:
        raise AssertionError(name)

    made = to_json(value).decode()
    assert made.encode()
    assert isinstance(json.loads(made, parse_constant=refuse), object)
    assert text is None or made.replace(" ", "") == text.replace(" ", "")


def test_numbers_are_bounded() -> None:
    """Pay-i refuses a packet for one number beyond 32 bits, or below zero."""
    usage = Usage({"text": Units(10**12, -5)}, 10**12, -5)
    body = body_of(payload(usage=usage, latency_ms=-3))
    assert body["units"] == {"text": {"input": 2**31 - 1, "output": 0}}
    assert body["end_to_end_latency_ms"] == 0


def test_late_tokens_are_bounded() -> None:
    """A stream left open for a month, too."""
    body = body_of(payload(latency_ms=10**11, first_token_ms=10**11, first_completion_token_ms=10**11))
    names = ("end_to_end_latency_ms", "time_to_first_token_ms", "time_to_first_completion_token_ms")
    assert [body[name] for name in names] == [2**31 - 1] * 3


@pytest.mark.parametrize("response_id", [None, ""])
def test_missing_id_is_made(response_id: str | None) -> None:
    """A packet without an id could not be told from its resend."""
    assert re.fullmatch(r"payi_[0-9a-f-]{36}", body_of(payload(response_id=response_id))["provider_response_id"])


@pytest.mark.parametrize("way", ["rules", "scope"])
def test_silence_is_one_switch(way: str) -> None:
    """Nothing of the content is left, and the flag says so; the scope's word counts more than the rules'."""
    content = Content({"a": "canary"}, [{"b": "canary"}], False, (FunctionCall("f", "canary"),))
    call = payload(
        scope=Scope(log_prompt_and_response=False if way == "scope" else None),
        content=Said(content),
        http_status=None,
        failure=("E", "canary"),
        error_body="canary",
        request_headers=(("x-note", "canary"),),
        response_headers=(("x-note", "canary"), ("X-Request-Id", "req_1")),
        stack=((test_silence_is_one_switch.__code__, 0),),
    )
    packet = to_packet(call, PacketRules(log_prompt_and_response=way == "scope"))
    assert packet.logging_disabled
    assert "canary" not in repr(packet)
    assert packet.body["provider_response_headers"] == [{"name": "X-Request-Id", "value": "req_1"}]
    loud = to_packet(payload(scope=Scope(log_prompt_and_response=True)), PacketRules(log_prompt_and_response=False))
    assert not loud.logging_disabled


def test_a_payload_is_shown_without_its_words() -> None:
    """By rich too, which shows the variables of a traceback."""
    shown = payload(error_body="secret", failure=("code", "secret"), request_headers=[("authorization", "secret")])
    assert "secret" not in repr(shown) + pretty_repr(shown)


def test_stack_names_the_lines_outermost_first() -> None:
    """The line that an instruction stands in, with its source or without; the first one's of an instruction that there is not."""

    def here() -> tuple[tuple[CodeType, int], int]:
        frame = sys._getframe()
        return (frame.f_code, frame.f_lasti), frame.f_lineno

    called, line = here()
    nowhere = compile("None", "<nowhere>", "eval")
    call = payload(stack=(called, (called[0], 10**6), (nowhere, 10**6)))
    name = f'File "{__file__}", line '
    expected = [
        f"{name}{line}, in here\n    return (frame.f_code, frame.f_lasti), frame.f_lineno",
        f"{name}{line - 2}, in here\n    def here() -> tuple[tuple[CodeType, int], int]:",
        'File "<nowhere>", line 1, in <module>',
    ]
    for _ in range(2):  # the second time, as they are remembered
        assert stack_lines(call, source=True) == expected
        assert stack_lines(call, source=False) == [text.partition("\n")[0] for text in expected]
