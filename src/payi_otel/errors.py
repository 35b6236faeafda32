"""The errors a user can meet: at start-up, about configuration; and in a call only what he asked for.

    PayiOtelError
    ├── ConfigurationError   one or more settings are wrong; lists every one of them
    │   └── MissingKeyError  no Pay-i API key was given and none is in the environment
    └── LimitExceeded        a limit is blocked, and `enforce_limits` is on: the provider was not called

Nothing else is raised into an application: a fault of this package is logged (see `_guard`).
"""

from __future__ import annotations

from collections.abc import Sequence


class PayiOtelError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigurationError(PayiOtelError, ValueError):
    """One or more settings are wrong. `problems` has one line for each: path, what was given, what is allowed."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        head = self.problems[0] if len(self.problems) == 1 else f"{len(self.problems)} settings are wrong:"
        rest = () if len(self.problems) == 1 else self.problems
        super().__init__("\n  - ".join((head, *rest)))


class MissingKeyError(ConfigurationError):
    """No API key: none was given, and `PAYI_API_KEY` is not set."""


class LimitExceeded(PayiOtelError):  # noqa: N818 - the name that users know from rate limits
    """Pay-i has said that a limit of this call is blocked. Raised before the provider is called, where `enforce_limits` is on."""

    def __init__(self, limit_ids: Sequence[str]) -> None:
        self.limit_ids: tuple[str, ...] = tuple(limit_ids)
        """Those that are blocked."""
        super().__init__(f"blocked by Pay-i: {', '.join(self.limit_ids)}")
