"""Runs Python programs one after another, each in a fork of this process, which has imported the SDK once for all of them.

A program is a line of JSON on stdin: `parts` (text and line of each piece), `cwd`, `env`, `output` (a file for what it prints). When it
has ended, its exit code is a line on stdout. A fork ends as any Python does, exit hooks included.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import json
import os
import signal
import sys
import time
from types import ModuleType
from typing import Any

PRELOADED = (
    "concurrent.futures.thread",
    "httpcore",
    "httpx",
    "openai.resources.chat.completions.completions",
    "openai.resources.responses.responses",
    "opentelemetry.instrumentation.threading",
    "opentelemetry.sdk.trace",
    "payi_otel.exporters.http",
    "payi_otel.instrumentors.anthropic",
    "payi_otel.instrumentors.bedrock",
    "payi_otel.instrumentors.databricks",
    "payi_otel.instrumentors.google_genai",
    "payi_otel.instrumentors.openai",
    "payi_otel.instrumentors.vertexai",
    "payi_otel.kpis",
    "payi_otel.packets.convert",
)
"""What most blocks come to import sooner or later."""
TIMEOUT_S = 60.0


def serve() -> dict[str, Any] | None:
    """Forks for each program; returns in the fork with what it is to run, and in this process None when there are no more."""
    for name in PRELOADED:
        __import__(name)
    gc.freeze()  # else each fork would copy all of it when it collects
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            return job
        print(_wait_for(child), flush=True)
    return None


def _wait_for(child: int) -> int:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(job: dict[str, Any]) -> None:
    """Runs the parts in one namespace, as a script `app.py` in its folder; an `await` may stand outside functions, as in a notebook."""
    output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    main = ModuleType("__main__")
    script = os.path.join(job["cwd"], "app.py")
    main.__file__ = script
    sys.modules["__main__"], sys.argv, sys.path[0] = main, [script], job["cwd"]
    for part in job["parts"]:
        code = compile("\n" * (part["line"] - 1) + part["text"], script, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, vars(main))
        if inspect.iscoroutine(result):
            asyncio.run(result)


if __name__ == "__main__":
    if (given := serve()) is not None:
        run(given)
