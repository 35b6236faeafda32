"""`response.xproxy_result`: from whatever an SDK handed to the application to the ticket of its call.

Nothing is written on the response: its dump, its pickle and its equality stay the provider's. The class it is of gets one descriptor, which
looks the object up; an object that an SDK made of the same answer later (a helper's final message, a copy) is known by the answer's id.
"""

from __future__ import annotations

import weakref
from typing import Any, Final

from payi_otel._guard import log_fault
from payi_otel.payload import Ticket

NAME: Final = "xproxy_result"
_NOT_THEIRS: Final = frozenset({"pydantic", "builtins", "typing", "typing_extensions", "abc", "collections", "enum"})
_PARTS: Final = ("Chunk", "Event")
"""How classes of what a stream is made of are named: the last one of a stream has its result, the others have none."""
_MAX_REMEMBERED: Final = 1000

_by_object: dict[int, tuple[weakref.ref[Any], Ticket]] = {}
_by_id: dict[str, Ticket | None] = {}
"""None for an id that several calls have had: servers exist that give them all the same one."""
_described: set[type] = set()


class _Reference(weakref.ref[Any]):
    """Knows where it stands: a function of each one's own would take longer to make than all of this."""

    __slots__ = ("key",)
    key: int


def _forget(reference: weakref.ref[Any]) -> None:
    if isinstance(reference, _Reference):
        _by_object.pop(reference.key, None)


class _Descriptor:
    """Reads like an attribute that only some objects of a class have."""

    def __init__(self, package: str) -> None:
        self._package = package

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        ticket = ticket_of(instance)
        if ticket is None:
            if instance is not None and _package_of(type(instance)) != self._package:
                return None  # LiteLLM makes its classes of the SDK's, and reads whatever `dir` names
            raise AttributeError(f"{(owner or type(instance)).__name__!r} object has no attribute {NAME!r}")
        return ticket.result


def attach(thing: Any, ticket: Ticket | None) -> None:
    """Gives a response, a stream or a chunk its `xproxy_result`; does nothing where an object cannot have one."""
    if ticket is None or thing is None:
        return
    cls = type(thing)
    try:
        if cls not in _described:
            describe(cls)
        if hasattr(cls, "__weakref__"):
            reference = _Reference(thing, _forget)
            reference.key = key = id(thing)
            _by_object[key] = (reference, ticket)
    except Exception as fault:
        log_fault("attaching a result", fault)


def remember(response_id: str | None, ticket: Ticket | None) -> None:
    """Has a call found by the id of its answer, for as long as it is among the last thousand."""
    if response_id is None or ticket is None:
        return
    is_new = _by_id.get(response_id, ticket) is ticket
    _by_id[response_id] = ticket if is_new else None
    if len(_by_id) > _MAX_REMEMBERED:
        try:
            _by_id.pop(next(iter(_by_id)), None)
        except (RuntimeError, StopIteration):  # another thread changed it: the next one to add forgets one
            return


def ticket_of(thing: Any) -> Ticket | None:
    """The ticket of the call that an object came of; None where it is not known."""
    entry = _by_object.get(id(thing))
    if entry is not None and entry[0]() is thing:
        return entry[1]
    if type(thing).__name__.endswith(_PARTS):
        return None
    response_id = getattr(thing, "id", None)
    return _by_id.get(response_id) if isinstance(response_id, str) else None


def describe(cls: type) -> None:
    """Puts the descriptor on the SDK's own root of a class, so that its subclasses have it, too."""
    if cls in _described:
        return
    _described.add(cls)
    theirs = [base for base in cls.__mro__ if _package_of(base) not in _NOT_THEIRS]
    if theirs and hasattr(cls, "__weakref__") and not _has(cls):
        type.__setattr__(theirs[-1], NAME, _Descriptor(_package_of(theirs[-1])))


def _package_of(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _has(cls: type) -> bool:
    return any(NAME in vars(base) for base in cls.__mro__)
