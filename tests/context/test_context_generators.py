"""Rules for tracked generators: the body stands in its scope at every resume, the consumer never does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span

from payi_otel.context.track import PayiContext, get_context, track, track_context

USER: PayiContext = {"user_id": "ann"}


@track(user_id="ann")
def talk() -> Generator[Any, Any, str]:
    """Answers what it is sent or thrown, with its scope, until it is closed."""
    said: Any = "start"
    while said != "stop":
        try:
            said = yield said, get_context()
        except ValueError as error:  # noqa: PERF203 - what is thrown in is part of the talk
            said = repr(error)
    return "done"


@track(user_id="ann")
async def talk_async() -> AsyncGenerator[Any, Any]:
    """The same for async; it is suspended inside, too."""
    said: Any = "start"
    while said != "stop":
        try:
            await asyncio.sleep(0)
            said = yield said, get_context()
        except ValueError as error:  # noqa: PERF203 - what is thrown in is part of the talk
            said = repr(error)


def test_every_resume_of_a_generator_is_in_its_scope() -> None:
    """Values, exceptions and the return value go through as without `track`."""
    generator = talk()
    assert next(generator) == ("start", USER)
    assert get_context() == {}
    assert generator.send("one") == ("one", USER)
    assert generator.throw(ValueError("two")) == ("ValueError('two')", USER)
    assert get_context() == {}
    with pytest.raises(StopIteration) as stopped:
        generator.send("stop")
    assert stopped.value.value == "done"
    assert get_context() == {}
    with pytest.raises(StopIteration):
        next(generator)


async def test_every_resume_of_an_async_generator_is_in_its_scope() -> None:
    """The same for asend and athrow."""
    generator = talk_async()
    assert await anext(generator) == ("start", USER)
    assert get_context() == {}
    assert await generator.asend("one") == ("one", USER)
    assert await generator.athrow(ValueError("two")) == ("ValueError('two')", USER)
    assert get_context() == {}
    with pytest.raises(StopAsyncIteration):
        await generator.asend("stop")
    assert get_context() == {}
    with pytest.raises(StopAsyncIteration):
        await anext(generator)


def test_yield_from_a_tracked_generator() -> None:
    """Delegation goes both ways."""

    def outer() -> Iterator[Any]:
        result = yield from talk()
        yield result, get_context()

    generator = outer()
    next(generator)
    assert generator.send("x") == ("x", USER)  # type: ignore[attr-defined]
    assert generator.send("stop") == ("done", {})  # type: ignore[attr-defined]


def test_an_exception_of_the_body_reaches_the_consumer() -> None:
    """The very one, and the scope is gone."""
    mine = KeyError("mine")

    @track(user_id="ann")
    def fails() -> Iterator[int]:
        yield 1
        raise mine

    with pytest.raises(KeyError) as caught:
        list(fails())
    assert caught.value is mine
    assert get_context() == {}


def test_close_runs_the_body_s_cleanup_in_its_scope() -> None:
    """By name, and when the generator is collected."""
    seen: list[PayiContext] = []

    @track(user_id="ann")
    def cleans() -> Iterator[int]:
        try:
            yield 1
        finally:
            seen.append(get_context())

    generator = cleans()
    next(generator)
    generator.close()  # type: ignore[attr-defined]
    next(cleans())
    gc.collect()
    assert seen == [USER, USER]
    assert get_context() == {}


async def test_aclose_runs_the_body_s_cleanup_in_its_scope() -> None:
    """Also when it awaits."""
    seen: list[PayiContext] = []
    generator = cleans_async(seen)
    await anext(generator)
    await generator.aclose()
    assert seen == [USER]
    assert get_context() == {}


@track(user_id="ann")
async def cleans_async(seen: list[PayiContext]) -> AsyncGenerator[int, None]:
    """Awaits in its cleanup, as an HTTP stream does."""
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0.001)
        seen.append(get_context())


def test_an_async_generator_left_open_is_closed_in_its_scope_at_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    """The event loop closes what is open when it ends: once, in the scope, without a complaint."""
    seen: list[PayiContext] = []
    kept = []

    async def main() -> None:
        generator = cleans_async(seen)
        kept.append(generator)
        await anext(generator)

    asyncio.run(main())
    assert seen == [USER]
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


def test_an_async_generator_that_is_collected_is_closed_in_its_scope(caplog: pytest.LogCaptureFixture) -> None:
    """A loop broken off leaves the generator to the event loop."""
    seen: list[PayiContext] = []

    async def main() -> None:
        async for _ in cleans_async(seen):
            break
        gc.collect()
        await asyncio.sleep(0.02)

    asyncio.run(main())
    assert seen == [USER]
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize("end", ["close", "throw"])
def test_a_generator_that_was_never_begun_can_be_ended(end: str) -> None:
    """Nothing of it ran, nothing is left."""
    generator = talk()
    if end == "close":
        generator.close()
    else:
        with pytest.raises(KeyError):
            generator.throw(KeyError("x"))
    with pytest.raises(StopIteration):
        next(generator)
    assert get_context() == {}


def test_a_generator_that_ignores_close_fails_as_always() -> None:
    """Python's own error."""

    @track(user_id="ann")
    def stubborn() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    generator = stubborn()
    next(generator)
    with pytest.raises(RuntimeError, match="generator ignored GeneratorExit"):
        generator.close()  # type: ignore[attr-defined]


def test_the_scope_is_the_one_of_the_call() -> None:
    """A generator made in a block and read after it, as a streaming response is, keeps the block's scope."""

    @track(limit_ids=["a"], use_case_name="stream")
    def stream() -> Iterator[PayiContext]:
        while True:
            yield get_context()

    with track_context(user_id="ann"):
        generator = stream()
    first = next(generator)
    assert first == {"user_id": "ann", "limit_ids": ["a"], "use_case_name": "stream", "use_case_id": first["use_case_id"]}
    with track_context(user_id="bob", limit_ids=["b"]):
        assert next(generator) == first
        assert get_context() == {"user_id": "bob", "limit_ids": ["b"]}


async def test_the_scope_of_an_async_generator_is_the_one_of_the_call() -> None:
    """The same, read in another task."""

    @track(limit_ids=["a"])
    async def stream() -> AsyncGenerator[PayiContext, None]:
        yield get_context()
        yield get_context()

    async def read(generator: AsyncGenerator[PayiContext, None]) -> list[PayiContext]:
        with track_context(user_id="bob"):
            found = [item async for item in generator]
            assert get_context() == {"user_id": "bob"}
            return found

    with track_context(user_id="ann"):
        generator = stream()
    assert await asyncio.create_task(read(generator)) == [{"user_id": "ann", "limit_ids": ["a"]}] * 2


def test_each_call_of_a_generator_function_is_an_instance_of_its_use_case() -> None:
    """And one through all its resumes."""

    @track(use_case_name="stream")
    def stream() -> Iterator[str | None]:
        for _ in range(3):
            yield get_context()["use_case_id"]

    first, second = set(stream()), set(stream())
    assert len(first) == len(second) == 1
    assert first != second


def test_a_block_inside_a_body_does_not_leak_to_the_consumer() -> None:
    """What the body enters across a yield stays with it."""

    @track(user_id="ann")
    def body() -> Iterator[PayiContext]:
        with track_context(account_name="acme"):
            yield get_context()
            yield get_context()
        yield get_context()

    generator = body()
    inner: PayiContext = {"user_id": "ann", "account_name": "acme"}
    assert next(generator) == inner
    assert get_context() == {}
    with track_context(user_id="bob"):
        assert next(generator) == inner
        assert get_context() == {"user_id": "bob"}
    assert next(generator) == USER


def test_two_generators_read_in_turn_do_not_meet() -> None:
    """Each keeps its own scope and its own span."""
    tracer = TracerProvider().get_tracer("test")

    @track(use_case_name="pair")
    def body(user: str) -> Iterator[tuple[Any, str]]:
        with track_context(user_id=user), tracer.start_as_current_span(user):
            for _ in range(3):
                yield get_context()["user_id"], get_current_span().name  # type: ignore[attr-defined]

    for one, two in zip(body("ann"), body("bob"), strict=True):
        assert one == ("ann", "ann")
        assert two == ("bob", "bob")
        assert get_context() == {}
        assert not get_current_span().get_span_context().is_valid


def test_a_generator_can_be_read_in_several_threads(carried_into_threads: None) -> None:
    """As web frameworks read a sync one: each resume in whichever thread is free."""
    generator = talk()
    found: list[Any] = []
    for _ in range(4):
        thread = threading.Thread(target=lambda: found.append((next(generator), get_context())))
        thread.start()
        thread.join()
    assert [scope for (_, scope), _ in found] == [USER] * 4
    assert [outside for _, outside in found] == [{}] * 4


async def test_a_cancelled_resume_reaches_the_body_in_its_scope() -> None:
    """And the task that was cancelled is left without the scope."""
    seen: list[PayiContext] = []

    @track(user_id="ann")
    async def waits() -> AsyncGenerator[int, None]:
        try:
            await asyncio.sleep(60)
            yield 1
        finally:
            seen.append(get_context())

    async def read() -> PayiContext:
        with contextlib.suppress(asyncio.CancelledError):
            await anext(waits())
        return get_context()

    task = asyncio.create_task(read())
    await asyncio.sleep(0.001)
    task.cancel()
    assert await task == {}
    assert seen == [USER]


async def test_a_tracked_async_generator_makes_an_async_context_manager() -> None:
    """`contextlib` drives it by anext, athrow and aclose."""

    @contextlib.asynccontextmanager
    @track(user_id="ann")
    async def session() -> AsyncGenerator[PayiContext, None]:
        try:
            yield get_context()
        except ValueError:
            assert get_context() == USER

    async with session() as scope:
        assert scope == USER
        assert get_context() == {}
        raise ValueError
    assert get_context() == {}
