"""Every test of the scope starts with no scope, no defaults and no baggage, and must leave none behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from opentelemetry.context import Context, attach
from opentelemetry.instrumentation.threading import ThreadingInstrumentor

from payi_otel.context import _notice
from payi_otel.context.baggage import set_propagation
from payi_otel.context.scope import set_defaults
from payi_otel.context.track import get_context


@pytest.fixture(autouse=True)
def no_scope(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Resets what the layer keeps; a scope or an OpenTelemetry complaint left over by a test fails it."""
    caplog.set_level(logging.DEBUG)
    attach(Context())
    set_defaults(None)
    set_propagation((), trust_inbound=False)
    _notice.forget()
    yield
    set_defaults(None)
    set_propagation((), trust_inbound=False)
    left = get_context()
    attach(Context())
    assert left == {}
    assert "Failed to detach context" not in caplog.text


@pytest.fixture
def carried_into_threads() -> Iterator[None]:
    """What payi_instrument switches on: threads get the OpenTelemetry context of who started them."""
    instrumentor = ThreadingInstrumentor()
    instrumentor.instrument()
    yield
    instrumentor.uninstrument()
