"""One way to instrument the `openai` SDK, in a process of its own: makes the calls that `calls.py` asks for and says what they took.

The provider is within the process, without a network; so is Pay-i, for what is not about it. Each line of the input is a JSON request, each
line of the output its answer.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import os
import resource
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable
from typing import Any

MODEL = "gpt-5"
CHUNKS = 200
LARGE = "q" * 200_000
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello! How can I help you today? " * 10}}
    ],
    "usage": USAGE,
}
WAITING = "q" * 2_600
"""A prompt whose packet has 4 KB."""
MOMENT_S = 0.001
HUGE = "The quick brown fox jumps over the lazy dog.\n" * 220_000
"""10 MB."""
HUGE_IMAGE = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAA" * 410_000
GAP_CALLS = 8
TICK_S, THINKING_S, BETWEEN_S = 0.001, 0.02, 0.2
"""How often the event loop looks at the clock; how long the provider takes; what is between two calls, for the work behind them."""
ATTRIBUTES = {f"gen_ai.request.attribute_{number}": number for number in range(20)}
NAMES = ("bare", "payi-otel", "payi-otel, traced", "genai-openai", "payi", "wrapper", "span", "encode")
"""The second one: in an application that has a tracer provider, so that calls have spans; the first one's have none."""


def chunk(number: int) -> dict[str, Any]:
    """One event of a stream, the last of which has the usage."""
    one: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    if number == CHUNKS:
        return {**one, "choices": [], "usage": USAGE}
    return {**one, "choices": [{"index": 0, "delta": {"content": f"word{number} "}, "finish_reason": None}]}


PLAIN = json.dumps(ANSWER).encode()
STREAM = b"".join(b"data: " + json.dumps(chunk(number)).encode() + b"\n\n" for number in range(CHUNKS + 1)) + b"data: [DONE]\n\n"


class Calls:
    """The calls, through the SDK's own clients."""

    def __init__(self) -> None:
        import httpx2

        import openai

        numbers = itertools.count(1)  # each answer has an id of its own: what is remembered of calls grows with their ids

        def answer(request: Any) -> Any:
            is_stream = b'"stream":true' in request.content[-60:] or b'"stream":true' in request.content[:200]
            kind, content = ("text/event-stream", STREAM) if is_stream else ("application/json", PLAIN)
            own = content.replace(b'"chatcmpl-1"', f'"chatcmpl-{next(numbers)}"'.encode())
            return httpx2.Response(200, headers={"content-type": kind}, content=own)

        async def answer_later(request: Any) -> Any:
            await asyncio.sleep(THINKING_S)
            return answer(request)

        def answer_in_a_moment(request: Any) -> Any:
            time.sleep(MOMENT_S)
            return answer(request)

        transport = httpx2.MockTransport(answer)
        arguments: dict[str, Any] = {"api_key": "k", "base_url": "http://provider.test/v1", "max_retries": 0}
        self.client = openai.OpenAI(**arguments, http_client=httpx2.Client(transport=transport))
        self._busy = openai.OpenAI(**arguments, http_client=httpx2.Client(transport=httpx2.MockTransport(answer_in_a_moment)))
        self._asynchronous = lambda: openai.AsyncOpenAI(**arguments, http_client=httpx2.AsyncClient(transport=transport))
        self._slow = lambda: openai.AsyncOpenAI(**arguments, http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(answer_later)))
        self._messages = [{"role": "user", "content": "Hello."}]
        self._large = [{"role": "user", "content": LARGE}]
        self._waiting = [{"role": "user", "content": WAITING}]

    def plain(self) -> None:
        """A chat completion."""
        self.client.chat.completions.create(model=MODEL, messages=self._messages)  # type: ignore[call-overload]

    def large(self) -> None:
        """The same with a prompt of 200 KB."""
        self.client.chat.completions.create(model=MODEL, messages=self._large)  # type: ignore[call-overload]

    def waiting(self) -> None:
        """One with a packet of 4 KB, to a provider that takes a moment: a worker of ours may be at work meanwhile, as behind any call."""
        self._busy.chat.completions.create(model=MODEL, messages=self._waiting)  # type: ignore[call-overload]

    def stream(self) -> None:
        """A stream of `CHUNKS`, read to its end; its usage is asked for, so that every subject does the same."""
        options = {"include_usage": True}
        for _ in self.client.chat.completions.create(model=MODEL, messages=self._messages, stream=True, stream_options=options):  # type: ignore[call-overload]
            pass

    def concurrent(self) -> None:
        """A hundred at once in one event loop."""

        async def ask() -> None:
            async with self._asynchronous() as client:
                await asyncio.gather(*(client.chat.completions.create(model=MODEL, messages=self._messages) for _ in range(100)))

        asyncio.run(ask())

    def gaps_text(self) -> dict[str, float]:
        """What an event loop waits for while calls with a prompt of 10 MB are made in it."""
        return asyncio.run(self._gaps([{"role": "user", "content": HUGE}]))

    def gaps_image(self) -> dict[str, float]:
        """The same with an image in the prompt."""
        parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": HUGE_IMAGE}}]
        return asyncio.run(self._gaps([{"role": "user", "content": parts}]))

    async def _gaps(self, messages: list[dict[str, Any]]) -> dict[str, float]:
        """How late the event loop is, in ms: at worst while a call is made (the median of the calls), and behind it (p99)."""
        late: list[float] = []
        made, behind = [], []

        async def tick() -> None:
            due = time.perf_counter()
            while True:
                due = max(due, time.perf_counter()) + TICK_S
                await asyncio.sleep(due - time.perf_counter())
                late.append((time.perf_counter() - due) * 1000)

        ticking = asyncio.create_task(tick())
        async with self._slow() as client:
            for _ in range(GAP_CALLS):
                late.clear()
                await client.chat.completions.create(model=MODEL, messages=messages)  # type: ignore[call-overload]
                await asyncio.sleep(0)
                made.append(max(late))
                late.clear()
                await asyncio.sleep(BETWEEN_S)
                behind += late
        ticking.cancel()
        return {"gap_made_ms": statistics.median(made), "gap_behind_ms": statistics.quantiles(behind, n=100)[-1]}


def instrument(name: str, url: str | None) -> Callable[[], None]:
    """Sets a subject up; gives what waits for its background work.

    Args:
        name: The subject.
        url: Pay-i, or a stand-in for it; None: packets and spans are made and go nowhere.
    """
    made: Callable[[], None] = {
        "bare": lambda: None,
        "payi-otel": lambda: _payi_otel(url),
        "payi-otel, traced": lambda: _traced(url),
        "genai-openai": _genai_openai,
        "payi": lambda: _published(url),
        "wrapper": lambda: _floor(_only),
        "span": lambda: _floor(_with_span()),
        "encode": lambda: _floor(_encoding),
    }[name]() or (lambda: None)
    return made


def _payi_otel(url: str | None) -> Callable[[], None]:
    import payi_otel

    if url is None:
        file = os.path.join(
            tempfile.mkdtemp(prefix="payi-otel-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None), "packets.json"
        )
        payi_otel.payi_instrument(config={"offline_instrumentation": {"file_name": file}, "use_case_name": "bench"})
    else:
        payi = payi_otel.Payi(api_key="test-key", base_url=url)
        payi_otel.payi_instrument(payi=payi, config={"use_case_name": "bench", "exit_timeout_s": 0.0})
    return lambda: payi_otel.flush(60) and None


def _traced(url: str | None) -> Callable[[], None]:
    from opentelemetry import trace

    provider = _tracer_provider()
    trace.set_tracer_provider(provider)
    flush = _payi_otel(url)

    def both() -> None:
        provider.force_flush()
        flush()

    return both


def _tracer_provider() -> Any:
    """An application's, whose spans go nowhere."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return provider


def _genai_openai() -> Callable[[], None]:
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    provider = _tracer_provider()
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return lambda: provider.force_flush() and None


def _published(url: str | None) -> None:
    """With a tokenizer that is there and costs nothing: without a network it would be looked for in every call."""
    import httpx

    nothing = types.SimpleNamespace(encode=lambda text, **kwargs: [])
    sys.modules["tiktoken"] = types.SimpleNamespace(  # type: ignore[assignment]
        get_encoding=lambda name: nothing, encoding_for_model=lambda name: nothing, Encoding=object
    )
    from payi._client import Payi
    from payi.lib.instrument import payi_instrument

    answer = {
        "request_id": "r",
        "ingest_timestamp": "2026-01-01T00:00:00Z",
        "event_timestamp": "2026-01-01T00:00:00Z",
        "xproxy_result": {"request_id": "r"},
    }
    at_once = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, json=answer)))
    payi = Payi(api_key="test-key", base_url=url or "http://pay-i.test", http_client=at_once if url is None else None, max_retries=0)
    payi_instrument(payi=payi, config={"use_case_name": "bench"})


def _floor(around: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]) -> None:
    """A bare wrapper around the method, and what a floor does in it."""
    import wrapt

    import openai

    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return around(wrapped, args, kwargs)

    for owner in (openai.resources.chat.completions.Completions, openai.resources.chat.completions.AsyncCompletions):
        owner.create = wrapt.FunctionWrapper(owner.create, call)  # type: ignore[method-assign, assignment]


def _only(wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return wrapped(*args, **kwargs)


def _with_span() -> Callable[..., Any]:
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("bench")

    def around(wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        span = tracer.start_span("chat", attributes=ATTRIBUTES)
        result = wrapped(*args, **kwargs)
        span.end()
        return result

    return around


def _encoding(wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    import orjson

    result = wrapped(*args, **kwargs)
    orjson.dumps({"category": "system.openai", "resource": MODEL, "request": kwargs["messages"], "units": USAGE})
    return result


def main() -> int:
    """Serves `calls.py`: `subject.py NAME [URL]`."""
    logging.disable(logging.CRITICAL)
    began, before = time.perf_counter(), _rss_mb()
    calls = Calls()
    imported_ms = (time.perf_counter() - began) * 1000
    bare_mb, began = _rss_mb(), time.perf_counter()
    flush = instrument(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    setup_ms = (time.perf_counter() - began) * 1000
    start = {"import_ms": imported_ms, "setup_ms": setup_ms, "setup_mb": _rss_mb() - bare_mb, "sdk_mb": bare_mb - before}
    print(json.dumps(start), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "apart" in asked:
            for call, times, behind in asked["apart"]:
                _make_apart(getattr(calls, call), times, flush if behind else None)
            print("{}", flush=True)
            continue
        call, times = getattr(calls, asked["call"]), asked["times"]
        wall, thread, process = time.perf_counter(), time.thread_time(), time.process_time()
        for _ in range(times):
            found = call()
        wall, thread = time.perf_counter() - wall, time.thread_time() - thread
        if asked.get("flush", True):
            flush()
        total = time.process_time() - process
        took = {"wall_us": wall, "call_us": thread, "total_us": total}
        each = {name: seconds / times * 1e6 for name, seconds in took.items()}
        print(json.dumps(each | {"rss_mb": _rss_mb()} | (found or {})), flush=True)
    os._exit(0)  # what is still queued is not part of it


def _make_apart(call: Callable[[], None], times: int, flush: Callable[[], None] | None) -> None:
    """In a child of its own: what it has counted when it ends is what the parent had, and these calls; without `flush`, those alone."""
    gc.collect()
    gc.freeze()  # a full collection, which goes through all that was ever imported, comes in some of the children and not in others
    child = os.fork()
    if not child:
        if flush is None:
            _leave_undelivered()
        for _ in range(times):
            call()
        if flush is not None:
            flush()
        os._exit(0)
    os.waitpid(child, 0)


def _leave_undelivered() -> None:
    """No worker of ours begins: nothing is done behind the calls."""
    workers: Any = sys.modules.get("payi_otel.delivery._workers")
    if workers is not None:
        workers.Workers.call = lambda self, times=1: None
        workers.Workers.add = lambda self, *, wait=False: True


def _rss_mb() -> float:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    sys.exit(main())
