"""The application never notices: the same calls with and without instrumentation, and what is left when it is taken away."""

from __future__ import annotations

import copy
import gc
import importlib
import inspect
import logging
import pickle
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from comparing import SCOPE
from openai_shapes import chat_events, completion, numbered
from opentelemetry.instrumentation.utils import suppress_instrumentation
from provider_server import Reply
from stream_packets import ESTIMATED, MESSAGES, REQUEST, STREAMED, readable, stream_packet

import payi_otel
from payi_otel import _guard

openai = pytest.importorskip("openai")

EVENTS = chat_events()
SHOWN = EVENTS[:-1]
CREATE = openai.resources.chat.completions.Completions
A_CREATE = openai.resources.chat.completions.AsyncCompletions
ERROR = {"error": {"message": "No such model", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}}


def new_client(provider: Any, **arguments: Any) -> Any:
    """A client that no instrumentation has touched."""
    return openai.OpenAI(api_key="sk", base_url=provider.url + "/v1", **{"max_retries": 0, **arguments})


def described(error: BaseException | None) -> Any:
    """All that a handler can see of an error, but for addresses and ports."""
    if error is None:
        return None
    seen = {name: getattr(error, name, None) for name in ("status_code", "request_id", "body", "code", "param", "type")}
    return (
        type(error),
        repr(error.args),
        str(error),
        seen,
        error.__suppress_context__,
        described(error.__cause__),
        described(error.__context__),
    )


def both(instrument: Any, call: Callable[[], Any]) -> tuple[Any, Any]:
    """The same call without and with instrumentation."""
    before = call()
    instrument()
    return before, call()


def test_a_plain_result_is_the_same(instrument: Any, provider: Any) -> None:
    """Type, fields, text form, copies and pickles."""
    provider.always("/chat/completions", Reply(completion()))

    def call() -> Any:
        with new_client(provider) as client:
            result = client.chat.completions.create(**REQUEST)
        twins = [copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))]
        assert all(twin == result and type(twin) is type(result) for twin in twins)
        return type(result), result.to_dict(), result.model_dump(), repr(result), vars(result), result._request_id

    before, after = both(instrument, call)
    assert after == before


def names_of(thing: object) -> set[str]:
    """What an object offers, but for the one name that is promised: the SDK's class has that from the first call on."""
    return {*dir(thing)} - {"xproxy_result"}


def test_a_stream_is_the_same(instrument: Any, provider: Any) -> None:
    """Type, attributes, methods and chunks, down to which fields are set; only the usage we asked for is gone."""
    provider.script(Reply(events=SHOWN), Reply(events=EVENTS))

    def call() -> Any:
        with new_client(provider) as client, client.chat.completions.create(**STREAMED) as stream:
            assert isinstance(stream, openai.Stream)
            assert iter(stream) is not stream
            about = type(stream), sorted(vars(stream)), names_of(stream), type(stream.response), repr(stream.response)
            chunks = list(stream)
            with pytest.raises(StopIteration):
                next(stream)
            return about, chunks, [one.model_dump() for one in chunks], [one.model_fields_set for one in chunks], stream.response.is_closed

    before, after = both(instrument, call)
    assert after == before


async def test_an_async_stream_is_the_same(instrument: Any, provider: Any) -> None:
    """The async twin; a call that is not awaited is a coroutine."""
    provider.script(Reply(events=SHOWN), Reply(events=EVENTS))

    async def call() -> Any:
        async with openai.AsyncOpenAI(api_key="sk", base_url=provider.url + "/v1") as client:
            coming = client.chat.completions.create(**STREAMED)
            assert inspect.iscoroutine(coming)
            async with await coming as stream:
                about = type(stream), sorted(vars(stream)), names_of(stream)
                chunks = [one async for one in stream]
                with pytest.raises(StopAsyncIteration):
                    await stream.__anext__()
            return about, chunks, [one.model_dump() for one in chunks]

    before = await call()
    instrument()
    assert await call() == before


def test_an_http_response_under_a_stream_can_be_copied_and_pickled(instrument: Any, provider: Any, packets: Any) -> None:
    """Its copies are as without us, and ending them ends no call."""
    provider.always("/chat/completions", Reply(events=EVENTS))

    def call() -> Any:
        with new_client(provider) as client, client.chat.completions.create(**STREAMED) as stream:
            twins = [copy.deepcopy(stream.response), pickle.loads(pickle.dumps(stream.response))]
            for twin in twins:
                twin.close()
            assert [one.is_closed for one in (*twins, stream.response)] == [True, True, False]
            return [(type(twin), twin.status_code, twin.headers["x-request-id"]) for twin in twins], len(list(stream))

    before, after = both(instrument, call)
    assert before[0] == after[0]
    assert before[1] == after[1] + 1  # without us, nobody hid the usage this provider sends to all
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


FAILURES: dict[str, tuple[Reply, dict[str, Any]]] = {
    "refused": (Reply(ERROR, status=404), REQUEST),
    "refused stream": (Reply(ERROR, status=404), STREAMED),
    "server error": (Reply("<html>oops</html>", status=500), REQUEST),
    "error in the stream": (Reply(events=[*EVENTS[:2], ERROR]), STREAMED),
    "broken event": (Reply(events=[EVENTS[0], "data: {broken\n\n"]), STREAMED),
    "cut stream": (Reply(events=EVENTS, cut_after=2), STREAMED),
    "no JSON": (Reply("hello", headers={"content-type": "application/json"}), REQUEST),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_an_error_is_the_sdks_own(failure: str, instrument: Any, provider: Any, packets: Any) -> None:
    """Class, arguments, status, body, cause and context."""
    reply, request = FAILURES[failure]
    provider.script(reply, reply)

    def call() -> Any:
        with new_client(provider) as client, pytest.raises(Exception) as raised:  # noqa: PT012 - either of the two may fail
            result = client.chat.completions.create(**request)
            list(result)
        return described(raised.value)

    before, after = both(instrument, call)
    assert after == before
    packets()


def test_no_server_at_all_is_the_sdks_own_error(instrument: Any, packets: Any) -> None:
    """A connection that cannot be made is a failure without status."""

    def call() -> Any:
        with openai.OpenAI(api_key="sk", base_url="http://127.0.0.1:9/v1", max_retries=0) as client, pytest.raises(Exception) as raised:
            client.chat.completions.create(**REQUEST)
        return described(raised.value)

    before, after = both(instrument, call)
    assert after == before
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 299


async def test_missing_arguments_are_the_sdks_own_error(instrument: Any, provider: Any) -> None:
    """What is missing is said as without us, sync and async, before any request."""

    async def call() -> Any:
        with new_client(provider) as client, pytest.raises(TypeError) as raised:
            client.chat.completions.create(model="gpt-4o-mini")
        async with openai.AsyncOpenAI(api_key="sk", base_url=provider.url + "/v1") as async_client:
            with pytest.raises(TypeError) as raised_async:
                await async_client.chat.completions.create(model="gpt-4o-mini")
            with pytest.raises(TypeError) as unknown:
                await async_client.chat.completions.create(**REQUEST, no_such_argument=1)
        return [described(one.value) for one in (raised, raised_async, unknown)]

    before = await call()
    instrument()
    assert await call() == before
    assert not provider.requests


def test_methods_look_the_same(instrument: Any, provider: Any) -> None:
    """Signatures, names, docs and kinds, on the class and bound."""

    def call() -> Any:
        with new_client(provider) as client:
            bound = client.chat.completions.create
            methods = [CREATE.create, A_CREATE.create, bound, getattr(CREATE, "parse", bound), getattr(A_CREATE, "parse", bound)]
            kinds = (inspect.iscoroutinefunction, inspect.isfunction, inspect.ismethod, inspect.isgeneratorfunction, callable)
            return [
                (inspect.signature(one), one.__name__, one.__qualname__, one.__doc__, one.__module__, [kind(one) for kind in kinds[:1]])
                for one in methods
            ]

    before, after = both(instrument, call)
    assert after == before


def test_the_callers_arguments_are_not_changed(instrument: Any, client: Any, provider: Any) -> None:
    """Nor does the call hold on to them: they are the caller's to change while he reads."""
    arguments = {
        **STREAMED,
        "messages": [{"role": "user", "content": "Say hello."}],
        "stream_options": {"include_obfuscation": False},
        "extra_headers": {"x-own": "1", "xProxy-User-ID": "ann"},
        "extra_body": {"top_k": 1},
    }
    before = copy.deepcopy(arguments)
    instrument()
    provider.script(Reply(events=EVENTS))
    stream = client.chat.completions.create(**arguments)
    assert arguments == before
    list(stream)
    assert arguments == before


def test_what_the_caller_changes_later_does_not_change_the_packet(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The packet has what was sent."""
    messages = [dict(message) for message in MESSAGES]
    instrument()
    provider.script(Reply(events=EVENTS))
    stream = client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True)
    messages[0]["content"] = "changed"
    messages.append({"role": "user", "content": "more"})
    list(stream)
    (packet,) = packets()
    assert readable(packet) == stream_packet(EVENTS)


@pytest.mark.parametrize("streamed", [False, True])
def test_messages_from_a_generator_reach_the_provider_whole(
    streamed: bool, instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """They can be read once, and that is the SDK's to do."""

    def messages() -> Iterator[dict[str, str]]:
        yield from MESSAGES

    instrument()
    provider.script(Reply(events=EVENTS) if streamed else Reply(completion()))
    result = client.chat.completions.create(model="gpt-4o-mini", messages=messages(), stream=streamed)
    if streamed:
        list(result)
    assert provider.requests[0]["body"]["messages"] == MESSAGES
    packets()


OURS = {"xProxy-User-ID": "header-user", "xproxy-account-name": "acme", "XPROXY-anything": "x"}
THEIRS = {"x-own": "1", "X-Proxy-Like": "2"}


def by_create(client: Any, **arguments: Any) -> None:
    """Plainly."""
    client.chat.completions.create(**REQUEST, **arguments)


def by_raw_response(client: Any, **arguments: Any) -> None:
    """As LangChain does."""
    client.chat.completions.with_raw_response.create(**REQUEST, **arguments).parse()


@pytest.mark.parametrize("call", [by_create, by_raw_response])
@pytest.mark.parametrize("where", ["in a scope", "outside any scope", "suppressed", "category not wanted"])
def test_our_headers_never_reach_the_provider(
    where: str, call: Callable[..., None], instrument: Any, client: Any, provider: Any, packets: Any
) -> None:
    """Neither where the call is recorded nor where it is not; other headers always do."""
    config = {"global_instrumentation": False} if where == "outside any scope" else {}
    instrument(config, instruments={"system.anthropic", "system.azureopenai"} if where == "category not wanted" else None)
    provider.script(Reply(completion()))
    headers = {**OURS, **THEIRS}
    if where == "suppressed":
        with suppress_instrumentation():
            call(client, extra_headers=headers)
    else:
        call(client, extra_headers=headers)
    assert headers == {**OURS, **THEIRS}
    (request,) = provider.requests
    assert not [name for name in request["headers"] if name.startswith("xproxy")]
    assert {name.lower(): value for name, value in THEIRS.items()}.items() <= request["headers"].items()
    got = packets(1 if where == "in a scope" else 0)
    assert [packet["scope"]["xproxy-user-id"] for packet in got] == ["header-user"] * len(got)


def test_a_calls_headers_win_over_its_scope(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """And hold for that call alone."""
    instrument()
    provider.script(Reply(completion()), Reply(completion(id="chatcmpl-2")))
    with payi_otel.track_context(user_id="scope-user", account_name="scope-account"):
        client.chat.completions.create(**REQUEST, extra_headers=payi_otel.create_headers(user_id="call-user"))
        client.chat.completions.create(**REQUEST)
    first, second = sorted(packets(2), key=lambda packet: packet["body"]["provider_response_id"])
    assert first["scope"] == {**SCOPE, "xproxy-user-id": "call-user", "xproxy-account-name": "scope-account"}
    assert second["scope"] == {**SCOPE, "xproxy-user-id": "scope-user", "xproxy-account-name": "scope-account"}


def test_a_suppressed_stream_passes_through(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Nothing is asked for, nothing is hidden, nothing is recorded."""
    instrument()
    provider.script(Reply(events=EVENTS))
    with suppress_instrumentation():
        stream = client.chat.completions.create(**STREAMED)
    assert [one.to_dict() for one in stream] == EVENTS
    assert "stream_options" not in provider.requests[0]["body"]
    packets(0)


def patched() -> dict[str, Any]:
    """Every attribute of the SDK's classes that we replace."""
    base, resources = openai._base_client, openai.resources
    responses = importlib.import_module("openai.resources.responses")
    owners = [
        base.BaseClient,
        base.SyncAPIClient,
        base.AsyncAPIClient,
        CREATE,
        A_CREATE,
        responses.Responses,
        responses.AsyncResponses,
        resources.Embeddings,
        resources.AsyncEmbeddings,
    ]
    return {f"{owner.__qualname__}.{name}": value for owner in owners for name, value in vars(owner).items()}


def test_shutdown_leaves_everything_as_it_was(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Classes restored; what an SDK object kept of ours passes calls straight on, our headers included."""
    before = patched()
    instrument()
    during = patched()
    assert [name for name in before if before[name] is not during[name]]
    raw, streaming = client.chat.completions.with_raw_response, client.chat.completions.with_streaming_response
    provider.script(Reply(completion()), Reply(completion()), Reply(events=EVENTS), Reply(events=EVENTS))
    raw.create(**REQUEST)
    packets()
    payi_otel.shutdown(5)
    after = patched()
    assert all(after[name] is value for name, value in before.items())
    assert after.keys() == before.keys()
    raw.create(**REQUEST, extra_headers={"xProxy-User-ID": "ann"})
    assert provider.requests[1]["headers"]["xproxy-user-id"] == "ann"
    assert [one.to_dict() for one in client.chat.completions.create(**STREAMED)] == EVENTS
    with streaming.create(**STREAMED) as lazily:
        assert len(list(lazily.parse())) == len(EVENTS)
    assert [request["body"].get("stream_options") for request in provider.requests] == [None] * 4


def test_instrumenting_again_counts_again_and_once(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Wrappers an SDK object kept from the first time count, too."""
    provider.always("/chat/completions", numbered)
    for start in range(3):
        instrument()
        client.chat.completions.create(**REQUEST)
        client.chat.completions.with_raw_response.create(**REQUEST)
        packets(2 * (start + 1))
        payi_otel.shutdown(5)
        client.chat.completions.with_raw_response.create(**REQUEST)


async def test_clients_made_before_count(instrument: Any, provider: Any, packets: Any) -> None:
    """Also where their resources and methods were looked up before."""
    provider.always("/chat/completions", numbered)
    async with openai.AsyncOpenAI(api_key="sk", base_url=provider.url + "/v1") as async_client:
        with new_client(provider) as client:
            completions, async_completions = client.chat.completions, async_client.chat.completions
            instrument()
            completions.create(**REQUEST)
            await async_completions.create(**REQUEST)
            client.with_options(timeout=5).chat.completions.create(**REQUEST)
    packets(3)


def test_streams_are_not_kept_alive(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Neither streams nor responses outlive their last reference, not even until the next collection; 1,000 leave nothing."""
    provider.always("/chat/completions", lambda number: Reply(events=[{**event, "id": f"chatcmpl-{number}"} for event in EVENTS]))
    before = _is_free(client.chat.completions.create, list), _is_free(client.chat.completions.create, list, "response")
    instrument()
    for _ in range(3):
        assert before == (_is_free(client.chat.completions.create, list), _is_free(client.chat.completions.create, list, "response"))
    references = []
    for _ in range(1_000):
        stream = client.chat.completions.create(**STREAMED)
        references.append(weakref.ref(stream))
        list(stream)
    del stream
    gc.collect()
    assert not [one for one in references if one() is not None]
    assert payi_otel.flush(30)


def _is_free(create: Any, read: Any, part: str | None = None) -> bool:
    """Whether a stream, or a part of it, is gone with its last reference: in some versions of SDK and Python it is in a cycle."""
    gc.collect()
    gc.disable()
    try:
        stream = create(**STREAMED)
        read(stream)
        watched = weakref.ref(getattr(stream, part) if part else stream)
        del stream
        return watched() is None
    finally:
        gc.enable()
        gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_response_nobody_reads_ends_its_call_when_it_is_dropped(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """As soon as it would be gone without us."""
    provider.script(Reply(events=EVENTS), Reply(events=EVENTS))
    before = _is_free(client.with_options().chat.completions.with_raw_response.create, id, "http_response")
    instrument()
    assert _is_free(client.chat.completions.with_raw_response.create, id, "http_response") == before
    (packet,) = packets()
    assert readable(packet) == stream_packet([], reason="unread", units=ESTIMATED)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """As in production: our own faults are logged, not raised."""
    monkeypatch.setattr(_guard, "raise_faults", False)
    caplog.set_level(logging.ERROR, "payi.instrument")
    return caplog


def broken(*_: Any, **__: Any) -> Any:
    """A reader of ours with a fault."""
    raise RuntimeError("ours")


BROKEN = ["Chat.read_answer", "Chat.content", "Chat.adopt", "Chat.accepted", "Chat.new_reader"]
BROKEN_READERS = ["ChatStreamReader.take", "ChatStreamReader.answer", "ChatStreamReader.content", "ChatStreamReader.is_complete"]


@pytest.mark.parametrize("name", BROKEN + BROKEN_READERS)
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("form", ["create", "bytes"])
def test_a_fault_of_ours_never_reaches_the_caller_and_still_makes_a_packet(
    name: str, streamed: bool, form: str, instrument: Any, client: Any, provider: Any, packets: Any, faults: Any, monkeypatch: Any
) -> None:
    """What was read of the call before the fault stays; the fault is logged once."""
    from payi_otel.instrumentors.openai import _chat

    owner, _, attribute = name.partition(".")
    monkeypatch.setattr(getattr(_chat, owner), attribute, broken)
    instrument()
    provider.script(Reply(events=EVENTS) if streamed else Reply(completion()))
    if form == "create":
        result = client.chat.completions.create(**(STREAMED if streamed else REQUEST))
        assert len(list(result)) >= len(SHOWN) if streamed else result.to_dict() == completion()
    else:
        with client.chat.completions.with_streaming_response.create(**(STREAMED if streamed else REQUEST)) as raw:
            assert SHOWN[1]["choices"][0]["delta"]["content"] in raw.read().decode()
    (packet,) = packets()
    assert packet["body"]["http_status_code"] == 200
    assert packet["body"]["resource"] == "gpt-4o-mini"
    assert len([record for record in faults.records if "ours" in record.getMessage() or "RuntimeError" in record.getMessage()]) <= 2


def test_a_fault_in_reading_the_request_makes_the_callers_own_call(
    instrument: Any, client: Any, provider: Any, packets: Any, faults: Any, monkeypatch: Any
) -> None:
    """Without our headers, and with a line in the log instead of a packet."""
    from payi_otel.instrumentors.openai import _chat

    monkeypatch.setattr(_chat.Chat, "read_request", broken)
    instrument()
    provider.script(Reply(completion()))
    assert client.chat.completions.create(**REQUEST, extra_headers=OURS).to_dict() == completion()
    assert not [name for name in provider.requests[0]["headers"] if name.startswith("xproxy")]
    packets(0)
    assert "starting a call" in faults.text
