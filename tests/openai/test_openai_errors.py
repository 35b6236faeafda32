"""Failed calls: the caller's exception is the SDK's own, and the packet says what is known."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest
from comparing import SCOPE
from openai_shapes import completion
from ports import reserved_port
from provider_server import Reply
from pydantic import BaseModel

import payi_otel

openai = pytest.importorskip("openai")
MESSAGES = [{"role": "user", "content": "Say hello."}]
REQUEST = {"messages": MESSAGES, "model": "gpt-4o-mini"}
ERROR = {"error": {"message": "That was wrong.", "type": "invalid_request_error", "param": None, "code": "bad_thing"}}
CLASSES = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
}


def parse(client: Any) -> Any:
    """`chat.completions.parse`, wherever this SDK has it."""
    stable = client.chat.completions
    return stable.parse if hasattr(stable, "parse") else client.beta.chat.completions.parse


class Greeting(BaseModel):
    """What a parsed call is to give."""

    words: str


@pytest.mark.parametrize("status", CLASSES)
@pytest.mark.parametrize("streamed", [False, True])
def test_refused_call_is_one_whole_packet(
    instrument: Any, client: Any, provider: Any, packets: Any, status: int, *, streamed: bool
) -> None:
    """Status, body and request id, no units; the caller gets the SDK's own exception."""
    instrument()
    # a refused stream may be asked once more, without what we had added to it
    provider.script(*[Reply(ERROR, status=status, headers={"x-request-id": "req_77"})] * 2)
    with pytest.raises(CLASSES[status]) as caught:
        client.chat.completions.create(**REQUEST, stream=streamed)
    assert caught.value.request_id
    (packet,) = packets()
    assert json.loads(packet["body"].pop("provider_response_json")) == ERROR
    packet["body"].pop("provider_request_json")
    assert packet == {
        "body": {
            "category": "system.openai",
            "resource": "gpt-4o-mini",
            "units": {},
            "http_status_code": status,
            "provider_response_id": caught.value.request_id,
            "properties": {"payi_otel.end_reason": "error"},
        },
        "scope": SCOPE,
    }


async def test_async_refusal_is_the_same(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """Sync and async calls fail alike, for responses and embeddings, too."""
    instrument()
    provider.script(*[Reply(ERROR, status=429, headers={"x-request-id": f"req_{number}"}) for number in range(3)])
    for asking in (
        async_client.chat.completions.create(**REQUEST),
        async_client.responses.create(model="gpt-4.1", input="Hi."),
        async_client.embeddings.create(model="e", input="Hi."),
    ):
        with pytest.raises(openai.RateLimitError):
            await asking
    for packet in packets(3):
        assert packet["body"]["http_status_code"] == 429
        assert packet["body"]["units"] == {}
        assert json.loads(packet["body"]["provider_response_json"]) == ERROR


@pytest.mark.parametrize("form", ["with_raw_response", "with_streaming_response"])
def test_raw_forms_fail_alike(instrument: Any, client: Any, provider: Any, packets: Any, form: str) -> None:
    """The raw forms raise where the plain one does."""
    instrument()
    provider.script(Reply(ERROR, status=400))
    asking = getattr(client.chat.completions, form).create
    with pytest.raises(openai.BadRequestError):
        asking(**REQUEST) if form == "with_raw_response" else asking(**REQUEST).__enter__()
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 400
    assert json.loads(packet["body"]["provider_response_json"]) == ERROR


@pytest.mark.parametrize("body", ["<html>Bad Gateway</html>", "", '"text"', "[]", b"\xff\xfe not text"])
def test_error_body_of_any_kind_is_kept(instrument: Any, client: Any, provider: Any, packets: Any, body: Any) -> None:
    """Gateways answer with pages, texts, and nothing at all."""
    instrument()
    provider.script(Reply(body, status=502, headers={"content-type": "text/html"}))
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**REQUEST)
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 502
    assert packet["body"].get("provider_response_json", "") == (body.decode("utf-8", "replace") if isinstance(body, bytes) else body)


def test_refused_connection_is_a_failure_without_status(instrument: Any, packets: Any) -> None:
    """No HTTP answer came: 299, with the exception's type and text."""
    instrument()
    with (
        reserved_port() as port,
        openai.OpenAI(api_key="k", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0) as client,
        pytest.raises(openai.APIConnectionError),
    ):
        client.chat.completions.create(**REQUEST)
    (packet,) = packets()
    assert json.loads(packet["body"].pop("provider_request_json")) == REQUEST
    assert packet == {
        "body": {
            "category": "system.openai",
            "resource": "gpt-4o-mini",
            "units": {},
            "http_status_code": 299,
            "provider_response_id": "payi_<uuid4>",
            "properties": {
                "system.failure": "openai.APIConnectionError",
                "system.failure.description": "Connection error.",
                "payi_otel.end_reason": "error",
            },
        },
        "scope": SCOPE,
    }


def test_unknown_host_is_a_failure_without_status(instrument: Any, packets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve, as every name here."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "nowhere.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    instrument()
    client = openai.OpenAI(api_key="k", base_url="http://nowhere.invalid/v1", max_retries=0)
    with client, pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(**REQUEST)
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 299
    assert packet["body"]["properties"]["system.failure"] == "openai.APIConnectionError"


async def test_timeouts_are_failures_without_status(instrument: Any, client: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """The provider may have billed; nobody knows, and nothing is guessed."""
    instrument()
    gate = threading.Event()
    provider.script(Reply(completion(), gate=gate), Reply(completion(), gate=gate))
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**REQUEST, timeout=0.1)
    with pytest.raises(openai.APITimeoutError):
        await async_client.chat.completions.create(**REQUEST, timeout=0.1)
    gate.set()
    for packet in packets(2):
        assert packet["body"]["http_status_code"] == 299
        assert packet["body"]["units"] == {}
        assert packet["body"]["properties"]["system.failure"] == "openai.APITimeoutError"


def test_length_limit_of_a_parse_is_billed(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The SDK raises after the provider has billed: units, id and 200 stay."""
    instrument()
    answer = completion(choices=[{"index": 0, "message": {"role": "assistant", "content": '{"wo'}, "finish_reason": "length"}])
    provider.script(Reply(answer))
    with pytest.raises(openai.LengthFinishReasonError):
        parse(client)(**REQUEST, response_format=Greeting)
    (packet,) = packets()
    assert json.loads(packet["body"].pop("provider_response_json")) == answer
    packet["body"].pop("provider_request_json")
    properties = packet["body"].pop("properties")
    assert properties["system.failure"] == "openai.LengthFinishReasonError"
    assert packet == {
        "body": {
            "category": "system.openai",
            "resource": "gpt-4o-mini",
            "units": {"text": {"input": 12, "output": 5}},
            "http_status_code": 200,
            "provider_response_id": "chatcmpl-1",
        },
        "scope": SCOPE,
    }


async def test_answer_of_another_shape_is_billed(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """Pydantic's error is the caller's; the bill is ours."""
    instrument()
    provider.script(Reply(completion()))
    with pytest.raises(ValueError, match="Greeting"):
        await parse(async_client)(**REQUEST, response_format=Greeting)
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 12, "output": 5}}
    assert packet["body"]["http_status_code"] == 200
    assert packet["body"]["properties"]["system.failure"].endswith("ValidationError")


@pytest.mark.parametrize("last", [200, 500])
async def test_retries_of_the_sdk_are_one_call(instrument: Any, provider: Any, packets: Any, last: int) -> None:
    """Two attempts fail, the third counts: one packet with the last answer."""
    instrument()
    hurry = {"retry-after-ms": "1"}
    final = Reply(completion()) if last == 200 else Reply({"error": {"message": "third"}}, status=500)
    provider.script(Reply({"error": {"message": "first"}}, status=500, headers=hurry), Reply("second", status=503, headers=hurry), final)
    async with openai.AsyncOpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=2) as client:
        if last == 200:
            await client.chat.completions.create(**REQUEST)
        else:
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(**REQUEST)
    assert len(provider.requests) == 3
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == last
    answer = json.loads(packet["body"]["provider_response_json"])
    assert answer == (completion() if last == 200 else {"error": {"message": "third"}})
    assert packet["body"]["units"] == ({"text": {"input": 12, "output": 5}} if last == 200 else {})


def test_fault_of_the_caller_is_told_as_such(instrument: Any, client: Any, packets: Any) -> None:
    """A call that the SDK refuses by itself reaches no provider: a failure without units."""
    instrument()
    with pytest.raises(TypeError):
        client.chat.completions.create(model="gpt-4o-mini")
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 299
    assert packet["body"]["units"] == {}
    assert packet["body"]["properties"]["system.failure"] == "TypeError"


def test_error_of_one_call_is_not_the_next_ones(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Nothing of a failed call stays behind."""
    instrument()
    provider.script(Reply(ERROR, status=400), Reply(completion()))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**REQUEST)
    with payi_otel.track_context(user_id="ada"):
        client.chat.completions.create(**REQUEST)
    seen = {packet["body"]["http_status_code"]: packet["scope"].get("xproxy-user-id") for packet in packets(2)}
    assert seen == {400: None, 200: "ada"}
