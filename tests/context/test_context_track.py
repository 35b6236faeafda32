"""Rules for `track` and `track_context` around functions and blocks."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider

from payi_otel.context.scope import current_scope, set_defaults
from payi_otel.context.track import PayiContext, get_context, track, track_context

USER: PayiContext = {"user_id": "ann"}


def plain(*args: Any, **kwargs: Any) -> tuple[PayiContext, Any, Any]:
    """Documented."""
    return get_context(), args, kwargs


async def coroutine(*args: Any, **kwargs: Any) -> tuple[PayiContext, Any, Any]:
    """Documented."""
    await asyncio.sleep(0)
    return get_context(), args, kwargs


class Callable:
    """A callable object."""

    def __call__(self, *args: Any) -> tuple[PayiContext, Any]:
        """Looks."""
        return get_context(), args


class AsyncCallable:
    """A callable object whose call is a coroutine."""

    async def __call__(self, *args: Any) -> tuple[PayiContext, Any]:
        """Looks."""
        await asyncio.sleep(0)
        return get_context(), args


class Service:
    """Methods of every kind, decorated above and below the built-in decorator."""

    name = "service"

    @track(user_id="ann")
    def method(self) -> tuple[PayiContext, str]:
        """Looks."""
        return get_context(), self.name

    @track(user_id="ann")
    @staticmethod
    def static_below() -> tuple[PayiContext, str]:
        """Looks."""
        return get_context(), "static"

    @staticmethod
    @track(user_id="ann")
    def static_above() -> tuple[PayiContext, str]:
        """Looks."""
        return get_context(), "static"

    @track(user_id="ann")  # type: ignore[type-var]
    @classmethod
    def of_class_below(cls) -> tuple[PayiContext, str]:
        """Looks."""
        return get_context(), cls.name

    @classmethod
    @track(user_id="ann")
    def of_class_above(cls) -> tuple[PayiContext, str]:
        """Looks."""
        return get_context(), cls.name

    @track(user_id="ann")
    def generated(self) -> Iterator[tuple[PayiContext, str]]:
        """Looks."""
        yield get_context(), self.name

    @track(user_id="ann")
    @staticmethod
    def generated_static() -> Iterator[tuple[PayiContext, str]]:
        """Looks."""
        yield get_context(), "static"

    @track(user_id="ann")
    async def generated_async(self) -> AsyncIterator[tuple[PayiContext, str]]:
        """Looks."""
        yield get_context(), self.name


@track(user_id="ann")
def module_level() -> PayiContext:
    """Looks."""
    return get_context()


@track(user_id="ann")
def module_level_generator() -> Iterator[PayiContext]:
    """Looks."""
    yield get_context()


@pytest.fixture(params=["track", "track_context"])
def decorator(request: pytest.FixtureRequest) -> Any:
    """Both ways to decorate; they must not differ."""
    return {"track": track, "track_context": track_context}[request.param](user_id="ann")


def test_a_function_runs_in_its_scope(decorator: Any) -> None:
    """Arguments and result pass through; the scope ends with the call."""
    assert decorator(plain)(1, two=2) == (USER, (1,), {"two": 2})
    assert get_context() == {}


async def test_a_coroutine_function_runs_in_its_scope(decorator: Any) -> None:
    """Also after it was suspended."""
    assert await decorator(coroutine)(1, two=2) == (USER, (1,), {"two": 2})
    assert get_context() == {}


def test_partials_run_in_the_scope(decorator: Any) -> None:
    """A partial is a function with arguments."""
    assert decorator(functools.partial(plain, 1))(2) == (USER, (1, 2), {})
    assert decorator(functools.partial(Callable(), 1))(2) == (USER, (1, 2))


async def test_async_partials_and_callables_run_in_the_scope(decorator: Any) -> None:
    """What is awaited is in the scope, and the wrapped one says that it is a coroutine function."""
    for func in (functools.partial(coroutine, 1), AsyncCallable(), functools.partial(AsyncCallable(), 1)):
        tracked = decorator(func)
        assert inspect.iscoroutinefunction(tracked)
        assert (await tracked(2))[0] == USER


def test_callable_objects_run_in_the_scope(decorator: Any) -> None:
    """An object with `__call__` is a function too."""
    assert decorator(Callable())(1) == (USER, (1,))


@pytest.mark.parametrize("name", ["method", "static_below", "static_above", "of_class_below", "of_class_above"])
def test_methods_run_in_the_scope(name: str) -> None:
    """In whichever order the decorators stand."""
    scope, said = getattr(Service(), name)()
    assert scope == USER
    assert said == ("static" if "static" in name else "service")


@pytest.mark.parametrize("name", ["generated", "generated_static"])
def test_generator_methods_run_in_the_scope(name: str) -> None:
    """They bind as methods do."""
    assert list(getattr(Service(), name)()) == [(USER, "static" if "static" in name else "service")]


async def test_async_generator_methods_run_in_the_scope() -> None:
    """They bind as methods do."""
    assert [item async for item in Service().generated_async()] == [(USER, "service")]


@pytest.mark.parametrize(
    ("kind", "func"),
    [
        (inspect.isfunction, plain),
        (inspect.iscoroutinefunction, coroutine),
        (inspect.isgeneratorfunction, Service.generated),
        (inspect.isasyncgenfunction, Service.generated_async),
    ],
)
def test_a_tracked_function_stays_of_its_kind(decorator: Any, kind: Any, func: Any) -> None:
    """Frameworks ask `inspect` what they were given, and read names, docs and signatures."""
    tracked = decorator(func)
    assert kind(tracked)
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    assert [ask(tracked) for ask in kinds] == [ask(func) for ask in kinds]
    assert (tracked.__name__, tracked.__qualname__, tracked.__doc__) == (func.__name__, func.__qualname__, func.__doc__)
    assert inspect.signature(tracked) == inspect.signature(func)


@pytest.mark.parametrize("func", [module_level, module_level_generator])
def test_a_tracked_function_is_pickled_by_name(func: Any) -> None:
    """Process pools send functions so."""
    assert pickle.loads(pickle.dumps(func)) is func


@pytest.mark.parametrize("wrong", [Service, 7, None])
def test_only_callables_that_are_no_class_can_be_tracked(wrong: Any) -> None:
    """A tracked class would no longer be a class."""
    with pytest.raises(TypeError, match=r"track\(\) takes a function or a callable object"):
        track(user_id="ann")(wrong)


def test_the_keywords_can_be_read_from_the_signature() -> None:
    """Both take the same, by keyword only."""
    parameters = inspect.signature(track).parameters
    assert parameters == inspect.signature(track_context).parameters
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert {"limit_ids", "use_case_step", "price_as_resource", "proxy", "request_tags"} <= set(parameters)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_scope_ends_with_an_exception_which_goes_on(decorator: Any, error: type[BaseException]) -> None:
    """The caller gets the very exception."""
    raised = error("mine")

    @decorator
    def fails() -> None:
        raise raised

    with pytest.raises(error) as caught:
        fails()
    assert caught.value is raised
    assert get_context() == {}


async def test_the_scope_ends_with_a_cancelled_task(decorator: Any) -> None:
    """Cancellation passes through, and `finally` blocks still stand in the scope."""
    seen = []

    @decorator
    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append(get_context())

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [USER]


def test_recursion_keeps_one_instance_of_the_use_case() -> None:
    """A function that calls itself is one run of its use case."""

    @track(use_case_name="walk")
    def walk(depth: int) -> list[str | None]:
        return [get_context()["use_case_id"], *(walk(depth - 1) if depth else [])]

    assert len(set(walk(5))) == 1
    assert walk(0) != walk(0)


def test_a_block_gives_itself_and_hides_no_exception() -> None:
    """`with ... as` binds the block; exceptions go on."""
    block = track_context(user_id="ann")
    with block as bound:
        assert bound is block
    with pytest.raises(ValueError, match="mine"), block:
        raise ValueError("mine")
    assert get_context() == {}


async def test_a_block_can_be_entered_with_async_with() -> None:
    """The same scope either way."""
    block = track_context(user_id="ann")
    async with block as bound:
        assert bound is block
        assert get_context() == USER
    assert get_context() == {}


def test_one_block_can_be_entered_in_itself() -> None:
    """Each exit ends the innermost entry."""
    block = track_context(limit_ids=["a"])
    with block:
        with track_context(user_id="ann"), block:
            assert get_context() == {"limit_ids": ["a"], "user_id": "ann"}
        assert get_context() == {"limit_ids": ["a"]}
    assert get_context() == {}


async def test_one_block_can_be_entered_in_many_tasks_at_once() -> None:
    """It keeps no state of its own."""
    block = track_context(use_case_name="search")

    async def work(user: str) -> tuple[str | None, str | None]:
        with track_context(user_id=user), block:
            await asyncio.sleep(0)
            scope = get_context()
            await asyncio.sleep(0)
            assert get_context() == scope
            return scope["user_id"], scope["use_case_id"]

    found = await asyncio.gather(*(work(f"u{i}") for i in range(50)))
    assert [user for user, _ in found] == [f"u{i}" for i in range(50)]
    assert len({instance for _, instance in found}) == 50


def test_the_scope_holds_without_payi_instrument() -> None:
    """Nothing has to be set up; a call that is not instrumented just runs."""
    with track_context(user_id="ann"):
        assert module_level() == USER


def test_the_outer_scope_is_back_after_a_block() -> None:
    """Also the very context, with others' values in it."""
    with otel_value("theirs", 1):
        before = otel_context.get_current()
        with track_context(user_id="ann"):
            assert otel_context.get_value("theirs") == 1
        assert otel_context.get_current() == before


def test_a_span_begun_in_a_block_outlives_it() -> None:
    """Leaving a scope takes away the scope only."""
    tracer = TracerProvider().get_tracer("test")
    stack = ExitStack()
    block = track_context(user_id="ann")
    block.__enter__()
    span = stack.enter_context(tracer.start_as_current_span("theirs"))
    block.__exit__(None, None, None)
    assert get_context() == {}
    with tracer.start_as_current_span("child") as child:
        assert child.parent == span.get_span_context()  # type: ignore[attr-defined]
    stack.close()
    otel_context.attach(otel_context.Context())


async def test_an_exit_in_another_task_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A web framework may run the two halves of a dependency in two tasks: no error, no log, no scope of another ended."""
    block = track_context(user_id="ann")

    async def enter() -> None:
        block.__enter__()

    async def leave() -> PayiContext:
        with track_context(user_id="bob"):
            block.__exit__(None, None, None)
            return get_context()

    await asyncio.create_task(enter())
    assert await asyncio.create_task(leave()) == {"user_id": "bob"}
    assert caplog.records == [] or {record.name for record in caplog.records} == {"asyncio"}


async def test_a_task_begun_in_a_block_keeps_its_scope() -> None:
    """It may outlive the block by far."""

    async def late() -> PayiContext:
        await asyncio.sleep(0.01)
        return get_context()

    with track_context(user_id="ann"):
        task = asyncio.create_task(late())
    assert get_context() == {}
    assert await task == USER


def test_defaults_set_while_a_block_runs_do_not_change_it() -> None:
    """A scope is merged when it is entered."""
    with track_context(user_id="ann"):
        set_defaults(current_scope())
        assert get_context() == USER
    assert get_context() == USER
    set_defaults(None)


class otel_value:  # noqa: N801 - reads as a function
    """A value of somebody else in the OpenTelemetry context."""

    def __init__(self, key: str, value: object) -> None:
        self.pair = key, value

    def __enter__(self) -> None:
        self.token = otel_context.attach(otel_context.set_value(*self.pair))

    def __exit__(self, *_: object) -> None:
        otel_context.detach(self.token)
