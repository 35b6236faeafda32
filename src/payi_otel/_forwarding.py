"""Log lines of ours on their way to the logger the user gave."""

from __future__ import annotations

import logging

logger = logging.getLogger("payi.instrument")

_FORWARDED = "payi_forwarded"
"""Marks a log record that the user's logger has had."""


class ForwardingHandler(logging.Handler):
    """Hands every record of ours to the logger the user gave; does nothing where that is ours, or none."""

    def __init__(self, target: logging.Logger | None) -> None:
        super().__init__()
        self._target = target if target is not None and target is not logger else None
        self._before = (logger.level, logger.propagate)

    def install(self) -> None:
        """Takes the place of the default logger's own ways out."""
        if self._target is not None:
            logger.setLevel(self._target.getEffectiveLevel())
            logger.propagate = False
            logger.addHandler(self)

    def remove(self) -> None:
        """Puts back what was."""
        if self._target is not None:
            logger.removeHandler(self)
            logger.setLevel(self._before[0])
            logger.propagate = self._before[1]

    def emit(self, record: logging.LogRecord) -> None:
        """As if the target itself had been called."""
        if self._target is None or not self._target.isEnabledFor(record.levelno) or hasattr(record, _FORWARDED):
            return
        setattr(record, _FORWARDED, True)  # the target may be a child of ours, which hands its records up to us
        self._target.handle(record)
