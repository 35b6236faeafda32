"""The kinds of value a setting may have: how each is checked, and how a variable's text becomes one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from payi_otel._validate import Kind, Problems, check_fields, join, read_json
from payi_otel.semconv import MAX_NUMBER

NO_ENTRIES: Final[Mapping[str, Any]] = MappingProxyType({})
NO_CONTROLS: Final = re.compile(r"[^\x00-\x1f\x7f]*")
"""These texts travel as HTTP headers, which a line break would cut in two."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|[0-9a-f.]*:[0-9a-f:.]*(?:%\w+)?")
_BOOLS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def normalise_host(value: object) -> str:
    """Brings a host into the one form that hosts are compared in: lower-case `host`, or `host:port` for a port of its own.

    Args:
        value: A host name, `host:port`, a URL, or a URL object of httpx or httpx2. Without a scheme, https is assumed.

    Raises:
        ValueError: It names no host.
    """
    text = str(value).strip()
    parts = urlsplit(text if "://" in text else f"https://{text}")
    host = (parts.hostname or "").lower().removesuffix(".")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if not _HOST.fullmatch(host):
        raise ValueError(f"no host in {type(value).__name__}")
    if ":" in host:
        host = f"[{host}]"
    return host if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


def _read_text(text: str, place: str, problems: Problems) -> Any:
    return text


def _read_list(text: str, place: str, problems: Problems) -> Any:
    if text.lstrip().startswith("["):
        return read_json(text, place, problems)
    return [item.strip() for item in text.split(",") if item.strip()]


def _read_bool(text: str, place: str, problems: Problems) -> Any:
    found = _BOOLS.get(text.strip().lower())
    return problems.refuse(place, text, "true or false") if found is None else found


def _check_bool(value: Any, place: str, problems: Problems) -> Any:
    return value if isinstance(value, bool) else problems.refuse(place, value, "a bool", wrong_type=True)


BOOL: Final = Kind("bool", _check_bool, _read_bool)


def _number(
    name: str, types: tuple[type[int] | type[float], ...], make: Callable[[Any], Any], allowed: str, fits: Callable[[Any], bool]
) -> Kind:
    """A number; a bool is none, and neither is NaN."""
    article = f"{'an' if name == 'int' else 'a'} {name}"

    def check(value: Any, place: str, problems: Problems) -> Any:
        if isinstance(value, bool) or not isinstance(value, types):
            return problems.refuse(place, value, article, wrong_type=True)
        try:
            if math.isfinite(value) and fits(value):
                return make(value)
        except OverflowError:  # an int that no float can hold
            pass
        return problems.refuse(place, value, allowed)

    def read(text: str, place: str, problems: Problems) -> Any:
        whole = re.fullmatch(r"\s*[+-]?\d+\s*", text)  # kept whole, so that a message says 0 and not 0.0
        try:
            return int(text) if whole else make(text)
        except ValueError:
            return problems.refuse(place, text, article)

    return Kind(name, check, read, allowed)


def _check_callable(value: Any, place: str, problems: Problems) -> Any:
    return value if callable(value) else problems.refuse(place, value, "a function", wrong_type=True)


def _refuse_text(text: str, place: str, problems: Problems) -> Any:
    return problems.add(f"{place}: a text is not allowed, must be a function, given in code")


CALLABLE: Final = Kind("Callable", _check_callable, _refuse_text, "in code only", has_text=False)


COUNT: Final = _number("int", (int,), int, ">= 0", lambda number: number >= 0)
VERSION: Final = _number("int", (int,), int, f">= 0 and <= {MAX_NUMBER}", lambda number: 0 <= number <= MAX_NUMBER)
WHOLE_SECONDS: Final = _number("int", (int,), int, ">= 0 seconds", lambda number: number >= 0)
SECONDS: Final = _number("float", (int, float), float, ">= 0 seconds", lambda number: number >= 0)
SECONDS_ABOVE_ZERO: Final = _number("float", (int, float), float, "> 0 seconds", lambda number: number > 0)


def text(allowed: str = "a str without control characters", pattern: re.Pattern[str] = NO_CONTROLS) -> Kind:
    """A text that a pattern matches as a whole."""

    def check(value: Any, place: str, problems: Problems) -> Any:
        if not isinstance(value, str):
            return problems.refuse(place, value, "a str", wrong_type=True)
        plain = str.__str__(value)  # an enum's member becomes its text
        return plain if pattern.fullmatch(plain) else problems.refuse(place, plain, allowed)

    return Kind("str", check, _read_text, "" if pattern is NO_CONTROLS else allowed)


def choice(*values: str | bool) -> Kind:
    """One of a few values."""
    allowed = f"{', '.join(map(repr, values[:-1]))} or {values[-1]!r}"

    def check(value: Any, place: str, problems: Problems) -> Any:
        if isinstance(value, str | bool) and value in values:
            return values[values.index(value)]
        return problems.refuse(place, value, allowed, wrong_type=not isinstance(value, str))

    def read(text: str, place: str, problems: Problems) -> Any:
        word = _BOOLS.get(text.strip().lower(), text)
        return word if word in values else text

    return Kind("str or bool" if True in values else "str", check, read, allowed)


def among(values: Callable[[], Sequence[str]]) -> Kind:
    """A choice among values that are looked for when one is given."""
    return Kind("str", lambda value, place, problems: choice(*values()).check(value, place, problems), _read_text)


def _check_host(value: Any, place: str, problems: Problems) -> Any:
    allowed = "a host name, host:port or a URL"
    if not isinstance(value, str) and type(value).__name__ != "URL":
        return problems.refuse(place, value, allowed, wrong_type=True)
    try:
        return normalise_host(value)
    except ValueError:
        return problems.refuse(place, str(value), allowed)


HOST: Final = Kind("str or httpx.URL", _check_host, _read_text, "a host name, host:port or a URL")


def texts(item: Kind, among: str = "") -> Kind:
    """A list of texts, each kept once, in order."""

    def check(value: Any, place: str, problems: Problems) -> Any:
        if not isinstance(value, list | tuple):
            return problems.refuse(place, value, "a list of str", wrong_type=True)
        checked = [item.check(one, f"{place}[{index}]", problems) for index, one in enumerate(value)]
        return tuple(dict.fromkeys(one for one in checked if one is not None))

    return Kind("list[str]", check, _read_list, among or f"each {item.bound}")


def _check_properties(value: Any, place: str, problems: Problems) -> Any:
    if not isinstance(value, Mapping):
        return problems.refuse(place, value, "a dict of str to str", wrong_type=True)
    kept: dict[str, str | None] = {}
    for key, given in value.items():
        if not isinstance(key, str):
            problems.refuse(place, key, "a str as a key", wrong_type=True)
        elif given is not None and not isinstance(given, str):
            problems.refuse(join(place, key), given, "a str or None", wrong_type=True)
        else:
            kept[str.__str__(key)] = given if given is None else str.__str__(given)
    return MappingProxyType(kept)


PROPERTIES: Final = Kind("dict[str, str | None]", _check_properties, read_json)


def records(cls: type[msgspec.Struct], name: str, one_of: Sequence[str]) -> Kind:
    """A list of records, of whose fields `one_of` at least one is set; an empty text counts as unset."""
    choices = f"{', '.join(one_of[:-1])} or {one_of[-1]}"

    def check_one(value: Any, place: str, problems: Problems) -> Any:
        before = len(problems.lines)
        fields = {key: given for key, given in check_fields(cls, value, place, problems).items() if given != ""}
        if len(problems.lines) == before and not fields.keys() & set(one_of):
            problems.add(f"{place}: none of its prices is set, must have at least one of {choices}")
        return cls(**fields) if len(problems.lines) == before else None

    def check(value: Any, place: str, problems: Problems) -> Any:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
            return problems.refuse(place, value, "a list", wrong_type=True)
        return tuple(check_one(one, f"{place}[{index}]", problems) for index, one in enumerate(value))

    return Kind(name, check, read_json, f"each with at least one of {choices}", cls, "[]")


def records_by(key: Kind, cls: type[msgspec.Struct], name: str, entry: str, keep: Callable[[Any], Any]) -> Kind:
    """A dict of records. `keep` makes of a record what is kept; where that is empty, the entry has no effect and goes."""

    def check(value: Any, place: str, problems: Problems) -> Any:
        if not isinstance(value, Mapping):
            return problems.refuse(place, value, "a mapping", wrong_type=True)
        kept: dict[str, Any] = {}
        for given_name, given in value.items():
            where = join(place, str(given_name) if type(given_name).__name__ == "URL" else given_name)
            one = key.check(given_name, where, problems)
            fields = check_fields(cls, {} if given is None else given, where, problems)
            record = keep(cls(**fields))
            if one is not None and record and kept.setdefault(one, record) != record:
                problems.add(f"{where}: given twice with different values, must be given once")
        return MappingProxyType(kept)

    return Kind(name, check, read_json, f"each key {key.bound}" if key.bound else "", cls, entry)
