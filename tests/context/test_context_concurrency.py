"""Rules for threads and tasks: the scope goes with the work, and never to another's."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payi_otel.context.scope import ScopeChange, current_scope, enter, from_defaults, leave, set_defaults
from payi_otel.context.track import PayiContext, get_context, track, track_context

USER: PayiContext = {"user_id": "ann"}


def in_thread(func: Any) -> Any:
    """Runs a function in a new thread and gives its result."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(func()))
    thread.start()
    thread.join()
    return found[0]


def in_pool(func: Any) -> Any:
    """Runs a function in a pool's thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(func).result()


def in_mapped_pool(func: Any) -> Any:
    """Runs a function by `map`."""
    with ThreadPoolExecutor(1) as pool:
        return next(iter(pool.map(lambda _: func(), [0])))


def in_timer(func: Any) -> Any:
    """Runs a function in a timer's thread."""
    found: list[Any] = []
    timer = threading.Timer(0, lambda: found.append(func()))
    timer.start()
    timer.join()
    return found[0]


THREADS = [in_thread, in_pool, in_mapped_pool, in_timer]


@pytest.mark.parametrize("run", THREADS)
def test_a_thread_has_the_scope_of_who_started_it(run: Any, carried_into_threads: None) -> None:
    """Plain threads, pools and timers."""
    with track_context(user_id="ann"):
        assert run(get_context) == USER
    assert run(get_context) == {}


@pytest.mark.parametrize("run", THREADS)
def test_a_scope_entered_in_a_thread_ends_with_it(run: Any, carried_into_threads: None) -> None:
    """The starter does not see it."""

    @track(account_name="acme")
    def work() -> PayiContext:
        return get_context()

    with track_context(user_id="ann"):
        assert run(work) == {"user_id": "ann", "account_name": "acme"}
        assert get_context() == USER


def test_a_pool_s_thread_takes_each_job_s_scope_and_keeps_none(carried_into_threads: None) -> None:
    """One worker serves many users, one after the other, and a job that forgets to leave its scope binds no other."""
    with ThreadPoolExecutor(1) as pool:
        jobs = []
        for user in ("ann", "bob"):
            with track_context(user_id=user):
                jobs.append(pool.submit(get_context))
        forgetful = pool.submit(enter, ScopeChange(user_id="eve"))
        assert [job.result() for job in jobs] == [{"user_id": "ann"}, {"user_id": "bob"}]
        forgetful.result()
        assert pool.submit(get_context).result() == {}


@pytest.mark.parametrize("run", THREADS)
@pytest.mark.parametrize("carried", [True, False])
def test_defaults_hold_in_every_thread(run: Any, carried: bool, request: pytest.FixtureRequest) -> None:
    """Whether or not threads are instrumented."""
    if carried:
        request.getfixturevalue("carried_into_threads")
    set_defaults(from_defaults(user_id="default"))
    assert run(get_context) == {"user_id": "default"}


def test_an_exit_in_another_thread_does_nothing() -> None:
    """No error, no log; the thread's own scope stays."""
    token = enter(ScopeChange(user_id="ann"))

    def elsewhere() -> PayiContext:
        with track_context(user_id="bob"):
            leave(token)
            return get_context()

    assert in_thread(elsewhere) == {"user_id": "bob"}
    assert get_context() == USER
    leave(token)


async def test_to_thread_and_executors_have_the_scope(carried_into_threads: None) -> None:
    """Sync work of async code."""
    with track_context(user_id="ann"):
        assert await asyncio.to_thread(get_context) == USER
        assert await asyncio.get_running_loop().run_in_executor(None, get_context) == USER


async def test_tasks_and_gather_have_the_scope_of_who_made_them() -> None:
    """Also where they run after the block."""

    async def look() -> PayiContext:
        await asyncio.sleep(0)
        return get_context()

    with track_context(user_id="ann"):
        task = asyncio.create_task(look())
        assert await asyncio.gather(look(), look()) == [USER, USER]
        assert await asyncio.wait_for(look(), 5) == USER
    assert await task == USER


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TaskGroup is new in 3.11")
async def test_task_groups_have_the_scope_of_who_made_the_task() -> None:
    """Not of who made the group."""

    async def look() -> PayiContext:
        await asyncio.sleep(0)
        return get_context()

    async with asyncio.TaskGroup() as group:
        with track_context(user_id="ann"):
            inside = group.create_task(look())
        outside = group.create_task(look())
    assert (inside.result(), outside.result()) == (USER, {})


async def test_an_async_generator_in_each_task_keeps_its_scope() -> None:
    """Many streams read at once in one loop."""

    @track(use_case_name="stream")
    async def stream() -> AsyncGenerator[Any, None]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield get_context()["user_id"]

    async def read(user: str) -> set[Any]:
        with track_context(user_id=user):
            generator = stream()
        return {item async for item in generator}

    users = [f"u{i}" for i in range(50)]
    assert await asyncio.gather(*map(read, users)) == [{user} for user in users]


async def test_a_thousand_tasks_never_see_each_other_s_user() -> None:
    """Nested scopes, suspended at random, whichever way they are written."""
    order = random.Random(7)

    @track(account_name="acme")
    async def nested(user: str) -> None:
        for _ in range(order.randrange(4)):
            await asyncio.sleep(0)
        assert get_context()["user_id"] == user

    async def work(user: str) -> None:
        async with track_context(user_id=user):
            await nested(user)
            with track_context(limit_ids=[user]):
                await asyncio.sleep(0)
                assert get_context() == {"user_id": user, "limit_ids": [user]}
            await asyncio.gather(nested(user), nested(user))
            assert get_context() == {"user_id": user}

    await asyncio.gather(*(work(f"u{i}") for i in range(1000)))
    assert get_context() == {}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["in", "out", "look"])), max_size=60))
def test_any_interleaving_of_tasks_gives_each_its_own_scopes(plan: list[tuple[int, str]]) -> None:
    """Whatever four tasks do in whatever order, each sees the innermost scope it entered itself."""

    async def worker(name: int, steps: asyncio.Queue[str]) -> None:
        entered: list[tuple[object, str]] = []
        while (step := await steps.get()) != "end":
            if step == "in":
                user = f"{name}/{len(entered)}"
                entered.append((enter(ScopeChange(user_id=user)), user))
            elif step == "out" and entered:
                leave(entered.pop()[0])
            scope = current_scope()
            assert (scope.user_id if scope else None) == (entered[-1][1] if entered else None)

    async def main() -> None:
        queues = [asyncio.Queue[str]() for _ in range(4)]
        tasks = [asyncio.create_task(worker(name, queue)) for name, queue in enumerate(queues)]
        for name, step in plan:
            queues[name].put_nowait(step)
            await asyncio.sleep(0)
        for queue in queues:
            queue.put_nowait("end")
        await asyncio.gather(*tasks)

    asyncio.run(main())
