"""Rules for the xProxy headers of one call."""

from __future__ import annotations

import base64
import inspect
from types import MappingProxyType
from typing import Any

import pytest
from test_context_merge import CLEARED_USE_CASE, NEW_ID, NEW_USE_CASE, OUTER, assert_scope

from payi_otel.context.headers import create_headers, create_limit_header_from_ids, split_headers
from payi_otel.context.scope import Scope
from payi_otel.context.track import get_context, track_context

JSON_BASE64 = base64.b64encode(b'{"k":"v"}').decode()


@pytest.mark.parametrize(
    ("given", "headers"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param(
            {
                "limit_ids": ["a", " b ", "", "  "],
                "user_id": "u",
                "account_name": "acme",
                "use_case_id": "i",
                "use_case_name": "n",
                "use_case_version": 2,
                "use_case_step": "s",
                "use_case_properties": {"k": "v", "n": None},
                "request_properties": {"a": "b", "c": "ü"},
                "price_as_category": "system.openai",
                "price_as_resource": "gpt-4",
                "resource_scope": "global",
                "log_prompt_and_response": False,
            },
            {
                "xProxy-Limit-IDs": "a,b",
                "xProxy-User-ID": "u",
                "xProxy-Account-Name": "acme",
                "xProxy-UseCase-ID": "i",
                "xProxy-UseCase-Name": "n",
                "xProxy-UseCase-Version": "2",
                "xProxy-UseCase-Properties": '{"k":"v","n":null}',
                "xProxy-Request-Properties": '{"a":"b","c":"\\u00fc"}',
                "xProxy-UseCase-Step": "s",
                "xProxy-PriceAs-Category": "system.openai",
                "xProxy-PriceAs-Resource": "gpt-4",
                "xProxy-Resource-Scope": "global",
                "xProxy-Logging-Disable": "True",
            },
            id="everything",
        ),
        pytest.param({"use_case_version": 0}, {"xProxy-UseCase-Version": "0"}, id="version 0 is a value"),
        pytest.param({"log_prompt_and_response": True}, {}, id="logging on is no header"),
        pytest.param({"user_id": "", "limit_ids": [], "request_properties": {}}, {}, id="empty values are left out"),
        pytest.param({"limit_ids": [" "]}, {}, id="limits that are all blank"),
    ],
)
def test_create_headers_writes_what_is_set(given: dict[str, Any], headers: dict[str, str]) -> None:
    """The same headers, in the same order, as the published helper."""
    assert list(create_headers(**given).items()) == list(headers.items())


@pytest.mark.parametrize("create", [create_headers, create_limit_header_from_ids])
@pytest.mark.parametrize("limit_ids", ["a,b", ("a",)])
def test_limits_that_are_no_list_are_refused(create: Any, limit_ids: Any) -> None:
    """A str would be taken apart letter by letter."""
    with pytest.raises(TypeError, match="limit_ids must be a list"):
        create(limit_ids=limit_ids)


def test_create_headers_takes_the_published_keywords_and_no_others() -> None:
    """Its signature can be read by tools, and a misspelt keyword is an error."""
    signature = inspect.signature(create_headers)
    assert set(signature.parameters) == {"limit_ids", *OVERRIDABLE}
    with pytest.raises(TypeError, match=r"create_headers\(\) got an unexpected keyword argument 'proxy'"):
        create_headers(proxy=True)  # type: ignore[call-arg]


OVERRIDABLE = {
    "user_id",
    "account_name",
    "use_case_id",
    "use_case_name",
    "use_case_version",
    "use_case_step",
    "use_case_properties",
    "request_properties",
    "price_as_category",
    "price_as_resource",
    "resource_scope",
    "log_prompt_and_response",
}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({}, {}, id="no header"),
        pytest.param({"X-Other": "1"}, {}, id="others' headers"),
        pytest.param({"xProxy-User-ID": "bob"}, {"user_id": "bob"}, id="a user"),
        pytest.param({"xPROXY-uSER-id": "bob"}, {"user_id": "bob"}, id="names in any case"),
        pytest.param({"xProxy-User-ID": b"bob"}, {"user_id": "bob"}, id="bytes"),
        pytest.param({"xProxy-User-ID": 7}, {"user_id": "7"}, id="an int"),
        pytest.param({"xProxy-User-ID": ""}, {"user_id": None}, id="an empty user"),
        pytest.param({"xProxy-User-ID": None}, {"user_id": None}, id="a user that is None"),
        pytest.param({"xProxy-Limit-IDs": "c, ,a"}, {"limit_ids": ("c", "a")}, id="limits replace"),
        pytest.param({"xProxy-Limit-IDs": ""}, {"limit_ids": ()}, id="empty limits"),
        pytest.param(
            {"xProxy-Request-Properties": '{"k":"v","n":1}'}, {"request_properties": {"k": "v", "n": "1"}}, id="properties replace"
        ),
        pytest.param({"xProxy-Request-Properties": JSON_BASE64}, {"request_properties": {"k": "v"}}, id="properties as base64"),
        pytest.param({"xProxy-Request-Properties": ""}, {"request_properties": None}, id="empty properties"),
        pytest.param({"xProxy-Request-Properties": "{}"}, {"request_properties": None}, id="properties without a key"),
        pytest.param({"xProxy-UseCase-Properties": '{"k":null}'}, {"use_case_properties": {"k": None}}, id="use-case properties replace"),
        pytest.param({"xProxy-UseCase-Name": "chat"}, {}, id="the same name keeps all"),
        pytest.param({"xProxy-UseCase-Name": "search"}, NEW_USE_CASE, id="another name"),
        pytest.param(
            {"xProxy-UseCase-Name": "search", "xProxy-UseCase-ID": "s-1", "xProxy-UseCase-Version": "0", "xProxy-UseCase-Step": "go"},
            {**NEW_USE_CASE, "use_case_id": "s-1", "use_case_version": 0, "use_case_step": "go"},
            id="another name with its values",
        ),
        pytest.param({"xProxy-UseCase-ID": "chat-2"}, {"use_case_id": "chat-2"}, id="an id alone"),
        pytest.param({"xProxy-UseCase-ID": ""}, {"use_case_id": None}, id="an empty id"),
        pytest.param({"xProxy-UseCase-Version": ""}, {"use_case_version": None}, id="an empty version"),
        pytest.param({"xProxy-UseCase-Step": ""}, {"use_case_step": None}, id="an empty step"),
        pytest.param({"xProxy-UseCase-Name": "", "xProxy-UseCase-ID": "x"}, CLEARED_USE_CASE, id="an empty name clears all five"),
        pytest.param(
            {"xProxy-PriceAs-Category": "system.azure", "xProxy-PriceAs-Resource": "", "xProxy-Resource-Scope": "datazone"},
            {"price_as_category": "system.azure", "price_as_resource": None, "resource_scope": "datazone"},
            id="price-as",
        ),
        pytest.param({"xProxy-Api-Key": "k", "xProxy-New-Thing": "x"}, {}, id="headers of ours that say nothing of the scope"),
    ],
)
def test_a_header_replaces_and_an_empty_one_clears(headers: dict[str, Any], expected: dict[str, Any]) -> None:
    """For one call, whole scopes compared."""
    overrides, _ = split_headers(headers)
    assert_scope(OUTER.with_headers(overrides), OUTER, expected)


@pytest.mark.parametrize("value", ["True", "true", "False", ""])
def test_the_logging_header_counts_by_its_presence(value: str) -> None:
    """As with the published client: whatever stands in it, the content stays here."""
    overrides, _ = split_headers({"xProxy-Logging-Disable": value})
    assert Scope(log_prompt_and_response=True).with_headers(overrides) == Scope(log_prompt_and_response=False)


def test_a_use_case_by_header_alone_gets_an_id() -> None:
    """A call outside every scope can say its use case."""
    overrides, _ = split_headers(create_headers(use_case_name="search", use_case_version=1))
    assert_scope(Scope().with_headers(overrides), Scope(), {**NEW_USE_CASE, "use_case_version": 1})


def test_created_headers_are_read_back() -> None:
    """What one helper writes, the other reads."""
    overrides, rest = split_headers(
        create_headers(
            use_case_name="n",
            use_case_id="i",
            use_case_version=1,
            use_case_properties={"k": "v"},
            limit_ids=["a", "b"],
            log_prompt_and_response=False,
        )
    )
    assert rest == {}
    assert Scope().with_headers(overrides) == Scope(
        use_case_name="n",
        use_case_id="i",
        use_case_version=1,
        use_case_properties={"k": "v"},
        limit_ids=("a", "b"),
        log_prompt_and_response=False,
    )


class Omit:
    """Stands for the marker by which an SDK says "no such header"; only its name counts."""


def test_other_headers_go_on_untouched_and_in_order() -> None:
    """The provider gets the same objects; the caller's mapping is not changed."""
    omit, raw = Omit(), b"raw"
    given = {"B": "2", "xProxy-User-ID": "u", "A": omit, "X-Raw": raw, "XPROXY-Api-Key": "k", "c": None}
    before = dict(given)
    overrides, rest = split_headers(MappingProxyType(given))
    assert list(rest.items()) == [("B", "2"), ("A", omit), ("X-Raw", raw), ("c", None)]
    assert rest["A"] is omit
    assert given == before
    assert Scope().with_headers(overrides) == Scope(user_id="u")


@pytest.mark.parametrize("headers", [None, {}, {"a": "b"}, {"xProxy-User-ID": Omit()}])
def test_headers_that_say_nothing_give_the_scope_itself(headers: Any) -> None:
    """Most calls have none; they cost no merge. An omitted header of ours is as none."""
    overrides, rest = split_headers(headers)
    assert OUTER.with_headers(overrides) is OUTER
    assert rest == {name: value for name, value in (headers or {}).items() if name == "a"}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("xProxy-UseCase-Version", "secret"),
        ("xProxy-Request-Properties", "secret"),
        ("xProxy-Request-Properties", '{"secret'),
        ("xProxy-Request-Properties", '["secret"]'),
        ("xProxy-UseCase-Properties", base64.b64encode(b"secret").decode()),
        ("xProxy-UseCase-Properties", base64.b64encode(b"\xff\xfesecret").decode()),
        ("xProxy-UseCase-Name", "secret name"),
    ],
)
def test_a_header_that_cannot_be_read_is_ignored_with_one_warning(header: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    """The line names the header and never its value, and is not repeated for every call of a loop."""
    for _ in range(3):
        overrides, rest = split_headers({header: value, "xProxy-User-ID": "bob"})
        assert_scope(OUTER.with_headers(overrides), OUTER, {"user_id": "bob"})
        assert rest == {}
    assert [(record.name, record.levelname) for record in caplog.records] == [("payi.instrument.context", "WARNING")]
    assert header in caplog.text
    assert "secret" not in caplog.text


def test_a_use_case_name_that_pay_i_refuses_takes_its_values_with_it() -> None:
    """Its id would otherwise be an instance of the wrong use case."""
    overrides, _ = split_headers({"xProxy-UseCase-Name": "not allowed", "xProxy-UseCase-ID": "x", "xProxy-UseCase-Step": "y"})
    assert_scope(OUTER.with_headers(overrides), OUTER, {})


def test_a_new_id_is_made_for_each_call_of_another_use_case() -> None:
    """Two calls that only name a use case are two instances of it."""
    overrides, _ = split_headers({"xProxy-UseCase-Name": "search"})
    first, second = Scope().with_headers(overrides), Scope().with_headers(overrides)
    assert first.use_case_id != second.use_case_id
    assert NEW_ID not in (first.use_case_id, second.use_case_id)


def test_properties_nested_without_end_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """As any that cannot be read; Python gives up on them in its own way."""
    change, rest = split_headers({"xProxy-Request-Properties": "[" * 100_000, "x": "y"})
    assert (change.request_properties, rest) == (None, {"x": "y"})
    assert "cannot be read and is ignored" in caplog.text


@pytest.mark.parametrize("version", [-1, 2_147_483_648])
def test_a_version_out_of_range_is_no_version(version: int, caplog: pytest.LogCaptureFixture) -> None:
    """Pay-i, where it is an int32, would refuse the packet: in code it is an error at once, in a header it is ignored."""
    for headers in ({"xProxy-UseCase-Version": str(version)}, create_headers(use_case_version=version)):
        change, rest = split_headers(headers)
        assert (change.use_case_version, rest) == (None, {})
    assert "the header xProxy-UseCase-Version cannot be read and is ignored" in caplog.text
    with pytest.raises(TypeError, match=rf"track_context\(\): use_case_version must be >= 0 and <= 2147483647, not {version}"):
        track_context(use_case_version=version)


def test_the_largest_version_is_one() -> None:
    """It is an int32's."""
    assert split_headers(create_headers(use_case_version=2_147_483_647))[0].use_case_version == 2_147_483_647
    with track_context(use_case_name="u", use_case_version=2_147_483_647):
        assert get_context()["use_case_version"] == 2_147_483_647
