"""What a provider's test folder says in its `units.py`, for the test of docs/units.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from payi_otel.packets.units import Usage

COUNT = 7
"""What a row's field is set to."""
Readers = Mapping[str, tuple[Callable[[Any], Usage | None], dict[str, Any]]]
"""By API: what reads its usage, and the totals that its parts stand in."""
