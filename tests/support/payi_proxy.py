"""Pay-i's proxy on loopback: it checks what it is sent, forwards it to the provider, and adds `xproxy_result` to the answer.

It is the ingest server of `payi_otel.testing` as well, at the same URL, so that a test can show that nothing was ingested.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from proxy_answers import RESULT, Addition, FrameAddition, SseAddition, add_to_json
from proxy_rules import BASE_URI, CREDENTIALS, KEY, PROVIDERS, PUBLIC, Headers, check_base_uri, check_signature, read_scope

from payi_otel._ingest_server import _Handler
from payi_otel.testing import API_KEY, IngestServer

PREFIX = "/api/v1/proxy/"
_ROUTE = re.compile(rf"{PREFIX}({'|'.join(map(re.escape, PROVIDERS))})((?=[/?]).*|)")
_OWN_TO_EACH_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"})
_ADDITIONS: Mapping[str, Callable[[Any], Addition]] = {
    "text/event-stream": SseAddition,
    "application/vnd.amazon.eventstream": FrameAddition,
}
_TIMEOUT_S = 30.0
_MAX_PIECE = 65_536


@dataclass(frozen=True)
class ProxiedCall:
    """One request, as it came to the proxy."""

    provider: str
    """`openai/v1`, `anthropic`, `azure.openai`, `azure.anthropic` or `aws.bedrock`."""
    method: str
    path: str
    """What stood behind the provider, as on the wire, without the query."""
    query: str
    scope: dict[str, Any]
    """The fields of the scope by name, decoded; only what was sent is there."""
    base_uri: str | None
    credentials: dict[str, str]
    """The provider's own, by lower-case header."""
    body: bytes
    headers: tuple[tuple[str, str], ...]
    """All, as they came."""
    result: dict[str, Any]
    """The `xproxy_result` of the answer; its `request_id` and cost are this call's alone."""
    problems: tuple[str, ...] = ()
    """Why it was not forwarded."""
    is_blocked: bool = False
    """It names a blocked limit, and was not forwarded."""

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """A header's value, whatever the case of its name."""
        return next((value for given, value in self.headers if given.lower() == name.lower()), None)


class PayiProxy(IngestServer):
    """The proxy, in a thread. A context manager; starts at once.

    A request with anything wrong about it is not forwarded: it is answered with 400 (401 where the key is wrong), and said in `problems`.

    Attributes:
        calls: Every request below `/api/v1/proxy/`, in order of arrival. (`requests` and `packets` are those of ingests.)
        problems: What was wrong with them. A test that expects some takes them out.
        hosts: Where to connect in place of a host of the real world: `{"https://api.openai.com": provider.url}`. There is no other.
        aws_secrets: Secret keys by access key id, with which AWS's signatures are checked.
    """

    def __init__(self, *, api_key: str = API_KEY) -> None:
        """Listens on a free port of 127.0.0.1."""
        super().__init__(api_key=api_key)
        self.calls: list[ProxiedCall] = []
        self.problems: list[str] = []
        self.hosts: dict[str, str] = {}
        self.aws_secrets = {"AKID": "secret"}
        self._limits: dict[str, str] = {}
        self._http.RequestHandlerClass = _ProxyHandler

    def block(self, limit_id: str) -> None:
        """Requests that name this limit are refused from now on."""
        self.set_limit(limit_id, "blocked")

    def set_limit(self, limit_id: str, state: str) -> None:
        """The state of a limit that answers to requests with it tell; `ok` where nothing is set."""
        with self._changed:
            self._limits[limit_id] = state

    # called by the connections' threads

    def take_call(self, method: str, target: str, headers: Headers, body: bytes) -> ProxiedCall:
        """Keeps a request, with all that is wrong with it."""
        match = _ROUTE.fullmatch(target)
        provider, rest = match.groups() if match else ("", "")
        path, _, query = rest.partition("?")
        given = {name.lower(): value for name, value in headers}
        scope, problems = read_scope(headers)
        base_uri = given.get(BASE_URI)
        if match is None:
            problems.append(f"{target} is no path of the proxy")
        elif problem := check_base_uri(provider, base_uri, self.url, self.hosts):
            problems.append(problem)
        elif provider == "aws.bedrock":
            problem = check_signature(
                method, (f"{base_uri}{rest}", self.url + target), to_forward(headers, len(body)), body, self.aws_secrets
            )
            problems += [problem] if problem else []
        if given.get("host") != urlsplit(self.url).netloc:
            problems.append(f"host is {given.get('host')!r}, and not the proxy's")
        if given.get(KEY) != self.api_key:
            problems.append(f"{KEY} is wrong" if KEY in given else f"{KEY} is missing")
        with self._changed:
            result = self._to_result(len(self.calls) + 1, scope)
            call = ProxiedCall(
                provider=provider,
                method=method,
                path=path,
                query=query,
                scope=scope,
                base_uri=base_uri,
                credentials={name: given[name] for name in CREDENTIALS if name in given},
                body=body,
                headers=tuple(headers),
                result=result,
                problems=tuple(problems),
                is_blocked=bool(result["blocked_limit_ids"]),
            )
            self.calls.append(call)
            self.problems += [f"{method} {target}: {problem}" for problem in problems]
            self._changed.notify_all()
        return call

    def refuse(self, call: ProxiedCall) -> tuple[int, dict[str, Any]] | None:
        """The status and body of a call that is not forwarded; None where it is."""
        if any(problem.startswith(KEY) for problem in call.problems):
            return 401, _to_error(401, "invalid_api_key", "; ".join(call.problems))
        if call.problems:
            return 400, _to_error(400, "request_processing_error", "; ".join(call.problems))
        if call.is_blocked:
            error = _to_error(400, "limit_reached", f"{', '.join(call.result['blocked_limit_ids'])}: the limit is reached")
            return 400, {**error, RESULT: call.result}
        return None

    def _to_result(self, number: int, scope: Mapping[str, Any]) -> dict[str, Any]:
        limits = {limit_id: self._limits.get(limit_id, "ok") for limit_id in scope.get("limit_ids", ())}
        told = ("use_case_name", "use_case_id", "use_case_step", "user_id", "account_name")
        return {
            "request_id": f"proxied-{number}",
            "cost": {
                "currency": "usd",
                "input": {"base": number / 1000},
                "output": {"base": number / 500},
                "total": {"base": number * 3 / 1000, "overrun_base": 0},
            },
            "limits": {limit_id: {"state": state} for limit_id, state in limits.items()},
            "blocked_limit_ids": [limit_id for limit_id, state in limits.items() if state.startswith("blocked")],
            **{name: scope[name] for name in told if name in scope},
        }


def to_forward(headers: Headers, length: int) -> list[tuple[str, str]]:
    """The headers that the provider gets, but for its host."""
    own = {"host", "content-length", *_OWN_TO_EACH_HOP}
    kept = [(name, value) for name, value in headers if not name.lower().startswith("xproxy-") and name.lower() not in own]
    return [*kept, ("Content-Length", str(length))]


def _to_error(status: int, code: str, message: str) -> dict[str, Any]:
    return {"statusCode": status, "message": message, "xproxy_error": {"code": code, "message": message}}


class _ProxyHandler(_Handler):
    """A connection of a client; whatever is not below `/api/v1/proxy/` is an ingest."""

    @property
    def _proxy(self) -> PayiProxy:
        proxy = self.server.ingest
        assert isinstance(proxy, PayiProxy)
        return proxy

    def _serve(self) -> None:
        if not self.path.startswith(PREFIX):
            super().do_POST()
            return
        call = self._proxy.take_call(self.command, self.path, list(self.headers.items()), self._read_body())
        refusal = self._proxy.refuse(call)
        if refusal is not None:
            self._answer_json(*refusal)
            return
        try:
            self._forward(call)
        except OSError:  # the client left
            self.close_connection = True
        except Exception as fault:
            self._proxy.problems.append(f"a fault of the proxy: {fault!r}")
            raise

    do_POST = do_GET = do_DELETE = do_PUT = do_PATCH = _serve  # noqa: N815 - the names the standard library calls

    def _read_body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _forward(self, call: ProxiedCall) -> None:
        target = urlsplit((call.base_uri or PUBLIC[call.provider]) + call.path + (f"?{call.query}" if call.query else ""))
        place = urlsplit(self._proxy.hosts.get(f"{target.scheme}://{target.netloc}", target.geturl()))
        upstream = HTTPConnection(place.hostname or "", place.port, timeout=_TIMEOUT_S)
        try:
            try:
                upstream.putrequest(call.method, target.path + (f"?{target.query}" if target.query else ""), True, True)
                for name, value in (("Host", target.netloc), *to_forward(call.headers, len(call.body))):
                    upstream.putheader(name, value)
                upstream.endheaders(call.body)
                answer = upstream.getresponse()
            except (OSError, HTTPException) as error:
                self._answer_json(502, _to_error(502, "provider_error", type(error).__name__))
                return
            self._pass_on(answer, call.result)
        finally:
            upstream.close()

    def _pass_on(self, answer: HTTPResponse, result: Any) -> None:
        kind = answer.headers.get_content_type()
        if kind in _ADDITIONS:
            self._stream(answer, _ADDITIONS[kind](result))
            return
        try:
            content = b"".join(_pieces(answer))
        except (OSError, HTTPException):
            self._reset()
            return
        content = add_to_json(content, result) if kind == "application/json" else content
        self._begin(answer, ("Content-Length", str(len(content))), content)

    def _stream(self, answer: HTTPResponse, addition: Addition) -> None:
        self._begin(answer, ("Transfer-Encoding", "chunked"))
        pieces = _pieces(answer)
        while True:
            try:
                piece = next(pieces, None)
            except (OSError, HTTPException):
                self._write_chunk(addition.broken_off())
                self._reset()
                return
            self._write_chunk(addition.end() if piece is None else addition.take(piece))
            if piece is None:
                self.wfile.write(b"0\r\n\r\n")
                return

    def _write_chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

    def _begin(self, answer: HTTPResponse, length: tuple[str, str], content: bytes = b"") -> None:
        own = {"content-length", "content-encoding", *_OWN_TO_EACH_HOP}
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in own]
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{name}: {value}" for name, value in (*kept, length))]
        self.wfile.write("\r\n".join((*lines, "", "")).encode("latin-1") + content)

    def _answer_json(self, status: int, body: Any) -> None:
        self._send(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


def _pieces(answer: HTTPResponse) -> Any:
    """The content as it comes, unpacked."""
    packed = answer.headers.get("content-encoding") == "gzip"
    unpacker = zlib.decompressobj(wbits=31)
    while piece := answer.read1(_MAX_PIECE):
        yield unpacker.decompress(piece) if packed else piece
    if answer.length:  # `read1` ends quietly where a body is shorter than was said
        raise HTTPException("cut")
