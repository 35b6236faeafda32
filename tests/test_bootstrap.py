"""`payi_instrument()` and the four functions beside it: what they take, refuse, leave alone, and do before, after and in a fork."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_shapes import completion
from provider_server import ProviderServer, Reply

import payi_otel
from payi_otel.delivery.stats import Stats
from payi_otel.errors import ConfigurationError
from payi_otel.testing import IngestServer

openai = pytest.importorskip("openai")
CALL: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi."}]}


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """What a test instrumented is taken away."""
    yield
    payi_otel.shutdown(5)


@pytest.fixture
def client(provider: ProviderServer) -> Iterator[Any]:
    """A real `openai.OpenAI`."""
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as one:
        yield one


def ours(ingest: IngestServer) -> Any:
    """Our own client for it."""
    return payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url)


def test_arguments_are_keyword_only_and_as_documented() -> None:
    """The names, their order and their defaults are a promise."""
    parameters = inspect.signature(payi_otel.payi_instrument).parameters.values()
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    assert {parameter.name: parameter.default for parameter in parameters} == {
        "payi": None,
        "instruments": None,
        "log_prompt_and_response": True,
        "config": None,
        "logger": None,
    }


def test_before_anything_all_is_quiet() -> None:
    """The functions may be called in any order by anyone."""
    assert payi_otel.flush(0.1) is True
    assert payi_otel.instrumented() == ()
    payi_otel.shutdown()


def test_second_call_changes_nothing(ingest: IngestServer, provider: Any, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The first one counts; the second leaves a debug line, even where its arguments are wrong."""
    payi_otel.payi_instrument(payi=ours(ingest), config={"use_case_name": "first"})
    with caplog.at_level(logging.DEBUG, "payi.instrument"):
        payi_otel.payi_instrument(config={"use_case_name": "second", "no_such": 1})  # type: ignore[typeddict-unknown-key]
        payi_otel.payi_instrument(logger="x")  # type: ignore[arg-type]
    line = ("DEBUG", "payi_instrument() was called before: nothing is changed")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [line, line]
    provider.script(Reply(completion()))
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    assert [packet["headers"]["xproxy-usecase-name"] for packet in ingest.packets] == ["first"]


def test_after_a_shutdown_other_settings_hold(ingest: IngestServer, provider: Any, client: Any) -> None:
    """As in a notebook whose first cell was changed."""
    for use_case in ("first", "second"):
        payi_otel.shutdown()
        payi_otel.payi_instrument(payi=ours(ingest), config={"use_case_name": use_case})
        provider.script(Reply(completion()))
        client.chat.completions.create(**CALL)
        assert payi_otel.flush(10)
    assert [packet["headers"]["xproxy-usecase-name"] for packet in ingest.requests] == ["first", "second"]


def test_default_use_case_is_the_calling_file(ingest: IngestServer, provider: Any, client: Any) -> None:
    """Named after this very file, with an id of its own."""
    payi_otel.payi_instrument(payi=ours(ingest))
    provider.script(Reply(completion()))
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    headers = ingest.packets[0]["headers"]
    assert headers["xproxy-usecase-name"] == "test_bootstrap"
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["xproxy-usecase-id"])


def test_config_is_not_changed_and_not_shared(ingest: IngestServer, provider: Any, client: Any) -> None:
    """Neither do we write into the user's dictionary nor do his later changes reach us."""
    config: Any = {"limit_ids": ["a"], "request_properties": {"k": "v"}, "openai_config": {"model_mappings": []}, "user_id": "ada"}
    before = copy.deepcopy(config)
    payi_otel.payi_instrument(payi=ours(ingest), config=config)
    assert config == before
    config["limit_ids"].append("b")
    config["request_properties"]["k"] = "changed"
    provider.script(Reply(completion()))
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    packet = ingest.packets[0]
    assert packet["headers"]["xproxy-limit-ids"] == "a"
    assert packet["body"]["properties"]["k"] == "v"


def test_missing_key_is_one_clear_error() -> None:
    """It names the variable and the argument, and nothing is left half done."""
    with pytest.raises(ConfigurationError, match="PAYI_API_KEY") as caught:
        payi_otel.payi_instrument()
    assert "\n" not in str(caught.value)
    assert payi_otel.instrumented() == ()


def test_wrong_settings_leave_nothing_behind(ingest: IngestServer, caplog: pytest.LogCaptureFixture) -> None:
    """All problems in one error; the next, right call takes effect, and the logger is as it was."""
    logger, target = logging.getLogger("payi.instrument"), logging.getLogger("mine.wrong")
    before = (logger.level, logger.propagate, list(logger.handlers))
    with pytest.raises(ConfigurationError) as caught:
        payi_otel.payi_instrument(
            payi=ours(ingest),
            logger=target,
            config={"ingest_retry": {"queue_interval": 0}, "proxyy": True},  # type: ignore[typeddict-unknown-key]
        )
    assert "queue_interval" in str(caught.value)
    assert "proxyy" in str(caught.value)
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
    payi_otel.payi_instrument(payi=ours(ingest))
    assert "payi_openai" in [one.name for one in payi_otel.instrumented()]


def test_offline_needs_no_key(tmp_path: Path, provider: Any, client: Any) -> None:
    """Nor is anything sent where a client is given."""
    path = tmp_path / "packets.json"
    payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": str(path)}, "use_case_name": "offline"})
    provider.script(Reply(completion()))
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    (record,) = json.loads(path.read_text())
    assert record["units"] == {"text": {"input": 12, "output": 5}}
    assert record["use_case_name"] == "offline"


def test_offline_sends_nothing(tmp_path: Path, ingest: IngestServer, provider: Any, client: Any) -> None:
    """A client that is given as well is not used."""
    path = tmp_path / "packets.json"
    payi_otel.payi_instrument(payi=ours(ingest), config={"offline_instrumentation": {"file_name": str(path)}})
    provider.script(Reply(completion()))
    client.chat.completions.create(**CALL)
    payi_otel.shutdown(5)
    assert ingest.requests == []
    assert len(json.loads(path.read_text())) == 1


def test_unwritable_file_is_an_error_at_the_call(tmp_path: Path) -> None:
    """Not at the exit, when the packets are lost."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError):
        payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": str(tmp_path / "file" / "packets.json")}})
    assert payi_otel.instrumented() == ()


@pytest.mark.parametrize("kind", ["sync", "async", "list", "ours in a list", "environment"])
def test_clients_of_all_kinds(ingest: IngestServer, provider: Any, client: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published SDK's clients, ours, lists of them, or none."""
    if kind == "environment":
        monkeypatch.setenv("PAYI_API_KEY", ingest.api_key)
        monkeypatch.setenv("PAYI_BASE_URL", ingest.url)
        chosen: Any = None
    elif kind == "ours in a list":
        chosen = [ours(ingest)]
    else:
        sdk = pytest.importorskip("payi")
        made = {"sync": sdk.Payi, "async": sdk.AsyncPayi, "list": sdk.Payi}[kind](api_key=ingest.api_key, base_url=ingest.url)
        chosen = [made, sdk.AsyncPayi(api_key=ingest.api_key, base_url=ingest.url)] if kind == "list" else made
    payi_otel.payi_instrument(payi=chosen)
    provider.script(Reply(completion()))
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    assert len(ingest.packets) == 1


class Kept(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a line."""
        self.lines.append(record.getMessage())


@pytest.fixture(params=["mine.own", "payi.instrument.mine", "payi.instrument"])
def logger(request: pytest.FixtureRequest) -> Iterator[tuple[logging.Logger, list[str]]]:
    """A logger of the user's: his own, one below ours, or ours itself."""
    one, handler = logging.getLogger(request.param), Kept()
    before = one.level
    one.setLevel(logging.INFO)
    one.addHandler(handler)
    yield one, handler.lines
    one.removeHandler(handler)
    one.setLevel(before)


def test_custom_logger_gets_every_line_once(
    ingest: IngestServer, provider: Any, client: Any, logger: tuple[logging.Logger, list[str]]
) -> None:
    """From the first line on, those about the settings too, and none after the shutdown."""
    one, lines = logger
    mapping = [{"model": "m", "price_as_resource": "r"}]
    config: Any = {"azure_openai_config": {"model_mappings": mapping}}
    payi_otel.payi_instrument(payi=ours(ingest), config=config, logger=one)
    provider.script(Reply(completion(usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 3})))
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    topics = ("deprecated", "does not add up")
    assert [[topic for topic in topics if topic in line] for line in lines] == [[topic] for topic in topics]
    payi_otel.shutdown(5)
    count = len(lines)
    payi_otel.payi_instrument(payi=ours(ingest))
    assert len(lines) == count


def test_account_goes_on_being_told(ingest: IngestServer, provider: Any, client: Any) -> None:
    """What became of the packets is known during the run and after the shutdown."""
    payi_otel.payi_instrument(payi=ours(ingest))
    assert payi_otel.stats() == Stats()
    provider.script(Reply(completion()), Reply(completion(id="chatcmpl-2")))
    client.chat.completions.create(**CALL)
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    running = payi_otel.stats()
    payi_otel.shutdown(5)
    assert (running.created, running.delivered) == (2, 2)
    assert payi_otel.stats() == running
    payi_otel.payi_instrument(payi=ours(ingest))
    assert payi_otel.stats() == Stats()


def test_what_is_instrumented_is_told(ingest: IngestServer) -> None:
    """SDK, version and methods; nothing any more after the shutdown, and the SDK is as it was."""
    plain = openai.resources.chat.completions.Completions.__dict__["create"]
    payi_otel.payi_instrument(payi=ours(ingest))
    (one,) = (one for one in payi_otel.instrumented() if one.name == "payi_openai")
    assert (one.distribution, one.version) == ("openai", openai.__version__)
    assert "openai.resources.chat.completions.Completions.create" in one.wrapped
    payi_otel.shutdown(5)
    assert payi_otel.instrumented() == ()
    assert openai.resources.chat.completions.Completions.__dict__["create"] is plain


def test_unwanted_sdk_is_left_alone(ingest: IngestServer) -> None:
    """`instruments` without any category of the SDK's clients wraps none of it."""
    payi_otel.payi_instrument(payi=ours(ingest), instruments={payi_otel.PayiCategories.anthropic})
    assert {one.name for one in payi_otel.instrumented()} <= {"payi_anthropic"}
    assert inspect.isfunction(openai.resources.chat.completions.Completions.__dict__["create"])


def test_calls_after_shutdown_go_through_unrecorded(ingest: IngestServer, provider: Any, client: Any) -> None:
    """A bound method that an SDK caches outlives us, and calls on."""
    payi_otel.payi_instrument(payi=ours(ingest))
    create = client.chat.completions.create
    provider.script(Reply(completion()), Reply(completion()))
    payi_otel.shutdown(5)
    create(**CALL)
    client.chat.completions.create(**CALL)
    assert ingest.requests == []


def test_outside_a_scope_nothing_is_tracked(ingest: IngestServer, provider: Any, client: Any) -> None:
    """With `global_instrumentation` off a call goes through untouched, but for our headers."""
    payi_otel.payi_instrument(payi=ours(ingest), config={"global_instrumentation": False})
    provider.script(Reply(completion()), Reply(completion(id="chatcmpl-2")))
    client.chat.completions.create(**CALL, extra_headers={"xProxy-User-ID": "ada"})
    with payi_otel.track_context(use_case_name="inside"):
        client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    assert [packet["headers"]["xproxy-usecase-name"] for packet in ingest.packets] == ["inside"]
    assert not [name for name in provider.requests[0]["headers"] if name.startswith("xproxy-")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forked_child_delivers_its_own(ingest: IngestServer, provider: Any, client: Any) -> None:
    """A child's call arrives once, and nothing of the parent's arrives twice."""
    payi_otel.payi_instrument(payi=ours(ingest))
    provider.script(*(Reply(completion(id=name)) for name in ("parent-1", "child", "parent-2")))
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    child = os.fork()
    if child == 0:  # nothing of pytest may run here
        code = 1
        try:
            with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as own:
                own.chat.completions.create(**CALL)
            code = 0 if payi_otel.flush(10) and payi_otel.stats().delivered == 1 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    assert [packet["body"]["provider_response_id"] for packet in ingest.packets] == ["parent-1", "child", "parent-2"]
    assert len(ingest.requests) == 3


@given(payi=st.one_of(st.integers(), st.text(), st.just([]), st.just(object()), st.dictionaries(st.text(), st.text(), max_size=1)))
def test_wrong_clients_are_refused_at_the_call(payi: Any) -> None:
    """What is no client of Pay-i's is said at once."""
    with pytest.raises(ConfigurationError):
        payi_otel.payi_instrument(payi=payi)
    assert payi_otel.instrumented() == ()


def test_everything_wrong_is_in_one_error() -> None:
    """Arguments, settings and clients alike."""
    with pytest.raises(ConfigurationError) as raised:
        payi_otel.payi_instrument(payi="x", log_prompt_and_response="false", config={"use_case_nam": "a"}, instruments={"y"})  # type: ignore[arg-type]
    lines = "\n".join(raised.value.problems)
    assert len(raised.value.problems) == 4
    assert "log_prompt_and_response: 'false' (str) is not allowed, must be a bool" in lines
    assert "did you mean 'use_case_name'?" in lines
    with pytest.raises(ConfigurationError, match=r"^logger: str is not allowed, must be a logging.Logger$"):
        payi_otel.payi_instrument(logger="x")  # type: ignore[arg-type]


def test_nothing_to_instrument_is_said(ingest: IngestServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instrumentation that never attached must not look like an application without calls."""

    def no_version(distribution: str) -> str:
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr("payi_otel.instrumentors._base.version", no_version)
    payi = payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url)
    payi_otel.payi_instrument(payi=payi, instruments={payi_otel.PayiCategories.openai})
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "no calls will be recorded: none of the SDKs this version instruments is installed and wanted (litellm, openai)"
    ]


def test_an_exporter_beside_it_makes_no_second_packet_and_gets_no_content(
    ingest: IngestServer, provider: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two takes a call, what may be said of it goes with the call."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    application = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", application)
    exporter = payi_otel.PayiSpanExporter(api_key=ingest.api_key, base_url=ingest.url)
    application.add_span_processor(SimpleSpanProcessor(exporter))
    payi = payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url)
    payi_otel.payi_instrument(payi=payi, log_prompt_and_response=False, config={"user_id": "ann"})
    provider.script(Reply(completion()))
    client.chat.completions.create(**CALL)
    exporter.force_flush()
    assert payi_otel.flush(10)
    (packet,) = ingest.packets
    assert packet["headers"]["xproxy-user-id"] == "ann"
    assert "provider_request_json" not in packet["body"]
    assert "provider_response_json" not in packet["body"]
    exporter.shutdown()


def test_the_end_of_an_applications_tracing_is_not_the_end_of_ours(
    ingest: IngestServer, provider: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracer provider may be shut down while calls go on."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    application = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", application)
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url))
    application.shutdown()
    provider.script(Reply(completion()))
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    assert len(ingest.packets) == 1


def test_no_limit_of_the_applications_spans_is_ours(
    ingest: IngestServer, provider: Any, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are meant for what a trace backend stores."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url))
    provider.script(Reply(completion()))
    client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    assert not caplog.records
    assert ingest.packets[0]["body"]["units"] == {"text": {"input": 12, "output": 5}}


def test_a_call_at_the_root_of_a_thread_is_recorded(ingest: IngestServer, provider: Any, client: Any) -> None:
    """There is no frame above it."""
    import _thread
    import time

    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url))
    provider.script(Reply(completion()))
    _thread.start_new_thread(client.chat.completions.create, (), CALL)
    assert ingest.wait_for_packets(1), time.monotonic()


HEADERS = {"xProxy-User-ID": "ann", "X-Mine": "kept"}


def test_our_headers_reach_no_provider_whatever_way_they_came(ingest: IngestServer, provider: Any) -> None:
    """A client's default headers, and methods that are not recorded, too."""
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url))
    provider.script(Reply(completion()), Reply({"id": "m", "model": "m", "results": []}))
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0, default_headers=HEADERS) as client:
        client.chat.completions.create(**CALL)
        client.moderations.create(input="x", extra_headers=HEADERS)
    for request in provider.requests:
        assert request["headers"]["x-mine"] == "kept"
        assert not [name for name in request["headers"] if name.startswith("xproxy-")]


def test_a_client_of_the_payi_proxy_is_left_as_it_is(ingest: IngestServer, provider: Any) -> None:
    """The proxy reads the headers and ingests the call itself."""
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url))
    provider.script(Reply(completion()))
    with openai.OpenAI(api_key="k", base_url=provider.url + "/api/v1/proxy/openai/v1", default_headers={"xProxy-Api-Key": "p"}) as client:
        client.chat.completions.create(**CALL, extra_headers=HEADERS)
    assert provider.requests[0]["headers"]["xproxy-user-id"] == "ann"
    assert provider.requests[0]["headers"]["xproxy-api-key"] == "p"
    assert payi_otel.flush(10)
    assert not ingest.packets


def test_headers_of_a_refusal_are_recorded(ingest: IngestServer, provider: Any, client: Any) -> None:
    """A limit that was hit tells by its headers when to come back."""
    payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=ingest.api_key, base_url=ingest.url))
    provider.script(Reply({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "7"}))
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**CALL)
    assert payi_otel.flush(10)
    assert {"name": "retry-after", "value": "7"} in ingest.packets[0]["body"]["provider_response_headers"]


FORKING = """
import os, sys, threading, payi_otel
payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": sys.argv[1]}})
started, start = [], threading.Thread.start
def noted(thread):
    started.append(thread.name)
    start(thread)
threading.Thread.start = noted
if (child := os.fork()) == 0:
    os.write(1, repr(started).encode())
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of Unix")
def test_nothing_of_ours_runs_in_a_forked_child(tmp_path: Path) -> None:
    """Most children go on to exec; under gevent, a thread started there would run the application's greenlets again."""
    done = subprocess.run([sys.executable, "-c", FORKING, str(tmp_path / "packets.json")], capture_output=True, check=True, timeout=60)
    assert done.stdout == b"[]"
