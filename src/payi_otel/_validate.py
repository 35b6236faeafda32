"""Checks values against the rules that the fields of `config`'s structs carry, and gathers every problem before any is raised."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from payi_otel._environ import variable
from payi_otel.errors import ConfigurationError

StructT = TypeVar("StructT", bound=msgspec.Struct)

VARIABLE_PREFIX: Final = "PAYI_OTEL_"
_SECRET_WORDS: Final = frozenset(
    {"key", "apikey", "token", "secret", "password", "passwd", "credential", "credentials", "auth", "authorization"}
)
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_USER_INFO: Final = re.compile(r"//[^/@\s]*@")
_SHORT: Final = reprlib.Repr()
_SHORT.maxstring = 60


class Problems:
    """Collects one line for each wrong setting."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Takes a line as it is."""
        self.lines.append(line)

    def refuse(self, place: str, value: object, allowed: str, *, wrong_type: bool = False) -> None:
        """Says where, what was given (its type too, if that is what is wrong) and what is allowed."""
        self.add(f"{place}: {_show(place, value, wrong_type)} is not allowed, must be {allowed}")

    def unknown(self, place: str, key: object, known: Iterable[str]) -> None:
        """Says that a key is not a setting, and the nearest one that is."""
        self.add(f"{place}: unknown setting, {nearest(key, known) or 'known here: ' + ', '.join(known)}")

    def raise_any(self) -> None:
        """Raises all of them in one `ConfigurationError`."""
        if self.lines:
            raise ConfigurationError(self.lines)


def nearest(key: object, known: Iterable[str], alike: float = 0.6) -> str:
    """`did you mean 'x'?`, or nothing where no name is `alike` (0 to 1) enough."""
    import difflib  # for a mistake, and not for every start

    near = difflib.get_close_matches(key, list(known), n=1, cutoff=alike) if isinstance(key, str) else []
    return f"did you mean {near[0]!r}?" if near else ""


def join(place: str, key: object) -> str:
    """The place of a key below a place: `a.b`, or `a['not a name']`."""
    if isinstance(key, str) and key.replace("-", "_").isidentifier():
        return f"{place}.{key}" if place and not place.endswith(": ") else f"{place}{key}"
    return f"{place}[{_USER_INFO.sub('//***@', _SHORT.repr(key))}]"


def _show(place: str, value: object, wrong_type: bool) -> str:
    """A short repr; containers and objects by their type only, and nothing of what stands under a secret's name."""
    kind = type(value).__name__
    if not isinstance(value, str | int | float | None):
        return kind
    words = {word.lower() for word in _WORDS.findall(place.rpartition(": ")[2])}
    text = "***" if words & _SECRET_WORDS else _USER_INFO.sub("//***@", _SHORT.repr(value))
    return f"{text} ({kind})" if wrong_type else text


class Kind(msgspec.Struct, frozen=True):
    """One kind of value.

    `check` turns what was given into what is kept, `read` turns a variable's text into what `check` takes. Both report a problem
    and return None for it.
    """

    name: str
    check: Callable[[Any, str, Problems], Any]
    read: Callable[[str, str, Problems], Any]
    bound: str = ""
    """What is allowed of the type, as a message and the docs say it."""
    record: type[msgspec.Struct] | None = None
    """The struct of its entries, where it has any."""
    entry: str = ""
    """How an entry's fields are addressed in the docs: `[]` or `.<host>`."""
    has_text: bool = True
    """False: it can be given in code only."""


class Rule(msgspec.Struct, frozen=True):
    """What is allowed in a field, and what it means. `shown_default` is for a default that is worked out later."""

    kind: Kind
    doc: str
    shown_default: str = ""


class Section(msgspec.Struct, frozen=True):
    """A field that holds settings of its own."""

    cls: type[msgspec.Struct]
    doc: str


@cache
def _all_fields(cls: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Kept: annotations are evaluated each time that somebody asks."""
    return msgspec.structs.fields(cls)


@cache
def fields_of(cls: type[msgspec.Struct]) -> Mapping[str, Rule | Section]:
    """The settings of a struct in their order: its annotated fields."""
    found: dict[str, Rule | Section] = {}
    for field in _all_fields(cls):
        for note in getattr(field.type, "__metadata__", ()):
            if isinstance(note, Rule | Section):
                found[field.name] = note
    return found


def check_fields(cls: type[msgspec.Struct], value: object, place: str, problems: Problems, path: str = "") -> dict[str, Any]:
    """Checks a mapping against a struct's rules.

    Args:
        place: Where the mapping stands, as a message names it.
        path: Where it stands among the settings; the keys of the result begin with it.

    Returns:
        What was set and is right, by dotted path; a section that was given stands there too, even if it is empty.
    """
    if not isinstance(value, Mapping):
        problems.refuse(place.removesuffix(": ") or "config", value, "a mapping", wrong_type=True)
        return {}
    known, found = fields_of(cls), dict[str, Any]()
    for key, given in value.items():
        rule = known.get(key) if isinstance(key, str) else None
        where = join(place, key)
        if rule is None:
            problems.unknown(where, key, known)
        elif isinstance(rule, Section) and given is not None:
            found |= {f"{path}{key}": rule, **check_fields(rule.cls, given, where, problems, f"{path}{key}.")}
        elif isinstance(rule, Rule) and given is not None:
            checked = rule.kind.check(given, where, problems)
            found |= {} if checked is None else {f"{path}{key}": checked}
    for field in _all_fields(cls):
        if field.required and value.get(field.name) is None:
            problems.add(f"{join(place, field.name)}: missing, must be {known[field.name].kind.bound}")  # type: ignore[union-attr]  # only rules are required
    return found


def build(cls: type[StructT], values: Mapping[str, Any], path: str = "", **more: Any) -> StructT:
    """Makes a struct of checked values; what is not among them keeps its default."""
    for name, rule in fields_of(cls).items():
        full = f"{path}{name}"
        if isinstance(rule, Rule) and full in values:
            more[name] = values[full]
        elif isinstance(rule, Section) and any(key == full or key.startswith(f"{full}.") for key in values):
            more[name] = build(rule.cls, values, f"{full}.")
    return cls(**more)


def read_json(text: str, place: str, problems: Problems) -> Any:
    """Reads JSON; what is wrong with it is not quoted, because it may hold anything."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return problems.add(f"{place}: text that is not JSON is not allowed, must be JSON")


def walk(cls: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Rule | Section, object]]:
    """Every setting of a struct and of its sections: path, rule and default; a section comes before what is in it."""
    defaults = {field.name: field.default for field in _all_fields(cls)}
    for name, rule in fields_of(cls).items():
        yield f"{path}{name}", rule, defaults[name]
        if isinstance(rule, Section):
            yield from walk(rule.cls, f"{path}{name}.")


def variable_of(path: str) -> str:
    """The environment variable of a setting."""
    return VARIABLE_PREFIX + path.upper().replace(".", "_")


def check_variables(cls: type[msgspec.Struct], environ: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    """Checks what the environment sets, by dotted path. An empty variable is an unset one; a section's variable holds JSON."""
    found: dict[str, Any] = {}
    for path, rule, _ in walk(cls):
        name = variable_of(path)
        text = variable(name, environ)
        given = None
        if text:
            given = read_json(text, name, problems) if isinstance(rule, Section) else rule.kind.read(text, name, problems)
        if given is not None and isinstance(rule, Section):
            found |= {path: rule, **check_fields(rule.cls, given, name, problems, f"{path}.")}
        elif given is not None and isinstance(rule, Rule):
            checked = rule.kind.check(given, name, problems)
            found |= {} if checked is None else {path: checked}
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as the docs show it."""

    setting: str
    type: str
    default: str
    bound: str
    variable: str
    doc: str


def rows(cls: type[msgspec.Struct]) -> Iterator[Row]:
    """The settings of a struct as rows, the fields of list and dict entries below their list or dict; those have no variable."""
    for path, rule, default in walk(cls):
        if isinstance(rule, Section):
            yield Row(path, "dict", "", "", variable_of(path), rule.doc)
            continue
        yield _row(path, rule, default, variable_of(path) if rule.kind.has_text else "")
        if rule.kind.record is not None and not rule.doc.startswith("Deprecated"):
            for name, inner, inner_default in walk(rule.kind.record):
                if isinstance(inner, Rule):
                    yield _row(f"{path}{rule.kind.entry}.{name}", inner, inner_default, "")


def _row(path: str, rule: Rule, default: object, variable: str) -> Row:
    if isinstance(default, tuple | Mapping):
        default = ", ".join(default) or None
    shown = "required" if default is msgspec.NODEFAULT else str(default)
    return Row(path, rule.kind.name, rule.shown_default or shown, rule.kind.bound, variable, rule.doc)
