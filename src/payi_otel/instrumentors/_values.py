"""Reads single values of SDK objects or of their JSON, whatever odd thing stands in their place."""

from __future__ import annotations

from typing import Any, Protocol

_MAX_DIGITS = 18
"""A longer number is none that was counted, and Python takes its time to read very long ones."""


class Fields(Protocol):
    """Fields by name, read one by one."""

    def get(self, name: str, /) -> Any:
        """One of them; None where it is missing."""
        ...


class _Attributes:
    """Those of an object that is nobody's model."""

    __slots__ = ("_of",)

    def __init__(self, of: Any) -> None:
        self._of = of

    def get(self, name: str, /) -> Any:
        return getattr(self._of, name, None)


def get(value: Any, name: str) -> Any:
    """One field of an SDK object or of its JSON; None where it is missing."""
    if isinstance(value, dict):
        return value.get(name)
    return getattr(value, name, None)


def fields_of(value: Any) -> Fields:
    """An SDK object or its JSON, to read several fields of: a model of pydantic's takes its time to say that it has none of a name."""
    if isinstance(value, dict):
        return value
    extra = getattr(value, "__pydantic_extra__", value)
    if extra is value:  # somebody's own object, or none
        return _Attributes(value)
    return {**vars(value), **extra} if extra else vars(value)


def text_of(value: Any) -> str | None:
    """An id or a model. What a server that only speaks like a provider's gives as a number may be a mere count, and is none."""
    return value if isinstance(value, str) else None


def type_name_of(error: BaseException) -> str:
    """`error.type`: the name of an exception's class, with its module where that is not Python's own."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"


def count_of(value: Any, name: str, problems: list[str]) -> int:
    """One count of a usage; 0 where it is missing, and where it is none, which is then noted in `problems`."""
    return count_in(value if isinstance(value, dict) else _Attributes(value), name, problems)


def count_in(fields: Fields, name: str, problems: list[str]) -> int:
    """The same of what `fields_of` gives."""
    number = fields.get(name)
    if number is None:
        return 0
    if type(number) is int and number >= 0:
        return number
    return _odd_count(number, name, problems)


def _odd_count(number: Any, name: str, problems: list[str]) -> int:
    """Servers that only speak like OpenAI send `12.0` and `"12"`; what is no whole number is said, not guessed."""
    if isinstance(number, float) and number >= 0 and number.is_integer():
        return int(number)
    if isinstance(number, str) and number.isascii() and number.isdecimal() and len(number) <= _MAX_DIGITS:
        return int(number)
    problems.append(f"{name} is no count")
    return 0


def fit(side: str, parts: dict[str, int], total: int) -> list[str]:
    """Cuts parts that exceed their total, in their order, so that the units still add up to what the provider billed."""
    if not parts:
        return []
    excess = sum(parts.values()) - total
    if excess <= 0:
        return []
    problem = f"the parts of {side} make {sum(parts.values())}, its total is {total}"
    for name in reversed(parts):
        cut = min(excess, parts[name])
        parts[name] -= cut
        excess -= cut
    return [problem]
