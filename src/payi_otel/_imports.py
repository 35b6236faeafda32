"""What is done once the application has imported a module."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from wrapt import register_post_import_hook


def after_import(hook: Callable[[Any], object], name: str) -> None:
    """Hands over the module: now, if it is imported, or as soon as it is.

    wrapt takes one for imported that another thread is only beginning to import, with nothing in it yet: that one is waited for.
    """

    def run(_: Any) -> None:
        with suppress(Exception):  # it has failed there
            import_module(name)
        module = sys.modules.get(name)
        if module is None:
            after_import(hook, name)
        else:
            hook(module)

    register_post_import_hook(run, name)
