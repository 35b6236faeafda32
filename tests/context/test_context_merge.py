"""Rules by which a scope is merged from the defaults, `track`, `track_context`: whole scopes are compared."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from msgspec.structs import replace

from payi_otel.context._fields import ScopeFields
from payi_otel.context.scope import SCOPE_FIELDS, UNCHANGED, Scope, ScopeChange, current_scope, enter, from_defaults, leave, set_defaults
from payi_otel.context.track import PayiContext, get_context, track, track_context
from payi_otel.errors import ConfigurationError

OUTER = Scope(
    use_case_name="chat",
    use_case_id="chat-1",
    use_case_version=3,
    use_case_step="plan",
    use_case_properties={"team": "red", "tier": None},
    limit_ids=("a", "b"),
    user_id="ann",
    account_name="acme",
    request_properties={"env": "prod", "zone": "eu"},
    price_as_category="system.openai",
    price_as_resource="gpt-4",
    resource_scope="global",
    log_prompt_and_response=False,
    proxy=True,
)
CLEARED_USE_CASE: dict[str, Any] = dict.fromkeys(
    ("use_case_name", "use_case_id", "use_case_version", "use_case_step", "use_case_properties")
)
NEW_ID = "<a new uuid4>"
NEW_USE_CASE = {**CLEARED_USE_CASE, "use_case_name": "search", "use_case_id": NEW_ID}
TEXTS = ("user_id", "account_name", "price_as_category", "price_as_resource", "resource_scope")

RULES: list[Any] = [
    pytest.param({}, {}, id="nothing given inherits everything"),
    pytest.param(dict.fromkeys(SCOPE_FIELDS), {}, id="None inherits everything"),
    *(pytest.param({name: "other"}, {name: "other"}, id=f"{name} overrides") for name in TEXTS),
    *(pytest.param({name: ""}, {name: None}, id=f"empty {name} clears") for name in TEXTS),
    pytest.param({"limit_ids": ["c"]}, {"limit_ids": ("a", "b", "c")}, id="limits are united, the outer first"),
    pytest.param({"limit_ids": ["c", "a", "c"]}, {"limit_ids": ("a", "b", "c")}, id="limits are united without duplicates"),
    pytest.param({"limit_ids": []}, {"limit_ids": ()}, id="empty limits clear"),
    pytest.param(
        {"request_properties": {"env": "test", "new": "1"}},
        {"request_properties": {"env": "test", "zone": "eu", "new": "1"}},
        id="request properties merge and the inner key wins",
    ),
    pytest.param({"request_properties": {"env": None}}, {"request_properties": {"env": None, "zone": "eu"}}, id="a None value is a value"),
    pytest.param({"request_properties": {}}, {"request_properties": None}, id="empty request properties clear"),
    pytest.param(
        {"use_case_properties": {"tier": "1"}}, {"use_case_properties": {"team": "red", "tier": "1"}}, id="use-case properties merge"
    ),
    pytest.param({"use_case_properties": {}}, {"use_case_properties": None}, id="empty use-case properties clear"),
    pytest.param({"log_prompt_and_response": True}, {"log_prompt_and_response": True}, id="logging overrides"),
    pytest.param({"proxy": False}, {"proxy": False}, id="proxy False is a value"),
    pytest.param({"use_case_name": "chat"}, {}, id="the same name keeps the id and all"),
    pytest.param({"use_case_name": "chat", "use_case_id": "chat-2"}, {"use_case_id": "chat-2"}, id="the same name with an id takes it"),
    pytest.param({"use_case_id": "chat-2"}, {"use_case_id": "chat-2"}, id="an id alone belongs to the outer name"),
    pytest.param({"use_case_id": ""}, {"use_case_id": None}, id="an empty id clears"),
    pytest.param({"use_case_version": 0}, {"use_case_version": 0}, id="version 0 is a value"),
    pytest.param({"use_case_step": "act"}, {"use_case_step": "act"}, id="a step overrides"),
    pytest.param({"use_case_step": ""}, {"use_case_step": None}, id="an empty step clears"),
    pytest.param({"use_case_name": "search"}, NEW_USE_CASE, id="another name gets a new id and nothing of the other use case"),
    pytest.param(
        {"use_case_name": "search", "use_case_id": "s-1", "use_case_version": 1, "use_case_step": "go", "use_case_properties": {"k": "v"}},
        {
            "use_case_name": "search",
            "use_case_id": "s-1",
            "use_case_version": 1,
            "use_case_step": "go",
            "use_case_properties": {"k": "v"},
        },
        id="another name takes what is given with it",
    ),
    pytest.param({"use_case_name": "search", "use_case_id": ""}, {**NEW_USE_CASE, "use_case_id": None}, id="another name with an empty id"),
    pytest.param({"use_case_name": ""}, CLEARED_USE_CASE, id="an empty name clears all five"),
    pytest.param({"use_case_name": "", "use_case_id": "x", "use_case_version": 9}, CLEARED_USE_CASE, id="an empty name wins over the rest"),
]


def assert_scope(found: Scope | None, base: Scope, expected: dict[str, Any]) -> None:
    """Compares whole scopes; where a new id is expected, it is a uuid4 unlike the outer one."""
    assert found is not None
    if expected.get("use_case_id") == NEW_ID:
        assert found.use_case_id is not None
        assert uuid.UUID(found.use_case_id).version == 4
        assert found.use_case_id != base.use_case_id
        expected = {**expected, "use_case_id": found.use_case_id}
    assert found == replace(base, **expected)


@pytest.mark.parametrize(("given", "expected"), RULES)
def test_a_block_merges_into_the_scope_around_it(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """`track_context` follows every rule."""
    set_defaults(OUTER)
    with track_context(**given):
        assert_scope(current_scope(), OUTER, expected)
    assert current_scope() == OUTER


@pytest.mark.parametrize(("given", "expected"), RULES)
def test_a_tracked_function_merges_into_the_scope_around_it(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """`track` follows the same rules."""
    set_defaults(OUTER)
    assert_scope(track(**given)(current_scope)(), OUTER, expected)
    assert current_scope() == OUTER


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {}, id="an empty block"),
        pytest.param({"user_id": "bob"}, {"user_id": "bob"}, id="a user"),
        pytest.param({"use_case_name": "search"}, {"use_case_name": "search", "use_case_id": NEW_ID}, id="a use case"),
        pytest.param(
            {"use_case_id": "x", "use_case_version": 1, "use_case_step": "s", "use_case_properties": {"k": "v"}},
            {},
            id="values of a use case without a name mean nothing",
        ),
        pytest.param({"limit_ids": ["b", "a", "b"]}, {"limit_ids": ("b", "a")}, id="limits keep their order"),
    ],
)
def test_a_block_where_nothing_is_tracked_starts_from_nothing(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """Without defaults, a scope has what its block says and no more."""
    assert current_scope() is None
    with track_context(**given):
        assert_scope(current_scope(), Scope(), expected)
    assert current_scope() is None


def test_the_order_is_defaults_track_context_headers() -> None:
    """The last one wins."""
    set_defaults(from_defaults(user_id="default"))

    @track(user_id="track")
    def work() -> list[str | None]:
        with track_context(user_id="context"):
            scope = current_scope()
            assert scope is not None
            return [scope.user_id, scope.with_headers(ScopeChange(user_id="header")).user_id]

    assert get_context() == {"user_id": "default"}
    assert work() == ["context", "header"]


def test_each_entry_of_another_use_case_has_an_id_of_its_own() -> None:
    """A use-case instance is one run, so two runs of a block are two instances."""
    block = track_context(use_case_name="search")
    ids = []
    for _ in range(3):
        with block:
            ids.append(get_context()["use_case_id"])
    assert len(set(ids)) == 3


def test_a_block_of_the_same_use_case_inside_is_the_same_instance() -> None:
    """The same name keeps the id, also through one instance nested in itself."""
    block = track_context(use_case_name="search")
    with block:
        outer = get_context()
        with block:
            assert get_context() == outer


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"use_case_name": "app"}, {"use_case_name": "app", "use_case_id": NEW_ID}, id="a use case gets an id"),
        pytest.param({"use_case_name": "app", "use_case_id": "i"}, {"use_case_name": "app", "use_case_id": "i"}, id="an id is kept"),
        pytest.param({"use_case_name": ""}, {}, id="an empty name means no use case"),
        pytest.param({"use_case_id": "i", "use_case_version": 2}, {}, id="an id without a name means nothing"),
        pytest.param(
            {"limit_ids": ["a", "a"], "user_id": "u", "account_name": "acme", "request_properties": {"n": 1}},
            {"limit_ids": ("a",), "user_id": "u", "account_name": "acme", "request_properties": {"n": "1"}},
            id="the rest is taken as given",
        ),
    ],
)
def test_defaults_are_a_scope(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """The configuration's values make the scope that holds where none was entered."""
    assert_scope(from_defaults(**given), Scope(), expected)


def test_the_default_use_case_has_one_id_for_the_life_of_the_process() -> None:
    """Its id is made once, when the defaults are."""
    set_defaults(from_defaults(use_case_name="app"))
    first = get_context()["use_case_id"]
    with track_context(user_id="u"):
        assert get_context()["use_case_id"] == first
    assert get_context()["use_case_id"] == first


def test_get_context_shows_what_is_set_and_only_that() -> None:
    """No key stands for None or for an empty list."""
    assert get_context() == {}
    with track_context(user_id="u", limit_ids=["a"], request_properties={"k": "v"}, log_prompt_and_response=False, use_case_name=""):
        assert get_context() == {
            "user_id": "u",
            "limit_ids": ["a"],
            "request_properties": {"k": "v"},
            "log_prompt_and_response": False,
        }


def test_changing_what_get_context_gave_changes_nothing() -> None:
    """Its answer is a fresh copy all through."""
    with track_context(limit_ids=["a"], request_properties={"k": "v"}):
        shown = get_context()
        shown["limit_ids"].append("b")  # type: ignore[union-attr]
        shown["request_properties"]["k"] = "other"  # type: ignore[index]
        shown["user_id"] = "eve"
        assert get_context() == {"limit_ids": ["a"], "request_properties": {"k": "v"}}


def test_changing_what_was_given_changes_nothing() -> None:
    """A list or dict is copied when it is given."""
    limits, properties = ["a"], {"k": "v"}
    block = track_context(limit_ids=limits, request_properties=properties)
    limits.append("b")
    properties["k"] = "other"
    with block:
        assert get_context() == {"limit_ids": ["a"], "request_properties": {"k": "v"}}


def test_property_values_become_text() -> None:
    """Pay-i refuses a packet whose properties are not text, and its cost would be lost."""
    with track_context(request_properties={"n": 1, "ok": True, "none": None}):  # type: ignore[dict-item]
        assert get_context()["request_properties"] == {"n": "1", "ok": "True", "none": None}


WRONG: list[Any] = [
    pytest.param({"limit_ids": "a"}, TypeError, "limit_ids must be a list of str, not str", id="limits as a str"),
    pytest.param({"limit_ids": [1]}, TypeError, "limit_ids must be a list of str, not list", id="limits of ints"),
    pytest.param({"request_properties": ["k"]}, TypeError, "request_properties must be a dict, not list", id="properties as a list"),
    pytest.param({"use_case_properties": "k"}, TypeError, "use_case_properties must be a dict, not str", id="properties as a str"),
    pytest.param({"use_case_version": "1"}, TypeError, "use_case_version must be an int, not str", id="version as a str"),
    pytest.param({"use_case_version": True}, TypeError, "use_case_version must be an int, not bool", id="version as a bool"),
    pytest.param({"user_id": 7}, TypeError, "user_id must be a str, not int", id="user as an int"),
    pytest.param({"proxy": "yes"}, TypeError, "proxy must be a bool, not str", id="proxy as a str"),
    pytest.param({"user": "u"}, TypeError, "unexpected keyword argument 'user'; allowed: use_case_name, ", id="unknown keyword"),
    pytest.param({"use_case_name": "my app"}, ConfigurationError, "at most 64 of A-Z a-z 0-9 . _ -", id="name with a space"),
    pytest.param({"use_case_name": "x" * 65}, ConfigurationError, "at most 64 of A-Z a-z 0-9 . _ -", id="name too long"),
    pytest.param({"use_case_name": "x\n"}, ConfigurationError, "at most 64 of A-Z a-z 0-9 . _ -", id="name with a line end"),
]


@pytest.mark.parametrize("entrance", [track, track_context])
@pytest.mark.parametrize(("given", "error", "line"), WRONG)
def test_a_wrong_value_is_refused_where_it_is_written(entrance: Any, given: Any, error: type[Exception], line: str) -> None:
    """Not at the first call, and in one line that says what is allowed."""
    with pytest.raises(error) as raised:
        entrance(**given)
    assert line in str(raised.value)
    assert str(raised.value).startswith(f"{entrance.__name__}()")
    assert "\n" not in str(raised.value).replace("\\n", "")


@pytest.mark.parametrize("entrance", [track, track_context])
def test_request_tags_are_ignored_with_one_line(entrance: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Code written for the old SDK goes on working and is told once."""
    for _ in range(3):
        entrance(request_tags=["secret"], user_id="u")
    assert [(record.name, record.levelname) for record in caplog.records] == [("payi.instrument.context", "WARNING")]
    assert "request_tags" in caplog.text
    assert "secret" not in caplog.text


def test_the_fields_are_the_same_wherever_they_are_listed() -> None:
    """The structs are the list; the typed dicts cannot be derived from them, so this holds them together."""
    expected = set(SCOPE_FIELDS)
    assert set(ScopeChange.__struct_fields__) == expected
    assert set(ScopeFields.__annotations__) == expected
    assert set(PayiContext.__annotations__) == expected | {"last_result"}


def test_a_change_that_asks_for_nothing_gives_the_scope_itself() -> None:
    """A call without headers of ours costs no merge."""
    assert OUTER.with_headers(UNCHANGED) is OUTER
    assert OUTER.merged(UNCHANGED) is OUTER


def test_scopes_can_be_left_in_any_order() -> None:
    """Interleaved generators leave them so; what is left is gone for good and nothing else is."""
    first = enter(ScopeChange(user_id="first"))
    second = enter(ScopeChange(account_name="second"))
    third = enter(ScopeChange(limit_ids=("third",)))
    leave(second)
    assert get_context() == {"user_id": "first", "account_name": "second", "limit_ids": ["third"]}
    leave(first)
    leave(third)
    assert get_context() == {}


def test_leaving_twice_or_with_a_foreign_token_does_nothing() -> None:
    """An exit that ran already, or that belongs elsewhere, is no reason to end another scope."""
    outer = enter(ScopeChange(user_id="outer"))
    inner = enter(ScopeChange(user_id="inner"))
    leave(inner)
    leave(inner)
    leave(object())
    assert get_context() == {"user_id": "outer"}
    leave(outer)
