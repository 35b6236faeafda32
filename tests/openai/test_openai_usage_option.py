"""The usage of a stream is asked for where the caller did not, hidden from him, and never asked for twice where it is refused."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai_shapes import USAGE, chat_events, chunk, completion
from provider_server import Reply
from stream_packets import ESTIMATED, MESSAGES, REQUEST, STREAMED, readable, stream_packet

openai = pytest.importorskip("openai")

EVENTS = chat_events()
SHOWN = EVENTS[:-1]
ASKED = {"include_usage": True}
WITHOUT_USAGE = chat_events(usage=None)
REFUSALS = {
    "names the option": (400, {"error": {"message": "Unrecognized request argument supplied: stream_options", "param": "stream_options"}}),
    "names its key": (400, {"error": {"message": "include_usage is not supported", "type": "invalid_request_error"}}),
    "vague": (400, {"object": "error", "message": "extra fields not permitted", "code": 400}),
    "422": (422, {"detail": [{"loc": ["body", "stream_options"], "msg": "extra fields not permitted"}]}),
    "plain text": (400, "Bad Request"),
}


def sent(provider: Any) -> list[Any]:
    """The `stream_options` of each request."""
    return [request["body"].get("stream_options", "none") for request in provider.requests]


def shown(stream: Any) -> list[Any]:
    """What the caller gets."""
    return [one.to_dict() for one in stream]


def by_create(client: Any) -> list[Any]:
    """Plainly."""
    return shown(client.chat.completions.create(**STREAMED))


def by_helper(client: Any) -> list[Any]:
    """With the SDK's helper."""
    owner = client.chat.completions if hasattr(client.chat.completions, "stream") else client.beta.chat.completions
    with owner.stream(**REQUEST) as stream:
        events = [event.chunk.to_dict() for event in stream if event.type == "chunk"]
        assert stream.get_final_completion().usage is None
    return events


def by_raw_response(client: Any) -> list[Any]:
    """As LangChain does."""
    return shown(client.chat.completions.with_raw_response.create(**STREAMED).parse())


def by_streaming_response(client: Any) -> list[Any]:
    """As openai-agents does."""
    with client.chat.completions.with_streaming_response.create(**STREAMED) as raw:
        return shown(raw.parse())


FORMS = [by_create, by_helper, by_raw_response, by_streaming_response]


@pytest.mark.parametrize("call", FORMS)
def test_usage_is_asked_for_and_hidden_on_every_form(
    call: Callable[[Any], list[Any]], instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """The helper's call is counted once, too."""
    instrument()
    provider.script(Reply(events=EVENTS))
    assert call(client) == SHOWN
    assert sent(provider) == [ASKED]
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


async def test_the_async_helper_is_counted_once(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """Its call is made when it is entered."""
    instrument()
    provider.script(Reply(events=EVENTS))
    completions = async_client.chat.completions
    owner = completions if hasattr(completions, "stream") else async_client.beta.chat.completions
    async with owner.stream(**REQUEST) as stream:
        assert [event.chunk.to_dict() async for event in stream if event.type == "chunk"] == SHOWN
    assert sent(provider) == [ASKED]
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


@pytest.mark.parametrize("left", ["at once", "after one event"])
def test_a_helper_left_early_is_closed(left: str, instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The helper closes the HTTP response, not the stream."""
    instrument()
    provider.script(Reply(events=EVENTS, held=True))
    owner = client.chat.completions if hasattr(client.chat.completions, "stream") else client.beta.chat.completions
    with owner.stream(**REQUEST) as stream:
        if left == "after one event":
            next(iter(stream))
    (packet,) = packets()
    read = EVENTS[:1] if left == "after one event" else []
    assert readable(packet) == stream_packet(read, reason="closed", units=ESTIMATED)


def test_a_plain_call_is_not_asked_for_usage(instrument: Any, client: Any, provider: Any) -> None:
    """Its answer has it."""
    instrument()
    provider.script(Reply(completion()), Reply(completion()))
    client.chat.completions.create(**REQUEST)
    client.chat.completions.create(**REQUEST, stream=False)
    assert sent(provider) == ["none", "none"]


OWN_OPTIONS: dict[str, tuple[dict[str, Any], Any, Any]] = {
    # the caller's arguments, what is sent, what the packet says the caller sent
    "other keys": (
        {"stream_options": {"include_obfuscation": False}},
        {"include_obfuscation": False, **ASKED},
        {"include_obfuscation": False},
    ),
    "empty": ({"stream_options": {}}, ASKED, {}),
    "false": ({"stream_options": {"include_usage": False}}, ASKED, {"include_usage": False}),
    "none": ({"stream_options": None}, ASKED, None),
    "not given": ({"stream_options": openai.NOT_GIVEN}, ASKED, None),
    "in the body": ({"extra_body": {"stream_options": {"x": 1}, "top_k": 3}}, {"x": 1, **ASKED}, {"x": 1}),
    "in both": ({"stream_options": {"y": 2}, "extra_body": {"stream_options": {"x": 1}}}, {"x": 1, **ASKED}, {"x": 1}),
    "another body": ({"extra_body": {"top_k": 3}}, ASKED, None),
}


@pytest.mark.parametrize("own", OWN_OPTIONS)
def test_the_callers_own_options_are_kept_and_not_changed(own: str, instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Ours is merged in on the way out, and the packet's request is the caller's."""
    arguments, on_the_wire, in_packet = OWN_OPTIONS[own]
    before = {name: copy.deepcopy(value) if isinstance(value, dict) else value for name, value in arguments.items()}
    instrument()
    provider.script(Reply(events=EVENTS))
    assert shown(client.chat.completions.create(**STREAMED, **arguments)) == SHOWN
    assert arguments == before
    assert sent(provider) == [on_the_wire]
    (packet,) = packets()
    body = {name: value for name, value in (arguments.get("extra_body") or {}).items() if name != "stream_options"}
    request = {**STREAMED, **body, **({"stream_options": in_packet} if in_packet is not None else {})}
    assert readable(packet) == stream_packet(EVENTS, request=request)


@pytest.mark.parametrize("where", ["argument", "body"])
@pytest.mark.parametrize("asked", [ASKED, {**ASKED, "x": 1}])
def test_usage_the_caller_asked_for_is_his(
    where: str, asked: dict[str, Any], instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """Nothing is hidden then."""
    arguments = {"stream_options": asked} if where == "argument" else {"extra_body": {"stream_options": asked}}
    instrument()
    provider.script(Reply(events=EVENTS))
    assert shown(client.chat.completions.create(**STREAMED, **arguments)) == EVENTS
    assert sent(provider) == [asked]
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS, request={**STREAMED, "stream_options": asked})


FINISH_WITH_USAGE = [*WITHOUT_USAGE[:-1], chunk(finish="stop", usage=USAGE)]
RUNNING = [{**event, "usage": USAGE} for event in WITHOUT_USAGE]
CONTENT_WITH_USAGE = [*WITHOUT_USAGE[:-1], chunk("!", finish="stop", usage=USAGE)]
NULLS = [{**event, "usage": None} for event in WITHOUT_USAGE] + EVENTS[-1:]
FILTERED = [chunk(choices=[], prompt_filter_results=[{"prompt_index": 0}]), *EVENTS]
KEPT = {
    "on the finish chunk": (FINISH_WITH_USAGE, FINISH_WITH_USAGE),
    "on every chunk": (RUNNING, RUNNING),
    "with content": (CONTENT_WITH_USAGE, CONTENT_WITH_USAGE),
    "null on the others": (NULLS, NULLS[:-1]),
    "an empty chunk without usage": (FILTERED, FILTERED[:-1]),
}


@pytest.mark.parametrize("form", [by_create, by_streaming_response])
@pytest.mark.parametrize("kind", KEPT)
def test_only_a_chunk_that_is_nothing_but_usage_is_hidden(
    kind: str, form: Callable[[Any], list[Any]], instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """Content and finish reasons always reach the caller, wherever a server puts its usage."""
    events, expected = KEPT[kind]
    instrument()
    provider.script(Reply(events=events))
    assert form(client) == expected
    (packet,) = packets()
    assert readable(packet)["body"]["units"] == {"text": {"input": 12, "output": 5}}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_service_that_refuses_is_asked_once(
    refusal: str, form: Callable[[Any], list[Any]], instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """The caller's calls succeed, the second at the first try; each is one packet, with an estimate."""
    status, body = REFUSALS[refusal]
    answers = [Reply(events=[{**event, "id": f"chatcmpl-{number}"} for event in WITHOUT_USAGE]) for number in (1, 2)]
    instrument()
    provider.script(Reply(body, status=status), *answers)
    for number in (1, 2):
        assert form(client) == [{**event, "id": f"chatcmpl-{number}"} for event in WITHOUT_USAGE]
    assert sent(provider) == [ASKED, "none", "none"]
    first, _second = sorted((readable(packet) for packet in packets(2)), key=lambda packet: packet["body"]["provider_response_id"])
    assert first == stream_packet(WITHOUT_USAGE, units=ESTIMATED)


async def test_an_async_service_that_refuses_is_asked_once(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """The async twin, in two tasks one after the other."""
    answers = [Reply(events=[{**event, "id": f"chatcmpl-{number}"} for event in WITHOUT_USAGE]) for number in (1, 2)]
    instrument()
    provider.script(Reply(REFUSALS["vague"][1], status=400), *answers)

    async def call() -> int:
        return len([one async for one in await async_client.chat.completions.create(**STREAMED)])

    assert await asyncio.create_task(call()) == await asyncio.create_task(call()) == len(WITHOUT_USAGE)
    assert sent(provider) == [ASKED, "none", "none"]
    packets(2)


def test_a_refusal_is_remembered_for_its_model_and_host_only(instrument: Any, client: Any, provider: Any) -> None:
    """Another model of the same host is asked."""
    instrument()
    provider.script(Reply(REFUSALS["vague"][1], status=400), Reply(events=WITHOUT_USAGE), Reply(events=EVENTS))
    shown(client.chat.completions.create(**STREAMED))
    shown(client.chat.completions.create(**{**STREAMED, "model": "another"}))
    assert sent(provider) == [ASKED, "none", ASKED]


def test_a_refusal_keeps_the_callers_other_options(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The second try is the caller's own call."""
    instrument()
    provider.script(Reply(REFUSALS["vague"][1], status=400), Reply(events=WITHOUT_USAGE))
    shown(client.chat.completions.create(**STREAMED, stream_options={"x": 1}))
    assert sent(provider) == [{"x": 1, **ASKED}, {"x": 1}]
    (packet,) = packets()
    assert readable(packet) == stream_packet(WITHOUT_USAGE, units=ESTIMATED, request={**STREAMED, "stream_options": {"x": 1}})


REAL = {"error": {"message": "Invalid value for temperature", "type": "invalid_request_error", "param": None, "code": None}}


def test_a_real_400_is_raised_as_without_us(instrument: Any, provider: Any, packets: Any) -> None:
    """It comes again without the option, so it is the caller's; the service is still asked next time."""
    provider.script(*[Reply(REAL, status=400)] * 3, Reply(events=EVENTS))

    def failing() -> BaseException:
        with (
            openai.OpenAI(api_key="sk", base_url=provider.url + "/v1") as client,
            pytest.raises(openai.BadRequestError) as raised,
        ):
            client.chat.completions.create(**STREAMED)
        return raised.value

    before = failing()
    instrument()
    after = failing()
    assert type(after) is type(before)
    assert after.args == before.args
    assert after.body == before.body  # type: ignore[attr-defined]
    assert repr(after.__cause__) == repr(before.__cause__)
    assert after.__suppress_context__ == before.__suppress_context__
    with openai.OpenAI(api_key="sk", base_url=provider.url + "/v1") as client:
        assert shown(client.chat.completions.create(**STREAMED)) == SHOWN
    assert sent(provider) == ["none", ASKED, "none", ASKED]
    packets(2)


BLAMED = {
    "a parameter": {"error": {"message": "Invalid value", "type": "invalid_request_error", "param": "messages[0].role", "code": None}},
    "a filter": {"error": {"message": "The response was filtered", "type": None, "param": "prompt", "code": "content_filter"}},
    "the context": {"error": {"message": "Too long", "type": "invalid_request_error", "param": None, "code": "context_length_exceeded"}},
}


@pytest.mark.parametrize("blamed", BLAMED)
def test_a_400_that_blames_something_else_is_not_tried_again(
    blamed: str, instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """A filter's refusal may be billed."""
    instrument()
    provider.script(Reply(BLAMED[blamed], status=400))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**STREAMED)
    assert len(provider.requests) == 1
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 400


def test_a_400_of_a_service_known_to_take_the_option_is_not_tried_again(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """One request, one error."""
    instrument()
    provider.script(Reply(events=EVENTS), Reply(REAL, status=400), Reply(events=[{**event, "id": "chatcmpl-3"} for event in EVENTS]))
    shown(client.chat.completions.create(**STREAMED))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**STREAMED)
    shown(client.chat.completions.create(**STREAMED))
    assert sent(provider) == [ASKED, ASKED, ASKED]
    packets(3)


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_other_errors_are_not_tried_again(status: int, instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """They have nothing to do with the option."""
    instrument()
    provider.script(Reply(REAL, status=status))
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(**STREAMED)
    assert len(provider.requests) == 1
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == status


def a_generator() -> Iterator[dict[str, Any]]:
    """Messages, once."""
    yield from MESSAGES


def nested_generators() -> list[dict[str, Any]]:
    """Messages whose content can be read once."""
    return [{"role": "user", "content": (part for part in [{"type": "text", "text": "Say hello."}])}]


@pytest.mark.parametrize("make", [a_generator, nested_generators])
def test_the_second_try_sends_a_generators_messages_again(
    make: Callable[[], Any], instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """The first try used them up."""
    instrument()
    provider.script(Reply(REFUSALS["vague"][1], status=400), Reply(events=WITHOUT_USAGE))
    shown(client.chat.completions.create(model="gpt-4o-mini", messages=make(), stream=True))
    first, second = (request["body"]["messages"] for request in provider.requests)
    assert first == second
    assert "Say hello." in json.dumps(second)
    packets()


def test_a_service_that_refuses_everything_is_tried_twice_once(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """A vague 400 that the second try did not cure had another cause: the calls after it are made once."""
    refusal = {"error": {"message": "bad request"}}
    provider.always("/chat/completions", lambda number: Reply(refusal, status=400, headers={"x-request-id": f"req_{number}"}))
    instrument()
    for _ in range(3):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**STREAMED)
    assert len(provider.requests) == 4
    packets(3)
