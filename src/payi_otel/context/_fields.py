"""The keywords that `track`, `track_context` and `create_headers` share, and the check of what users give for them."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, TypeVar, cast

from payi_otel.errors import ConfigurationError
from payi_otel.semconv import MAX_NUMBER

Properties = dict[str, str] | dict[str, str | None]
F = TypeVar("F", bound=Callable[..., Any])


class HeaderFields(TypedDict, total=False):
    """The fields that a header of one call can say."""

    use_case_name: str | None
    use_case_id: str | None
    use_case_version: int | None
    use_case_step: str | None
    use_case_properties: Properties | None
    limit_ids: list[str] | None
    user_id: str | None
    account_name: str | None
    request_properties: Properties | None
    price_as_category: str | None
    price_as_resource: str | None
    resource_scope: str | None
    log_prompt_and_response: bool | None


class ScopeFields(HeaderFields, total=False):
    """Every field of a `Scope`, as users write and read it."""

    proxy: bool | None


class TrackFields(ScopeFields, total=False):
    """What `track` and `track_context` take."""

    request_tags: list[str] | None


PROPERTY_FIELDS = frozenset({"use_case_properties", "request_properties"})
SWITCH_FIELDS = frozenset({"log_prompt_and_response", "proxy"})

_USE_CASE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_use_case_name(text: str) -> bool:
    """Whether Pay-i takes this name; it refuses a packet with any other."""
    return _USE_CASE_NAME.fullmatch(text) is not None


def is_version(number: int) -> bool:
    """Whether Pay-i takes this version; it refuses a packet with any other, and its cost would be lost."""
    return 0 <= number <= MAX_NUMBER


def keywords(names: Iterable[str]) -> Callable[[F], F]:
    """Gives a function that takes `**fields` the signature of these keyword-only names, and makes it refuse others."""
    allowed = tuple(names)
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in allowed]

    def apply(func: F) -> F:
        @functools.wraps(func)
        def checked(**fields: Any) -> Any:
            for name in fields:
                if name not in allowed:
                    raise TypeError(f"{func.__name__}() got an unexpected keyword argument {name!r}; allowed: {', '.join(allowed)}")
            return func(**fields)

        checked.__dict__["__signature__"] = inspect.Signature(parameters)
        return cast("F", checked)

    return apply


def checked_fields(caller: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The values as a `ScopeChange` takes them: copies that the user cannot change later.

    Raises:
        TypeError: a value has a wrong type, or a version is out of range.
        ConfigurationError: Pay-i does not take the use-case name.
    """
    values = {}
    for name, value in fields.items():
        if value is not None:
            wanted = _wanted(name, value)
            if wanted:
                raise TypeError(f"{caller}(): {name} must be {wanted}, not {type(value).__name__}")
            if name == "use_case_version" and not is_version(value):
                raise TypeError(f"{caller}(): {name} must be >= 0 and <= {MAX_NUMBER}, not {value}")
            values[name] = frozen_value(name, value)
    use_case_name = values.get("use_case_name")
    if use_case_name and not is_use_case_name(use_case_name):
        raise ConfigurationError([f"{caller}(): use_case_name is {use_case_name!r}; allowed: at most 64 of A-Z a-z 0-9 . _ -"])
    return values


def frozen_value(name: str, value: Any) -> Any:
    """A copy of a list or a dict of the user's; anything else as it is."""
    if name == "limit_ids":
        return tuple(value)
    return as_properties(value) if name in PROPERTY_FIELDS else value


def as_properties(given: Mapping[str, Any]) -> dict[str, str | None]:
    """A copy in which every value is a str or None: Pay-i refuses a packet with any other."""
    return {str(key): value if value is None or isinstance(value, str) else str(value) for key, value in given.items()}


def _wanted(name: str, value: Any) -> str | None:
    """What the field takes, where the value is something else."""
    if name == "limit_ids":
        fits = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        return None if fits else "a list of str"
    if name in PROPERTY_FIELDS:
        return None if isinstance(value, Mapping) else "a dict"
    if name in SWITCH_FIELDS:
        return None if isinstance(value, bool) else "a bool"
    if name == "use_case_version":
        return None if isinstance(value, int) and not isinstance(value, bool) else "an int"
    return None if isinstance(value, str) else "a str"
