"""What a call costs as the work grows: with the calls made before it, the length of its stream, the scope and the mappings.

Draws docs/growth.svg. What is measured is the instrumentation alone, around a method that hands back a finished answer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import payi_otel
from payi_otel import track_context
from subject import ANSWER, MODEL, chunk

HERE = Path(__file__).parent
BATCH = 500


def per_call_us(call: Callable[[], Any], times: int) -> float:
    """CPU of the calling thread, in µs; the median of five batches, or of one where that is all there is."""
    batches = 5 if times >= 5 else 1
    took = []
    for _ in range(batches):
        began = time.thread_time()
        for _ in range(times // batches):
            call()
        took.append((time.thread_time() - began) / (times // batches) * 1e6)
    return statistics.median(took)


class Answering:
    """An `openai` client whose method is the real one's wrapper around nothing."""

    def __init__(self) -> None:
        wrapper = openai.resources.chat.completions.Completions.create._self_wrapper  # type: ignore[attr-defined]
        self.client = openai.OpenAI(api_key="k", base_url="http://provider.test/v1")
        answer = openai.types.chat.ChatCompletion.model_validate(ANSWER)
        numbers = itertools.count(1)

        def answered(*args: Any, **more: Any) -> Any:
            answer.id = f"chatcmpl-{next(numbers)}"  # what is remembered of calls grows with their ids
            return answer

        kwargs: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello."}]}
        self.call = lambda: wrapper(answered, self.client.chat.completions, (), kwargs)


def grown_by_calls(most: int) -> list[tuple[int, float]]:
    """After so many calls of the process."""
    call, made, found = Answering().call, 0, []
    size = 1
    while size <= most:
        while made < size - BATCH:
            call()
            made += 1
            if made % 5000 == 0:
                payi_otel.flush(60)
        payi_otel.flush(60)
        found.append((size, per_call_us(call, BATCH)))
        made += BATCH
        size *= 10
    return found


def grown_by_properties() -> list[tuple[int, float]]:
    """With so many properties in the scope."""
    call, found = Answering().call, []
    for size in (0, 1, 10, 100):
        with track_context(request_properties={f"property-{number}": "value" for number in range(size)}):
            found.append((size, per_call_us(call, 5 * BATCH)))
        payi_otel.flush(60)
    return found


def grown_by_mappings() -> list[tuple[int, float]]:
    """With so many model mappings."""
    found = []
    for size in (0, 10, 100, 1000):
        payi_otel.shutdown(60)
        start({"openai_config": {"model_mappings": [{"model": f"m-{number}", "price_as_resource": "r"} for number in range(size)]}})
        found.append((size, per_call_us(Answering().call, 5 * BATCH)))
        payi_otel.flush(60)
    return found


def grown_by_chunks() -> list[tuple[int, float]]:
    """µs that a stream of so many chunks costs more than without us, in all."""
    found = []
    for size in (10, 100, 1000, 10_000):
        events = [openai.types.chat.ChatCompletionChunk.model_validate(chunk(number % 200)) for number in range(size)]
        times = max(1, 2000 // size)
        took = per_call_us(lambda events=events: read(events), times)  # type: ignore[misc]
        bare = per_call_us(lambda events=events: [None for _ in events], times)  # type: ignore[misc]
        found.append((size, took - bare))
        payi_otel.flush(60)
    return found


def read(events: list[Any]) -> None:
    """One stream through the tap alone."""
    from payi_otel.instrumentors._iterators import tap_iterator
    from payi_otel.instrumentors._stream import Tap
    from payi_otel.instrumentors.openai._chat import ChatStreamReader

    stream = SimpleNamespace(_iterator=(event for event in events))
    tap_iterator(stream, Tap(_open(), ChatStreamReader(hide_usage=False, choices=1)), is_async=False)
    for _ in stream._iterator:
        pass


def _open() -> Any:
    from opentelemetry.trace import NoOpTracer

    from payi_otel.context.scope import Scope
    from payi_otel.instrumentors._client_facts import ClientFacts
    from payi_otel.instrumentors._invocation import Invocation, Request

    request = Request(client=ClientFacts("openai", "system.openai"), model=MODEL, args=(), kwargs={}, stream=True)
    return Invocation(NoOpTracer(), "chat", request, Scope(), "openai/1", None, None)


def start(config: dict[str, Any]) -> None:
    """Into a file in a folder of its own."""
    folder = tempfile.mkdtemp(prefix="payi-otel-bench-")
    offline = {"offline_instrumentation": {"file_name": f"{folder}/packets.json"}, "use_case_name": "bench"}
    payi_otel.payi_instrument(config={**offline, **config}, log_prompt_and_response=False)


def draw(found: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """A plot of each, logarithmic along the growth."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "payi-otel"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(4 * len(found), 3), layout="constrained")
    for axis, (title, points) in zip(axes, found.items(), strict=True):
        first = points[0][1]
        axis.plot([size for size, _ in points], [us / first for _, us in points], marker="o")
        axis.set_xscale("symlog" if points[0][0] == 0 else "log")
        if title == "chunks of a stream":
            axis.set_yscale("log")
        else:
            axis.set_ylim(0, 2)
        axis.set_title(title, fontsize=10)
        axis.set_ylabel("CPU, ÷ the first", fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Measures, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1_000_000, help="how many calls one process makes (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "growth.svg", help="the plot (default: %(default)s)")
    arguments = parser.parse_args()
    start({})
    found = {
        "calls made before": grown_by_calls(arguments.most),
        "properties of the scope": grown_by_properties(),
        "chunks of a stream": grown_by_chunks(),
        "model mappings": grown_by_mappings(),
    }
    payi_otel.shutdown(60)
    print(json.dumps(found, indent=1))
    draw(found, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
