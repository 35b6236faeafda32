"""Rules for baggage: what leaves a process, what comes in, and what is taken away before a provider is called."""

from __future__ import annotations

import sys
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach, get_current

from payi_otel.context.baggage import DEFAULT_FIELDS, set_propagation, without_payi_baggage
from payi_otel.context.scope import Scope, ScopeChange, current_scope, enter, from_defaults, leave, set_defaults
from payi_otel.context.track import get_context, track, track_context
from payi_otel.errors import ConfigurationError


@contextmanager
def request_with(**entries: str) -> Iterator[None]:
    """A request that came in with this baggage, `payi_` standing for `payi.`."""
    context = Context()
    for name, value in entries.items():
        context = baggage.set_baggage(name.replace("payi_", "payi.", 1), value, context)
    token = attach(context)
    yield
    detach(token)


def entries() -> dict[str, object]:
    """The baggage that a request made here and now takes along."""
    return dict(baggage.get_all())


def test_nothing_is_written_before_it_is_set() -> None:
    """Without payi_instrument nobody takes the entries away again before a provider is called."""
    with track_context(use_case_name="search"):
        assert entries() == {}


def test_the_default_fields_are_written_and_the_user_is_not() -> None:
    """Baggage goes to every server an application calls."""
    set_propagation()
    everything = {
        "use_case_name": "search",
        "use_case_id": "s-1",
        "use_case_version": 2,
        "use_case_step": "go",
        "account_name": "acme",
        "user_id": "ann",
        "limit_ids": ["a"],
        "request_properties": {"k": "v"},
    }
    with track_context(**everything):
        assert entries() == {
            "payi.use_case_name": "search",
            "payi.use_case_id": "s-1",
            "payi.use_case_version": "2",
            "payi.use_case_step": "go",
            "payi.account_name": "acme",
        }
    assert entries() == {}


def test_only_the_chosen_fields_are_written() -> None:
    """Lists and dicts as text that is read back."""
    set_propagation(("user_id", "limit_ids", "request_properties", "proxy"))
    with track_context(use_case_name="search", user_id="ann", limit_ids=["a", "b"], request_properties={"k": "v"}, proxy=False):
        assert entries() == {
            "payi.user_id": "ann",
            "payi.limit_ids": "a,b",
            "payi.request_properties": '{"k":"v"}',
            "payi.proxy": "False",
        }


def test_what_an_inner_scope_clears_is_removed() -> None:
    """And is back after it."""
    set_propagation()
    with track_context(use_case_name="search", use_case_id="s-1", account_name="acme"):
        before = entries()
        with track_context(use_case_name="", account_name="other"):
            assert entries() == {"payi.account_name": "other"}
        assert entries() == before


def test_others_entries_are_left_alone() -> None:
    """Ours are written beside them and taken away without them."""
    set_propagation()
    with request_with(tenant="t"):
        with track_context(account_name="acme"):
            assert entries() == {"tenant": "t", "payi.account_name": "acme"}
        assert entries() == {"tenant": "t"}


def test_a_scope_replaces_what_a_stranger_wrote() -> None:
    """Inside a scope of ours, the next service learns ours only; after it the request's own is back."""
    set_propagation()
    with request_with(payi_user_id="eve", payi_account_name="evil"):
        with track_context(account_name="acme"):
            assert entries() == {"payi.account_name": "acme"}
            with track_context(use_case_name=""):
                assert entries() == {"payi.account_name": "acme"}
        assert entries() == {"payi.user_id": "eve", "payi.account_name": "evil"}


def test_scopes_left_out_of_order_leave_the_request_s_baggage() -> None:
    """Whichever scope ends last."""
    set_propagation()
    with request_with(payi_account_name="theirs"):
        first = enter(ScopeChange(account_name="first"))
        second = enter(ScopeChange(account_name="second"))
        leave(first)
        assert entries() == {"payi.account_name": "second"}
        leave(second)
        assert entries() == {"payi.account_name": "theirs"}


def test_a_generator_s_entries_do_not_reach_its_consumer() -> None:
    """They stand in the body's context only."""
    set_propagation()

    @track(account_name="acme")
    def body() -> Iterator[dict[str, object]]:
        yield entries()

    generator = body()
    assert next(generator) == {"payi.account_name": "acme"}
    assert entries() == {}


@pytest.mark.parametrize("text", ["ü,;=%&\n\t ö", "ann@example.com", "日本", "a\udcffb"])
def test_any_text_crosses_as_a_header(text: str) -> None:
    """The propagator can encode it, and what is read back is the same; half a surrogate pair becomes a question mark."""
    set_propagation()
    carrier: dict[str, str] = {}
    with track_context(account_name=text):
        W3CBaggagePropagator().inject(carrier)
    assert carrier["baggage"].isascii()
    received = baggage.get_all(W3CBaggagePropagator().extract(carrier, Context()))
    assert received == {"payi.account_name": text.replace("\udcff", "?")}


def test_what_does_not_fit_is_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Our entries take at most half of what W3C allows for all; the line names the field, not the value."""
    set_propagation(("use_case_name", "use_case_step", "account_name", "user_id"))
    for _ in range(3):
        with track_context(use_case_name="n" * 64, use_case_step="ö" * 500, account_name="secret" * 500, user_id="u"):
            carrier: dict[str, str] = {}
            W3CBaggagePropagator().inject(carrier)
            assert set(entries()) == {"payi.use_case_name", "payi.use_case_step", "payi.user_id"}
            assert len(carrier["baggage"]) <= 4096
    assert [record.name for record in caplog.records] == ["payi.instrument.context"]
    assert "account_name" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("length", [4000, 4096 - len("payi.user_id=,"), 4096 - len("payi.user_id=,") + 1])
def test_the_bound_is_exact(length: int) -> None:
    """4096 bytes, with name, equals sign and comma."""
    set_propagation(("user_id",))
    with track_context(user_id="x" * length):
        assert bool(entries()) is (length + len("payi.user_id=,") <= 4096)


def sent() -> str:
    """The header of a request made here and now."""
    carrier: dict[str, str] = {}
    W3CBaggagePropagator().inject(carrier)
    return carrier["baggage"]


@pytest.mark.parametrize("over", [0, 1])
def test_the_bound_of_everyone_s_entries_is_exact(over: int, caplog: pytest.LogCaptureFixture) -> None:
    """8192 bytes: the propagator would cut off what is too much, whosever it is."""
    set_propagation(("user_id", "account_name"))
    ours = "payi.user_id=ann,payi.account_name=acme"
    rest = 8192 - len(ours) - len("a=,b=,c=,") - 6000 + over
    with request_with(a="x" * 3000, b="x" * 3000, c="x" * rest), track_context(user_id="ann", account_name="acme"):
        assert len(sent()) == 8192 - over * (len(",payi.account_name=acme") - 1)
        assert ("acme" in sent()) is (over == 0)
    assert len(caplog.records) == over


@pytest.mark.parametrize("count", [178, 179, 180])
def test_the_bound_of_everyone_s_number_of_entries_is_exact(count: int) -> None:
    """180; one that is too long is sent by nobody and takes no place."""
    set_propagation(("user_id", "account_name"))
    others = {f"o{number}": "x" for number in range(count)}
    with request_with(long="x" * 5000, **others), track_context(user_id="ann", account_name="acme"):
        assert len(sent().split(",")) == 180
        assert sent().count("payi.") == 180 - count


def test_a_use_case_crosses_with_its_name_or_not_at_all() -> None:
    """Its run alone would become one of whatever use case the next service has."""
    set_propagation()
    with request_with(a="x" * 4000, b="x" * 4000, c="x" * 120), track_context(use_case_name="n" * 64, use_case_id="i", account_name="acme"):
        assert {name for name in entries() if name.startswith("payi.")} == {"payi.account_name"}


def test_the_request_s_own_baggage_is_back_after_a_scope_that_had_no_room() -> None:
    """Whole, and without a word."""
    set_propagation()
    with request_with(a="x" * 4000, b="x" * 4000, payi_use_case_id="i", payi_use_case_name="theirs"):
        before = entries()
        with track_context(use_case_name="search", account_name="a" * 200):
            assert "payi.account_name" not in entries()
        assert entries() == before


INBOUND = {"payi_use_case_name": "caller", "payi_use_case_id": "c-1", "payi_use_case_version": "7", "payi_account_name": "acme"}
RECEIVED = {"use_case_name": "caller", "use_case_id": "c-1", "use_case_version": 7, "account_name": "acme"}


def test_inbound_baggage_is_not_believed() -> None:
    """Anyone who can call the service could bill another account."""
    set_propagation()
    set_defaults(from_defaults(user_id="default"))
    with request_with(**INBOUND):
        assert get_context() == {"user_id": "default"}
        with track_context(limit_ids=["a"]):
            assert get_context() == {"user_id": "default", "limit_ids": ["a"]}


def test_trusted_baggage_stands_over_the_defaults_and_under_scopes() -> None:
    """Defaults, then the caller, then what is entered here."""
    set_propagation(trust_inbound=True)
    defaults = from_defaults(use_case_name="app", use_case_properties={"k": "v"}, use_case_version=1, account_name="own", user_id="default")
    set_defaults(defaults)
    with request_with(**INBOUND):
        assert get_context() == {**RECEIVED, "user_id": "default"}
        with track_context(account_name="here", use_case_step="go"):
            assert get_context() == {**RECEIVED, "user_id": "default", "account_name": "here", "use_case_step": "go"}
            with track_context(user_id=""):
                assert get_context() == {**RECEIVED, "account_name": "here", "use_case_step": "go"}
    assert current_scope() is defaults


def test_trusted_baggage_is_a_scope_where_there_are_no_defaults() -> None:
    """What a caller tracks is tracked."""
    set_propagation(trust_inbound=True)
    with request_with(**INBOUND):
        assert get_context() == RECEIVED
    assert current_scope() is None


def test_only_the_chosen_fields_are_believed() -> None:
    """A caller cannot set what this service does not share."""
    set_propagation(trust_inbound=True)
    with request_with(payi_user_id="eve", payi_limit_ids="none", payi_nonsense="x", payi_account_name="acme"):
        assert get_context() == {"account_name": "acme"}


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ({"payi_account_name": ""}, {}),
        ({"payi_use_case_version": "secret"}, {}),
        ({"payi_use_case_name": "secret name", "payi_use_case_id": "x"}, {}),
        ({"payi_request_properties": "{secret"}, {}),
        ({"payi_request_properties": '{"k":"v"}', "payi_limit_ids": "a,b"}, {"request_properties": {"k": "v"}, "limit_ids": ("a", "b")}),
        ({"payi_use_case_name": "caller"}, {"use_case_name": "caller", "use_case_id": None, "use_case_version": None}),
        ({"payi_use_case_name": "app"}, {"use_case_id": None}),
        ({"payi_proxy": "True", "payi_log_prompt_and_response": "False"}, {"proxy": True, "log_prompt_and_response": False}),
    ],
)
def test_baggage_that_cannot_be_read_is_ignored(received: Any, expected: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With one warning that holds no value; and an instance the caller does not name is not invented."""
    set_propagation(tuple(get_all_fields()), trust_inbound=True)
    values: dict[str, Any] = {"use_case_name": "app", "use_case_id": "i", "use_case_version": 1, "account_name": "own"}
    set_defaults(Scope(**values))
    with request_with(**received):
        for _ in range(3):
            assert current_scope() == Scope(**{**values, **expected})
    assert len(caplog.records) == ("secret" in str(received))
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("use_case_version", "-1"),
        ("use_case_version", "2147483648"),
        ("use_case_version", "9" * 4000),
        ("account_name", "acme\r\nX-Forged: 1"),
        ("user_id", "a\x00b"),
        ("use_case_step", "x" * 4097),
        ("request_properties", "[" * 4000),
        ("use_case_properties", "[1]"),
        ("log_prompt_and_response", "perhaps"),
        ("proxy", "1"),
    ],
)
def test_what_pay_i_would_refuse_or_nobody_of_ours_wrote_is_ignored(name: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """A trusted caller may be wrong, too; the field is named and nothing else is lost."""
    set_propagation(tuple(get_all_fields()), trust_inbound=True)
    set_defaults(from_defaults(account_name="own"))
    with request_with(**{f"payi_{name}": text}):
        assert get_context() == {"account_name": "own"}
        with track_context(limit_ids=["a"]):
            assert get_context() == {"account_name": "own", "limit_ids": ["a"]}
    assert [record.getMessage() for record in caplog.records] == [f"the baggage's {name} cannot be read and is ignored"]


def get_all_fields() -> Iterator[str]:
    """The name of every field a scope has."""
    yield from Scope.__struct_fields__


def test_a_field_that_does_not_exist_is_refused() -> None:
    """At start-up, with what is allowed."""
    with pytest.raises(ConfigurationError, match="propagate: 'user' is no field of a scope; allowed: use_case_name, "):
        set_propagation(("user",))


def test_our_entries_are_taken_away_for_a_provider_call() -> None:
    """Others' entries, and everything else in the context, stay."""
    set_propagation(("use_case_name", "user_id"))
    with request_with(tenant="t"), track_context(use_case_name="search", user_id="ann"):
        context = without_payi_baggage(get_current())
        assert baggage.get_all(context) == {"tenant": "t"}
        token = attach(context)
        assert get_context()["user_id"] == "ann"
        detach(token)
        assert "payi.user_id" in entries()


def test_foreign_payi_entries_are_taken_away_too() -> None:
    """A caller's entries are no provider's business either."""
    with request_with(payi_user_id="eve"):
        assert baggage.get_all(without_payi_baggage(get_current())) == {}


untraced = pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer makes every line slow")


@untraced
@pytest.mark.parametrize("others", [{}, {"tenant": "t", "region": "eu"}])
def test_a_context_without_our_entries_is_given_back(others: dict[str, str]) -> None:
    """The same object, in under 2 µs: this runs around every provider call."""
    with request_with(**others):
        context = get_current()
        assert without_payi_baggage(context) is context
        assert best_us(lambda: without_payi_baggage(context)) < 2


@untraced
@pytest.mark.parametrize("entered", [True, False])
def test_the_current_scope_is_found_in_under_a_microsecond(entered: bool) -> None:
    """It is asked for at every provider call."""
    set_propagation()
    set_defaults(from_defaults(user_id="default"))
    token = enter(ScopeChange(user_id="ann")) if entered else None
    took = best_us(current_scope)
    leave(token)
    assert took < 1


def best_us(func: Any) -> float:
    """Microseconds of a call, the best of many runs: a busy machine makes single runs slow, never fast."""
    return min(timeit.repeat(func, number=1000, repeat=30)) * 1000


def test_the_default_fields_are_documented() -> None:
    """They are the setting's default."""
    assert DEFAULT_FIELDS == ("use_case_name", "use_case_id", "use_case_version", "use_case_step", "account_name")
