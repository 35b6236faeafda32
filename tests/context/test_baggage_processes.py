"""Rules for a scope that crosses to another process: W3C headers between two real ones, and what the second believes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from provider_server import ProviderServer, Reply

from payi_otel.testing import IngestServer

pytest.importorskip("openai")

PROLOGUE = """
import contextlib, json, logging, sys, threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry import baggage, propagate
from opentelemetry.context import attach, detach

import payi_otel

given = json.loads(sys.argv[1])
logging.basicConfig(format="%(name)s: %(message)s")
payi_otel.payi_instrument(payi=payi_otel.Payi(api_key=given["key"], base_url=given["ingest"]), config=given["config"])
scope = payi_otel.track_context(**given["scope"]) if given["scope"] else contextlib.nullcontext()
"""
CALLER = """
for name, value in given["others"].items():
    attach(baggage.set_baggage(name, value))
headers = {}
with scope:
    propagate.inject(headers)
connection = HTTPConnection("127.0.0.1", given["port"])
connection.request("GET", "/", headers=headers)
print(json.dumps({"answer": json.loads(connection.getresponse().read()), "headers": headers}))
"""
SERVICE = """
import openai

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        token = attach(propagate.extract(dict(self.headers)))
        try:
            with scope:
                answer = client.chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "Hi."}])
        finally:
            detach(token)
        body = json.dumps(answer.id).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

client = openai.OpenAI(api_key="k", base_url=given["provider"] + "/v1", max_retries=0)
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
server.shutdown()
payi_otel.shutdown(10)
"""
HEADERS = {
    "use_case_name": "xproxy-usecase-name",
    "use_case_id": "xproxy-usecase-id",
    "use_case_version": "xproxy-usecase-version",
    "use_case_step": "xproxy-usecase-step",
    "user_id": "xproxy-user-id",
    "account_name": "xproxy-account-name",
    "limit_ids": "xproxy-limit-ids",
}
"""Where a packet says the fields of its scope; a value that no header carries makes it a bulk's item, whose body says them."""
CALLERS = {"use_case_name": "trip", "use_case_id": "t-1", "use_case_version": 7, "use_case_step": "flights", "account_name": "acme"}
OWN = {"use_case_name": "service", "use_case_id": "s-1", "account_name": "own", "user_id": "nobody"}
"""The defaults of the service."""
FIELDS = ["use_case_name", "use_case_id", "use_case_version", "use_case_step", "account_name"]
EVERY_FIELD = [*FIELDS, "user_id", "limit_ids", "request_properties", "use_case_properties", "proxy", "log_prompt_and_response"]
TRUSTED = {**OWN, "trust_inbound_baggage": True}


class Service:
    """A process that calls a model for each request that it gets."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + SERVICE, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def ask(self, headers: Mapping[str, str]) -> Any:
        """One request with these headers, and what it is answered."""
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/", headers=dict(headers))
        answer = connection.getresponse()
        said = answer.status, json.loads(answer.read())
        connection.close()
        return said

    def stop(self) -> str:
        """Ends it; what it logged."""
        log = self._process.communicate("", timeout=30)[1]
        assert self._process.returncode == 0, log
        return log

    def kill(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start(provider: ProviderServer, ingest: IngestServer) -> Iterator[Callable[..., Service]]:
    """Starts the service with this configuration; `scope`: what it enters around each of its calls."""
    provider.always("/chat/completions", lambda number: Reply(completion(number)))
    running: list[Service] = []

    def start_one(config: Mapping[str, Any], **scope: Any) -> Service:
        given = {"ingest": ingest.url, "key": ingest.api_key, "provider": provider.url, "scope": scope}
        running.append(Service({**given, "config": config}))
        return running[-1]

    yield start_one
    for service in running:
        service.kill()


def completion(number: int) -> dict[str, Any]:
    """A model's answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    return {"id": f"c{number}", "object": "chat.completion", "created": 1, "model": "gpt-4.1-mini", "choices": [choice], "usage": usage}


@pytest.fixture
def call(ingest: IngestServer) -> Callable[..., tuple[dict[str, str], str]]:
    """A process that enters a scope and asks the service from it; the headers that it sent, and what it logged."""

    def run(service: Service, scope: Mapping[str, Any], propagate: list[str] | None = None, **others: str) -> tuple[dict[str, str], str]:
        config = {"use_case_name": "caller", **({} if propagate is None else {"propagate": propagate})}
        given = {"ingest": ingest.url, "key": ingest.api_key, "port": service.port, "config": config, "scope": scope, "others": others}
        command = [sys.executable, "-c", PROLOGUE + CALLER, json.dumps(given)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["answer"] == "c1"
        return said["headers"], done.stderr

    return run


def scope_of(packet: Mapping[str, Any]) -> dict[str, Any]:
    """Whose call Pay-i takes it for."""
    said = packet["body"] if "bulk" in packet["path"] else {field: packet["headers"].get(header) for field, header in HEADERS.items()}
    return {field: str(value) for field in HEADERS if (value := said.get(field)) is not None}


def only_packet(ingest: IngestServer) -> dict[str, Any]:
    """The scope of the one packet there is: the caller makes none."""
    assert ingest.wait_for_packets(1)
    assert len(ingest.packets) == 1
    return scope_of(ingest.packets[0])


def as_text(scope: Mapping[str, Any]) -> dict[str, str]:
    """As `scope_of` gives it."""
    return {name: str(value) for name, value in scope.items()}


def entries(header: str) -> dict[str, object]:
    """The baggage that a header holds."""
    return dict(baggage.get_all(W3CBaggagePropagator().extract({"baggage": header}, Context())))


def test_a_trusted_caller_s_scope_is_the_service_s(start: Any, call: Any, ingest: IngestServer) -> None:
    """The packet of the second process says the use case, its run and the account of the first."""
    headers, log = call(start(TRUSTED), CALLERS)
    assert only_packet(ingest) == as_text({**CALLERS, "user_id": "nobody"})
    assert entries(headers["baggage"]) == {f"payi.{name}": str(value) for name, value in CALLERS.items()}
    assert log == ""


def test_a_scope_of_the_service_stands_over_the_trusted_caller_s(start: Any, call: Any, ingest: IngestServer) -> None:
    """What it enters itself."""
    call(start(TRUSTED, account_name="here", use_case_step="seats"), CALLERS)
    assert only_packet(ingest) == as_text({**CALLERS, "account_name": "here", "use_case_step": "seats", "user_id": "nobody"})


def test_a_caller_that_is_not_trusted_changes_nothing(start: Any, call: Any, ingest: IngestServer) -> None:
    """The service's own defaults hold; and there is nothing to warn of."""
    service = start({**OWN, "propagate": EVERY_FIELD})
    call(service, {**CALLERS, "user_id": "ann", "limit_ids": ["none"]}, EVERY_FIELD)
    assert only_packet(ingest) == OWN
    assert service.stop() == ""


@pytest.mark.parametrize(
    ("sent", "believed", "user"),
    [(None, EVERY_FIELD, "nobody"), (FIELDS, EVERY_FIELD, "nobody"), (EVERY_FIELD, None, "nobody"), (EVERY_FIELD, EVERY_FIELD, "ann")],
    ids=["not by default", "not named", "not by its receiver", "named by both"],
)
def test_a_user_crosses_only_where_propagate_names_it(
    sent: Any, believed: Any, user: str, start: Any, call: Any, ingest: IngestServer
) -> None:
    """In the process that sends it, and in the one that takes it."""
    config = {**TRUSTED, **({} if believed is None else {"propagate": believed})}
    headers, _ = call(start(config), {**CALLERS, "user_id": "ann"}, sent)
    assert only_packet(ingest) == as_text({**CALLERS, "user_id": user})
    assert ("ann" in headers["baggage"]) is (sent is EVERY_FIELD)


ODD = 'Zürich, "100 %"; a=b&c+d\\ %41 日本 🙂'


def test_any_text_survives_the_way(start: Any, call: Any, ingest: IngestServer) -> None:
    """What is not ASCII, and what means something in a header."""
    scope = {**CALLERS, "use_case_id": ODD, "use_case_step": ODD, "account_name": ODD, "user_id": ODD, "limit_ids": ["ä;%", "b c"]}
    call(start({**TRUSTED, "propagate": EVERY_FIELD}), {**scope, "request_properties": {"ö,": ODD}}, EVERY_FIELD)
    assert only_packet(ingest) == as_text(scope)
    assert ingest.packets[0]["body"]["properties"]["ö,"] == ODD


@pytest.mark.parametrize(
    ("scope", "others", "left_out"),
    [
        ({"user_id": "u" * 5000}, {}, ["user_id"]),
        ({"user_id": "ü" * 700}, {}, ["user_id"]),
        ({"user_id": "u" * 3000}, {"one": "x" * 3000, "two": "y" * 3000}, ["user_id"]),
        ({"user_id": "u" * 10}, {f"o{number}": "x" for number in range(175)}, ["account_name"]),
        ({"user_id": "u" * 10}, {f"o{number}": "x" for number in range(177)}, ["use_case_step", "account_name", "user_id"]),
        ({"user_id": "u" * 10}, {f"o{number}": "x" * 815 for number in range(10)}, [*FIELDS, "user_id"]),
    ],
    ids=["ours", "ours encoded", "bytes of all", "entries of all", "entries of many", "no room"],
)
def test_what_the_header_has_no_room_for_is_left_out_and_said(
    scope: Any, others: Any, left_out: list[str], start: Any, call: Any, ingest: IngestServer
) -> None:
    """The caller's log names the field and not its value; the rest crosses, and so does all that is others'."""
    config = {**TRUSTED, "propagate": EVERY_FIELD}
    headers, log = call(start(config), {**CALLERS, **scope}, EVERY_FIELD, **others)
    crossed = {name: value for name, value in {**CALLERS, **scope}.items() if name not in left_out}
    assert only_packet(ingest) == as_text({**OWN, **crossed})
    received = entries(headers["baggage"])
    assert {name: value for name, value in received.items() if not name.startswith("payi.")} == others
    assert len(headers["baggage"]) <= 8192
    assert len(headers["baggage"].split(",")) <= 180
    said = [line for line in log.splitlines() if line.startswith("payi.instrument.context: ")]
    assert sorted(line.split()[1] for line in said) == sorted(left_out)
    assert "uuuu" not in log


HOSTILE = {
    "a version that is none": ("payi.use_case_version=secret", "use_case_version"),
    "a version that Pay-i refuses": ("payi.use_case_version=-1", "use_case_version"),
    "a version without end": (f"payi.use_case_version={'9' * 4000}", "use_case_version"),
    "a name that Pay-i refuses": ("payi.use_case_name=secret%20name,payi.use_case_id=x,payi.use_case_step=y", "use_case_name"),
    "a name that is too long": (f"payi.use_case_name={'secret' * 11}", "use_case_name"),
    "control characters": ("payi.account_name=secret%00%0d%0aX-Forged:%201", "account_name"),
    "properties nested without end": ("payi.request_properties=" + "[" * 4000, "request_properties"),
    "properties that are a list": ("payi.use_case_properties=[1]", "use_case_properties"),
    "a switch that is none": ("payi.log_prompt_and_response=secret", "log_prompt_and_response"),
    "a value that is no entry's": (f"payi.user_id={'secret' * 800}", "payi.user_id"),
    "a header that is none": ("payi.account_name;;=,,=,%%%,payi.user_id,\x01=\x02,a=\xff", "Baggage"),
    "a header without end": (",".join(f"payi.user_id={'x' * 90}" for _ in range(200)), "Baggage header"),
}


def test_hostile_baggage_of_a_trusted_caller_breaks_nothing(start: Any, ingest: IngestServer) -> None:
    """Each call is answered and counted with the service's defaults, and each field that was ignored is named, without its value."""
    service = start({**TRUSTED, "propagate": EVERY_FIELD})
    for number, (header, _) in enumerate(HOSTILE.values(), 1):
        assert service.ask({"baggage": header}) == (200, f"c{number}")
    log = service.stop()
    ours = [line for line in log.splitlines() if line.startswith("payi.")]
    scopes = {packet["body"]["provider_response_id"]: scope_of(packet) for packet in ingest.packets}
    assert {name: scopes.get(f"c{number}") for number, name in enumerate(HOSTILE, 1)} == dict.fromkeys(HOSTILE, OWN)
    assert [name for name, (_, said) in HOSTILE.items() if said not in log] == []
    assert "secret" not in str(ours)
    assert "failed while" not in log
