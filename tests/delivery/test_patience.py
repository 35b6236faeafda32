"""How long an answer is waited for."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from payi_otel.exporters._patience import Patience


def wait_in_vain(patience: Patience, now: list[float], given_s: float) -> None:
    """A request that hangs."""
    with contextlib.suppress(httpx.ReadTimeout), patience.tried(given_s):
        now[0] += given_s
        raise httpx.ReadTimeout("silence")


def test_it_grows_for_a_service_that_is_slow_and_no_other() -> None:
    """Ten seconds for half a minute, then twenty, up to the client's time-out; an answer says how long the next may take."""
    now = [0.0]
    patience = Patience(60.0, clock=lambda: now[0])

    def hang() -> float:
        given_s = patience.seconds
        wait_in_vain(patience, now, given_s)
        return given_s

    def answer(after_s: float) -> float:
        with patience.tried(patience.seconds):
            now[0] += after_s
        return patience.seconds

    assert [hang() for _ in range(10)] == [10, 10, 10, 20, 20, 20, 40, 40, 40, 60]
    assert answer(14.0) == 56.0
    assert answer(14.0) == 56.0
    assert answer(0.1) == 10.0
    assert [hang() for _ in range(3)] == [10, 10, 10]
    assert hang() == 20.0


def test_many_that_hang_together_count_once() -> None:
    """Eight workers wait for the same silence."""
    now = [0.0]
    patience = Patience(60.0, clock=lambda: now[0])
    for _ in range(4):
        began_s = now[0]
        for _ in range(8):
            now[0] = began_s
            wait_in_vain(patience, now, 10.0)
    assert patience.seconds == 20.0


@pytest.mark.parametrize(("most_s", "expected"), [(2.0, 2.0), (60.0, 10.0), (float("inf"), 10.0)])
def test_the_clients_timeout_is_the_most(most_s: float, expected: float) -> None:
    """A shorter one counts from the beginning."""
    patience = Patience(most_s)
    assert patience.seconds == expected
    with patience.tried(patience.seconds):
        pass
    assert patience.seconds == expected


def test_what_fails_otherwise_teaches_nothing() -> None:
    """A connection that is refused has not been waited for."""
    patience = Patience(60.0)
    with pytest.raises(httpx.ConnectError), patience.tried(10.0):
        raise httpx.ConnectError("refused")
    assert patience.seconds == 10.0
