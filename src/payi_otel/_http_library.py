"""The library that sends our requests: `httpx2` where it is installed, else `httpx`; with a client of the user's, the one that made it.

`httpx2` goes first because the SDKs of OpenAI, Anthropic, Google and Mistral bring it now, and a process needs one such library, not two.
More than that: `httpx2.alias_httpx()`, by which an application moves its other libraries to it, fails where `httpx` has been imported.
The two have the same names and signatures for all that is used here, so that annotations say `httpx` and mean both.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_COMMAND: Final = "httpx._main"
_CORES: Final = {"httpx": "httpcore", "httpx2": "httpcore2"}


def http_library() -> ModuleType:
    """Imports it, with what it would import at its first request.

    Called in `payi_instrument()` and not by a worker: the `openai` SDK looks at `sys.modules["httpx"]` in the middle of a call and fails
    on a module that another thread is still importing; and a class that is made of text (a named tuple, a dataclass) in the moment of a
    Ctrl-C has Python forget that it was one, and end with another status.
    """
    with suppress(Exception):  # not installed, or damaged: the application may do without it, and so do we
        return _with_core(import_module("httpx2"))
    return _with_core(_import_httpx())


def library_of(client: object) -> ModuleType:
    """The library whose client this is, or whose client it is made of."""
    return import_module(next(root for cls in _classes_of(client) if (root := _root_of(cls)) in _CORES))


def names_of(thing: object) -> frozenset[str]:
    """What the library calls this client, transport or exception, its bases included; empty where it is not the library's.

    By name and not by class: neither library is imported for it.
    """
    return frozenset(cls.__name__ for cls in _classes_of(thing) if _root_of(cls) in _CORES)


def _with_core(library: ModuleType) -> ModuleType:
    import_module(_CORES[library.__name__])
    return library


def _classes_of(thing: object) -> tuple[type, ...]:
    """As `isinstance` sees them: a proxy around a client says that it is one."""
    return thing.__class__.__mro__


def _root_of(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _import_httpx() -> ModuleType:
    """Imports httpx without its command line, which would bring click, rich and pygments: as much time and memory as all the rest.

    `httpx.main` is there all the same, and loads it when it is called.
    """
    if "httpx" in sys.modules or _COMMAND in sys.modules:
        return import_module("httpx")
    stand_in = ModuleType(_COMMAND)
    stand_in.main = _run_command  # type: ignore[attr-defined]
    sys.modules[_COMMAND] = stand_in
    try:
        return import_module("httpx")
    finally:
        if sys.modules.get(_COMMAND) is stand_in:
            del sys.modules[_COMMAND]


def _run_command(*args: Any, **kwargs: Any) -> Any:
    return import_module(_COMMAND).main(*args, **kwargs)
